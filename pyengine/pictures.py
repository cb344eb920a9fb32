"""A picture as it was given: of one map, or of all that a material has."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images.color import is_grey
from pyengine.images.encoding import Data, Encoding, under
from pyengine.images.light import flattened, light_of, variation
from pyengine.images.reading import OPAQUE, ImageFile, ProfileUse, Source, load_with_encoding
from pyengine.maps import ALPHA, MOST_TINT, NAMES, PICTURE, Limits, Map, by_name, unit
from pyengine.network.graphs import LEAST_SIDE

TOLD = 1e-3
"""The share of a picture's pixels that may lie outside sRGB without a word."""

Flags = npt.NDArray[np.bool_]

PictureSource: TypeAlias = Source | Mapping[str, Source]
"""A picture, or the maps of a material by name, of one size."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was given.

    Attributes
    ----------
    image : float32 (H, W, C)
        In [0, 1]: RGB, or all maps.
    opaque : bool (H, W), optional
        Which of its pixels are more than half opaque; None if all are.
    alpha : float32 (H, W), optional
        How opaque they are. Default: None, all of them altogether.
    maps : tuple of Map
        What the channels are. Default: a picture's.
    encodings : tuple of Encoding
        How each map was in its file. Default: of one picture, 8 bits and sRGB.
    suffixes : tuple of str or None
        How the name of each map's file ends, where it is one. Default: none is.
    """

    image: Float32
    opaque: Flags | None
    alpha: Float32 | None = None
    maps: tuple[Map, ...] = PICTURE
    encodings: tuple[Encoding, ...] = (Encoding(),)
    suffixes: tuple[str | None, ...] = (None,)

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def guide(self) -> Float32:
        """What of it shows where things are, as a picture (H, W, 3): the first map."""
        return self.maps[0].of(self.image)

    @property
    def encoding(self) -> Encoding:
        """How it was in its file, or its first map was."""
        return self.encodings[0]

    @property
    def light(self) -> float:
        """By how much of its mean the light over it varies."""
        light = light_of(self.guide, self.opaque)
        return variation(light if self.opaque is None else light[self.opaque])

    def flattened(self) -> Picture:
        """The same under even light; of several maps, the colours alone."""
        image = self.image.copy()
        for one in self.maps:
            if one.kind == "color":
                own = image[:, :, one.channels]
                image[:, :, one.channels] = flattened(own, light_of(one.of(image), self.opaque))
        return replace(self, image=image)

    def in_color(self, names: Collection[str]) -> Picture:
        """The same, in which maps of these names have three channels."""
        if not any(one.count == 1 and one.name in names for one in self.maps):
            return self
        maps: list[Map] = []
        parts: list[Float32] = []
        for one in self.maps:
            own = one.of(self.image) if one.name in names else self.image[:, :, one.channels]
            maps.append(replace(one, first=sum(before.count for before in maps), count=own.shape[2]))
            parts.append(own)
        return replace(self, image=np.concatenate(parts, axis=2), maps=tuple(maps))

    def with_alpha(self) -> Picture:
        """The same with its opacity as a map of its own, which is made with the others."""
        image, maps = self.image, self.maps
        if maps == PICTURE and is_grey(image):
            image, maps = image[:, :, :1], (replace(maps[0], count=1),)
        height, width = image.shape[:2]
        alpha = np.ones((height, width), np.float32) if self.alpha is None else self.alpha
        added = Map(ALPHA, "data", image.shape[2], 1)
        return replace(
            self,
            image=np.dstack([image, alpha]),
            opaque=None,
            alpha=None,
            maps=(*maps, added),
            encodings=(*self.encodings, self.encoding),
            suffixes=(*self.suffixes, None),
        )


def load_picture(source: PictureSource, name: str, profile: ProfileUse = "srgb") -> Picture:
    """Read a picture, or the maps of a material.

    Raises
    ------
    PyengineError
        The picture can't be read, is too small, or nowhere opaque; the message begins with `name`.

    Examples
    --------
    >>> load_picture(np.zeros((20, 30), np.uint8), "content").size
    (30, 20)
    """
    return _load_maps(source, name, profile) if isinstance(source, Mapping) else _load_colors(source, name, profile)


