"""The kernels on an NVIDIA GPU: CUDA sources of ours, compiled by CuPy when they are first used, and cuBLAS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from threading import RLock
from typing import Any

import numpy as np

from pyengine.arrays import Float32, Float64, Int32
from pyengine.kernels import Coverage, Unpool
from pyengine.wrap import BOTH, Wrap

THREADS = 256
"""How many threads a block has, as in common.cuh."""

UNPOOLS: dict[Unpool, int] = {"none": 0, "average": 1, "max": 2}

SLICE = 4096
"""How many pixels' products are summed in float32, before the sums are added up in float64."""

CHUNK = 16 * THREADS
"""How many samples a block sorts, or entries it multiplies, or pixels it compares, as in the sources."""

GROUP = 32
"""How many samples lie between two sums that are kept, as in histogram.cu."""

SORTING_BYTES = 2**29
"""Bytes for the samples of the channels that are sorted at a time."""

PRODUCTS = 2**26
"""Products of queries and sources that there are at a time, when the nearest are looked for."""

NULL = np.intp(0)

TF32_MATH = 3
"""cuBLAS' CUBLAS_TF32_TENSOR_OP_MATH, for which CuPy has no name."""


@dataclass(frozen=True, eq=False)
class CudaCoverage(Coverage):
    """A coverage on a GPU.

    Attributes
    ----------
    pixels : uint32 (M,), optional
        The pixels that count. Default: None, all of them.
    """

    pixels: Any = None


@dataclass(frozen=True, eq=False)
class CudaHistogram:
    """Sorted values of every channel, and their sums; see `Sorted` in histogram.cu.

    Attributes
    ----------
    channels : int
        Number of channels C.
    values : float32 (C, M)
        The values of the M pixels that count, in ascending order.
    coverage : float32 (C, M), optional
        How much each of them counts; None where all count alike.
    masses, moments : float64 (C, M / GROUP)
        Sums, before each group, of the coverage (None without) and of coverage times values.
    total : float
        Mass of a channel.
    """

    channels: int
    values: Any
    coverage: Any
    masses: Any
    moments: Any
    total: float


