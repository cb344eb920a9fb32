"""An image in tiles, small enough for a network, that together compute what the network would on the whole image.

A pixel of a feature map depends on a square of the image. So a tile is a core, for which the feature maps are wanted,
inside a region, for which the network is run; the rest of the region is a halo, as wide as those squares reach. In the
halo the maps are wrong and not used. Cores and regions begin at multiples of the deepest map's pixels, where the pools'
windows begin.

Rounding must be the whole image's as well: where an activation is nearly 0 it decides whether the ReLU lets a gradient
through, and where two are nearly equal, which is which in a histogram. Winograd's convolutions round by squares of 4x4
pixels. So cores and regions then begin at multiples of 4 of the deepest map's pixels, and halos cover whole squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.kernels import Coverage, Kernels
from pyengine.network.architecture import Architecture
from pyengine.network.graphs import WRAPPED, Padding, Pooling, is_winograds
from pyengine.network.network import ModelSessions, Network
from pyengine.wrap import Wrap

FIRST_MAP_TILE = 256
"""Pixels on a side of a tile where the first map alone is computed, whose halo is next to nothing: small enough for the
cache."""

Span = tuple[int, int]
"""Beginning and end of a stretch of rows or columns."""

Slices = tuple[slice, slice]
"""Rows and columns."""


def receptive_radius(architecture: Architecture, deepest: str, reach: int = 0, alignment: int = 1) -> int:
    """How far beyond a feature map's pixel the image matters to it, in pixels of the image.

    Parameters
    ----------
    architecture : Architecture
    deepest : str
        The feature map in question.
    reach : int
        How many pixels of that map beyond the one in question matter as well; by default none.
    alignment : int
        Pixels on a side of the squares in which Winograd's convolutions are computed, see `ModelSessions.alignment`;
        by default there are none. The pixel in question is one where a square begins, or ends.

    Examples
    --------
    >>> from pyengine.network.vgg import vgg
    >>> receptive_radius(vgg("vgg16"), "relu1_2"), receptive_radius(vgg("vgg16"), "relu3_1")
    (2, 10)
    >>> receptive_radius(vgg("vgg16"), "relu1_2", alignment=4)
    5
    """
    radius = reach
    for layer in reversed(architecture.up_to(deepest).layers):
        if is_winograds(layer):  # all pixels of a square depend on what any of them does
            radius = -(-radius // alignment) * alignment
        radius += layer.border
        if layer.pooled:
            radius *= 2
    return radius


def margins(architecture: Architecture, reaches: Mapping[str, int], alignment: int) -> tuple[int, int]:
    """What tiles begin at multiples of, and how wide their halo is, in pixels of the image.

    Parameters
    ----------
    architecture : Architecture
    reaches : dict of str to int
        The feature maps in use, each with its reach: how many of its pixels beyond a tile's own are looked at.
    alignment : int
        See `ModelSessions.alignment`.

    Examples
    --------
    >>> from pyengine.network.vgg import vgg
    >>> margins(vgg("vgg16"), {"relu3_1": 0}, alignment=1), margins(vgg("vgg16"), {"relu3_1": 0}, alignment=4)
    ((4, 12), (16, 32))
    """
    unit = alignment * 2 ** architecture.pools(architecture.deepest(reaches))
    radius = max(receptive_radius(architecture, layer, reach, alignment) for layer, reach in reaches.items())
    return unit, -(-radius // unit) * unit


@dataclass(frozen=True)
class Tile:
    """A part of an image: (rows, columns) of its core, and where its region begins, maybe beyond the border."""

    core: tuple[Span, Span]
    start: tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The part of a feature map that is a tile's own.

    Attributes
    ----------
    whole, region : (height, width)
        Sizes of the whole image's map and of the tile's.
    there, here : (rows, columns)
        Where the part is in each of them.
    shared : dict
        What `cover` made for this window and those of other tiles, so that equal ones are made once.
    """

    whole: tuple[int, int]
    region: tuple[int, int]
    there: tuple[Span, Span]
    here: tuple[Span, Span]
    shared: dict[object, Coverage] = field(default_factory=dict, compare=False, repr=False)

    def cover(self, whole: Coverage | None, kernels: Kernels) -> Coverage:
        """How much the tile's pixels count, after the whole map's coverage or, for None, alike; the halo counts 0.

        It is over the whole map's mass, so that what is summed by it adds up to what the whole map has.
        """
        key = (self.region, self.here, self.whole, None if whole is None else (self.there, id(whole)))
        if key not in self.shared:
            values = np.zeros(self.region, np.float32)
            if whole is None:
                values[slices(self.here)] = 1
            else:
                values[slices(self.here)] = kernels.download(whole.values).reshape(self.whole)[slices(self.there)]
            total = float(math.prod(self.whole)) if whole is None else whole.total
            self.shared[key] = kernels.cover(values.ravel(), total)
        return self.shared[key]

    def add(self, whole: Float32, region: Float32) -> None:
        """Add the part of a map of the whole image (C, H, W) to one of the tile's region."""
        region[(slice(None), *slices(self.here))] += whole[(slice(None), *slices(self.there))]

    def put(self, region: Float32, whole: Float32) -> None:
        """Copy the part of a map of the tile's region to one of the whole image."""
        whole[(slice(None), *slices(self.there))] = region[(slice(None), *slices(self.here))]


