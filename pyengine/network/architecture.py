"""What a network is made of: its layers, their sizes and the pools between them, as data that a model file carries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from pyengine.errors import PyengineError

COLOURS = 3
"""Channels of an image, which are what the first layer takes."""

USABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""How a layer may be called: names are typed on the command line, and are parts of terms' names (``gram/relu1_1``)."""

RESERVED = frozenset(
    {"above", "centred", "image", "mean", "order", "ordered", "padded", "peak", "planes", "preprocessed", "scale"}
    | {"scaled", "std", "unscale"}
)
"""What graphs and networks call their other arrays, so that no layer may be called so."""


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 1 that keeps the size, the ReLU after it, and whether a 2x2 pool stands before it.

    Attributes
    ----------
    name : str
        What users call the layer, and its feature map after the ReLU, such as "relu1_1".
    convolution : str
        Name of the convolution, such as "conv1_1".
    inputs : int
        Channels that come in.
    channels : int
        Channels of the feature map.
    kernel : int
        Pixels on a side of the convolution's filters: an odd number.
    pooled : bool
        Whether a pool stands in front of the convolution.

    Examples
    --------
    >>> Layer("relu1_1", "conv1_1", inputs=3, channels=64, kernel=5, pooled=False).border
    2
    """

    name: str
    convolution: str
    inputs: int
    channels: int
    kernel: int
    pooled: bool

    @property
    def border(self) -> int:
        """Pixels beyond the map's border that the convolution sees on each side."""
        return self.kernel // 2


@dataclass(frozen=True)
class Architecture:
    """A chain of layers, from the image to the deepest feature map.

    Parameters
    ----------
    name : str
        What this kind of network is called, such as "vgg16"; for display only.
    layers : tuple of Layer
        From the first to the last.

    Raises
    ------
    ValueError
        The layers do not make a chain: the message says why.

    Examples
    --------
    >>> edges = Layer("edges", "edges.convolution", inputs=3, channels=8, kernel=5, pooled=False)
    >>> blobs = Layer("blobs", "blobs.convolution", inputs=8, channels=16, kernel=3, pooled=True)
    >>> architecture = Architecture("small", (edges, blobs))
    >>> architecture.names, architecture.blocks, architecture["blobs"].channels
    (('edges', 'blobs'), ('edges', 'blobs'), 16)
    >>> architecture.pools("blobs"), architecture.map_size("blobs", (47, 64))
    (1, (24, 32))
    """

    name: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("no convolutions")
        names = [name for layer in self.layers for name in (layer.name, layer.convolution)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is the name of two things")
        for layer in self.layers:
            if not USABLE_NAME.fullmatch(layer.name) or layer.name in RESERVED:
                raise ValueError(f"{layer.name!r} cannot be the name of a layer")
            if layer.kernel < 1 or layer.kernel % 2 == 0:
                raise ValueError(f"{layer.convolution} has a kernel of {layer.kernel} pixels, which is no odd number")
        first = self.layers[0]
        if first.pooled:
            raise ValueError(f"a pool stands in front of the first convolution, {first.convolution}")
        for inputs, layer in zip((COLOURS, *(layer.channels for layer in self.layers)), self.layers, strict=False):
            if layer.inputs != inputs:
                raise ValueError(f"{layer.convolution} takes {layer.inputs} channels, where {inputs} come in")

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {layer.name: k for k, layer in enumerate(self.layers)}

    @cached_property
    def _pools(self) -> dict[str, int]:
        return dict(zip(self._indices, accumulate(int(layer.pooled) for layer in self.layers), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, first to last."""
        return tuple(self._indices)

    @property
    def first(self) -> str:
        """Name of the first layer."""
        return self.layers[0].name

    @property
    def blocks(self) -> tuple[str, ...]:
        """Name of the first layer of each block: a block begins at the image, and behind every pool."""
        return tuple(layer.name for layer in self.layers if layer.pooled or layer is self.layers[0])

    def __getitem__(self, name: str) -> Layer:
        return self.layers[self._indices[name]]

    def pools(self, name: str) -> int:
        """How often a feature map has been halved: the pools in front of it, its own included."""
        return self._pools[name]

    def pool_follows(self, name: str) -> bool:
        """Whether a pool stands right behind a layer."""
        return any(layer.name == name and following.pooled for layer, following in pairwise(self.layers))

    def map_size(self, name: str, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a layer's feature map of an image of this (height, width).

        A pool rounds an odd side up: no pixel is dropped.
        """
        window: int = 2 ** self.pools(name)
        return -(-size[0] // window), -(-size[1] // window)

    def deepest(self, names: Iterable[str]) -> str:
        """The last of some layers."""
        return max(names, key=self._indices.__getitem__)

    def up_to(self, name: str) -> Architecture:
        """The same without the layers behind this one."""
        layers = self.layers[: self._indices[name] + 1]
        return self if layers == self.layers else Architecture(self.name, layers)

    def check(self, names: Iterable[str], owner: str | None = None) -> None:
        """Raise PyengineError for a layer that there is not.

        Parameters
        ----------
        names : iterable of str
        owner : str, optional
            Whose layers they are, as the message says it; by default "this" and the architecture's name.

        Examples
        --------
        >>> layer = Layer("relu1_1", "conv1_1", inputs=3, channels=64, kernel=3, pooled=False)
        >>> Architecture("vgg16", (layer,)).check(["relu1_2"])
        Traceback (most recent call last):
        ...
        pyengine.errors.PyengineError: layer 'relu1_2': this vgg16 has relu1_1
        """
        for name in names:
            if name not in self._indices:
                raise PyengineError(f"layer {name!r}: {owner or f'this {self.name}'} has {', '.join(self.names)}")
