"""The kernels on a CPU: the compiled module with a number of threads."""

from __future__ import annotations

from dataclasses import dataclass

from pyengine import _core
from pyengine.arrays import Float32, Float64
from pyengine.kernels import Histogram


@dataclass(frozen=True)
class CpuKernels:
    """`Kernels` on the CPU. The same bits whatever the number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> CpuKernels(threads=1).gram(np.array([[1, 2], [3, 0]], np.float32))
    array([[2.5, 1.5],
           [1.5, 4.5]])
    """

    threads: int

    def gram(self, features: Float32, weights: Float32 | None = None) -> Float64:
        """See `Kernels.gram`."""
        return _core.gram(features, weights, self.threads)

    def gram_gradient(
        self,
        features: Float32,
        difference: Float64,
        scale: float,
        gradient: Float32,
        *,
        weights: Float32 | None = None,
        accumulate: bool = False,
    ) -> None:
        """See `Kernels.gram_gradient`."""
        _core.gram_gradient(features, difference, scale, gradient, weights, accumulate, self.threads)

    def histogram(self, features: Float32, weights: Float32 | None = None) -> Histogram:
        """See `Kernels.histogram`."""
        return _core.Histogram(features, weights, self.threads)

    def histogram_loss(
        self,
        target: Histogram,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        *,
        weights: Float32 | None = None,
        accumulate: bool = False,
    ) -> float:
        """See `Kernels.histogram_loss`."""
        return target.loss(features, gradient, scale, weights, accumulate, self.threads)
