"""The arithmetic of the losses: one protocol, an implementation a device."""

from __future__ import annotations

from typing import Protocol

from pyengine.arrays import Float32, Float64


class Histogram(Protocol):
    """The distribution of every channel of a feature map, to match others to."""

    def loss(
        self,
        features: Float32,
        gradient: Float32 | None = None,
        scale: float = 1.0,
        weights: Float32 | None = None,
        accumulate: bool = False,
        threads: int = 1,
    ) -> float:
        """Mean squared distance of `features` (C, N) to their match; see `Kernels.histogram_loss`."""
        ...


class Kernels(Protocol):
    """What a device must offer.

    Feature maps are contiguous float32, (C, H, W) or (C, N) with N = H W. `weights` are float32 (N,), one number a
    pixel, not negative; None stands for ones. Gradients are written to `gradient`, an array like the map's, or added to
    it with `accumulate`.
    """

    def gram(self, features: Float32, weights: Float32 | None = None) -> Float64:
        """Gram matrix ``F diag(w) F^T / sum(w)``, float64 (C, C): Gatys et al. 2015, over the mass measured."""
        ...

    def cross_gram(self, features: Float32, other: Float32, weights: Float32 | None = None) -> Float64:
        """``A diag(w) B^T / sum(w)``, float64 (C, C): of a map and its translation, Berger & Memisevic 2016."""
        ...

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
        """``scale * difference @ features * w``; `difference` need not be symmetric."""
        ...

    def histogram(self, features: Float32, weights: Float32 | None = None) -> Histogram:
        """Measure an exemplar's feature map."""
        ...

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
        """``sum w (O - R(O))^2 / (C sum w)`` (Risser et al., sec. 4.3), and `scale` times its gradient."""
        ...

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
        """``sum w (O - T)^2 / (C sum w)`` (Risser et al., eq. 4), and `scale` times its gradient."""
        ...

    def variation(
        self, image: Float32, scale: float, gradient: Float32 | None, *, wrap: bool = True, accumulate: bool = False
    ) -> float:
        """Mean squared difference of the neighbouring pixels of `image` (H, W, C), and `scale` times its gradient.

        With `wrap`, the last row and column neighbour the first.
        """
        ...
