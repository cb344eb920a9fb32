"""L-BFGS over the pixels, each kept within [0, 1]: SciPy's L-BFGS-B."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32


def minimize(
    function: Callable[[Float32], tuple[float, Float32]],
    start: Float32,
    iterations: int,
    callback: Callable[[Float32], None] | None = None,
    free: npt.NDArray[np.bool_] | None = None,
) -> Float32:
    """Image near a minimum of `function` within the bounds 0 and 1.

    Works in float64 and keeps 10 pairs, which takes 25 numbers of 8 bytes for each of the image's.

    Parameters
    ----------
    function : callable
        From a float32 array to the value and the float32 gradient.
    start : float32 array
    iterations : int
        At most so many; fewer only where no lower value can be found.
    callback : callable, optional
        Called with the image after each iteration; ends the run, keeping that image, by raising StopIteration.
    free : bool array, optional
        Which pixels may change, for a `start` of one axis more; the others are no variables at all, which is what
        equal bounds would make of them.

    Examples
    --------
    >>> target = np.array([0.25, 2.0], np.float32)
    >>> minimize(lambda x: (float(((x - target) ** 2).sum()), 2 * (x - target)), np.zeros(2, np.float32), 20)
    array([0.25, 1.  ], dtype=float32)
    """
    if iterations == 0:  # SciPy would do one
        return start
    from scipy.optimize import Bounds, minimize

    def image_of(x: npt.NDArray[np.float64]) -> Float32:
        if free is None:
            return x.reshape(start.shape).astype(np.float32)
        image = start.copy()
        image[free] = x.reshape(-1, *start.shape[free.ndim :])
        return image

    def variables(image: Float32) -> npt.NDArray[np.float64]:
        return (image if free is None else image[free]).ravel().astype(np.float64)

    def evaluate(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        value, gradient = function(image_of(x))
        return value, variables(gradient)

    def after_iteration(intermediate_result: Any) -> None:
        if callback is not None:
            callback(image_of(intermediate_result.x))

    with _blas_on_one_thread():
        result = minimize(
            evaluate,
            variables(start),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0.0, 1.0),
            callback=after_iteration,
            options={"maxiter": iterations, "maxfun": 20 * iterations, "ftol": 0.0, "gtol": 0.0, "maxcor": 10},
        )
    return image_of(result.x)


class _BlasLimit(Thread):
    """Holds BLAS to one thread from `start` to `release`. A thread, as only the one that sets the limit may lift it."""

    def __init__(self) -> None:
        # Here, not in `run`: if it is missing, the caller must hear of it rather than wait.
        from threadpoolctl import threadpool_limits

        super().__init__(name="pyengine-blas-limit", daemon=True)
        self._limits = threadpool_limits
        self._set, self._released = Event(), Event()

    def run(self) -> None:
        """Hold the limit."""
        with self._limits(limits=1, user_api="blas"):
            self._set.set()
            self._released.wait()

    def hold(self) -> None:
        """Return once the limit is set."""
        self.start()
        self._set.wait()

    def release(self) -> None:
        """Return once the limit is lifted."""
        self._released.set()
        self.join()


_lock = Lock()
_users = 0
_limit: _BlasLimit | None = None


@contextmanager
def _blas_on_one_thread() -> Iterator[None]:
    """Keep SciPy's BLAS to the calling threads, for as long as any of them is in here.

    L-BFGS-B's sums of vectors gain nothing from more, but OpenBLAS' idle threads spin on for some 30 ms after each, and
    take the cores from the network: a synthesis took 1.4 times as long. And a sum's bits would depend on their number.
    """
    global _users, _limit
    with _lock:
        if _limit is None:
            _limit = _BlasLimit()
            _limit.hold()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.release()
                _limit = None
