"""What an output is made from, at one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.images.color import is_grey
from pyengine.images.masks import dilate, reduce
from pyengine.images.resampling import resize
from pyengine.kernels import Coverage, Kernels
from pyengine.losses.base import EVERYWHERE, IMAGE, Region, Sample
from pyengine.maps import PICTURE, Map, points_down, turned_normals
from pyengine.network.architecture import Architecture
from pyengine.wrap import BOTH, NEITHER, Wrap

RIM = 2
"""Pixels of what is kept that count with what is made: without them there is nothing against an edge in between."""

SEEN = 3
"""Pixels that a feature sees to each side, on maps after a pool: of VGG's, 2.5 (relu2_1) to 3.3 (relu4_1)."""

INNER = 0.25
"""The share of a region's pixels that must not touch others for these to be measured alone."""

AROUND = 128
"""Pixels around a hole that it is made from, at least; if the hole is larger, as many as its longer side has."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; the last two lie outside."""


@dataclass(frozen=True, eq=False)
class Exemplar:
    """A picture to match, and which of its pixels count.

    Attributes
    ----------
    image : float32 (H, W, 3)
        RGB in [0, 1].
    masks : float32 (R, H, W), optional
        How much each pixel belongs to each region, 0 to 1. Default: None, all to the only region.
    factor : float
        How much a pixel counts against those of other exemplars, 0 or more. Default: 1.
    maps : tuple of Map
        What the image's channels are. Default: a picture's.
    used : float32 (H, W), optional
        How much each pixel counts, in any region, by how often a layout has used it; the mean is about 1. Default:
        None, all alike.
    """

    image: Float32
    masks: Float32 | None = None
    factor: float = 1.0
    maps: tuple[Map, ...] = PICTURE
    used: Float32 | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def guide(self) -> Float32:
        """What of it shows where things are, as a picture (H, W, 3): the first map."""
        return self.maps[0].of(self.image)

    def resized(self, size: tuple[int, int]) -> Exemplar:
        """The same at another (width, height)."""
        if size == self.size:
            return self
        return replace(self, image=resize(self.image, size), masks=resize_masks(self.masks, size))

    def turned(self, quarters: int, *, mirrored: bool) -> Exemplar:
        """The same, mirrored left to right or not, and then turned so many times by 90 degrees to the left."""

        def turn(values: Float32) -> Float32:  # (..., H, W)
            return np.ascontiguousarray(np.rot90(values[..., ::-1] if mirrored else values, quarters, (-2, -1)))

        if not (quarters or mirrored):
            return self  # not a copy: a picture may be as large as all the rest
        image = np.ascontiguousarray(turn(self.image.transpose(2, 0, 1)).transpose(1, 2, 0))
        for one in self.maps:
            if one.kind == "normal":
                down = points_down(self.image[:, :, one.channels])
                own = turned_normals(image[:, :, one.channels], quarters, mirrored=mirrored, down=down)
                image[:, :, one.channels] = own
        return replace(self, image=image, masks=None if self.masks is None else turn(self.masks))

    def coverage(self, region: int, halvings: int = 0) -> Float32 | None:
        """How much each pixel (H, W) counts for a region, after so many halvings; None if all count alike."""
        if self.masks is None:
            return None
        mask = reduce(self.masks[region], halvings)
        return _inner(mask, mask, SEEN if halvings else 1, wrap=NEITHER)

    def sample(self, region: int, features: Float32, halvings: int, kernels: Kernels) -> Sample:
        """What a loss measures in a region on one of this picture's feature maps."""
        coverage = self.coverage(region, halvings)
        if self.used is not None:
            used = reduce(self.used, halvings)
            coverage = used if coverage is None else coverage * used
        return Sample(features, None if coverage is None else kernels.cover(coverage.ravel()), self.factor)


