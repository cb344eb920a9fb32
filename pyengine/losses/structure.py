"""The structure loss: which features occur together at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses import WHOLE, Region, Sample, term_name

SHIFTS = tuple((dy * step, dx * step) for step in (1, 2, 4, 8) for dy, dx in ((0, 1), (1, 0)))
"""Translations, in pixels of the feature map."""

Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class StructureLoss:
    """Mean squared difference of the Gram matrices of translated feature maps (Berger and Memisevic 2016).

    Arrangements that repeat, such as courses of bricks, are not in a Gram matrix, which forgets where features are. The
    products of features a translation s apart are: ``X_s(F) = sum_p w(p) w(p+s) F(p) F(p+s)^T / sum_p w(p) w(p+s)``.
    The loss is the mean over the translations of ``|| X_s(O) - X_s(S) ||_F^2 / |X|``. The output wraps round, unless it
    is synthesised under zero padding; of the exemplar only the pairs inside are measured.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels = CpuKernels(threads=1)
    >>> stripes = np.tile(np.array([0, 1], np.float32), (1, 4, 4))
    >>> loss = StructureLoss.measure("relu3_1", [Sample(stripes)], kernels, shifts=[(0, 1), (0, 2)])
    >>> loss.evaluate(stripes, kernels), loss.evaluate(stripes.transpose(0, 2, 1).copy(), kernels)
    (0.0, 0.125)
    """

    layer: str
    targets: dict[Shift, Float64]
    region: Region = WHOLE
    wrap: bool = True

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = WHOLE,
        *,
        wrap: bool = True,
        shifts: Sequence[Shift] = SHIFTS,
    ) -> StructureLoss:
        """Take the translated Gram matrices of all samples together as targets.

        Translations of half the smallest sample's side or more are left out: too few pairs would speak for them.
        """
        height, width = (min(sample.features.shape[axis] for sample in samples) for axis in (1, 2))
        targets = {}
        for dy, dx in shifts:
            if 2 * dy >= height or 2 * dx >= width:
                continue
            total, mass = np.zeros((len(samples[0].features),) * 2), 0.0
            for sample in samples:
                pairs = _pairs(sample.features.shape, sample.weights, (dy, dx), wrap=False)
                shifted = _translate(sample.features, (-dy, -dx))
                here = sample.factor * _mass(sample.features, pairs)
                total += here * kernels.cross_gram(sample.features, shifted, pairs)
                mass += here
            if mass > 0:
                targets[dy, dx] = total / mass
        return cls(layer, targets, region, wrap)

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return term_name("structure", self.layer, self.region)

    @property
    def magnitude(self) -> float:
        """See `Loss.magnitude`."""
        return float(np.mean([np.mean(target**2) for target in self.targets.values()])) if self.targets else 0.0

    def evaluate(
        self,
        features: Float32,
        kernels: Kernels,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> float:
        """See `Loss.evaluate`."""
        if gradient is not None and not accumulate:
            gradient.fill(0)
        weights = self.region.weights.get(self.layer)
        value = 0.0
        scratch = None if gradient is None else np.empty_like(features)
        for (dy, dx), target in self.targets.items():
            pairs = _pairs(features.shape, weights, (dy, dx), wrap=self.wrap)
            mass = _mass(features, pairs)
            if mass == 0:
                continue
            shifted = _translate(features, (-dy, -dx))
            difference = kernels.cross_gram(features, shifted, pairs) - target
            value += float(np.mean(difference**2)) / len(self.targets)
            if gradient is None or scratch is None:
                continue
            # A pair's first member gets D times the second, the second D^T times the first.
            scale = 2 * weight / (difference.size * mass * len(self.targets))
            kernels.gram_gradient(shifted, difference, scale, gradient, weights=pairs, accumulate=True)
            transposed = np.ascontiguousarray(difference.T)
            kernels.gram_gradient(features, transposed, scale, scratch, weights=pairs)
            gradient += _translate(scratch, (dy, dx))
        return value


def _translate(features: Float32, shift: Shift) -> Float32:
    """Move a map (C, H, W) down and to the right; what leaves on one side comes in on the other."""
    return np.roll(features, shift, axis=(1, 2))


def _pairs(shape: tuple[int, ...], weights: Float32 | None, shift: Shift, *, wrap: bool) -> Float32 | None:
    """Weight (H W,) of the pair that each pixel makes with the one `shift` further on; None stands for ones."""
    _, height, width = shape
    if weights is None and wrap:
        return None
    grid = np.ones((height, width), np.float32) if weights is None else weights.reshape(height, width)
    second = np.roll(grid, (-shift[0], -shift[1]), axis=(0, 1))
    if not wrap:
        second[max(height - shift[0], 0) :, :] = 0
        second[:, max(width - shift[1], 0) :] = 0
    return (grid * second).ravel()


def _mass(features: Float32, pairs: Float32 | None) -> float:
    return features[0].size if pairs is None else float(pairs.sum(dtype=np.float64))
