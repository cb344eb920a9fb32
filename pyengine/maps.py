"""Maps: the pictures that a material is made of, aligned to the pixel, as channels of one image.

A picture alone is an image of one map. What a network sees of an image of several are views of it, three channels each:
every map by itself, and neighbours together, whose statistics say what of one goes with what of the other (the triplets
of Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis", but fixed ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyengine.arrays import Float32

Kind = Literal["color", "normal", "data"]

KINDS: dict[str, Kind] = {
    "albedo": "color",
    "emissive": "color",
    "specular": "color",
    "normal": "normal",
    "height": "data",
    "roughness": "data",
    "metalness": "data",
    "occlusion": "data",
    "opacity": "data",
    "orm": "data",
}
"""The maps that are known by name. What is a colour has one in a file's colour space; normals have three parts; what is
data is as it is stored."""


@dataclass(frozen=True)
class Map:
    """A map, as channels of an image.

    Attributes
    ----------
    name : str
        Its name; empty for a picture alone.
    kind : {"color", "normal", "data"}
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
    def channels(self) -> tuple[int, ...]:
        """The numbers of its channels."""
        return tuple(range(self.first, self.first + self.count))

    @property
    def view(self) -> tuple[int, int, int]:
        """The channels that stand for red, green and blue where it is seen."""
        return (self.first,) * 3 if self.count == 1 else (self.first, self.first + 1, self.first + 2)

    @property
    def ranges(self) -> tuple[tuple[int, ...], ...]:
        """Channels that have a range of values in common."""
        if self.kind == "color":
            return (self.channels,)
        if self.kind == "normal":
            return self.channels[:2], self.channels[2:]
        return tuple((channel,) for channel in self.channels)

    @property
    def signals(self) -> tuple[int, ...]:
        """The channels that stand for it beside other maps: of a colour green, which is nearest to its luminance."""
        if self.kind == "color":
            return (self.channels[self.count // 2],)
        return self.channels[:2] if self.kind == "normal" else self.channels


PICTURE = (Map("", "color", 0, 3),)
"""The maps of a picture alone."""


@dataclass(frozen=True)
class View:
    """Three channels of an image, as a network sees them.

    Attributes
    ----------
    name : str
        That of the map, or those of two maps; empty for a picture alone.
    channels : (int, int, int)
        What stands for red, green and blue.
    joint : bool
        Whether they are of more maps than one. Default: False.
    """

    name: str
    channels: tuple[int, int, int]
    joint: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is all of a picture's image."""
        return not self.name

    def of(self, image: Float32) -> Float32:
        """What is seen of an image (H, W, C), on whatever device: (H, W, 3)."""
        if self.whole:
            return image
        seen: Float32 = image[:, :, list(self.channels)]
        return seen


def views_of(maps: tuple[Map, ...]) -> tuple[View, ...]:
    """All that a network sees of an image of some maps.

    Examples
    --------
    >>> views_of(PICTURE)
    (View(name='', channels=(0, 1, 2), joint=False),)
    >>> [view.channels for view in views_of((Map("albedo", "color", 0, 3), Map("height", "data", 3, 1)))]
    [(0, 1, 2), (3, 3, 3), (1, 3, 3)]
    """
    own = [View(one.name, one.view) for one in maps]
    signals = [channel for one in maps for channel in one.signals]
    if len(maps) == 1:
        return tuple(own)
    count = len(signals)
    if count == 2:
        triplets = [(signals[0], signals[1], signals[1])]
    elif count == 3:
        triplets = [(signals[0], signals[1], signals[2])]
    else:
        triplets = [(signals[k], signals[(k + 1) % count], signals[(k + 2) % count]) for k in range(count)]
    return (*own, *(View(f"joint{k}", triplet, joint=True) for k, triplet in enumerate(triplets)))
