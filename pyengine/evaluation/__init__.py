"""The losses as a function of an image, which is evaluated whole or one tile after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.losses.base import Loss
from pyengine.stopwatch import Watches


class Evaluator(Protocol):
    """Losses as a function of images of one size, for one thread at a time."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that its network's sessions read and write."""
        ...

    def evaluate(
        self, image: Float32, weights: Mapping[str, float], values: Float64, *, gradient: bool
    ) -> Float32 | None:
        """Evaluate all losses.

        Parameters
        ----------
        image : float32 (H, W, 3)
            An image on the device; it is not checked.
        weights : dict of str to float
            Factors of the gradients, by the losses' names.
        values : float64 (K,)
            Zeros, to which the losses' values are written, before any weight.
        gradient : bool
            Whether the gradient is wanted.

        Returns
        -------
        float32 (H, W, 3) or None
            The sum of the gradients times their weights, with respect to the image, if it is wanted. The next
            evaluation may overwrite it.
        """
        ...

    def gradient_sizes(self, image: Float32) -> dict[str, float]:
        """Size of each loss's own gradient with respect to its feature map, by name; see `Objective.gradient_sizes`."""
        ...


def root_size(gradient: Float32, kernels: Kernels) -> float:
    """Root mean square of the gradient of a sum, from that of the mean over the elements, on the device."""
    flat = gradient.reshape(1, -1)
    square = kernels.xp.empty((1, 1), np.float64)
    kernels.inner_products(flat, (0,), square)
    return float((flat.size * kernels.fetch([square])[0]) ** 0.5)


def evaluate_losses(
    losses: Iterable[tuple[int, Loss]],
    features: Float32,
    kernels: Kernels,
    watches: Watches,
    weights: Mapping[str, float],
    values: Float64,
    gradient: Float32 | None,
) -> None:
    """Evaluate losses, each with its number among the values, on a map, and add to its gradient if it is wanted."""
    with watches.stages("losses"):
        for k, loss in losses:
            with watches.terms(loss.name):
                loss.evaluate(
                    features, kernels, values[k, ...], weight=weights[loss.name], gradient=gradient, accumulate=True
                )
