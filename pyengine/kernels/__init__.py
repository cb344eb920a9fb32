"""The arithmetic on the device: one protocol, an implementation for a CPU and one for a GPU.

Nothing else knows where arrays live. What a kernel computes stays there, values too: a number on its way to the host
makes a GPU wait, so they travel together, once an iteration (`Kernels.fetch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pyengine.arrays import Float32, Float64, Int32
from pyengine.wrap import BOTH, Wrap

Unpool = Literal["none", "average", "max"]


@dataclass(frozen=True, eq=False)
class Coverage:
    """How much each pixel of a feature map counts.

    Attributes
    ----------
    values : float32 (N,)
        Numbers that are not negative, on the device.
    total : float
        What sums over the pixels are divided by: the values' own sum, but on a part of a larger map that map's, so that
        the parts add up.
    """

    values: Float32
    total: float


class Histogram(Protocol):
    """The distribution of every channel of a feature map, to match others to."""

    @property
    def channels(self) -> int:
        """Number of channels."""
        ...


class Kernels(Protocol):
    """What a device must offer.

    Feature maps are contiguous float32 arrays on the device, (C, H, W) or (C, N) with N = H W. Without `coverage`,
    every pixel counts 1. Gradients are written to `gradient`, an array like the map's, or added to it with
    `accumulate`; values, always before any factor, to the one element of `value`.
    """

    @property
    def xp(self) -> Any:
        """The module of the device's arrays: `numpy`, or `cupy`."""
        ...

    @property
    def stream(self) -> int:
        """Address of the CUDA stream that the kernels run on; 0 on a CPU."""
        ...

    # ---------------------------------------------------------------- the device

    def active(self) -> AbstractContextManager[None]:
        """A context in which this thread works on the device, in the order of its calls.

        Every use of the device is in such a context.
        """
        ...

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float32]:
        """Arrays of these shapes, uninitialised, whose memory goes back to the system when they are dropped."""
        ...

    def release(self) -> None:
        """Give memory back that is not in use any more."""
        ...

    def upload(self, array: Any) -> Any:
        """Copy an array from the host to the device; on a CPU it is the same array."""
        ...

    def download(self, array: Any) -> Any:
        """Copy an array from the device to the host; on a CPU it is the same array."""
        ...

    def fetch(self, arrays: Sequence[Float64]) -> list[float]:
        """The numbers in some small arrays, one after another, in one transfer."""
        ...

    def mark(self) -> Any:
        """A point in the sequence of the device's work."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Time between two marks; waits for the second."""
        ...

    def free_bytes(self) -> int | None:
        """Bytes that arrays may take, if that can be told."""
        ...

    def cover(self, values: Float32, total: float | None = None) -> Coverage:
        """Coverage, on the device, from a host's array (N,); `total` is its sum, if it is not given."""
        ...

    # ---------------------------------------------------------------- losses

    def gram(self, features: Float32, coverage: Coverage | None = None) -> Float64:
        """Gram matrix ``F diag(w) F^T / sum(w)``, float64 (C, C) (Gatys et al. 2015), where w is the coverage."""
        ...

    def gram_loss(
        self,
        target: Float64,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        value: Float64,
        *,
        coverage: Coverage | None = None,
        accumulate: bool = False,
    ) -> None:
        """``|| G(O) - T ||_F^2 / |G|`` (Risser et al., eq. 1), and `scale` times its gradient."""
        ...

    def cross_gram(self, features: Float32, other: Float32, coverage: Coverage | None = None) -> Float64:
        """``A diag(w) B^T / sum(w)``, float64 (C, C), of a map and its translation (Berger and Memisevic 2016)."""
        ...

    def mix(
        self,
        features: Float32,
        matrix: Float64,
        scale: float,
        out: Float32,
        *,
        coverage: Coverage | None = None,
        accumulate: bool = False,
    ) -> None:
        """Mix channels: ``scale * matrix @ features * w``, written or added to `out` (R, H, W), for a matrix (R, C)."""
        ...

    def rfft2(self, maps: Float32, shape: tuple[int, int]) -> Any:
        """Spectra, complex64 (C, h, w // 2 + 1), of maps (C, H, W) that zeros continue to `shape` (h, w)."""
        ...

    def irfft2(self, spectra: Any, shape: tuple[int, int]) -> Float32:
        """Maps (C, h, w) of these spectra, which may be written over."""
        ...

    def histogram(self, features: Float32, coverage: Coverage | None = None) -> Histogram:
        """Measure an exemplar's feature map."""
        ...

    def histogram_loss(
        self,
        target: Any,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        value: Float64,
        *,
        coverage: Coverage | None = None,
        accumulate: bool = False,
        first: int = 0,
    ) -> None:
        """``sum w (O - R(O))^2 / (C sum w)`` (Risser et al., sec. 4.3), and `scale` times its gradient.

        `target` is from `histogram`, of the same kernels; the C channels are matched to those from its `first` on.
        """
        ...

    def content_loss(
        self,
        target: Float32,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        value: Float64,
        *,
        coverage: Coverage | None = None,
        accumulate: bool = False,
    ) -> None:
        """``sum w (O - T)^2 / (C sum w)`` (Risser et al., eq. 4), and `scale` times its gradient."""
        ...

    def variation(
        self,
        image: Float32,
        scale: float,
        gradient: Float32 | None,
        value: Float64,
        *,
        wrap: Wrap = BOTH,
        accumulate: bool = False,
    ) -> None:
        """Mean squared difference of the neighbouring pixels of `image` (H, W, C), and `scale` times its gradient.

        In an axis that wraps round, the last row or column neighbours the first.
        """
        ...

    # ---------------------------------------------------------------- network and pyramid

    def relu_gradient(
        self,
        features: Float32,
        padded: Float32,
        above: Float32,
        loss: Float32 | None,
        *,
        border: int = 1,
        unpool: Unpool = "none",
        wrap: Wrap = BOTH,
        peak: Float32 | None = None,
    ) -> None:
        """Write the gradient before a ReLU, as the adjoint of the convolution before it takes it.

        Parameters
        ----------
        features : (C, H, W)
            The map after the ReLU; the gradient passes where it is positive. On a CPU this may also be the mask that
            Winograd's convolutions write; see `graphs.forward_graph`.
        padded : (C, H + 2 border, W + 2 border)
            Takes the sum of both gradients, with a border that wraps round or is 0, axis by axis.
        above
            Gradient with respect to the map, or with `unpool` to its 2x2 pool (C, ceil(H / 2), ceil(W / 2)).
        loss : (C, H, W), optional
            Gradient of a loss with respect to the map. None where no loss is on the map.
        border : int
            Pixels on each side, as many as the convolution sees beyond its map. Default: 1.
        unpool : {"none", "average", "max"}
            The pool that follows the map. Default: "none".
        wrap : Wrap
            Where the border wraps round, however small the map; elsewhere it is 0. Default: in both axes.
        peak : (1,), optional
            Takes the largest magnitude in `padded`. Default: None, nobody wants it.
        """
        ...

    def upsample(self, image: Float32, size: tuple[int, int], *, wrap: Wrap) -> Float32:
        """Enlarge an image (H, W, 3) to a (width, height), as `images.resampling.upsample` does."""
        ...

    # ---------------------------------------------------------------- patches

    def nearest(self, queries: Float32, sources: Float32, cost: Float32 | None = None) -> tuple[Int32, Float32]:
        """For each of the queries q (D, Q) the source s of (D, S) with the smallest ``||q - s||^2 + cost[s]``.

        Parameters
        ----------
        queries : (D, Q)
        sources : (D, S)
        cost : (S,), optional
            What each source costs besides. Default: None, 0 for all.

        Returns
        -------
        indices : int32 (Q,)
            The number of the nearest source; the first, where several are equally near. One that is not finite or whose
            cost is infinite is taken only where there is no other.
        sums : float32 (Q,)
            The squared distance and the cost.
        """
        ...

    # ---------------------------------------------------------------- L-BFGS, see optimizers/lbfgs.py

    def inner_products(self, rows: Float32, picks: Sequence[int], products: Float64) -> None:
        """Renew the rows and columns `picks` of ``rows @ rows.T`` in `products`, for `rows` (R, N)."""
        ...

    def two_loop(self, products: Float64, pairs: Sequence[tuple[int, int]], start: int) -> Float32:
        """Coefficients (R,) of the quasi-Newton direction in terms of the rows that `products` are of.

        Nocedal 1980, with all vectors expressed by their inner products (Chen et al. 2014).

        Parameters
        ----------
        products : float64 (R, R)
            The inner products of the rows.
        pairs : sequence of (int, int)
            The rows of each step and of the change of the gradient along it, oldest first.
        start : int
            The row that the inverse Hessian is applied to.
        """
        ...

    def combine(self, rows: Float32, coefficients: Float32, out: Float32) -> None:
        """``coefficients @ rows``; a row whose coefficient is 0 is not read."""
        ...

    def descent(self, x: Float32, gradient: Float32, out: Float32) -> None:
        """``-gradient``, but 0 where it would push `x` over the bounds 0 and 1."""
        ...

    def advance(self, x: Float32, descent: Float32, direction: Float32, length: float, out: Float32) -> None:
        """Move `x` by `length` times `direction`, within the bounds; what is at a bound with a `descent` of 0 stays."""
        ...