def _load_colors(source: Source, name: str, profile: ProfileUse) -> Picture:
    image, alpha, encoding = load_with_encoding(source, name, profile=profile)
    _check_sides(image, name)
    opaque = None if alpha is None else alpha > OPAQUE
    if opaque is not None and not opaque.any():
        raise PyengineError(f"{name}: no pixel is more than half opaque: remove its alpha channel")
    if encoding.clipped > TOLD:
        warnings.warn(
            f"{name}: {encoding.clipped:.1%} of its pixels are outside sRGB, and the nearest colour in it is taken: "
            f"profile='keep' leaves colours as they are",
            stacklevel=2,
        )
    return Picture(image, opaque, alpha, encodings=(encoding,), suffixes=(_suffix(source),))


def _check_sides(image: Float32, name: str) -> None:
    height, width = image.shape[:2]
    if min(width, height) < LEAST_SIDE:
        raise PyengineError(
            f"{name} of {width}x{height} pixels: both sides must be at least {LEAST_SIDE}; enlarge it first"
        )


def _suffix(source: Any) -> str | None:
    if isinstance(source, ImageFile):
        source = source.path
    return Path(source).suffix.lower() if isinstance(source, (str, Path)) else None


def _load_maps(given: Mapping[str, Source], name: str, profile: ProfileUse) -> Picture:
    """Read the maps of a material, which become one picture: the albedo first."""
    if not given:
        raise PyengineError(f"{name}: an empty dictionary: give maps by name, such as 'albedo' and 'normal'")
    loaded: list[tuple[str, Picture]] = []
    for known, source in by_name(given.items(), name).items():
        what, kind = f"{name}[{known!r}]", NAMES[known][0]
        if kind == "color":
            picture = _load_colors(source, what, profile)
            alpha = picture.alpha if loaded else None
        else:
            image, alpha, encoding = load_with_encoding(source, what, data=True)
            _check_sides(image, what)
            picture = Picture(image, None, encodings=(encoding,), suffixes=(_suffix(source),))
        if alpha is not None:
            warnings.warn(f"{what}: its alpha channel is left out: a material has its first map's", stacklevel=2)
        if loaded and picture.size != loaded[0][1].size:
            (width, height), (wide, high) = picture.size, loaded[0][1].size
            raise PyengineError(
                f"{what} of {width}x{height} pixels: {loaded[0][0]!r} has {wide}x{high}: make all maps one size"
            )
        loaded.append((known, _as_map(picture, known, what)))
    first = 0
    maps = []
    for known, picture in loaded:
        maps.append(Map(known, NAMES[known][0], first, picture.image.shape[2]))
        first += picture.image.shape[2]
    colors = loaded[0][1]
    return Picture(
        np.concatenate([picture.image for _, picture in loaded], axis=2),
        colors.opaque,
        colors.alpha,
        tuple(maps),
        tuple(picture.encoding for _, picture in loaded),
        tuple(picture.suffixes[0] for _, picture in loaded),
    )


def _as_map(picture: Picture, name: str, what: str) -> Picture:
    """A map with as many channels as its kind has."""
    kind, image = NAMES[name][0], picture.image
    if kind == "color":
        return replace(picture, image=image[:, :, :1]) if is_grey(image) else picture
    if kind == "normal":
        if is_grey(image):
            raise PyengineError(f"{what}: it is grey, and a normal has three parts: give a height map as 'height'")
        curve = picture.encoding.curve
        if isinstance(curve, Data) and curve != Data():  # vectors as they are, and none that are moved into [0, 1]
            most = max(abs(curve.low), abs(curve.high))
            encoding = replace(picture.encoding, curve=Data(-1, 1))
            return replace(picture, image=unit(under(image, curve, Data(-most, most))), encodings=(encoding,))
        return picture
    if kind == "packed":
        return picture
    if not is_grey(image):
        if np.ptp(image, axis=2).max() > MOST_TINT:
            raise PyengineError(f"{what}: it is in colour, and {name} is one channel: convert it to greyscale")
        return replace(
            picture, image=image.mean(axis=2, keepdims=True), encodings=(replace(picture.encoding, grey=True),)
        )
    return replace(picture, image=image[:, :, :1])


def limits_of(pictures: list[Picture]) -> tuple[Limits, ...]:
    """What the values of each channel are in some pictures of the same maps, where they count."""
    images = [p.image if p.opaque is None else p.image[p.opaque][None] for p in pictures]
    return tuple(Limits.of([image[:, :, k] for image in images]) for k in range(images[0].shape[2]))
