"""The losses of an image that is too large for the network: evaluated tile by tile, exactly.

Value and gradient are those of the whole image at once, up to rounding, in memory for one tile and a little a pixel.
Tiles are gone through twice: first statistics are added up, from which follow the values and what the gradients are
made of; then each tile is propagated back with its part of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import cast

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels, PixelWeights
from pyengine.losses import AdditiveLoss, Loss
from pyengine.losses.histogram import HistogramLoss
from pyengine.network.tiles import TiledNetwork

MATCHED = 2
"""Of so many channels of the first map that are in memory, one is matched to the exemplar at a time."""

Watch = Callable[[str], AbstractContextManager[None]]

Part = tuple[int, AdditiveLoss]
"""A loss's number, and the loss on a tile."""


class TiledLosses:
    """Losses as a function of an image of one size, of any. Not for several threads at once.

    A histogram needs all of a channel's values, so the maps of histogram losses are kept for the whole image, and their
    gradients are written over them. The network's first map is too large for that, and cheap to compute: it is gone
    through a few channels at a time.

    Parameters
    ----------
    network : TiledNetwork
        With the maps of all losses, but for histogram losses on the first.
    losses : sequence of Loss
    kernels : Kernels
    stopwatch, term_stopwatch : callable
        See `Objective`.
    """

    def __init__(
        self, network: TiledNetwork, losses: Sequence[Loss], kernels: Kernels, stopwatch: Watch, term_stopwatch: Watch
    ) -> None:
        self._network = network
        self._losses = losses
        self._kernels = kernels
        self._watch, self._term_watch = stopwatch, term_stopwatch
        self._kept: dict[str, list[tuple[int, HistogramLoss]]] = defaultdict(list)
        additive: list[Part] = []
        for k, loss in enumerate(losses):
            if isinstance(loss, HistogramLoss):
                self._kept[loss.layer].append((k, loss))
            else:
                additive.append((k, cast(AdditiveLoss, loss)))
        self._of_first = self._kept.pop(network.first, [])
        shared: dict[object, PixelWeights] = {}
        self._parts = [
            [(k, loss.on(network.tiling.window(tile, loss.layer, shared), kernels)) for k, loss in additive]
            for tile in network.tiling.tiles
        ]

    @property
    def nbytes(self) -> int:
        """See `Network.nbytes`."""
        return self._network.nbytes

    def evaluate(self, image: Float32, weights: Mapping[str, float], values: Float64, gradient: Float32 | None) -> None:
        """Compute the losses and their gradient.

        Parameters
        ----------
        image : float32 (H, W, 3)
        weights : dict of str to float
            Of the gradient, by the losses' names.
        values : float64 (K,)
            Zeros, to the first of which the losses' values are added, before any weight.
        gradient : float32 (H, W, 3), optional
            The gradients times their weights are added.
        """
        scales = [weights[loss.name] for loss in self._losses]
        if self._kept or self._parts[0]:
            self._run(image, values, scales, gradient)
        if self._of_first:
            self._run_first(image, values, scales, gradient)

    def _run_first(self, image: Float32, values: Float64, weights: Sequence[float], gradient: Float32 | None) -> None:
        """The histogram losses of the first map, some of its channels at a time."""
        whole = self._network.empty_map(self._network.first, self._network.channels)
        for channel, group in self._network.channel_groups():
            features = whole[: len(group.features[group.first])]
            with self._watch("forward"):
                for tile in group.tiling.tiles:
                    group.forward(image, tile)
                    group.put(features, group.first, tile)
            with self._watch("losses"):
                self._match(features, self._of_first, channel, values, weights, gradient=gradient is not None)
            if gradient is None:
                continue
            with self._watch("backward"):
                group.features[group.first].fill(1)  # the ReLU has been gone through: see `_match`
                for tile in group.tiling.tiles:
                    group.zero_gradients()
                    group.take(features, group.first, tile)
                    group.backward(group.first)
                    group.add_image_gradient(tile, gradient)

    def _run(self, image: Float32, values: Float64, weights: Sequence[float], gradient: Float32 | None) -> None:
        """All the other losses: all tiles, twice."""
        network, kept = self._network, self._kept
        tiles = list(zip(network.tiling.tiles, self._parts, strict=True))
        maps = {layer: network.empty_map(layer) for layer in kept}
        sums: dict[int, Float64] = {}
        for tile, own in tiles:
            with self._watch("forward"):
                network.forward(image, tile)
            with self._watch("losses"):
                for k, part in own:
                    with self._term_watch(part.name):
                        statistic = part.statistic(network.features[part.layer], self._kernels)
                        sums[k] = statistic if k not in sums else sums[k] + statistic
                for layer, features in maps.items():
                    network.put(features, layer, tile)
        with self._watch("losses"):
            slopes = {
                k: part.slope(sums[k], network.features[part.layer].shape, self._kernels, values[k, ...])
                for k, part in self._parts[0]
            }
            for layer, features in maps.items():
                self._match(features, kept[layer], 0, values, weights, gradient=gradient is not None)
        if gradient is None:
            return
        for tile, own in reversed(tiles):
            if tile is not network.tiling.tiles[-1]:  # whose features are still there
                with self._watch("forward"):
                    network.forward(image, tile)
            network.zero_gradients()
            for layer in network.layers:
                with self._watch("losses"):
                    if layer in maps:
                        network.take(maps[layer], layer, tile)
                    for k, part in own:
                        if part.layer == layer:
                            with self._term_watch(part.name):
                                part.pull(
                                    network.features[layer],
                                    slopes[k],
                                    self._kernels,
                                    network.gradients[layer],
                                    weight=weights[k],
                                    accumulate=True,
                                )
                with self._watch("backward"):
                    network.backward(layer)
            with self._watch("backward"):
                network.add_image_gradient(tile, gradient)

    def _match(
        self,
        features: Float32,
        losses: Sequence[tuple[int, HistogramLoss]],
        channel: int,
        values: Float64,
        weights: Sequence[float],
        *,
        gradient: bool,
    ) -> None:
        """Add the values of histogram losses on some channels of a map; write the gradient before the ReLU over it."""
        xp = self._kernels.xp
        image_pixels = math.prod(self._network.tiling.size)
        value: Float64 = xp.empty((), np.float64)
        # Of a deeper map, as many channels as make one of the first.
        step = max(self._network.channels // MATCHED, image_pixels // features[0].size)
        pulls = xp.empty_like(features[:step]) if gradient else None
        for begin in range(0, len(features), step):
            some = features[begin : begin + step]
            pull = None if pulls is None else pulls[: len(some)]
            for j, (k, loss) in enumerate(losses):
                share = len(some) / loss.target.channels  # the loss is the mean over all channels
                with self._term_watch(loss.name):
                    loss.evaluate(
                        some,
                        self._kernels,
                        value,
                        weight=share * weights[k],
                        gradient=pull,
                        accumulate=j > 0,
                        first=channel + begin,
                    )
                values[k, ...] += share * value
            if pull is not None:
                xp.multiply(pull, some > 0, out=some)