class Tiling:
    """How an image is cut into tiles, whose regions are of one size, because a `Network` is.

    Parameters
    ----------
    size : (height, width)
        The image's.
    side : int
        Pixels on a side of a core, at most; rounded down to whole pixels of the deepest feature map.
    architecture : Architecture
        The network's.
    reaches : dict of str to int
        The feature maps in use, each with its reach, as in `margins`.
    wrap : Wrap
        Where the image wraps round. Elsewhere regions end at its border.
    alignment : int
        See `ModelSessions.alignment`; by default 1.

    Attributes
    ----------
    size : (height, width)
        The image's.
    architecture : Architecture
        The network's.
    region : (height, width)
        Size of a tile's region, the same for all.
    tiles : tuple of Tile
        All of them, row by row.

    Raises
    ------
    PyengineError
        An image that wraps round in the midst of a pixel of the deepest map: nothing but the whole can be computed.

    Examples
    --------
    >>> from pyengine.network.vgg import vgg
    >>> tiling = Tiling((64, 96), 48, vgg("vgg16"), {"relu1_2": 0}, wrap=Wrap(True, True))
    >>> tiling.region, tiling.tiles[0]
    ((36, 52), Tile(core=((0, 32), (0, 48)), start=(-2, -2)))
    """

    def __init__(
        self,
        size: tuple[int, int],
        side: int,
        architecture: Architecture,
        reaches: Mapping[str, int],
        *,
        wrap: Wrap,
        alignment: int = 1,
    ) -> None:
        pixel = 2 ** architecture.pools(architecture.deepest(reaches))
        height, width = (
            -(-length // pixel) * pixel if wraps else length for length, wraps in zip(size, wrap, strict=True)
        )
        if size != (height, width):
            raise PyengineError(
                f"size {size[1]}x{size[0]}: this memory holds it in tiles only, and tiles need sides that are "
                f"multiples of {pixel}: make it {width}x{height}"
            )
        unit, halo = margins(architecture, reaches, alignment)
        self.size = size
        self.architecture = architecture
        spans, starts, lengths = [], [], []
        for length, wraps in zip(size, wrap, strict=True):
            units = -(-length // unit)
            count = -(-units // max(side // unit, 1))
            bounds = [units * k // count * unit for k in range(count)] + [length]
            longest = -(-units // count) * unit + 2 * halo
            if wraps and count == 1:
                longest = length  # which wraps round as the image does
            elif not wraps:
                longest = min(longest + length % unit, length)  # so that the last region may begin at a whole unit
            spans.append(list(pairwise(bounds)))
            lengths.append(longest)
            free = wraps and count > 1  # to begin beyond the border
            starts.append([b - halo if free else min(max(b - halo, 0), length - longest) for b in bounds[:-1]])
        self.region = lengths[0], lengths[1]
        rows, columns = (list(zip(*axis, strict=True)) for axis in zip(spans, starts, strict=True))
        self.tiles = tuple(Tile((y, x), (top, left)) for (y, top), (x, left) in product(rows, columns))

    def window(self, tile: Tile, layer: str, shared: dict[object, Coverage] | None = None) -> Window:
        """The tile's own part of a feature map; `shared` is the coverage that windows have in common."""
        unit = 2 ** self.architecture.pools(layer)
        there = [(begin // unit, -(-end // unit)) for begin, end in tile.core]
        (top, bottom), (left, right) = there
        y, x = (start // unit for start in tile.start)
        return Window(
            self.architecture.map_size(layer, self.size),
            self.architecture.map_size(layer, self.region),
            ((top, bottom), (left, right)),
            ((top - y, bottom - y), (left - x, right - x)),
            {} if shared is None else shared,
        )

    def cut(self, image: Float32, tile: Tile, out: Float32) -> None:
        """Copy a tile's region (h, w, 3) out of an image (H, W, 3)."""
        for here, there in self._pieces(tile):
            out[here] = image[there]

    def add(self, region: Float32, tile: Tile, image: Float32) -> None:
        """Add a tile's region to an image."""
        for here, there in self._pieces(tile):
            image[there] += region[here]

    def _pieces(self, tile: Tile) -> Iterator[tuple[Slices, Slices]]:
        """Rectangles of a region, and where they are in the image: several, where it wraps round."""
        rows, columns = (_stretches(*axis) for axis in zip(tile.start, self.region, self.size, strict=True))
        for (here_y, there_y), (here_x, there_x) in product(rows, columns):
            yield (here_y, here_x), (there_y, there_x)


class TiledNetwork:
    """A model's network for images of one size, run on one tile after the other. Not for several threads at once.

    Parameters
    ----------
    sessions : ModelSessions
    size : (height, width)
        The image's; any size will do.
    side : int
        Pixels on a side of a tile; see `Tiling`.
    reaches : dict of str to int
        The feature maps to give out, each with its reach, as in `margins`.
    padding, pooling, gradient
        See `Network`; they are for the whole image. Default: "wrap" in both axes, "average" and True.
    channels : int
        How many of the first map's channels each of the `channel_groups` has, by default 1.

    Attributes
    ----------
    first : str
        The network's first map.
    tiling : Tiling
    layers, features, gradients
        Those of the last tile's region, as in `Network`.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> from pyengine.network.modelfile import load
    >>> from pyengine.network.sessions import Provider
    >>> sessions = ModelSessions(load("vgg16"), CpuKernels(threads=1), Provider(), threads=1)
    >>> image = np.random.default_rng(0).random((32, 48, 3), np.float32)
    >>> whole = Network(sessions, (32, 48), ("relu2_1",))
    >>> tiled = TiledNetwork(sessions, (32, 48), 16, {"relu2_1": 0})
    >>> whole.forward(image)
    >>> np.allclose(tiled.maps(image)["relu2_1"], whole.features["relu2_1"], rtol=1e-4, atol=1e-3)
    True
    """

    def __init__(
        self,
        sessions: ModelSessions,
        size: tuple[int, int],
        side: int,
        reaches: Mapping[str, int],
        *,
        padding: Padding = WRAPPED,
        pooling: Pooling = "average",
        gradient: bool = True,
        channels: int = 1,
    ) -> None:
        architecture = sessions.model.architecture
        self.first = architecture.first
        self.channels = channels
        self._sessions, self._side, self._padding = sessions, min(side, FIRST_MAP_TILE), padding
        alignment = sessions.alignment(size)
        self.tiling = Tiling(size, side, architecture, reaches, wrap=padding.wrap, alignment=alignment)
        # Where the image wraps round, a smaller region does not; but what it sees beyond its border does not matter.
        self._network = Network(
            sessions,
            self.tiling.region,
            tuple(reaches),
            padding=padding,
            pooling=pooling,
            gradient=gradient,
            winograd=sessions.winograd(size),
        )
        self._xp = sessions.kernels.xp
        self._region = self._xp.empty((*self.tiling.region, 3), np.float32)
        self.layers = self._network.layers
        self.features, self.gradients = self._network.features, self._network.gradients

    def forward(self, image: Float32, tile: Tile) -> None:
        """Compute `features` of a tile of an image, float32 (H, W, 3) in [0, 1]."""
        self.tiling.cut(image, tile, self._region)
        self._network.forward(self._region)

    def zero_gradients(self) -> None:
        """See `Network.zero_gradients`."""
        self._network.zero_gradients()

    def backward(self, layer: str) -> None:
        """See `Network.backward`."""
        self._network.backward(layer)

    def add_image_gradient(self, tile: Tile, gradient: Float32) -> None:
        """Add the gradient with respect to a tile's region, where the way back has ended, to the image's."""
        self.tiling.add(self._network.image_gradient, tile, gradient)

    def empty_map(self, layer: str, channels: int | None = None) -> Float32:
        """An array for a feature map of the whole image, or for so many of its channels."""
        sides = self.tiling.architecture.map_size(layer, self.tiling.size)
        features: Float32 = self._xp.empty((channels or len(self.features[layer]), *sides), np.float32)
        return features

    def put(self, features: Float32, layer: str, tile: Tile) -> None:
        """Copy the tile's own part of its feature map into the whole image's."""
        self.tiling.window(tile, layer).put(self.features[layer], features)

    def take(self, gradient: Float32, layer: str, tile: Tile) -> None:
        """Add the tile's own part of a gradient with respect to the whole image's feature map."""
        self.tiling.window(tile, layer).add(gradient, self.gradients[layer])

    def channel_groups(self) -> Iterator[tuple[int, TiledNetwork]]:
        """Networks of the first layer alone that have some of its channels each: together, one after the other, all.

        Each comes with the number of its first channel.
        """
        channels = self._sessions.model.architecture[self.first].channels
        for begin in range(0, channels, self.channels):
            group = self._sessions.of_channels(begin, min(begin + self.channels, channels))
            reaches = {self.first: 0}
            yield begin, TiledNetwork(group, self.tiling.size, self._side, reaches, padding=self._padding)

    def maps(self, image: Float32) -> dict[str, Float32]:
        """Feature maps of the whole image."""
        maps = {layer: self.empty_map(layer) for layer in self.features}
        for tile in self.tiling.tiles:
            self.forward(image, tile)
            for layer, features in maps.items():
                self.put(features, layer, tile)
        return maps

    @property
    def nbytes(self) -> int:
        """See `Network.nbytes`: here, those of a tile's."""
        return self._network.nbytes


def _stretches(start: int, length: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Stretches of a line of some length from `start` on, and where each is on a side that wraps round."""
    done = 0
    while done < length:
        at = (start + done) % side
        count = min(side - at, length - done)
        yield slice(done, done + count), slice(at, at + count)
        done += count


def slices(spans: tuple[Span, Span]) -> Slices:
    """Spans of rows and columns, to index with."""
    return slice(*spans[0]), slice(*spans[1])
