"""The content loss: what is where."""

from __future__ import annotations

from dataclasses import dataclass

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses import WHOLE, Region, Sample, term_name


@dataclass(frozen=True, eq=False)
class ContentLoss:
    """Mean squared difference to the content's feature map (Gatys et al. 2016, eq. 1; Risser et al., eq. 4).

    ``|| O - C ||_F^2 / |O|``; its gradient is ``2 (O - C) / |O|``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> loss = ContentLoss.measure("relu4_1", np.ones((2, 1, 3), np.float32), kernels)
    >>> loss.evaluate(np.full((2, 1, 3), 3, np.float32), kernels, value)
    >>> loss.name, float(value)
    ('content/relu4_1', 4.0)
    """

    layer: str
    target: Float32
    magnitude: float
    region: Region = WHOLE

    @classmethod
    def measure(cls, layer: str, features: Float32, kernels: Kernels, region: Region = WHOLE) -> ContentLoss:
        """Take the content's feature map (C, H, W), of which this keeps a copy, as target."""
        return cls(layer, features.copy(), Sample(features).mean_square(kernels), region)

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return term_name("content", self.layer, self.region)

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
        weights = self.region.weights.get(self.layer)
        kernels.content_loss(self.target, features, weight, gradient, value, weights=weights, accumulate=accumulate)