class CudaKernels:
    """`Kernels` on a GPU, which give the same bits in every run on one machine.

    Parameters
    ----------
    index : int
        The GPU's number, from 0.
    tf32 : bool
        Whether the Gram losses' products may be computed in TF32.

    Raises
    ------
    ImportError
        There is no CuPy.
    """

    def __init__(self, index: int, *, tf32: bool) -> None:
        import cupy

        self.xp: Any = cupy
        self._device = cupy.cuda.Device(index)
        self._tf32 = tf32
        self._lock = RLock()
        self._is_active = False
        self._functions: dict[str, Any] = {}
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)

    @property
    def stream(self) -> int:
        """See `Kernels.stream`."""
        return int(self._stream.ptr)

    # ---------------------------------------------------------------- the device

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Kernels.active`. One thread at a time has it: all work goes to one stream, in order."""
        cublas = self.xp.cuda.cublas
        with self._lock, ExitStack() as stack:
            if self._is_active:  # this thread is in such a context already
                yield
                return
            stack.enter_context(self._device)
            stack.enter_context(self._stream)
            handle = self.xp.cuda.device.get_cublas_handle()
            before = cublas.getMathMode(handle)
            cublas.setMathMode(handle, TF32_MATH if self._tf32 else cublas.CUBLAS_DEFAULT_MATH)
            self._is_active = True
            try:
                yield
            finally:
                self._is_active = False
                cublas.setMathMode(handle, before)

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float32]:
        """See `Kernels.allocate`."""
        return {name: self.xp.empty(shape, np.float32) for name, shape in shapes.items()}

    def release(self) -> None:
        """See `Kernels.release`."""
        with self.active():
            self.xp.get_default_memory_pool().free_all_blocks()

    def upload(self, array: Any) -> Any:
        """See `Kernels.upload`."""
        return self.xp.asarray(array)

    def download(self, array: Any) -> Any:
        """See `Kernels.download`."""
        return array.get() if isinstance(array, self.xp.ndarray) else array

    def fetch(self, arrays: Sequence[Float64]) -> list[float]:
        """See `Kernels.fetch`."""
        together = self.xp.empty(sum(array.size for array in arrays), np.float64)
        start = 0
        for array in arrays:
            together[start : start + array.size] = array.ravel()
            start += array.size
        numbers: list[float] = together.get().tolist()
        return numbers

    def mark(self) -> Any:
        """See `Kernels.mark`."""
        event = self.xp.cuda.Event()
        event.record(self._stream)
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """See `Kernels.seconds`."""
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, end)) / 1000

    def free_bytes(self) -> int | None:
        """See `Kernels.free_bytes`."""
        free, _ = self._device.mem_info
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def cover(self, values: Float32, total: float | None = None) -> CudaCoverage:
        """See `Kernels.cover`."""
        chosen = np.flatnonzero(values).astype(np.uint32)
        pixels = None if len(chosen) == len(values) else self.upload(chosen)
        mass = float(values.sum(dtype=np.float64)) if total is None else total
        return CudaCoverage(self.upload(values), mass, pixels)

    # ---------------------------------------------------------------- losses

    def gram(self, features: Float32, coverage: Coverage | None = None) -> Float64:
        """See `Kernels.gram`."""
        return self._gram(features, self._weighed(features, coverage), _mass(features, coverage))

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
        weighed, mass, size = self._weighed(features, coverage), _mass(features, coverage), target.size
        partial = self._products(features, weighed)
        blocks = _blocks(size)
        difference, squares = self.xp.empty(target.shape, np.float32), self.xp.empty(blocks, np.float64)
        factor, gradient_scale = (1 / mass, 4 * scale / (size * mass)) if mass else (0.0, 0.0)
        self._launch(
            "gram", "gram_difference", (blocks,),
            partial, np.int32(len(partial)), np.int32(size), factor, target, gradient_scale, difference, squares,
        )  # fmt: skip
        self._sum(squares, 1 / size, value)
        if gradient is not None:
            self._multiply(difference, weighed, gradient, accumulate=accumulate)

    def cross_gram(self, features: Float32, other: Float32, coverage: Coverage | None = None) -> Float64:
        """See `Kernels.cross_gram`."""
        return self._gram(other, self._weighed(features, coverage), _mass(features, coverage))

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
        scaled = self.xp.empty(matrix.shape, np.float32)
        self._launch(
            "gram", "scale_matrix", (_blocks(scaled.size),), matrix, np.int32(scaled.size), float(scale), scaled
        )
        self._multiply(scaled, self._weighed(features, coverage), out, accumulate=accumulate)

    def rfft2(self, maps: Float32, shape: tuple[int, int]) -> Any:
        """See `Kernels.rfft2`."""
        from cupyx.scipy import fft

        return fft.rfft2(maps, shape)

    def irfft2(self, spectra: Any, shape: tuple[int, int]) -> Float32:
        """See `Kernels.irfft2`."""
        from cupyx.scipy import fft

        maps: Float32 = fft.irfft2(spectra, shape, overwrite_x=True)
        return maps

    def histogram(self, features: Float32, coverage: Coverage | None = None) -> CudaHistogram:
        """See `Kernels.histogram`."""
        channels = len(features)
        if not _mass(features, coverage):
            nothing = self.xp.zeros((channels, 1), np.float32), self.xp.zeros((channels, 1), np.float64)
            return CudaHistogram(channels, nothing[0], None, None, nothing[1], 0.0)
        chosen, own = _chosen(coverage), None if coverage is None else coverage.values
        count = _samples(features, coverage)
        values = self.xp.empty((channels, count), np.float32)
        sorted_coverage = None if own is None else self.xp.empty_like(values)
        for begin, end, keys, pixels in self._sorted(features, chosen, count):
            self._launch(
                "histogram", "gather", (_blocks(count), end - begin),
                keys, pixels, _or_null(own), np.int32(count), values[begin:end],
                NULL if sorted_coverage is None else sorted_coverage[begin:end],
            )  # fmt: skip
        masses = None if sorted_coverage is None else self._sums(None, sorted_coverage)
        total = float(count) if coverage is None else coverage.total
        return CudaHistogram(channels, values, sorted_coverage, masses, self._sums(values, sorted_coverage), total)

    def histogram_loss(
        self,
        target: CudaHistogram,
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
        channels, pixels, mass = len(features), features[0].size, _mass(features, coverage)
        chosen, count = _chosen(coverage), _samples(features, coverage)
        if gradient is not None and not accumulate and (chosen is not None or not mass or not target.total):
            gradient.fill(0)
        if not mass or not target.total:
            value.fill(0)
            return
        norm = 1 / (channels * mass)
        blocks = _blocks(count)
        partial = self.xp.empty((channels, blocks), np.float64)
        for begin, end, keys, order in self._sorted(features, chosen, count):
            rows, matched_to = end - begin, (first + begin, first + end)
            own = masses = None
            if coverage is not None:
                own = self.xp.empty((rows, count), np.float32)
                self._launch(
                    "histogram", "gather", (blocks, rows), keys, order, coverage.values, np.int32(count), NULL, own
                )
                masses = self._sums(None, own)
            self._launch(
                "histogram", "match", (blocks, rows),
                keys, order, _or_null(own), _or_null(masses), np.int32(count), np.int32(pixels),
                *(_or_null(a, *matched_to) for a in (target.values, target.coverage, target.masses, target.moments)),
                np.int32(target.values.shape[1]), target.total / mass,
                _or_null(gradient, begin, end), 2 * scale * norm, np.int32(accumulate), partial[begin:end],
            )  # fmt: skip
        self._sum(partial, norm, value)

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
        channels, pixels, mass = len(features), features[0].size, _mass(features, coverage)
        chunks = -(-pixels // CHUNK)
        partial = self.xp.empty(chunks * channels, np.float64)
        norm = 1 / (channels * mass) if mass else 0.0
        self._launch(
            "content", "content_loss", (chunks, channels),
            features, target, NULL if coverage is None else coverage.values, _or_null(gradient), partial,
            np.int32(pixels), np.float32(2 * scale * norm), np.int32(accumulate),
        )  # fmt: skip
        self._sum(partial, norm, value)

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
        height, width, channels = image.shape
        pairs = (width if wrap.x else width - 1) * height + (height if wrap.y else height - 1) * width
        norm = 1 / (pairs * channels) if pairs else 0.0
        blocks = _blocks(image.size)
        partial = self.xp.empty(blocks, np.float64)
        self._launch(
            "variation", "variation", (blocks,),
            image, _or_null(gradient), partial, np.int32(height), np.int32(width), np.int32(channels), np.int32(wrap.y),
            np.int32(wrap.x), np.float32(2 * scale * norm), np.int32(accumulate),
        )  # fmt: skip
        self._sum(partial, norm, value)

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
        """See `Kernels.relu_gradient`."""
        channels, height, width = features.shape
        if peak is not None:
            peak.fill(0)
        self._launch(
            "relu", "relu_gradient", (_blocks((height + 2 * border) * (width + 2 * border)), channels),
            features, above, _or_null(loss), padded, _or_null(peak), np.int32(height), np.int32(width),
            np.int32(border), np.int32(UNPOOLS[unpool]), np.int32(wrap.y), np.int32(wrap.x),
        )  # fmt: skip

    def upsample(self, image: Float32, size: tuple[int, int], *, wrap: Wrap) -> Float32:
        """See `Kernels.upsample`."""
        height, width, channels = image.shape
        result: Float32 = self.xp.empty((size[1], size[0], channels), np.float32)
        self._launch(
            "upsample", "upsample", (_blocks(result.size),),
            image, result, np.int32(height), np.int32(width), np.int32(channels), np.int32(size[1]), np.int32(size[0]),
            np.int32(wrap.y), np.int32(wrap.x),
        )  # fmt: skip
        return result

    # ---------------------------------------------------------------- patches

    def nearest(self, queries: Float32, sources: Float32, cost: Float32 | None = None) -> tuple[Int32, Float32]:
        """See `Kernels.nearest`. Products are in float32, whatever `tf32`: near sources differ by little."""
        cublas, handle = self.xp.cuda.cublas, self.xp.cuda.device.get_cublas_handle()
        (dimensions, asked), count = queries.shape, sources.shape[1]
        halves = self.xp.empty(count, np.float32)
        self._launch(
            "nearest", "half_norms", (_blocks(count),),
            sources, _or_null(cost), halves, np.int32(dimensions), np.int32(count),
        )  # fmt: skip
        left: Any = sources
        right: Any = queries
        step = max(PRODUCTS // count, 1)
        products = self.xp.empty((min(step, asked), count), np.float32)
        indices, distances = self.xp.empty(asked, np.int32), self.xp.empty(asked, np.float32)
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        before = cublas.getMathMode(handle)
        cublas.setMathMode(handle, cublas.CUBLAS_DEFAULT_MATH)
        for begin in range(0, asked, step):
            here = min(step, asked - begin)
            # cuBLAS counts columns first: to it, vectors are (N, D) and products (sources, queries).
            cublas.sgemm(
                handle, cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T, count, here, dimensions,
                one.ctypes.data, left.data.ptr, count, right.data.ptr + 4 * begin, asked,
                zero.ctypes.data, products.data.ptr, count,
            )  # fmt: skip
            self._launch(
                "nearest", "pick_nearest", (here,), products, halves, np.int32(count), indices[begin : begin + here]
            )
        cublas.setMathMode(handle, before)
        self._launch(
            "nearest", "distances_to", (_blocks(asked),),
            queries, sources, _or_null(cost), indices, distances,
            np.int32(dimensions), np.int32(asked), np.int32(count),
        )  # fmt: skip
        return indices, distances

    # ---------------------------------------------------------------- L-BFGS

    def inner_products(self, rows: Float32, picks: Sequence[int], products: Float64) -> None:
        """See `Kernels.inner_products`."""
        count, n = rows.shape
        chunks = -(-n // CHUNK)
        chosen = [np.int32(pick) for pick in (*picks, 0, 0)[:3]]
        partial = self.xp.empty((len(picks) * count, chunks), np.float64)
        sums = self.xp.empty(len(picks) * count, np.float64)
        self._launch(
            "lbfgs", "inner_products", (count, chunks), rows, np.int64(n), np.int32(len(picks)), *chosen, partial
        )
        self._sum(partial, 1.0, sums)
        self._launch("lbfgs", "store_products", (1,), sums, np.int32(count), np.int32(len(picks)), *chosen, products)

    def two_loop(self, products: Float64, pairs: Sequence[tuple[int, int]], start: int) -> Float32:
        """See `Kernels.two_loop`. A pair has to be rows 2 k and 2 k + 1, for k < 16."""
        slots = sum(step // 2 << 4 * k for k, (step, _) in enumerate(pairs))  # an array would have to travel
        coefficients: Float32 = self.xp.empty(len(products), np.float32)
        self._launch(
            "lbfgs", "two_loop", (1,),
            products, np.int32(len(products)), np.uint64(slots), np.int32(len(pairs)), np.int32(start), coefficients,
            threads=1,
        )  # fmt: skip
        return coefficients

    def combine(self, rows: Float32, coefficients: Float32, out: Float32) -> None:
        """See `Kernels.combine`."""
        count, n = rows.shape
        self._launch("lbfgs", "combine", (_blocks(n),), rows, np.int64(n), np.int32(count), coefficients, out)

    def descent(self, x: Float32, gradient: Float32, out: Float32) -> None:
        """See `Kernels.descent`."""
        self._launch("lbfgs", "descent", (_blocks(x.size),), x, gradient, out, np.int64(x.size))

    def advance(self, x: Float32, descent: Float32, direction: Float32, length: float, out: Float32) -> None:
        """See `Kernels.advance`."""
        self._launch(
            "lbfgs", "advance", (_blocks(x.size),), x, descent, direction, np.float32(length), out, np.int64(x.size)
        )

    # ---------------------------------------------------------------- what these are made of

    @cached_property
    def _modules(self) -> dict[str, Any]:
        return {name: self.xp.RawModule(code=source, options=OPTIONS) for name, source in sources().items()}

    def _launch(self, module: str, name: str, grid: tuple[int, ...], *arguments: Any, threads: int = THREADS) -> None:
        if name not in self._functions:  # CuPy would look it up each time
            self._functions[name] = self._modules[module].get_function(name)
        self._functions[name](grid, (threads,), arguments)

    def _sum(self, partial: Float64, factor: float, out: Float64) -> None:
        """`factor` times the sum of each row of `partial`, or of all of it, to `out`."""
        rows = max(out.size, 1)
        self._launch("reduce", "sum_rows", (rows,), partial, np.int32(partial.size // rows), float(factor), out)

    def _weighed(self, features: Float32, coverage: Coverage | None) -> Float32:
        """Features, each pixel times its coverage."""
        if coverage is None:
            return features
        pixels = features[0].size
        weighed: Float32 = self.xp.empty_like(features)
        self._launch(
            "gram", "weigh", (_blocks(pixels), len(features)), features, coverage.values, weighed, np.int32(pixels)
        )
        return weighed

    def _products(self, right: Any, left: Any) -> Any:
        """``left @ right.T`` of maps (C, N), in float32, for each slice of the pixels: (S, C, C)."""
        cublas, handle = self.xp.cuda.cublas, self.xp.cuda.device.get_cublas_handle()
        channels, pixels = len(left), left[0].size
        whole, rest = divmod(pixels, SLICE)
        size = channels * channels
        partial = self.xp.empty((whole + (rest > 0), channels, channels), np.float32)
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)

        def multiply(start: int, length: int, first: int, batch: int) -> None:
            # cuBLAS counts columns first: to it a map is (N, C) and a product is transposed.
            cublas.sgemmStridedBatched(
                handle, cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N, channels, channels, length,
                one.ctypes.data, right.data.ptr + 4 * start, pixels, length,
                left.data.ptr + 4 * start, pixels, length,
                zero.ctypes.data, partial.data.ptr + 4 * size * first, channels, size, batch,
            )  # fmt: skip

        if whole:
            multiply(0, SLICE, 0, whole)
        if rest:
            multiply(whole * SLICE, rest, whole, 1)
        return partial

    def _gram(self, right: Any, left: Any, mass: float) -> Float64:
        partial = self._products(right, left)
        size = partial[0].size
        gram: Float64 = self.xp.empty(partial.shape[1:], np.float64)
        self._launch(
            "gram", "gram_sum", (_blocks(size),),
            partial, np.int32(len(partial)), np.int32(size), 1 / mass if mass else 0.0, gram,
        )  # fmt: skip
        return gram

    def _multiply(self, matrix: Any, features: Any, out: Any, *, accumulate: bool) -> None:
        """``matrix @ features`` (R, N), written or added to `out`."""
        cublas, handle = self.xp.cuda.cublas, self.xp.cuda.device.get_cublas_handle()
        channels, pixels = len(features), features[0].size
        one, other = np.ones(1, np.float32), np.full(1, accumulate, np.float32)
        cublas.sgemm(
            handle, cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, pixels, len(matrix), channels,
            one.ctypes.data, features.data.ptr, pixels, matrix.data.ptr, channels,
            other.ctypes.data, out.data.ptr, pixels,
        )  # fmt: skip

    def _sorted(self, features: Float32, chosen: Any, count: int) -> Iterator[tuple[int, int, Any, Any]]:
        """Sorted keys and their pixels (K, count), for one range of channels after the other."""
        channels, pixels = len(features), features[0].size
        flat = features.reshape(channels, -1)
        step = max(min(SORTING_BYTES // (16 * count), channels), 1)
        chunks = -(-count // CHUNK)
        for begin in range(0, channels, step):
            end = min(begin + step, channels)
            rows = end - begin
            here, there = ([self.xp.empty((rows, count), np.uint32) for _ in range(2)] for _ in range(2))
            counts = self.xp.empty((rows, chunks, 256), np.uint32)
            self._launch(
                "histogram", "make_keys", (_blocks(count), rows),
                flat[begin:end], _or_null(chosen), np.int32(pixels), np.int32(count), *here,
            )  # fmt: skip
            for shift in (0, 8, 16, 24):
                settings = np.int32(count), np.int32(shift)
                self._launch("histogram", "count_digits", (chunks, rows), here[0], *settings, counts)
                self._launch("histogram", "scan_counts", (rows,), counts, np.int32(chunks))
                self._launch("histogram", "scatter", (chunks, rows), *here, counts, *settings, *there)
                here, there = there, here
            yield begin, end, here[0], here[1]

    def _sums(self, values: Any, coverage: Any) -> Any:
        """Sums of values times coverage, either of which may be missing, before each group of samples."""
        rows, count = (coverage if values is None else values).shape
        groups = -(-count // GROUP)
        sums = self.xp.empty((rows, groups), np.float64)
        self._launch(
            "histogram", "sum_groups", (_blocks(groups), rows),
            _or_null(values), _or_null(coverage), np.int32(count), np.int32(groups), sums,
        )  # fmt: skip
        self._launch("histogram", "scan_groups", (rows,), sums, np.int32(groups))
        return sums


OPTIONS = ("-std=c++17",)
"""The options that NVRTC compiles with."""


def sources() -> dict[str, str]:
    """The CUDA sources by name, each whole.

    Examples
    --------
    >>> sorted(sources())
    ['content', 'gram', 'histogram', 'lbfgs', 'nearest', 'reduce', 'relu', 'upsample', 'variation']
    """
    folder = files("pyengine.kernels")
    common = folder.joinpath("common.cuh").read_text()
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".cu"))
    return {name.removesuffix(".cu"): common + folder.joinpath(name).read_text() for name in names}


def _blocks(count: int) -> int:
    return -(-count // THREADS)


def _or_null(array: Any, begin: int | None = None, end: int | None = None) -> Any:
    """An array, or rows of it, as a kernel's argument: a null pointer for None."""
    return NULL if array is None else array if begin is None else array[begin:end]


def _mass(features: Float32, coverage: Coverage | None) -> float:
    return features[0].size if coverage is None else coverage.total


def _chosen(coverage: Coverage | None) -> Any:
    return None if coverage is None else getattr(coverage, "pixels", None)


def _samples(features: Float32, coverage: Coverage | None) -> int:
    """How many of a channel's samples count."""
    chosen = _chosen(coverage)
    return features[0].size if chosen is None else len(chosen)
