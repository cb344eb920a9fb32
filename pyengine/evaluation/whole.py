"""The losses of an image that fits into a network as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.evaluation import evaluate_losses, root_size
from pyengine.kernels import Kernels
from pyengine.losses.base import IMAGE, Loss
from pyengine.network.network import Network
from pyengine.stopwatch import Watches


class WholeEvaluator:
    """An `Evaluator` with one network for the whole image.

    Parameters
    ----------
    network : Network
        The network, with the feature maps of all losses and a way back.
    losses : sequence of Loss
        What is evaluated, in the order of the values.
    kernels : Kernels
        The device's.
    watches : Watches
        What takes the time.
    """

    def __init__(self, network: Network, losses: Sequence[Loss], kernels: Kernels, watches: Watches) -> None:
        self._network = network
        self._losses = losses
        self._kernels = kernels
        self._watches = watches
        self._numbers = {
            layer: [k for k, loss in enumerate(losses) if loss.layer == layer] for layer in (*network.layers, IMAGE)
        }

    @property
    def nbytes(self) -> int:
        """See `Evaluator.nbytes`."""
        return self._network.nbytes

    def evaluate(
        self, image: Float32, weights: Mapping[str, float], values: Float64, *, gradient: bool
    ) -> Float32 | None:
        """See `Evaluator.evaluate`."""
        network, stages = self._network, self._watches.stages
        with stages("forward"):
            network.forward(image)
        if gradient:
            network.zero_gradients()
        for layer in network.layers:
            own = network.gradients[layer] if gradient else None
            self._evaluate_layer(layer, network.features[layer], weights, values, own)
            if gradient:
                with stages("backward"):
                    network.backward(layer)
        image_gradient = network.image_gradient if gradient else None
        self._evaluate_layer(IMAGE, image, weights, values, image_gradient)
        return image_gradient

    def _evaluate_layer(
        self,
        layer: str,
        features: Float32,
        weights: Mapping[str, float],
        values: Float64,
        gradient: Float32 | None,
    ) -> None:
        numbered = ((k, self._losses[k]) for k in self._numbers[layer])
        evaluate_losses(numbered, features, self._kernels, self._watches, weights, values, gradient)

    def gradient_sizes(self, image: Float32) -> dict[str, float]:
        """See `Evaluator.gradient_sizes`."""
        self._network.forward(image)
        value = self._kernels.xp.empty((), np.float64)
        maps = {**self._network.features, IMAGE: image}
        gradients = {**self._network.gradients, IMAGE: self._network.image_gradient}
        sizes = {}
        for loss in self._losses:
            gradient = gradients[loss.layer]
            loss.evaluate(maps[loss.layer], self._kernels, value, gradient=gradient)
            sizes[loss.name] = root_size(gradient, self._kernels)
        return sizes
