r"""State the covariance as formulas over any array module, each its own reference.

Matérn-5/2 with a length-scale for each coordinate, plus a constant:

.. math:: k(x, z) = (1 + a + a^2/3)\,e^{-a} + c, \qquad a = \sqrt{5}\,r

.. math:: r^2 = \sum_{j\ \mathrm{numeric}} (u_j(x) - u_j(z))^2
   + \sum_{j\ \mathrm{categorical}} \ell_j^{-2}\,[x_j \ne z_j], \qquad u_j = w_j(x_j)/\ell_j

with :math:`w_j` the warping of `warping`. The categorical part is what one-hot coordinates with a
shared length-scale give, at the price of one coordinate. The constant c is the prior variance of
the mean, which is so integrated out. All of it is in units of the signal's variance.

Sources: Rasmussen & Williams (2006), eq. 4.17 and section 2.7; the kernels of the same names in
`_covariance_numba` compute the same faster.
"""

from types import ModuleType

from tunesmith_core.space.scaling import F64

CONSTANT = 1.0
"""c: a mean within about a standard deviation of the signal, before anything is observed."""


def squared_distances(xp: ModuleType, u: F64, z: F64, mismatch: F64) -> F64:
    """Compute the squared distances between scaled points (d, n) and (d, m): (n, m).

    Cost: 3nmd flops.
    """
    out: F64 = xp.zeros((u.shape[1], z.shape[1]), dtype=xp.float64)
    for j in range(u.shape[0]):
        out = out + _added(xp, u[j, :, None], z[j, None, :], float(mismatch[j]))
    return out


def matern52(xp: ModuleType, r2: F64, constant: float) -> F64:
    """Compute correlations from squared distances (n, m): (n, m).

    Cost: an exponential for each distance.
    """
    a = xp.sqrt(5.0 * r2)
    k: F64 = (1 + a + a * a / 3) * xp.exp(-a) + constant
    return k


def matern52_slope(xp: ModuleType, r2: F64) -> F64:
    """Compute the derivative of the correlation by the squared distance (n, m): (n, m).

    Cost: an exponential for each distance.
    """
    a = xp.sqrt(5.0 * r2)
    slope: F64 = -(5.0 / 6.0) * (1 + a) * xp.exp(-a)
    return slope


def weights(xp: ModuleType, precision: F64, alpha: F64, scale: float) -> F64:
    """Compute W of `likelihood` from the inverse covariance (n, n) and alpha (n,): (n, n).

    Cost: 3n² flops.
    """
    del xp  # arithmetic alone
    w: F64 = scale * (alpha[:, None] * alpha[None, :]) - precision
    return w


def pull(xp: ModuleType, u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
    """Sum up weighted differences over all pairs: spread (d,) and moment (d, n).

    Args:
        xp: The array module.
        u: (d, n) scaled points.
        mismatch: (d,) as in `squared_distances`.
        q: (n, n) weights, symmetric.

    Cost: 4n²d flops, and d arrays of n² numbers one after the other.
    """
    spread, moment = [], []
    for line, penalty in zip((u[j, :] for j in range(u.shape[0])), mismatch, strict=True):
        here, there = line[:, None], line[None, :]
        spread.append(xp.sum(q * _added(xp, here, there, float(penalty))))
        moment.append(
            xp.zeros(line.shape, dtype=xp.float64)
            if penalty > 0
            else xp.sum(q * (here - there), axis=1)
        )
    return xp.stack(spread), xp.stack(moment)


def candidate_sums(
    xp: ModuleType, u: F64, z: F64, of_mean: F64, of_variance: F64
) -> tuple[F64, F64]:
    """Sum up weighted differences of points z (d, m) from the observed ones u (d, n): (d, m), twice.

    Args:
        xp: The array module.
        u: (d, n) scaled observed points.
        z: (d, m) scaled points.
        of_mean: (n, m) the first weights.
        of_variance: (n, m) the second ones.

    Cost: 4nmd flops.
    """
    by_mean: F64 = z * xp.sum(of_mean, axis=0) - u @ of_mean
    by_variance: F64 = z * xp.sum(of_variance, axis=0) - u @ of_variance
    return by_mean, by_variance


def _added(xp: ModuleType, here: F64, there: F64, penalty: float) -> F64:
    """Give what one coordinate adds to the squared distances of (n, 1) and (1, m): (n, m)."""
    added: F64
    if penalty > 0:
        added = xp.where(here != there, penalty * xp.ones((1, 1), dtype=xp.float64), 0.0)
    else:
        difference = here - there
        added = difference * difference
    return added
