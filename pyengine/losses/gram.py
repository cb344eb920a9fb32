"""The Gram loss: which features occur together, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses import WHOLE, Region, Sample, term_name


@dataclass(frozen=True, eq=False)
class GramLoss:
    """Mean squared difference of Gram matrices (Gatys et al. 2015, eq. 3; Risser et al., eq. 1).

    ``|| G(O) - G(S) ||_F^2 / |G|``, with ``G(F) = F diag(w) F^T / sum(w)``, w being 1 where there are no regions; its
    gradient is ``4 (G(O) - G(S)) O diag(w) / (|G| sum(w))``. Dividing by the mass makes exemplar and output comparable
    whatever their sizes.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels = CpuKernels(threads=1)
    >>> loss = GramLoss.measure("relu1_1", [Sample(np.ones((2, 1, 5), np.float32))], kernels)
    >>> loss.name, loss.evaluate(np.full((2, 3, 1), 2, np.float32), kernels)
    ('gram/relu1_1', 9.0)
    """

    layer: str
    target: Float64
    region: Region = WHOLE

    @classmethod
    def measure(cls, layer: str, samples: Sequence[Sample], kernels: Kernels, region: Region = WHOLE) -> GramLoss:
        """Take the Gram matrix of all samples together, of some mass, as target."""
        grams = [kernels.gram(sample.features, sample.weights) for sample in samples]
        return cls(layer, np.average(grams, axis=0, weights=[sample.mass for sample in samples]), region)

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return term_name("gram", self.layer, self.region)

    @property
    def magnitude(self) -> float:
        """See `Loss.magnitude`."""
        return float(np.mean(self.target**2))

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
        weights = self.region.weights.get(self.layer)
        difference = kernels.gram(features, weights) - self.target
        if gradient is not None:
            scale = 4 * weight / (difference.size * Sample(features, weights).mass)
            kernels.gram_gradient(features, difference, scale, gradient, weights=weights, accumulate=accumulate)
        return float(np.mean(difference**2))
