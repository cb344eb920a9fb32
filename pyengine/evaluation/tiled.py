"""The losses of an image that is too large for the network: evaluated tile by tile, exactly.

Value and gradient are those of the whole image at once, up to rounding, in memory for one tile and a little for each
pixel of the image. Tiles are gone through twice: first statistics are added up, from which follow the values and what
the gradients are made of; then each tile is propagated back with its part of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.evaluation import evaluate_losses
from pyengine.kernels import Coverage, Kernels
from pyengine.losses.base import IMAGE, AdditiveLoss, ChannelLoss, Loss, Statistic
from pyengine.network.tiles import Tile, TiledNetwork
from pyengine.stopwatch import Watches

MATCHED = 2
"""While this many channels of the network's first map are in memory, one is matched to the exemplar at a time."""

AdditivePart = tuple[int, AdditiveLoss]
"""A loss's number, and the loss on a tile."""


class TiledEvaluator:
    """An `Evaluator` with a network for one tile, of an image of any size.

    A `ChannelLoss` needs all of a channel's pixels, so the maps of these losses are kept for the whole image, and their
    gradients are written over them. The network's first map is too large for that, and cheap to compute: it is gone
    through a few channels at a time.

    Parameters
    ----------
    network : TiledNetwork
        The network, with the feature maps of all losses, but for channel losses on the first.
    losses : sequence of Loss
        What is evaluated, in the order of the values.
    kernels : Kernels
        The device's.
    watches : Watches
        What takes the time.
    """

    def __init__(self, network: TiledNetwork, losses: Sequence[Loss], kernels: Kernels, watches: Watches) -> None:
        self._network = network
        self._losses = losses
        self._kernels = kernels
        self._watches = watches
        self._kept: dict[str, list[tuple[int, ChannelLoss]]] = defaultdict(list)
        additive: list[AdditivePart] = []
        for k, loss in enumerate(losses):
            if isinstance(loss, ChannelLoss):
                self._kept[loss.layer].append((k, loss))
            elif isinstance(loss, AdditiveLoss):
                additive.append((k, loss))
            elif loss.layer != IMAGE:
                raise TypeError(f"{loss.name}: a loss on a feature map is an AdditiveLoss or a ChannelLoss")
        self._on_first = self._kept.pop(network.first, [])
        self._on_image = [(k, loss) for k, loss in enumerate(losses) if loss.layer == IMAGE]
        shared: dict[object, Coverage] = {}
        self._parts = [
            [(k, loss.within(network.tiling.window(tile, loss.layer, shared), kernels)) for k, loss in additive]
            for tile in network.tiling.tiles
        ]

    @property
    def nbytes(self) -> int:
        """See `Evaluator.nbytes`."""
        return self._network.nbytes

    def gradient_sizes(self, image: Float32) -> dict[str, float]:
        """Refuse: the gradients of an image in tiles are not kept. `Budget.plan` sees to it that nobody asks."""
        raise NotImplementedError("gradients of an image in tiles are not kept")

    def evaluate(
        self, image: Float32, weights: Mapping[str, float], values: Float64, *, gradient: bool
    ) -> Float32 | None:
        """See `Evaluator.evaluate`."""
        scales = [weights[loss.name] for loss in self._losses]
        total = self._kernels.xp.zeros_like(image) if gradient else None
        if self._kept or self._parts[0]:
            self._evaluate_maps(image, scales, values, total)
        if self._on_first:
            self._evaluate_first(image, scales, values, total)
        evaluate_losses(self._on_image, image, self._kernels, self._watches, weights, values, total)
        return total

    def _evaluate_first(
        self, image: Float32, scales: Sequence[float], values: Float64, gradient: Float32 | None
    ) -> None:
        """The channel losses of the first map, some of its channels at a time."""
        stages = self._watches.stages
        whole = self._network.empty_map(self._network.first, self._network.channels)
        for channel, group in self._network.channel_groups():
            features = whole[: len(group.features[group.first])]
            with stages("forward"):
                for tile in group.tiling.tiles:
                    group.forward(image, tile)
                    group.put(features, group.first, tile)
            with stages("losses"):
                self._match(features, self._on_first, channel, scales, values, gradient=gradient is not None)
            if gradient is None:
                continue
            with stages("backward"):
                group.features[group.first].fill(1)  # `_match` has gone back through the ReLU already
                for tile in group.tiling.tiles:
                    group.zero_gradients()
                    group.take(features, group.first, tile)
                    group.backward(group.first)
                    group.add_image_gradient(tile, gradient)

    def _evaluate_maps(
        self, image: Float32, scales: Sequence[float], values: Float64, gradient: Float32 | None
    ) -> None:
        """All other losses on feature maps: all tiles, twice."""
        network, stages = self._network, self._watches.stages
        tiles = list(zip(network.tiling.tiles, self._parts, strict=True))
        maps = {layer: network.empty_map(layer) for layer in self._kept}
        sums: dict[int, Statistic] = {}
        for tile, parts in tiles:
            with stages("forward"):
                network.forward(image, tile)
            with stages("losses"):
                self._add_statistics(parts, sums)
                for layer, features in maps.items():
                    network.put(features, layer, tile)
        with stages("losses"):
            residuals = {
                k: part.residual(sums[k], network.features[part.layer].shape, self._kernels, values[k, ...])
                for k, part in self._parts[0]
            }
            for layer, features in maps.items():
                self._match(features, self._kept[layer], 0, scales, values, gradient=gradient is not None)
        if gradient is None:
            return
        for tile, parts in reversed(tiles):
            if tile is not network.tiling.tiles[-1]:  # the last tile's features are still there
                with stages("forward"):
                    network.forward(image, tile)
            self._propagate_back(tile, parts, scales, residuals, maps)
            with stages("backward"):
                network.add_image_gradient(tile, gradient)

    def _add_statistics(self, parts: Sequence[AdditivePart], sums: dict[int, Statistic]) -> None:
        for k, part in parts:
            with self._watches.terms(part.name):
                sums[k] = part.statistic(self._network.features[part.layer], self._kernels, sums.get(k))

    def _propagate_back(
        self,
        tile: Tile,
        parts: Sequence[AdditivePart],
        scales: Sequence[float],
        residuals: Mapping[int, Statistic],
        maps: Mapping[str, Float32],
    ) -> None:
        """Go back through the network with a tile's part of the gradients."""
        network, stages = self._network, self._watches.stages
        network.zero_gradients()
        for layer in network.layers:
            features, gradient = network.features[layer], network.gradients[layer]
            with stages("losses"):
                if layer in maps:
                    network.take(maps[layer], layer, tile)
                for k, part in parts:
                    if part.layer == layer:
                        with self._watches.terms(part.name):
                            part.add_gradient(features, residuals[k], self._kernels, gradient, weight=scales[k])
            with stages("backward"):
                network.backward(layer)

    def _match(
        self,
        features: Float32,
        losses: Sequence[tuple[int, ChannelLoss]],
        channel: int,
        scales: Sequence[float],
        values: Float64,
        *,
        gradient: bool,
    ) -> None:
        """Add the values of channel losses on some channels of a map; write the gradient before the ReLU over it."""
        xp = self._kernels.xp
        image_pixels = math.prod(self._network.tiling.size)
        value: Float64 = xp.empty((), np.float64)
        # As many channels of a deeper map are matched together as take the memory of one of the first map's.
        step = max(self._network.channels // MATCHED, image_pixels // features[0].size)
        gradients = xp.empty_like(features[:step]) if gradient else None
        for begin in range(0, len(features), step):
            some = features[begin : begin + step]
            own = None if gradients is None else gradients[: len(some)]
            for j, (k, loss) in enumerate(losses):
                share = len(some) / loss.channels  # the loss is the mean over all channels
                with self._watches.terms(loss.name):
                    loss.evaluate_channels(
                        some,
                        channel + begin,
                        self._kernels,
                        value,
                        weight=share * scales[k],
                        gradient=own,
                        accumulate=j > 0,
                    )
                values[k, ...] += share * value
            if own is not None:
                xp.multiply(own, some > 0, out=some)
