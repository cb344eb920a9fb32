"""Maps: the pictures that a material is made of, aligned to the pixel, as channels of one image.

A network sees each map by itself. What holds them together is `losses.JointLoss`, and that they begin where they
belong: laid out from patches of all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from pyengine.arrays import Float32
from pyengine.checks import nearest
from pyengine.errors import PyengineError, in_short
from pyengine.images.formats import suffixes

Kind = Literal["color", "normal", "data", "packed"]
Given = TypeVar("Given")

NAMES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "albedo": ("color", ("basecolor", "base_color", "diffuse", "diff", "color", "colour", "col")),
    "emissive": ("color", ("emission", "emit")),
    "specular": ("color", ("spec",)),
    "normal": ("normal", ("normals", "nrm", "nor", "norm", "normalgl", "normaldx", "nor_gl", "nor_dx")),
    "height": ("data", ("displacement", "disp", "bump")),
    "roughness": ("data", ("rough", "rgh")),
    "glossiness": ("data", ("gloss", "smoothness")),
    "metalness": ("data", ("metallic", "metal", "mtl")),
    "occlusion": ("data", ("ao", "ambientocclusion", "ambient_occlusion", "occ")),
    "opacity": ("data", ("mask",)),
    "orm": ("packed", ("arm", "occlusionroughnessmetallic", "occlusionroughnessmetalness")),
}
"""The maps that are known: what each is, and how else it is called. Colours have a file's colour space, all else is as
it is stored; normals have three parts; data is one channel; what is packed has three channels that are three maps, such
as glTF's occlusion, roughness and metalness."""

ALPHA = "alpha"
"""The map of a picture's own opacity, which is no file of its own."""

NEARLY = 0.1
"""The part of a channel's range that counts as one of its ends, at most, where exemplars have that end itself."""

OFTEN = 0.01
"""The share of exemplars' pixels from which on an end of the range is one that they are at, and not only near."""

MOST_TINT = 8 / 255
"""How much the channels of a map of one may differ, as a JPEG's do."""


@dataclass(frozen=True)
class Map:
    """A map, as channels of an image.

    Attributes
    ----------
    name : str
        Its name; empty for a picture alone.
    kind : {"color", "normal", "data", "packed"}
    first, count : int
        Its first channel, and how many it has.

    Examples
    --------
    >>> Map("height", "data", 6, 1).view
    (6, 6, 6)
    """

    name: str
    kind: Kind
    first: int
    count: int

    @property
    def channels(self) -> slice:
        """Its channels, to index with."""
        return slice(self.first, self.first + self.count)

    @property
    def view(self) -> tuple[int, int, int]:
        """The channels that stand for red, green and blue where it is seen."""
        return (self.first,) * 3 if self.count == 1 else (self.first, self.first + 1, self.first + 2)

    @property
    def ranges(self) -> tuple[slice, ...]:
        """Channels that have a range of values in common."""
        if self.kind == "color":
            return (self.channels,)
        if self.kind == "normal":
            return slice(self.first, self.first + 2), slice(self.first + 2, self.first + 3)
        return tuple(slice(k, k + 1) for k in range(self.first, self.first + self.count))

    def of(self, image: Float32) -> Float32:
        """What a network sees of it in an image (H, W, C), on whatever device: (H, W, 3)."""
        if image.shape[2] == self.count == 3:
            return image
        seen: Float32 = image[:, :, list(self.view)]
        return seen


PICTURE = (Map("", "color", 0, 3),)
"""The maps of a picture alone."""


def canonical(name: Any, what: str) -> str:
    """The name that a map is known by.

    Raises
    ------
    PyengineError
        It is none; the message begins with `what`.

    Examples
    --------
    >>> canonical("BaseColor", "exemplar"), canonical("AO", "exemplar")
    ('albedo', 'occlusion')
    >>> canonical("normall", "exemplar")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: exemplar: there is no map 'normall': did you mean 'normal'?
    """
    text = name.lower() if isinstance(name, str) else ""
    for known, (_, others) in NAMES.items():
        if text == known or text in others:
            return known
    raise PyengineError(f"{what}: there is no map {in_short(name)}: {nearest(text, sorted(NAMES))}")


