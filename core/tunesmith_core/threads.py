"""Keep linear algebra on one thread, where its result must be the same bit for bit.

Libraries share out a product among threads, and so round it differently, depending on how many
there are at the moment. At the sizes of a surrogate more threads save no time either.
"""

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def on_one_thread() -> AbstractContextManager[object]:
    """Limit this process's BLAS libraries to one thread within a ``with`` block."""
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@functools.cache
def _libraries() -> ThreadpoolController:
    # numpy's and scipy's are both loaded by the time of the first call, and looked for once.
    import scipy.linalg  # noqa: F401 - loads scipy's own

    return ThreadpoolController()
