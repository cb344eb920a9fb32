"""The total variation: takes off pixel noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses.base import EVERYWHERE, IMAGE, Loss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.wrap import BOTH, NEITHER, Wrap


@dataclass(frozen=True, eq=False)
class VariationLoss(Loss):
    """Mean squared difference of neighbouring pixels of the image itself, wrapping round where the output does.

    The value is not compared with the exemplar's, which is only the unit of the automatic weight.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> checks = np.eye(2, dtype=np.float32)[:, :, None]
    >>> VariationLoss.measure("image", [Sample(checks)], kernels).evaluate(checks, kernels, value)
    >>> float(value)
    1.0
    """

    kind = "variation"
    optional = True
    by_region = False

    layer: str
    magnitude: float
    region: Region = EVERYWHERE
    wrap: Wrap = BOTH

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
        wrap: Wrap = BOTH,
    ) -> VariationLoss:
        """Take the variation of the samples' images (H, W, 3), which do not wrap round, as unit."""
        values = kernels.xp.empty(len(samples), np.float64)
        for k, sample in enumerate(samples):
            kernels.variation(sample.features, 1.0, None, values[k, ...], wrap=NEITHER)
        masses = [sample.factor * sample.features[:, :, 0].size for sample in samples]
        return cls(layer, float(np.average(kernels.fetch([values]), weights=masses)), region, wrap)

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
        """See `Loss.evaluate`; `features` is the image (H, W, 3)."""
        kernels.variation(features, weight, gradient, value, wrap=self.wrap, accumulate=accumulate)
