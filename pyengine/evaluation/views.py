"""The losses of an image of several maps: of each view of it, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.evaluation import Evaluator
from pyengine.kernels import Kernels
from pyengine.maps import View


class ViewsEvaluator:
    """An `Evaluator` of views, of which each has one of its own.

    Parameters
    ----------
    parts : sequence of (View, Evaluator, slice)
        The views, what evaluates each, and where its losses are among all values.
    kernels : Kernels
        The device's.
    """

    def __init__(self, parts: Sequence[tuple[View, Evaluator, slice]], kernels: Kernels) -> None:
        self._parts = parts
        self._kernels = kernels

    @property
    def nbytes(self) -> int:
        """See `Evaluator.nbytes`."""
        return sum(evaluator.nbytes for evaluator in {id(e): e for _, e, _ in self._parts}.values())

    def evaluate(
        self, image: Float32, weights: Mapping[str, float], values: Float64, *, gradient: bool
    ) -> Float32 | None:
        """See `Evaluator.evaluate`."""
        total = self._kernels.xp.zeros(image.shape, np.float32) if gradient else None
        for view, evaluator, where in self._parts:
            own = evaluator.evaluate(self._seen(view, image), weights, values[where], gradient=gradient)
            if total is not None and own is not None:
                for k, channel in enumerate(view.channels):
                    total[:, :, channel] += own[:, :, k]
        return total

    def gradient_sizes(self, image: Float32) -> dict[str, float]:
        """See `Evaluator.gradient_sizes`."""
        sizes: dict[str, float] = {}
        for view, evaluator, _ in self._parts:
            sizes |= evaluator.gradient_sizes(self._seen(view, image))
        return sizes

    def _seen(self, view: View, image: Float32) -> Float32:
        seen: Float32 = self._kernels.xp.ascontiguousarray(view.of(image))
        return seen
