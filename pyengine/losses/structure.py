"""The structure loss: which features occur together at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Coverage, Kernels
from pyengine.losses.base import EVERYWHERE, AdditiveLoss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, NEITHER, Wrap

SHIFTS = tuple((dy * step, dx * step) for step in (1, 2, 4, 8) for dy, dx in ((0, 1), (1, 0)))
"""The translations: rows and columns, in pixels of the feature map."""

Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class StructureLoss(AdditiveLoss):
    """Mean squared difference of the Gram matrices of translated feature maps (Berger and Memisevic 2016).

    Arrangements that repeat, such as courses of bricks, are not in a Gram matrix, which forgets where features are. The
    products of features a translation s apart are: ``X_s(F) = sum_p w(p) w(p+s) F(p) F(p+s)^T / sum_p w(p) w(p+s)``.
    The loss is the mean over the translations of ``|| X_s(O) - X_s(S) ||_F^2 / |X|``. The output wraps round where
    it is to tile; of the exemplar only the pairs inside are measured.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, values = CpuKernels(threads=1), np.empty(2)
    >>> stripes = np.tile(np.array([0, 1], np.float32), (1, 8, 4))
    >>> loss = StructureLoss.measure("relu3_1", [Sample(stripes)], kernels)
    >>> loss.evaluate(stripes, kernels, values[:1])
    >>> loss.evaluate(stripes.transpose(0, 2, 1).copy(), kernels, values[1:])
    >>> values
    array([0.   , 0.125])
    """

    kind = "structure"
    optional = True
    reach = max(map(max, SHIFTS))

    layer: str
    targets: dict[Shift, Float64]
    magnitude: float
    region: Region = EVERYWHERE
    wrap: Wrap = BOTH
    _pairs_of: dict[tuple[tuple[int, ...], Shift], Coverage | None] = field(default_factory=dict, repr=False)

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the first layer of the third block, or of the last before it: relu3_1."""
        return architecture.blocks[:3][-1:]

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> StructureLoss:
        """Take the translated Gram matrices of all samples together as targets.

        A translation of half the smallest sample's side or more is left out: too few pairs would speak for it.
        """
        height, width = (min(sample.features.shape[axis] for sample in samples) for axis in (1, 2))
        targets = {}
        for dy, dx in SHIFTS:
            if 2 * dy >= height or 2 * dx >= width:
                continue
            total, mass = kernels.xp.zeros((len(samples[0].features),) * 2), 0.0
            for sample in samples:
                pairs = _pairs(sample.features.shape, sample.coverage, (dy, dx), kernels, wrap=NEITHER)
                shifted = _translate(sample.features, (-dy, -dx), kernels)
                here = sample.factor * _mass(sample.features.shape, pairs)
                total += here * kernels.cross_gram(sample.features, shifted, pairs)
                mass += here
            if mass > 0:
                targets[dy, dx] = total / mass
        squares = kernels.fetch([(target**2).mean() for target in targets.values()]) or [0.0]
        return cls(layer, targets, float(np.mean(squares)), region, wrap)

    def within(self, window: Window, kernels: Kernels) -> StructureLoss:
        """See `AdditiveLoss.within`: the tile's own pairs are those whose first member is."""
        channels = [len(target) for target in self.targets.values()]
        pairs: dict[tuple[tuple[int, ...], Shift], Coverage | None] = {
            ((c, *window.region), shift): window.cover(self._pairs((c, *window.whole), shift, kernels), kernels)
            for c, shift in zip(channels, self.targets, strict=True)
        }
        return replace(self, _pairs_of=pairs)

    def statistic(self, features: Float32, kernels: Kernels, others: Float64 | None = None) -> Float64:
        """See `AdditiveLoss.statistic`: it is the Gram matrices by translation."""
        statistic: Float64 = kernels.xp.zeros((len(self.targets), len(features), len(features)), np.float64)
        for k, (dy, dx) in enumerate(self.targets):
            pairs = self._pairs(features.shape, (dy, dx), kernels)
            statistic[k] = kernels.cross_gram(features, _translate(features, (-dy, -dx), kernels), pairs)
        return statistic if others is None else others + statistic

    def residual(self, statistic: Float64, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float64:
        """See `AdditiveLoss.residual`: it is the differences of the Gram matrices, 0 where there are no pairs."""
        residual: Float64 = kernels.xp.zeros_like(statistic)
        for k, (shift, target) in enumerate(self.targets.items()):
            if _mass(shape, self._pairs(shape, shift, kernels)) > 0:
                residual[k] = statistic[k] - target
        value[...] = (residual**2).mean() if len(residual) else 0
        return residual

    def add_gradient(
        self, features: Float32, residual: Float64, kernels: Kernels, gradient: Float32, *, weight: float
    ) -> None:
        """See `AdditiveLoss.add_gradient`."""
        scratch = kernels.xp.empty_like(features)
        for (dy, dx), difference in zip(self.targets, residual, strict=True):
            pairs = self._pairs(features.shape, (dy, dx), kernels)
            mass = _mass(features.shape, pairs)
            if mass == 0:
                continue
            shifted = _translate(features, (-dy, -dx), kernels)
            # A pair's first member gets D times the second, the second D^T times the first.
            scale = 2 * weight / (residual.size * mass)
            kernels.mix(shifted, difference, scale, gradient, coverage=pairs, accumulate=True)
            transposed = kernels.xp.ascontiguousarray(difference.T)
            kernels.mix(features, transposed, scale, scratch, coverage=pairs)
            gradient += _translate(scratch, (dy, dx), kernels)

    def _pairs(self, shape: tuple[int, ...], shift: Shift, kernels: Kernels) -> Coverage | None:
        """How much each pair counts on a map of the output; this is the same in every evaluation."""
        if (shape, shift) not in self._pairs_of:
            coverage = self.region.coverage.get(self.layer)
            self._pairs_of[shape, shift] = _pairs(shape, coverage, shift, kernels, wrap=self.wrap)
        return self._pairs_of[shape, shift]


def _translate(features: Float32, shift: Shift, kernels: Kernels) -> Float32:
    """Move a map (C, H, W) down and to the right; what leaves on one side comes in on the other."""
    moved: Float32 = kernels.xp.roll(features, shift, axis=(1, 2))
    return moved


def _pairs(
    shape: tuple[int, ...], coverage: Coverage | None, shift: Shift, kernels: Kernels, *, wrap: Wrap
) -> Coverage | None:
    """How much the pair counts that each pixel makes with the one `shift` further on; None stands for ones."""
    _, height, width = shape
    if coverage is None and all(wrap):
        return None
    ones = np.ones((height, width), np.float32)
    grid = ones if coverage is None else kernels.download(coverage.values).reshape(height, width)
    second = np.roll(grid, (-shift[0], -shift[1]), axis=(0, 1))
    if not wrap.y:
        second[max(height - shift[0], 0) :, :] = 0
    if not wrap.x:
        second[:, max(width - shift[1], 0) :] = 0
    return kernels.cover((grid * second).ravel())


def _mass(shape: tuple[int, ...], pairs: Coverage | None) -> float:
    return shape[1] * shape[2] if pairs is None else pairs.total
