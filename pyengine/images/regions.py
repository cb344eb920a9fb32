"""Painting by numbers (Risser et al., sec. 5): which part of an exemplar goes where in the output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pyengine.arrays import Float32
from pyengine.checks import is_integer
from pyengine.errors import PyengineError, in_short
from pyengine.images.labels import MOST_INDICES, IndexImage, agreeing, load_indices, load_mask, number_name
from pyengine.images.masks import Flags, one_hot
from pyengine.images.reading import Source

RegionSource: TypeAlias = Source | Sequence[Source]
"""An index image, in which 0 is no region, or one soft mask for each of the regions 1, 2, ..."""


@dataclass(frozen=True, eq=False)
class Painting:
    """Regions of the exemplars and of the output, the same ones in the same order.

    Attributes
    ----------
    names : tuple of str
    exemplars : list of float32 (R, h, w)
    output : float32 (R, H, W)
    """

    names: tuple[str, ...]
    exemplars: list[Float32]
    output: Float32

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the output."""
        return self.output.shape[2], self.output.shape[1]


def load_regions(
    exemplar_sizes: Sequence[tuple[int, int]],
    exemplar_regions: Any,
    output_regions: Any,
    count: int | None = None,
    unsaid: Flags | bool = False,
) -> Painting | None:
    """Read the regions of the exemplars and of the output; None if there are none.

    Parameters
    ----------
    exemplar_sizes : sequence of (width, height)
    exemplar_regions : RegionSource, or with several exemplars a sequence of one for each; optional
        By default, all of the first exemplar is region 1, all of the second is region 2, and so on.
    output_regions : RegionSource, optional
    count : int, optional
        How many main values an index image has at most, see `labels.load_indices`. Default: None, as many as there
        clearly are.
    unsaid : bool (H, W), or bool
        Where nothing but a region says what the output is to be. What is 0 there is region 0, if exemplars have one; a
        warning says so. Default: False, 0 is no region.

    Raises
    ------
    PyengineError
        Regions of the exemplars only, or of another size; a region of the output that no exemplar has.

    Examples
    --------
    >>> layout = np.repeat(np.array([[1, 2]], np.uint8), 4, axis=0)
    >>> painting = load_regions([(8, 8), (6, 6)], None, layout)
    >>> painting.names, painting.output.shape, [masks.mean(axis=(1, 2)) for masks in painting.exemplars]
    (('1', '2'), (2, 4, 2), [array([1., 0.], dtype=float32), array([0., 1.], dtype=float32)])
    """
    if count is not None and not (is_integer(count) and 1 <= count <= MOST_INDICES):
        raise PyengineError(f"regions={in_short(count)}: give a whole number from 1 to {MOST_INDICES}")
    if output_regions is None:
        for name, value in (("exemplar_regions", exemplar_regions), ("regions", count)):
            if value is not None:
                raise PyengineError(f"{name} without output_regions: give the layout that they are to fill as well")
        return None
    layout = _read(output_regions, "output_regions", count)
    given: Any = []
    if exemplar_regions is not None:
        given = [exemplar_regions] if len(exemplar_sizes) == 1 else exemplar_regions
        if not isinstance(given, (list, tuple)) or len(given) != len(exemplar_sizes):
            raise PyengineError(f"exemplar_regions: give a list of {len(exemplar_sizes)}, one for each exemplar")
    names = [f"exemplar_regions{'' if len(given) == 1 else f'[{k}]'}" for k in range(len(given))]
    output, *sources = _masks([layout, *(_read(x, name, count) for x, name in zip(given, names, strict=True))])
    for source, name, size in zip(sources, names, exemplar_sizes, strict=False):
        height, width = next(iter(source.values())).shape
        if (width, height) != size:
            raise PyengineError(f"{name} of {width}x{height} pixels: the exemplar has {size[0]}x{size[1]}")
    present = [number for number, mask in output.items() if number and mask.any()]
    if 0 in output and any(0 in source for source in sources) and _anywhere(output[0], unsaid):
        warnings.warn(
            "output_regions: 0, black, is a region: exemplars have it, and nothing else is there", stacklevel=2
        )
        present.insert(0, 0)
    if not present:
        raise PyengineError("output_regions: nothing but 0, which is no region: number the regions from 1")
    if exemplar_regions is None:
        sources = [{k: np.ones((h, w), np.float32)} for k, (w, h) in enumerate(exemplar_sizes, 1)]
    missing = [k for k in present if not any(k in source and source[k].any() for source in sources)]
    if missing:
        found = sorted({k for source in sources for k, mask in source.items() if k and mask.any()})
        raise PyengineError(
            f"output_regions: no exemplar has region {', '.join(map(number_name, missing))}: "
            f"there are {', '.join(map(number_name, found)) or 'none'}"
        )
    exemplars = []
    for source in sources:
        empty = np.zeros_like(next(iter(source.values())))
        exemplars.append(np.stack([source.get(k, empty) for k in present]))
    return Painting(tuple(map(number_name, present)), exemplars, np.stack([output[k] for k in present]))


def _read(source: Any, name: str, count: int | None) -> IndexImage | dict[int, Float32]:
    """An index image, or a soft mask for every region by number, of one size."""
    if not isinstance(source, (list, tuple)):
        return load_indices(source, name, count)
    if not source:
        raise PyengineError(f"{name}: an empty list: give an index image, or a mask for each region")
    masks = {k: load_mask(mask, f"{name}[{k - 1}]") for k, mask in enumerate(source, 1)}
    if len({mask.shape for mask in masks.values()}) > 1:
        sizes = ", ".join(f"{mask.shape[1]}x{mask.shape[0]}" for mask in masks.values())
        raise PyengineError(f"{name}: masks of different sizes, {sizes}: make them one size")
    return masks


def _masks(read: list[IndexImage | dict[int, Float32]]) -> list[dict[int, Float32]]:
    """A mask for every region by number; 0 is among them where there are pixels of no region."""
    images = iter(agreeing([one for one in read if isinstance(one, IndexImage)]))
    found = []
    for one in read:
        if isinstance(one, IndexImage):
            image = next(images)
            one = dict(zip(image.numbers, one_hot(image.indices, image.numbers), strict=True))
        found.append(one)
    return found


def _anywhere(mask: Float32, flags: Flags | bool) -> bool:
    """Whether a mask is anywhere where flags, of the same size, are; if they are of another, that is refused later."""
    if isinstance(flags, np.ndarray) and flags.shape != mask.shape:
        return False
    return bool((mask.astype(np.bool_) & flags).any())
