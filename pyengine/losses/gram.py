"""The Gram loss: which features occur together, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels


@dataclass(frozen=True)
class GramLoss:
    """Mean squared difference of Gram matrices (Gatys et al. 2015, eq. 3; Risser et al., eq. 1).

    ``|| G(O) - G(S) ||_F^2 / |G|``, with ``G(F) = F F^T / N``; its gradient is ``4 (G(O) - G(S)) O / (|G| N)``.
    Dividing by N makes exemplar and output comparable whatever their sizes.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels = CpuKernels(threads=1)
    >>> loss = GramLoss.measure("relu1_1", np.ones((2, 5), np.float32), kernels)
    >>> loss.name, loss.evaluate(np.full((2, 3), 2, np.float32), kernels)
    ('gram/relu1_1', 9.0)
    """

    layer: str
    target: Float64

    @classmethod
    def measure(cls, layer: str, features: Float32, kernels: Kernels) -> GramLoss:
        """Take the Gram matrix of an exemplar's feature map (C, N) as target."""
        return cls(layer, kernels.gram(features))

    @property
    def name(self) -> str:
        """See `Loss.name`."""
        return f"gram/{self.layer}"

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
        difference = kernels.gram(features) - self.target
        if gradient is not None:
            scale = 4 * weight / (difference.size * features.shape[1])
            kernels.gram_gradient(features, difference, scale, gradient, accumulate=accumulate)
        return float(np.mean(difference**2))
