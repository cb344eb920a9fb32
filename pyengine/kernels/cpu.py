"""The kernels on a CPU: the compiled module with a number of threads."""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyengine import _core
from pyengine.arrays import Float32, Float64, Int32
from pyengine.images.resampling import upsample
from pyengine.kernels import Coverage, Unpool
from pyengine.machine import memory
from pyengine.wrap import BOTH, Wrap


@dataclass(frozen=True)
class CpuKernels:
    """`Kernels` on the CPU, which give the same bits whatever the number of threads.

    Attributes
    ----------
    threads : int
        How many threads a kernel uses at most.

    Examples
    --------
    >>> CpuKernels(threads=1).gram(np.array([[1, 2], [3, 0]], np.float32))
    array([[2.5, 1.5],
           [1.5, 4.5]])
    """

    threads: int
    xp = np
    stream = 0

    def active(self) -> AbstractContextManager[None]:
        """See `Kernels.active`."""
        return nullcontext()

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float32]:
        """See `Kernels.allocate`. All are in one piece: the C library would keep memory below 32 MB for itself."""
        sizes = {name: -(-math.prod(shape) // 16) * 16 for name, shape in shapes.items()}  # whole cache lines
        # By default, a process and those forked from it would write to the same memory.
        piece = np.frombuffer(mmap.mmap(-1, 4 * sum(sizes.values()), access=mmap.ACCESS_COPY), np.float32)
        ends = np.cumsum(list(sizes.values()))
        return {
            name: piece[end - size : end][: math.prod(shapes[name])].reshape(shapes[name])
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def release(self) -> None:
        """See `Kernels.release`."""
        _core.release_scratch()

    def upload(self, array: Any) -> Any:
        """See `Kernels.upload`."""
        return array

    def download(self, array: Any) -> Any:
        """See `Kernels.download`."""
        return array

    def fetch(self, arrays: Sequence[Float64]) -> list[float]:
        """See `Kernels.fetch`."""
        return [float(number) for array in arrays for number in np.ravel(array)]

    def mark(self) -> float:
        """See `Kernels.mark`."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """See `Kernels.seconds`."""
        return end - start

    def free_bytes(self) -> int | None:
        """See `Kernels.free_bytes`: here, all that the machine has, or that this process may have of it."""
        return memory()

    def cover(self, values: Float32, total: float | None = None) -> Coverage:
        """See `Kernels.cover`."""
        return Coverage(values, float(values.sum(dtype=np.float64)) if total is None else total)

    def gram(self, features: Float32, coverage: Coverage | None = None) -> Float64:
        """See `Kernels.gram`."""
        return _core.gram(_flat(features), _values(coverage), self.threads, _total(coverage))

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
        """See `Kernels.gram_loss`."""
        difference = self.gram(features, coverage) - target
        value[...] = np.mean(difference**2)
        if gradient is not None:
            mass = features[0].size if coverage is None else coverage.total
            gradient_scale = 4 * scale / (difference.size * mass) if mass else 0.0
            self.mix(features, difference, gradient_scale, gradient, coverage=coverage, accumulate=accumulate)

    def cross_gram(self, features: Float32, other: Float32, coverage: Coverage | None = None) -> Float64:
        """See `Kernels.cross_gram`."""
        return _core.cross_gram(_flat(features), _flat(other), _values(coverage), self.threads, _total(coverage))

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
        """See `Kernels.mix`."""
        _core.mix(_flat(features), matrix, scale, _flat(out), _values(coverage), accumulate, self.threads)

    def rfft2(self, maps: Float32, shape: tuple[int, int]) -> Any:
        """See `Kernels.rfft2`."""
        from scipy import fft

        return fft.rfft2(maps, shape, workers=self.threads)

    def irfft2(self, spectra: Any, shape: tuple[int, int]) -> Float32:
        """See `Kernels.irfft2`."""
        from scipy import fft

        maps: Float32 = fft.irfft2(spectra, shape, overwrite_x=True, workers=self.threads)
        return maps

    def histogram(self, features: Float32, coverage: Coverage | None = None) -> _core.Histogram:
        """See `Kernels.histogram`."""
        return _core.Histogram(_flat(features), _values(coverage), self.threads)

    def histogram_loss(
        self,
        target: _core.Histogram,
        features: Float32,
        scale: float,
        gradient: Float32 | None,
        value: Float64,
        *,
        coverage: Coverage | None = None,
        accumulate: bool = False,
        first: int = 0,
    ) -> None:
        """See `Kernels.histogram_loss`."""
        flat = None if gradient is None else _flat(gradient)
        value[...] = target.loss(_flat(features), flat, scale, _values(coverage), accumulate, self.threads, first)

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
        """See `Kernels.content_loss`."""
        flat = None if gradient is None else _flat(gradient)
        value[...] = _core.content_loss(
            _flat(features), _flat(target), flat, scale, _values(coverage), accumulate, self.threads, _total(coverage)
        )

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
        """See `Kernels.variation`."""
        value[...] = _core.variation(image, gradient, scale, wrap, accumulate, self.threads)

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
        """See `Kernels.relu_gradient`."""
        measure = peak is not None
        measured = _core.relu_gradient(features, padded, above, loss, unpool, wrap, measure, self.threads, border)
        if peak is not None:
            peak[0] = measured

    def upsample(self, image: Float32, size: tuple[int, int], *, wrap: Wrap) -> Float32:
        """See `Kernels.upsample`."""
        return upsample(image, size, wrap=wrap)

    def nearest(self, queries: Float32, sources: Float32, cost: Float32 | None = None) -> tuple[Int32, Float32]:
        """See `Kernels.nearest`."""
        return _core.nearest(queries, sources, cost, self.threads)

    def inner_products(self, rows: Float32, picks: Sequence[int], products: Float64) -> None:
        """See `Kernels.inner_products`."""
        found = _core.inner_products(rows, list(picks), self.threads)
        for pick, row in zip(picks, found, strict=True):
            products[pick] = products[:, pick] = row

    def two_loop(self, products: Float64, pairs: Sequence[tuple[int, int]], start: int) -> Float32:
        """See `Kernels.two_loop`."""
        with np.errstate(all="ignore"):  # a direction that is not finite leads nowhere, which the search finds
            c = np.zeros(len(products))
            c[start] = 1
            factors = []
            for step, change in reversed(pairs):
                factors.append(float(products[step] @ c) / products[step, change])
                c[change] -= factors[-1]
            if pairs:
                step, change = pairs[-1]
                c *= products[step, change] / products[change, change]
            for (step, change), factor in zip(pairs, reversed(factors), strict=True):
                c[step] += factor - float(products[change] @ c) / products[step, change]
            return c.astype(np.float32)

    def combine(self, rows: Float32, coefficients: Float32, out: Float32) -> None:
        """See `Kernels.combine`."""
        _core.combine(rows, coefficients, out, self.threads)

    def descent(self, x: Float32, gradient: Float32, out: Float32) -> None:
        """See `Kernels.descent`."""
        np.negative(gradient, out=out)
        out[((x <= 0) & (gradient > 0)) | ((x >= 1) & (gradient < 0))] = 0

    def advance(self, x: Float32, descent: Float32, direction: Float32, length: float, out: Float32) -> None:
        """See `Kernels.advance`."""
        np.multiply(direction, np.float32(length), out=out)
        out[(descent == 0) & ((x <= 0) | (x >= 1))] = 0
        out += x
        np.clip(out, 0, 1, out=out)


def _values(coverage: Coverage | None) -> Float32 | None:
    return None if coverage is None else coverage.values


def _total(coverage: Coverage | None) -> float | None:
    return None if coverage is None else coverage.total


def _flat(features: Float32) -> Float32:
    """A map (C, H, W), seen as (C, N); what is not contiguous would be copied, and is left for `_core` to refuse."""
    if features.ndim != 3 or not features.flags.c_contiguous:
        return features
    return features.reshape(len(features), -1)
