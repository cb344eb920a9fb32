"""The histogram loss: the whole distribution of every feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32
from pyengine.kernels import Histogram, Kernels


@dataclass(frozen=True)
class HistogramLoss:
    """Mean squared distance of a feature map to itself with the exemplar's histograms (Risser et al., sec. 4.3).

    ``|| O - R(O) ||_F^2 / |O|``, where R gives each channel of O the distribution of the exemplar's and keeps its
    ranks. The match is exact in rank, so that ``2 (O - R(O)) / |O|`` is the loss's true gradient and a line search may
    trust it. Equal values, of which a ReLU makes many at 0, are one mass and go to the mean of what they cover. The
    loss is thus the squared Wasserstein-2 distance of the channels' distributions, less the spread of the exemplar's
    values within what each of the output's masses covers: it steps up by that where a mass breaks up.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels = CpuKernels(threads=1)
    >>> loss = HistogramLoss.measure("relu4_1", np.array([[0, 0, 1, 3]], np.float32), kernels)
    >>> loss.evaluate(np.array([[0, 2, 0, 5]], np.float32), kernels)  # 2 -> 1, 5 -> 3
    1.25
    """

    layer: str
    target: Histogram
    magnitude: float

    @classmethod
    def measure(cls, layer: str, features: Float32, kernels: Kernels) -> HistogramLoss:
        """Take the distributions of an exemplar's feature map (C, N) as target."""
        return cls(
            layer,
            kernels.histogram(features),
            float(np.einsum("cn,cn->", features, features, dtype=np.float64)) / features.size,
        )

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return f"histogram/{self.layer}"

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
        return kernels.histogram_loss(self.target, features, weight, gradient, accumulate=accumulate)
