"""The joint loss: how the maps of a material go together, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Coverage, Kernels
from pyengine.losses.base import EVERYWHERE, IMAGE, Loss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.wrap import NEITHER, Wrap

ROWS = 64
"""How many rows of the image are looked at together, for want of memory."""

FLAT = 1e-4
"""The deviation of what counts as flat, with which nothing goes: it is left to the maps' own losses, for what deviates
from it would be more than all else."""


@dataclass(frozen=True, eq=False)
class JointLoss(Loss):
    """Mean squared difference of the correlations of all channels of an image of several maps, and of their slopes.

    ``|| G(O) - G(S) ||_F^2 / |G|`` as in `GramLoss`, on 3 C features for C channels: values, and their slopes to the
    right and down (half the difference of both neighbours), less the exemplar's means and over its deviations. So a
    normal's x stays what goes with the slope of the height, and roughness goes with its colours. The cost is that of a
    few operations a pixel and channel: nothing, beside a network.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> both = np.random.default_rng(0).random((8, 8, 1), np.float32).repeat(2, axis=2)
    >>> loss = JointLoss.measure("image", [Sample(both)], kernels)
    >>> loss.evaluate(both, kernels, value)
    >>> loss.name, bool(value < 1e-9)
    ('joint', True)
    >>> loss.evaluate(np.dstack([both[:, :, 0], both[::-1, :, 1]]), kernels, value)
    >>> bool(value > 0.1)
    True
    """

    kind = "joint"
    source = "maps"
    optional = True
    suffices = False
    strength = 10.0  # at 1, normals lose a seventh of their correlation with the height's slope; at 10 a twentieth

    layer: str
    target: Float64
    mean: Float32
    scale: Float32
    magnitude: float
    region: Region = EVERYWHERE
    wrap: Wrap = NEITHER

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the image itself."""
        return (IMAGE,)

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = NEITHER,
    ) -> JointLoss:
        """Take the correlations of all samples' images (H, W, C) together, which do not wrap round, as target."""
        xp = kernels.xp
        total = sum(sample.factor * _total(sample.features, sample.coverage) for sample in samples)

        def mean_of_products(mean: Float32, scale: Float32) -> Float64:
            grams = [
                sample.factor * part.total / total * kernels.gram((features - mean) * scale, part)
                for sample in samples
                for features, part, _ in _strips(sample.features, sample.coverage, NEITHER, kernels)
            ]
            gram: Float64 = xp.stack(grams).sum(axis=0)
            return gram

        count = 3 * samples[0].features.shape[2]
        one = xp.ones((count, 1, 1), np.float32)
        sums = [
            sample.factor * (features * part.values.reshape(features.shape[1:])).sum((1, 2), np.float64)
            for sample in samples
            for features, part, _ in _strips(sample.features, sample.coverage, NEITHER, kernels)
        ]
        mean = (xp.stack(sums).sum(axis=0) / total).astype(np.float32).reshape(-1, 1, 1)
        deviations = mean_of_products(mean, one).diagonal() ** 0.5
        scale = xp.where(deviations > FLAT, 1 / xp.maximum(deviations, FLAT), 0).astype(np.float32).reshape(-1, 1, 1)
        target = mean_of_products(mean, scale)
        (magnitude,) = kernels.fetch([(target**2).mean()])
        return cls(layer, target, mean, scale, magnitude, region, wrap)

    def evaluate(
        self,
        features: Float32,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> None:
        """See `Loss.evaluate`; `features` is the image (H, W, C)."""
        xp, coverage = kernels.xp, self.region.coverage.get(self.layer)
        difference = -self.target
        for strip, part, _ in _strips(features, coverage, self.wrap, kernels):
            difference += kernels.gram((strip - self.mean) * self.scale, part)
        value[...] = (difference**2).mean()
        if gradient is None:
            return
        if not accumulate:
            gradient.fill(0)
        for strip, part, rows in _strips(features, coverage, self.wrap, kernels):
            own = xp.empty_like(strip)
            scale = 4 * weight / (difference.size * part.total)
            kernels.mix((strip - self.mean) * self.scale, difference, scale, own, coverage=part)
            _add_adjoint(own * self.scale, rows, self.wrap, kernels, gradient)


def _total(image: Float32, coverage: Coverage | None) -> float:
    """What all pixels of an image (H, W, C) count together."""
    return image.shape[0] * image.shape[1] if coverage is None else coverage.total


def _strips(
    image: Float32, coverage: Coverage | None, wrap: Wrap, kernels: Kernels
) -> Iterator[tuple[Float32, Coverage, tuple[int, int]]]:
    """Values and slopes (3 C, h, W) of some rows of an image (H, W, C) after others, what counts of it, and the rows.

    The coverage's total is that of the whole image, so that what is measured of its strips adds up.
    """
    xp = kernels.xp
    height, width, _ = image.shape
    values = xp.ones(height * width, np.float32) if coverage is None else coverage.values
    total = _total(image, coverage)
    columns = _neighbours(0, width, width, wrap.x)
    for begin in range(0, height, ROWS):
        end = min(begin + ROWS, height)
        rows = xp.asarray(_neighbours(begin, end, height, wrap.y))
        block = xp.moveaxis(image[rows], 2, 0)
        own = block[:, 1:-1]
        wide = own[:, :, xp.asarray(columns)]
        half = np.float32(0.5)
        slopes = half * (wide[:, :, 2:] - wide[:, :, :-2]), half * (block[:, 2:] - block[:, :-2])
        part = Coverage(values[begin * width : end * width], total)
        yield xp.ascontiguousarray(xp.concatenate([own, *slopes])), part, (begin, end)


def _neighbours(begin: int, end: int, side: int, wraps: bool) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The numbers of pixels and of one beyond them on both sides: the opposite one at a border, or the last."""
    numbers = np.arange(begin - 1, end + 1)
    return numbers % side if wraps else np.clip(numbers, 0, side - 1)


def _add_adjoint(own: Float32, rows: tuple[int, int], wrap: Wrap, kernels: Kernels, gradient: Float32) -> None:
    """Add to the gradient of an image what comes from that of values and slopes (3 C, h, W) of some of its rows."""
    xp = kernels.xp
    height, width, count = gradient.shape
    begin, end = rows
    half = np.float32(0.5)
    values, across, down = own[:count], half * own[count : 2 * count], half * own[2 * count :]
    wide = xp.zeros((count, end - begin, width + 2), np.float32)
    wide[:, :, 1:-1] = values
    wide[:, :, 2:] += across
    wide[:, :, :-2] -= across
    first, last = _neighbours(0, width, width, wrap.x)[[0, -1]]
    wide[:, :, 1 + first] += wide[:, :, 0]
    wide[:, :, 1 + last] += wide[:, :, -1]
    tall = xp.zeros((count, end - begin + 2, width), np.float32)
    tall[:, 1:-1] = wide[:, :, 1:-1]
    tall[:, 2:] += down
    tall[:, :-2] -= down
    gradient[begin:end] += xp.moveaxis(tall[:, 1:-1], 0, 2)
    numbers = _neighbours(begin, end, height, wrap.y)
    gradient[numbers[0]] += tall[:, 0].T
    gradient[numbers[-1]] += tall[:, -1].T