def by_name(given: Iterable[tuple[Any, Given]], what: str) -> dict[str, Given]:
    """What is given of maps under their own names, in the order of `NAMES`.

    Raises
    ------
    PyengineError
        A map is not known, or there twice; the message begins with `what`.

    Examples
    --------
    >>> by_name([("Normal", "n.png"), ("diffuse", "d.png")], "exemplar")
    {'albedo': 'd.png', 'normal': 'n.png'}
    """
    found: dict[str, Given] = {}
    for name, value in given:
        known = canonical(name, what)
        if known in found:
            raise PyengineError(f"{what}: the map {known!r} is there twice: leave one out")
        found[known] = value
    return {name: found[name] for name in NAMES if name in found}


def name_in(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """What a file is called without the name of its map at the end, and that map; None if it names none.

    Examples
    --------
    >>> name_in("rock_Rough.png"), name_in("normal.exr"), name_in("rock-2k-AO.jpg"), name_in("rock.png")
    (('rock', 'roughness'), ('', 'normal'), ('rock-2k', 'occlusion'), ('rock', None))
    """
    stem = Path(path).stem
    words = sorted((word for known, (_, others) in NAMES.items() for word in (known, *others)), key=len, reverse=True)
    found = re.fullmatch(rf"(?:(.*?)[_\-. ])??({'|'.join(map(re.escape, words))})", stem, re.IGNORECASE)
    return (found[1] or "", canonical(found[2], "map")) if found else (stem, None)


def found_in(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The maps of a material in a folder, by the ends of the files' names: rock_albedo.png, rock_normal.png, ...

    Raises
    ------
    PyengineError
        There is no such folder, none of its pictures is named so, or two are one map.
    """
    place = Path(folder)
    try:
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in suffixes())
    except OSError as error:
        raise PyengineError(f"set {folder}: cannot be read ({error.strerror}): name a folder of maps") from None
    found: dict[str, Path] = {}
    for path in files:
        _, name = name_in(path)
        if name is None:
            continue
        if name in found:
            raise PyengineError(
                f"set {folder}: both {found[name].name} and {path.name} are the map {name!r}: leave one in the folder"
            )
        found[name] = path
    if not found:
        raise PyengineError(
            f"set {folder}: no picture there is named as a map, such as rock_albedo.png: maps are {', '.join(NAMES)}"
        )
    return found


def places(path: str | os.PathLike[str], read: Mapping[str, str | None]) -> dict[str, Path]:
    """Where the maps of a material are written: the first to a path, the others beside it, each in its own format.

    Parameters
    ----------
    path : str or path
    read : dict of str to str or None
        How the name of each map's file ends; that of the path counts where it is none, or no format to write.

    Examples
    --------
    >>> read = {"albedo": ".jpg", "normal": None, "height": ".exr"}
    >>> [str(place) for place in places("rock_albedo.png", read).values()]
    ['rock_albedo.png', 'rock_normal.png', 'rock_height.exr']
    >>> [str(place) for place in places("rock.v2.png", read).values()]
    ['rock.v2.png', 'rock.v2_normal.png', 'rock.v2_height.exr']
    """
    first, place = next(iter(read)), Path(path)
    stem, named = name_in(place)
    if named != first and named in read:
        raise PyengineError(f"{path}: it is named as the map {named!r}, and {first!r} is written there: name it so")
    before = place.stem if named != first else stem
    found = {first: place}
    for name, suffix in [*read.items()][1:]:
        ending = suffix if suffix in suffixes() else place.suffix
        found[name] = place.with_name(f"{before}_{name}{ending}" if before else f"{name}{ending}")
    return found


@dataclass(frozen=True)
class Limits:
    """What a channel's values are in the exemplars.

    Attributes
    ----------
    low, high : float
        The least and the greatest.
    two : bool
        Whether there are no others.
    at_low, at_high : float
        The shares of pixels that have the least, and the greatest. Default: 0.
    """

    low: float
    high: float
    two: bool
    at_low: float = 0.0
    at_high: float = 0.0

    @classmethod
    def of(cls, values: Sequence[Float32]) -> Limits:
        """Those of a channel of all exemplars."""
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
        two = all(bool(((v == np.float32(low)) | (v == np.float32(high))).all()) for v in values)
        pixels = sum(v.size for v in values)
        at_low, at_high = (sum(int((v == np.float32(end)).sum()) for v in values) / pixels for end in (low, high))
        return cls(low, high, two, at_low, at_high)

    def of_these(self, channel: Float32) -> Float32:
        """A channel within these limits; the nearer of two values, if there are but two.

        What is nearly the least is the least, for as many pixels as are so in the exemplars, and so at the other end:
        what is clear in a cut-out is to be clear.
        """
        if self.two:
            return np.where(channel > (self.low + self.high) / 2, np.float32(self.high), np.float32(self.low))
        near, least, most = NEARLY * (self.high - self.low), self.low, self.high
        if self.at_low >= OFTEN:
            least = min(max(float(np.quantile(channel, self.at_low)), least), least + near)
        if self.at_high >= OFTEN:
            most = max(min(float(np.quantile(channel, 1 - self.at_high)), most), most - near)
        if (least, most) != (self.low, self.high):
            channel = self.low + (channel - least) * ((self.high - self.low) / max(most - least, 1e-12))
        limited: Float32 = channel.astype(np.float32).clip(np.float32(self.low), np.float32(self.high))
        return limited


def unit(normals: Float32) -> Float32:
    """Normals (H, W, 3), of which 0 stands for -1, at unit length.

    Examples
    --------
    >>> unit(np.float32([[[0.5, 0.5, 0.75]]]))
    array([[[0.5, 0.5, 1. ]]], dtype=float32)
    """
    vectors = normals.astype(np.float64) * 2 - 1
    lengths = np.sqrt((vectors**2).sum(axis=2, keepdims=True))
    flat = np.array([0.0, 0.0, 1.0])
    vectors = np.where(lengths > 0, vectors / np.maximum(lengths, 1e-12), flat)
    made: Float32 = (vectors / 2 + 0.5).astype(np.float32)
    return made


def points_down(normals: Float32) -> bool:
    """Whether the second part of normals (H, W, 3) points down, as in DirectX, and not up, as in OpenGL.

    Slopes of a surface have no curl: of the two ways to read them, the right one has less.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :32] * np.pi / 8
    >>> right, down = np.cos(x) * np.cos(y), -np.sin(x) * np.sin(y)  # slopes of sin(x) cos(y)
    >>> normals = unit((np.dstack([-right, down, np.ones((32, 32))]) / 2 + 0.5).astype(np.float32))
    >>> points_down(normals)
    False
    """
    x, y, z = (normals.astype(np.float64) * 2 - 1).transpose(2, 0, 1)
    across, along = -x / np.maximum(z, 0.1), y / np.maximum(z, 0.1)
    turned, slant = np.gradient(across, axis=0), np.gradient(along, axis=1)
    return float(((slant - turned) ** 2).sum()) > float(((slant + turned) ** 2).sum())


def turned_normals(normals: Float32, quarters: int, *, mirrored: bool, down: bool) -> Float32:
    """What normals (H, W, 3) point to when their picture is mirrored left to right or not, and then turned.

    Parameters
    ----------
    normals : float32 (H, W, 3)
        Of the picture that is turned already; 0 stands for -1.
    quarters : int
        How often by 90 degrees to the left.
    mirrored : bool
    down : bool
        Whether their second part points down.

    Examples
    --------
    >>> turned_normals(np.float32([[[1, 0.5, 0.5]]]), 1, mirrored=False, down=False)
    array([[[0.5, 1. , 0.5]]], dtype=float32)
    """
    x, y, z = normals.transpose(2, 0, 1)
    if mirrored:
        x = 1 - x
    for _ in range(quarters % 4):
        x, y = (y, 1 - x) if down else (1 - y, x)
    return np.ascontiguousarray(np.stack([x, y, z], axis=-1))