@dataclass(frozen=True, eq=False)
class Level:
    """Everything that a synthesis is made from, at one scale.

    Attributes
    ----------
    size : (width, height)
        The output's size at this scale.
    exemplars : tuple of Exemplar
        The pictures to match.
    regions : tuple of str
        The regions' names. Default: one, without a name, where nothing is painted.
    masks : float32 (R, H, W), optional
        How much each pixel belongs to each region, 0 to 1. Default: None, all to the only region.
    content : float32 (H, W, 3), optional
        The picture to show. Default: None, there is none.
    picture : float32 (H, W, 3), optional
        The picture that is kept where `free` is False. Default: None, nothing is kept.
    free : bool (H, W), optional
        Where the output is made. Default: None, everywhere.
    needed : bool (H, W), optional
        Where of `free` the output has to be made; in the rest of it, it may be kept. Default: None, in all of it.
    init : float32 (H, W, 3), optional
        The picture to start from. Default: None, noise.
    wrap : Wrap
        Where the output wraps round: where its borders meet. Default: in both axes.
    """

    size: tuple[int, int]
    exemplars: tuple[Exemplar, ...]
    regions: tuple[str, ...] = ("",)
    masks: Float32 | None = None
    content: Float32 | None = None
    picture: Float32 | None = None
    free: npt.NDArray[np.bool_] | None = None
    needed: npt.NDArray[np.bool_] | None = None
    init: Float32 | None = None
    wrap: Wrap = BOTH

    @property
    def fixes_size(self) -> bool:
        """Whether only an output of this very size can be evaluated."""
        return not (self.masks is None and self.content is None and self.free is None)

    @property
    def grey(self) -> bool:
        """Whether nothing that the output is made from has a colour, so that it must not have one either."""
        return self.maps == PICTURE and all(map(is_grey, self._pictures))

    @property
    def maps(self) -> tuple[Map, ...]:
        """What the channels of all its images are."""
        return self.exemplars[0].maps

    @property
    def channels(self) -> int:
        """How many channels all its images have."""
        return sum(one.count for one in self.maps)

    @property
    def _pictures(self) -> list[Float32]:
        others = [image for image in (self.content, self.picture, self.init) if image is not None]
        return [*(exemplar.image for exemplar in self.exemplars), *others]

    def reduced(self, size: tuple[int, int], exemplar_sizes: list[tuple[int, int]]) -> Level:
        """The same at smaller (width, height)s."""
        exemplars = tuple(e.resized(s) for e, s in zip(self.exemplars, exemplar_sizes, strict=True))
        if size == self.size:
            return replace(self, exemplars=exemplars)

        def resized(image: Float32 | None) -> Float32 | None:
            return None if image is None else resize(image, size)

        def touched(flags: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
            return None if flags is None else resize(flags.astype(np.float32), size) > 1e-3

        return replace(
            self,
            size=size,
            exemplars=exemplars,
            masks=resize_masks(self.masks, size),
            content=resized(self.content),
            picture=resized(self.picture),
            # What is kept in part has to be made: so a pixel is kept only where all that it stands for is.
            free=touched(self.free),
            needed=touched(self.needed),
            init=resized(self.init),
        )

    @property
    def span(self) -> tuple[Float32, Float32]:
        """The least value that pixels of its pictures have, and how much greater the greatest is, by channel."""
        images = self._pictures
        low, width = np.zeros((2, images[0].shape[2]), np.float32)
        for channels in (some for one in self.maps for some in one.ranges):
            values = [image[:, :, channels] for image in images]
            least, most = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
            low[channels], width[channels] = least, most - least
        return low, width

    def stretched(self, low: Float32, width: Float32) -> Level:
        """The same with pictures in which other values are 0 and 1, by channel, and all others in proportion."""

        def stretch(image: Float32) -> Float32:
            stretched: Float32 = (image - low) / width
            return stretched

        return replace(
            self,
            exemplars=tuple(replace(e, image=stretch(e.image)) for e in self.exemplars),
            content=None if self.content is None else stretch(self.content),
            picture=None if self.picture is None else stretch(self.picture),
            init=None if self.init is None else stretch(self.init),
        )

    @property
    def surroundings(self) -> Box:
        """The part of the picture that a hole in it is made from, as it is to be like what is around it.

        All of it, where there is no hole, or regions say what is to be like what; all along an axis that wraps round.
        """
        width, height = self.size
        if self.free is None or self.picture is None or self.masks is not None:
            return 0, 0, width, height
        rows, columns = (np.flatnonzero(self.free.any(axis)) for axis in (1, 0))
        margin = max(np.ptp(rows) + 1, np.ptp(columns) + 1, AROUND)
        left, right = (0, width) if self.wrap.x else (max(columns[0] - margin, 0), min(columns[-1] + margin + 1, width))
        top, bottom = (0, height) if self.wrap.y else (max(rows[0] - margin, 0), min(rows[-1] + margin + 1, height))
        return int(left), int(top), int(right), int(bottom)

    def cropped(self, box: Box) -> Level:
        """The part of a level without regions, and of those exemplars that are its picture, that is in a box."""
        assert self.picture is not None
        assert self.free is not None
        left, top, right, bottom = box
        there = np.s_[top:bottom, left:right]
        exemplars = [
            replace(e, image=e.image[there], masks=None if e.masks is None else e.masks[(..., *there)])
            if np.array_equal(e.image, self.picture)
            else e
            for e in self.exemplars
        ]
        return replace(
            self,
            size=(right - left, bottom - top),
            exemplars=tuple(exemplars),
            picture=self.picture[there],
            free=self.free[there],
            init=None if self.init is None else self.init[there],
        )

    def made_where(self, flags: npt.NDArray[np.bool_]) -> Level:
        """The same with the output made where it is needed, and else only where flags (h, w) of any size say."""
        assert self.free is not None
        assert self.needed is not None
        made = resize(flags.astype(np.float32), self.size) > 0.5
        return replace(self, free=self.free & (made | self.needed), needed=None)

    def used_as(self, used: Sequence[Float32]) -> Level:
        """The same with exemplars that count as maps (h, w) of any size say, one for each."""
        pairs = zip(self.exemplars, used, strict=True)
        return replace(self, exemplars=tuple(replace(e, used=resize(u, e.size)) for e, u in pairs))

    def keep(self, image: Float32) -> Float32:
        """The image, with the picture where nothing is made."""
        if self.free is None or self.picture is None:
            return image
        return np.where(self.free[:, :, None], image, self.picture)

    def loss_regions(self, maps: tuple[str, ...], architecture: Architecture, kernels: Kernels) -> list[Region]:
        """The regions, as losses see them on some of a network's feature maps.

        What is kept does not count, but for a rim of a few pixels, where it meets what is made; nor do, on maps after a
        pool, the pixels at a region's border.
        """
        if self.masks is None and self.free is None:
            return [EVERYWHERE]
        width, height = self.size
        masks = np.ones((1, height, width), np.float32) if self.masks is None else self.masks
        made = np.ones((height, width), np.float32) if self.free is None else self.free.astype(np.float32)
        near = dilate(made, RIM, wrap=self.wrap)
        halvings = {layer: 0 if layer == IMAGE else architecture.pools(layer) for layer in maps}

        def coverage(mask: Float32, count: int) -> Coverage:
            # Before a pool all count: a pixel at which none is measured may have any colour, and narrow parts vanish.
            inner = _inner(reduce(mask, count), reduce(mask * near, count), min(count, 1), wrap=self.wrap)
            return kernels.cover(inner.ravel())

        by_halvings = {count: [coverage(mask, count) for mask in masks] for count in {*halvings.values()}}
        return [
            Region(name, float((mask * made).mean()), {layer: by_halvings[halvings[layer]][k] for layer in maps})
            for k, (name, mask) in enumerate(zip(self.regions, masks, strict=True))
        ]


def _inner(mask: Float32, counting: Float32, radius: int, *, wrap: Wrap) -> Float32:
    """What counts of a region's mask (h, w), but for so many pixels at its borders if enough is left without them.

    Features at a border are of what lies beyond as well, and like neither region's.
    """
    inner: Float32 = np.minimum(counting, 1 - dilate(1 - mask, radius, wrap=wrap))
    return inner if inner.sum() >= INNER * counting.sum() else counting


def resize_masks(masks: Float32 | None, size: tuple[int, int]) -> Float32 | None:
    """Scale masks (R, H, W), if there are any, to a (width, height)."""
    return None if masks is None else np.stack([resize(mask, size) for mask in masks])
