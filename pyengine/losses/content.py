"""The content loss: what is where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses.base import EVERYWHERE, AdditiveLoss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, Wrap


@dataclass(frozen=True, eq=False)
class ContentLoss(AdditiveLoss):
    """Mean squared difference to the content's feature map (Gatys et al. 2016, eq. 1; Risser et al., eq. 4).

    ``|| O - C ||_F^2 / |O|``; its gradient is ``2 (O - C) / |O|``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> loss = ContentLoss.measure("relu4_1", [Sample(np.ones((2, 1, 3), np.float32))], kernels)
    >>> loss.evaluate(np.full((2, 1, 3), 3, np.float32), kernels, value)
    >>> loss.name, float(value)
    ('content/relu4_1', 4.0)
    """

    kind = "content"
    source = "content"
    by_region = False
    strength = 0.7
    keeps_map = True

    layer: str
    target: Float32
    magnitude: float
    region: Region = EVERYWHERE
    window: Window | None = None  # the window of the tile whose maps it is evaluated on, if it is one of several

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the first layer of the fourth block, or of the last before it: relu4_1, the paper's."""
        return architecture.blocks[:4][-1:]

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> ContentLoss:
        """Take the content's feature map, of which this keeps a copy, as target: that of the only sample."""
        (sample,) = samples
        return cls(layer, sample.features.copy(), sample.mean_square(kernels), region)

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
        coverage, target = self.region.coverage.get(self.layer), self.target
        if self.window is not None:
            target = kernels.xp.zeros_like(features)
            self.window.add(self.target, target)
        kernels.content_loss(target, features, weight, gradient, value, coverage=coverage, accumulate=accumulate)

    def within(self, window: Window, kernels: Kernels) -> ContentLoss:
        """See `AdditiveLoss.within`."""
        return replace(self, region=self.region.within(window, self.layer, kernels), window=window)

    def statistic(self, features: Float32, kernels: Kernels, others: Float64 | None = None) -> Float64:
        """See `AdditiveLoss.statistic`: it is the value itself."""
        value: Float64 = kernels.xp.empty((), np.float64)
        self.evaluate(features, kernels, value)
        return value if others is None else others + value

    def residual(self, statistic: Float64, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float64:
        """See `AdditiveLoss.residual`: it is the value, which the gradient does not need."""
        value[...] = statistic
        return statistic

    def add_gradient(
        self, features: Float32, residual: Float64, kernels: Kernels, gradient: Float32, *, weight: float
    ) -> None:
        """See `AdditiveLoss.add_gradient`."""
        value: Float64 = kernels.xp.empty((), np.float64)
        self.evaluate(features, kernels, value, weight=weight, gradient=gradient, accumulate=True)
