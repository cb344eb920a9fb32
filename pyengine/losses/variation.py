"""The total variation: takes off pixel noise."""

from __future__ import annotations

from dataclasses import dataclass

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels


@dataclass(frozen=True)
class VariationLoss:
    """Mean squared difference of neighbouring pixels of the image itself, wrapping round where the output does.

    Attributes
    ----------
    magnitude : float
        That of the exemplar.
    wrap : bool

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> value = np.empty(())
    >>> VariationLoss(1.0, wrap=True).evaluate(np.eye(2, dtype=np.float32)[:, :, None], CpuKernels(threads=1), value)
    >>> float(value)
    1.0
    """

    magnitude: float
    wrap: bool
    name = "variation"

    def evaluate(
        self,
        image: Float32,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
    ) -> None:
        """See `Loss.evaluate`, but of an image (H, W, 3); the gradient is always added."""
        kernels.variation(image, weight, gradient, value, wrap=self.wrap, accumulate=True)
