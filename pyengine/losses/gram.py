"""The Gram loss: which features occur together, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses.base import EVERYWHERE, AdditiveLoss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, Wrap


@dataclass(frozen=True, eq=False)
class GramLoss(AdditiveLoss):
    """Mean squared difference of Gram matrices (Gatys et al. 2015, eq. 3; Risser et al., eq. 1).

    ``|| G(O) - G(S) ||_F^2 / |G|``, with ``G(F) = F diag(w) F^T / sum(w)``, where the coverage w is 1 if there are no
    regions; its gradient is ``4 (G(O) - G(S)) O diag(w) / (|G| sum(w))``. Dividing by the mass makes exemplar and
    output comparable whatever their sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, value = CpuKernels(threads=1), np.empty(())
    >>> loss = GramLoss.measure("relu1_1", [Sample(np.ones((2, 1, 5), np.float32))], kernels)
    >>> loss.evaluate(np.full((2, 3, 1), 2, np.float32), kernels, value)
    >>> loss.name, float(value)
    ('gram/relu1_1', 9.0)
    """

    kind = "gram"

    layer: str
    target: Float64
    magnitude: float
    region: Region = EVERYWHERE

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the first layers of the first four blocks: relu1_1 to relu4_1, the paper's."""
        return architecture.blocks[:4]

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> GramLoss:
        """Take the Gram matrix of all samples together as target."""
        total = sum(sample.mass for sample in samples)
        grams = [s.mass / total * kernels.gram(s.features, s.coverage) for s in samples]
        target: Float64 = kernels.xp.stack(grams).sum(axis=0)
        (magnitude,) = kernels.fetch([(target**2).mean()])
        return cls(layer, target, magnitude, region)

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
        coverage = self.region.coverage.get(self.layer)
        kernels.gram_loss(self.target, features, weight, gradient, value, coverage=coverage, accumulate=accumulate)

    def within(self, window: Window, kernels: Kernels) -> GramLoss:
        """See `AdditiveLoss.within`."""
        return replace(self, region=self.region.within(window, self.layer, kernels))

    def statistic(self, features: Float32, kernels: Kernels, others: Float64 | None = None) -> Float64:
        """See `AdditiveLoss.statistic`: it is the Gram matrix."""
        gram = kernels.gram(features, self.region.coverage[self.layer])
        return gram if others is None else others + gram

    def residual(self, statistic: Float64, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float64:
        """See `AdditiveLoss.residual`: it is the difference of the Gram matrices."""
        difference = statistic - self.target
        value[...] = (difference**2).mean()
        return difference

    def add_gradient(
        self, features: Float32, residual: Float64, kernels: Kernels, gradient: Float32, *, weight: float
    ) -> None:
        """See `AdditiveLoss.add_gradient`."""
        coverage = self.region.coverage[self.layer]
        scale = 4 * weight / (residual.size * coverage.total)
        kernels.mix(features, residual, scale, gradient, coverage=coverage, accumulate=True)
