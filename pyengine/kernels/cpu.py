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
        return _core.gram(_flat(features), weights, self.threads)

    def cross_gram(self, features: Float32, other: Float32, weights: Float32 | None = None) -> Float64:
        """See `Kernels.cross_gram`."""
        return _core.cross_gram(_flat(features), _flat(other), weights, self.threads)

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
        _core.gram_gradient(_flat(features), difference, scale, _flat(gradient), weights, accumulate, self.threads)

    def histogram(self, features: Float32, weights: Float32 | None = None) -> Histogram:
        """See `Kernels.histogram`."""
        return _core.Histogram(_flat(features), weights, self.threads)

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
        flat = None if gradient is None else _flat(gradient)
        return target.loss(_flat(features), flat, scale, weights, accumulate, self.threads)

    def content_loss(
        self,
        target: Float32,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        *,
        weights: Float32 | None = None,
        accumulate: bool = False,
    ) -> float:
        """See `Kernels.content_loss`."""
        flat = None if gradient is None else _flat(gradient)
        return _core.content_loss(_flat(features), _flat(target), flat, scale, weights, accumulate, self.threads)

    def variation(
        self, image: Float32, scale: float, gradient: Float32 | None, *, wrap: bool = True, accumulate: bool = False
    ) -> float:
        """See `Kernels.variation`."""
        return _core.variation(image, gradient, scale, wrap, accumulate, self.threads)


def _flat(features: Float32) -> Float32:
    """View of a map (C, H, W) as (C, N); what is not contiguous would be copied, and is left for `_core` to refuse."""
    if features.ndim != 3 or not features.flags.c_contiguous:
        return features
    return features.reshape(len(features), -1)
