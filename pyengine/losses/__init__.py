"""The losses, one a file: each measures an exemplar's feature map once and is evaluated on the image's after that."""

from __future__ import annotations

from typing import Protocol

from pyengine.arrays import Float32
from pyengine.kernels import Kernels


class Loss(Protocol):
    """A loss on one feature map."""

    @property
    def name(self) -> str:
        """Kind and layer, such as "gram/relu1_1"."""
        ...

    @property
    def layer(self) -> str:
        """The feature map it is evaluated on."""
        ...

    @property
    def magnitude(self) -> float:
        """Mean square of what is measured on the exemplar: the unit in which values are comparable."""
        ...

    def evaluate(
        self,
        features: Float32,
        kernels: Kernels,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> float:
        """Value of the loss, before any weight.

        Parameters
        ----------
        features : float32 (C, N)
        kernels : Kernels
        weight : float
            Of the gradient only.
        gradient : float32 (C, N), optional
            Takes `weight` times the gradient with respect to `features`.
        accumulate : bool
            Add to what `gradient` holds rather than overwrite it.
        """
        ...
