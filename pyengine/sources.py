"""The patches of exemplars that a picture may be laid out from, and how often each has been used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.level import Exemplar

Numbers = npt.NDArray[np.intp]

COUNTS = 0.5
"""How much a pixel counts at least that patches may lie on, where any counts as much."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The patches of some exemplars: those that lie inside, on pixels that count.

    Attributes
    ----------
    side : int
        Pixels on a side of a patch.
    pixels : float32 (N, 3)
        The pixels of all exemplars, one after another.
    begins : int (K,)
        The number of each exemplar's first pixel.
    sizes : list of (height, width)
        The exemplars'.
    labels : int (N,)
        The region that each pixel belongs to most.
    weights : float (N,)
        How much each pixel counts, 0 where it counts too little for a patch to lie there.
    centres : int (S,)
        The number of each patch's pixel in the middle.
    places : int (S, 3)
        The same as exemplar, row and column.
    shares : float (S,)
        How often each is to be used.
    """

    side: int
    pixels: Float32
    begins: Numbers
    sizes: list[tuple[int, int]]
    labels: Numbers
    weights: Float64
    centres: Numbers
    places: Numbers
    shares: Float64

    @classmethod
    def of(cls, exemplars: list[Exemplar], side: int) -> Sources:
        """The patches of a side, or of the largest below it that finds room."""
        sizes = [(e.size[1], e.size[0]) for e in exemplars]
        side = min(side, *(max((min(size) // 2 - 1) | 1, 1) for size in sizes))
        counting, labels = [], []
        for exemplar, size in zip(exemplars, sizes, strict=True):
            masks = np.ones((1, *size), np.float32) if exemplar.masks is None else exemplar.masks
            mask = masks.max(0)
            counting.append(mask >= min(COUNTS, mask.max()))
            labels.append(masks.argmax(0).ravel())
        while True:
            inside = [_window_sums(mask, side) > side * side - 0.5 for mask in counting]
            if side == 1 or any(mask.any() for mask in inside):
                break
            side -= 2
        begins = np.cumsum([0, *(height * width for height, width in sizes)])[:-1]
        places = np.concatenate([np.insert(np.argwhere(mask), 0, k, axis=1) for k, mask in enumerate(inside)])
        widths = np.array([width for _, width in sizes])
        k = places[:, 0]
        centres = begins[k] + places[:, 1] * widths[k] + places[:, 2]
        weights = np.concatenate([e.factor * mask.ravel() for e, mask in zip(exemplars, counting, strict=True)])
        return cls(
            side,
            np.concatenate([exemplar.image.reshape(-1, exemplar.image.shape[2]) for exemplar in exemplars]),
            begins,
            sizes,
            np.concatenate(labels),
            weights,
            centres,
            places,
            weights[centres],
        )

    @property
    def strides(self) -> Numbers:
        """How many pixels a row has, for each patch."""
        return np.array([width for _, width in self.sizes])[self.places[:, 0]]

    def origins(self, pixels: Numbers) -> Numbers:
        """Exemplar, row and column of pixels, by their numbers."""
        k = np.searchsorted(self.begins, pixels, "right") - 1
        widths = np.array([width for _, width in self.sizes])[k]
        return np.stack([k, *np.divmod(pixels - self.begins[k], widths)], axis=-1)

    def quantiles(self, region: int, channel: int, count: int) -> Float32:
        """So many values, in order, that are spread as those of a region's pixels in a channel."""
        mass = self.weights * (self.labels == region)
        order = np.argsort(self.pixels[:, channel])
        summed = mass[order].cumsum()
        picked = order[np.searchsorted(summed, (np.arange(count) + 0.5) / count * summed[-1])]
        quantiles: Float32 = self.pixels[picked, channel]
        return quantiles

    def numbers(self, places: Numbers, kernels: Kernels, members: Numbers) -> Numbers:
        """Which of some patches is at each place (N, 3), or nearest to it."""
        k = places[:, 0]
        heights, widths = np.array(self.sizes).T
        rows, columns = np.clip(places[:, 1], 0, heights[k] - 1), np.clip(places[:, 2], 0, widths[k] - 1)
        table = np.full(len(self.pixels), -1, np.intp)
        table[self.centres[members]] = members
        numbers: Numbers = table[self.begins[k] + rows * widths[k] + columns]
        missing = numbers < 0
        if missing.any():
            apart = 2 * max(map(max, self.sizes))  # exemplars are farther from one another than anything within one
            at = np.stack([k[missing] * apart, rows[missing], columns[missing]]).astype(np.float32)
            have = (self.places[members].T * [[apart], [1], [1]]).astype(np.float32)
            found, _ = kernels.nearest(kernels.upload(at), kernels.upload(np.ascontiguousarray(have)))
            numbers[missing] = members[kernels.download(found)]
        return numbers

    def use(self, numbers: Numbers) -> Float64:
        """How often what is around each patch is used, against its share."""
        counts = np.bincount(self.centres[numbers.ravel()], minlength=len(self.pixels))
        use: Float64 = self._around(counts) / self._meant
        return use

    @cached_property
    def _meant(self) -> Float64:
        """How often what is around each patch is to be used."""
        return np.maximum(self._around(np.bincount(self.centres, self.shares, minlength=len(self.pixels))), 1e-9)

    def _around(self, values: npt.NDArray[np.generic]) -> Float64:
        """For each patch, the sum of what all pixels in a window around it have (N,)."""
        sums = [
            _window_sums(values[begin : begin + height * width].reshape(height, width), self.side).ravel()
            for begin, (height, width) in zip(self.begins, self.sizes, strict=True)
        ]
        around: Float64 = np.concatenate(sums)[self.centres]
        return around


def offsets_of(side: int) -> Iterator[tuple[int, int]]:
    """Where the pixels of a patch lie from its centre."""
    reach = side // 2
    return ((y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1))


def _window_sums(values: npt.NDArray[np.generic], side: int) -> Float64:
    """The sum of a window around each entry of a map, whose entries beyond the border are 0."""
    height, width = values.shape
    padded = np.zeros((height + side, width + side))
    padded[side // 2 + 1 :, side // 2 + 1 :][:height, :width] = values
    sums = padded.cumsum(0).cumsum(1)
    result: Float64 = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return result
