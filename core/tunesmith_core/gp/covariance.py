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
    out: F64 = xp.zeros((u.shape[1], z.shape[1]))
    for j in range(u.shape[0]):
        if float(mismatch[j]) > 0:
            out += mismatch[j] * (u[j][:, None] != z[j][None, :])
        else:
            out += (u[j][:, None] - z[j][None, :]) ** 2
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


def pull(xp: ModuleType, u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
    """Sum up what the likelihood's gradient needs of the pairs: spread (d,) and moment (d, n).

    Cost: 4n²d flops, and d arrays of n² numbers one after the other.
    """
    spread = xp.empty(u.shape[0])
    moment = xp.zeros(u.shape)
    for j in range(u.shape[0]):
        if float(mismatch[j]) > 0:
            spread[j] = mismatch[j] * (q * (u[j][:, None] != u[j][None, :])).sum()
        else:
            difference = u[j][:, None] - u[j][None, :]
            moment[j] = (q * difference).sum(axis=1)
            spread[j] = (q * difference * difference).sum()
    return spread, moment
