"""The losses of an image of several maps: of each by itself, one after the other, and of all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.evaluation import Evaluator, evaluate_losses, root_size
from pyengine.kernels import Kernels
from pyengine.losses.base import Loss
from pyengine.maps import Map
from pyengine.stopwatch import Watches


class MapsEvaluator:
    """An `Evaluator` of images (H, W, C), whose maps have one network after one another.

    Parameters
    ----------
    maps : sequence of Map
        What the channels are.
    counts : sequence of int
        How many of the losses are of each map.
    losses : sequence of Loss
        The first map's, the second's, and so on; the rest is evaluated on the image as it is.
    evaluator_of : callable
        Makes an evaluator of some losses on pictures (H, W, 3).
    kernels : Kernels
        The device's.
    watches : Watches
        What takes the time.
    """

    def __init__(
        self,
        maps: Sequence[Map],
        counts: Sequence[int],
        losses: Sequence[Loss],
        evaluator_of: Callable[[Sequence[Loss]], Evaluator],
        kernels: Kernels,
        watches: Watches,
    ) -> None:
        self._kernels = kernels
        self._watches = watches
        self._parts: list[tuple[Map, Evaluator, slice]] = []
        begin = 0
        for one, count in zip(maps, counts, strict=True):
            where = slice(begin, begin + count)
            if count:
                self._parts.append((one, evaluator_of(losses[where]), where))
            begin += count
        self._joint = [*enumerate(losses)][begin:]

    @property
    def nbytes(self) -> int:
        """See `Evaluator.nbytes`: all share a network."""
        return self._parts[0][1].nbytes

    def evaluate(
        self, image: Float32, weights: Mapping[str, float], values: Float64, *, gradient: bool
    ) -> Float32 | None:
        """See `Evaluator.evaluate`; the gradient is the caller's."""
        total: Float32 | None = self._kernels.xp.zeros(image.shape, np.float32) if gradient else None
        for one, evaluator, where in self._parts:
            own = evaluator.evaluate(self._seen(one, image), weights, values[where], gradient=gradient)
            if total is not None and own is not None:
                for k, channel in enumerate(one.view):
                    total[:, :, channel] += own[:, :, k]
        evaluate_losses(self._joint, image, self._kernels, self._watches, weights, values, total)
        return total

    def gradient_sizes(self, image: Float32) -> dict[str, float]:
        """See `Evaluator.gradient_sizes`."""
        sizes: dict[str, float] = {}
        for one, evaluator, _ in self._parts:
            sizes |= evaluator.gradient_sizes(self._seen(one, image))
        value, gradient = self._kernels.xp.empty((), np.float64), self._kernels.xp.empty(image.shape, np.float32)
        for _, loss in self._joint:
            loss.evaluate(image, self._kernels, value, gradient=gradient)
            sizes[loss.name] = root_size(gradient, self._kernels)
        return sizes

    def _seen(self, one: Map, image: Float32) -> Float32:
        seen: Float32 = self._kernels.xp.ascontiguousarray(one.of(image))
        return seen
