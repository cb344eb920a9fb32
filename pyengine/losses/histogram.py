"""The histogram loss: the whole distribution of every feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Histogram, Kernels, PixelWeights
from pyengine.losses import WHOLE, Region, Sample, term_name


@dataclass(frozen=True, eq=False)
class HistogramLoss:
    """Mean squared distance of a feature map to itself with the exemplar's histograms (Risser et al., sec. 4.3).

    ``|| O - R(O) ||_F^2 / |O|``, where R gives each channel of O the distribution of the exemplar's and keeps its
    ranks. The match is exact in rank, so that ``2 (O - R(O)) / |O|`` is the loss's true gradient and a line search may
    trust it. Equal values, of which a ReLU makes many at 0, are one mass and go to the mean of what they cover. The
    loss is thus the squared Wasserstein-2 distance of the channels' distributions, less the spread of the exemplar's
    values within what each of the output's masses covers: it steps up by that where a mass breaks up.

    In a region, pixels count by their weights, in the distributions and in the mean.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> loss = HistogramLoss.measure("relu4_1", [Sample(np.array([[[0, 0, 1, 3]]], np.float32))], kernels)
    >>> loss.evaluate(np.array([[[0, 2, 0, 5]]], np.float32), kernels, value)  # 2 -> 1, 5 -> 3
    >>> float(value)
    1.25
    """

    layer: str
    target: Histogram
    magnitude: float
    region: Region = WHOLE

    @classmethod
    def measure(cls, layer: str, samples: Sequence[Sample], kernels: Kernels, region: Region = WHOLE) -> HistogramLoss:
        """Take the distributions of all samples together, of some mass, as target."""
        mass = sum(sample.mass for sample in samples)
        magnitude = sum(sample.mass * sample.mean_square(kernels) for sample in samples) / mass
        return cls(layer, kernels.histogram(*_joined(samples, kernels)), magnitude, region)

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return term_name("histogram", self.layer, self.region)

    def evaluate(
        self,
        features: Float32,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
        first: int = 0,
    ) -> None:
        """See `Loss.evaluate`; `features` may be some of the map's channels, from `first` on."""
        weights = self.region.weights.get(self.layer)
        kernels.histogram_loss(
            self.target, features, weight, gradient, value, weights=weights, accumulate=accumulate, first=first
        )


def _joined(samples: Sequence[Sample], kernels: Kernels) -> tuple[Float32, PixelWeights | None]:
    """All samples as one map and its weights."""
    if len(samples) == 1:
        return samples[0].features, samples[0].weights
    maps = [sample.features.reshape(len(sample.features), -1) for sample in samples]
    weights = [
        np.full(features.shape[1], sample.factor, np.float32)
        if sample.weights is None
        else np.float32(sample.factor) * kernels.download(sample.weights.values)
        for features, sample in zip(maps, samples, strict=True)
    ]
    return kernels.xp.concatenate(maps, axis=1), kernels.weigh(np.concatenate(weights))
