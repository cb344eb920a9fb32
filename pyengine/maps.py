"""Maps: the pictures that a material is made of, aligned to the pixel, as channels of one image.

A picture alone is an image of one map. A network sees each map by itself. What holds them together is
`losses.JointLoss`, and that they begin, laid out from patches of all of them, where they belong.
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

    def of(self, image: Float32) -> Float32:
        """What a network sees of it in an image (H, W, C), on whatever device: (H, W, 3)."""
        if image.shape[2] == self.count == 3:
            return image
        seen: Float32 = image[:, :, list(self.view)]
        return seen


PICTURE = (Map("", "color", 0, 3),)
"""The maps of a picture alone."""
