"""The content loss: what is where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses import WHOLE, Region, Sample, term_name
from pyengine.network.tiles import Window


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
    window: Window | None = None  # of the tile whose maps it is evaluated on, if it is one of several

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
        weights, target = self.region.weights.get(self.layer), self.target
        if self.window is not None:
            target = kernels.xp.zeros_like(features)
            self.window.add(self.target, target)
        kernels.content_loss(target, features, weight, gradient, value, weights=weights, accumulate=accumulate)

    def on(self, window: Window, kernels: Kernels) -> ContentLoss:
        """See `AdditiveLoss.on`."""
        return replace(self, region=self.region.on(window, self.layer, kernels), window=window)

    def statistic(self, features: Float32, kernels: Kernels) -> Float64:
        """See `AdditiveLoss.statistic`: the value itself."""
        value: Float64 = kernels.xp.empty((), np.float64)
        self.evaluate(features, kernels, value)
        return value

    def slope(self, statistic: Float64, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float64:
        """See `AdditiveLoss.slope`."""
        value[...] = statistic
        return statistic

    def pull(
        self,
        features: Float32,
        slope: Float64,
        kernels: Kernels,
        gradient: Float32,
        *,
        weight: float = 1.0,
        accumulate: bool = False,
    ) -> None:
        """See `AdditiveLoss.pull`: of `slope`, nothing is needed."""
        value: Float64 = kernels.xp.empty((), np.float64)
        self.evaluate(features, kernels, value, weight=weight, gradient=gradient, accumulate=accumulate)
