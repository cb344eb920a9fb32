"""The histogram loss: the whole distribution of every feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Coverage, Histogram, Kernels
from pyengine.losses.base import EVERYWHERE, ChannelLoss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.wrap import BOTH, Wrap


@dataclass(frozen=True, eq=False)
class HistogramLoss(ChannelLoss):
    """Mean squared distance of a feature map to itself with the exemplar's histograms (Risser et al., sec. 4.3).

    ``|| O - R(O) ||_F^2 / |O|``, where R gives each channel of O the distribution of the exemplar's and keeps its
    ranks. The match is exact in rank, so that ``2 (O - R(O)) / |O|`` is the loss's true gradient and a line search may
    trust it. Equal values, of which a ReLU makes many at 0, are one mass and go to the mean of what they cover. The
    loss is thus the squared Wasserstein-2 distance of the channels' distributions, less the spread of the exemplar's
    values within what each of the output's masses covers: it steps up by that where a mass breaks up.

    In a region, pixels count by their coverage, in the distributions and in the mean.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> loss = HistogramLoss.measure("relu4_1", [Sample(np.array([[[0, 0, 1, 3]]], np.float32))], kernels)
    >>> loss.evaluate(np.array([[[0, 2, 0, 5]]], np.float32), kernels, value)  # 2 -> 1, 5 -> 3
    >>> float(value)
    1.25
    """

    kind = "histogram"
    strength = 0.2
    keeps_map = True

    layer: str
    target: Histogram
    magnitude: float
    region: Region = EVERYWHERE

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the first layers of the first and of the fourth block, or of the last before it: the paper's."""
        first, *others = architecture.blocks[:4]
        return (first, *others[-1:])

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> HistogramLoss:
        """Take the distributions of all samples together as target."""
        mass = sum(sample.mass for sample in samples)
        magnitude = sum(sample.mass * sample.mean_square(kernels) for sample in samples) / mass
        return cls(layer, kernels.histogram(*_joined(samples, kernels)), magnitude, region)

    @property
    def channels(self) -> int:
        """See `ChannelLoss.channels`."""
        return self.target.channels

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
        """See `Loss.evaluate`."""
        self.evaluate_channels(features, 0, kernels, value, weight=weight, gradient=gradient, accumulate=accumulate)

    def evaluate_channels(
        self,
        features: Float32,
        first: int,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> None:
        """See `ChannelLoss.evaluate_channels`."""
        coverage = self.region.coverage.get(self.layer)
        kernels.histogram_loss(
            self.target, features, weight, gradient, value, coverage=coverage, accumulate=accumulate, first=first
        )


def _joined(samples: Sequence[Sample], kernels: Kernels) -> tuple[Float32, Coverage | None]:
    """All samples as one map, and its coverage."""
    if len(samples) == 1:
        return samples[0].features, samples[0].coverage
    maps = [sample.features.reshape(len(sample.features), -1) for sample in samples]
    coverage = [
        np.full(features.shape[1], sample.factor, np.float32)
        if sample.coverage is None
        else np.float32(sample.factor) * kernels.download(sample.coverage.values)
        for features, sample in zip(maps, samples, strict=True)
    ]
    return kernels.xp.concatenate(maps, axis=1), kernels.cover(np.concatenate(coverage))
