"""Painting by numbers (Risser et al., sec. 5): which part of an exemplar goes where in the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images.labels import FIRST_COLOR, load_indices, load_mask
from pyengine.images.masks import one_hot
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
) -> Painting | None:
    """Read the regions of the exemplars and of the output; None if there are none.

    Parameters
    ----------
    exemplar_sizes : sequence of (width, height)
    exemplar_regions : RegionSource, or with several exemplars a sequence of one for each; optional
        By default, all of the first exemplar is region 1, all of the second is region 2, and so on.
    output_regions : RegionSource, optional

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
    if output_regions is None:
        if exemplar_regions is not None:
            raise PyengineError(
                "exemplar_regions without output_regions: give the layout that they are to fill as well"
            )
        return None
    output = _read(output_regions, "output_regions")
    present = [number for number, mask in output.items() if number and mask.any()]
    if not present:
        raise PyengineError("output_regions: nothing but 0, which is no region: number the regions from 1")
    if exemplar_regions is None:
        sources = [{k: np.ones((h, w), np.float32)} for k, (w, h) in enumerate(exemplar_sizes, 1)]
    else:
        given = [exemplar_regions] if len(exemplar_sizes) == 1 else exemplar_regions
        if not isinstance(given, (list, tuple)) or len(given) != len(exemplar_sizes):
            raise PyengineError(f"exemplar_regions: give a list of {len(exemplar_sizes)}, one for each exemplar")
        names = [f"exemplar_regions{'' if len(given) == 1 else f'[{k}]'}" for k in range(len(given))]
        sources = [_read(source, name) for source, name in zip(given, names, strict=True)]
        for source, name, size in zip(sources, names, exemplar_sizes, strict=True):
            height, width = next(iter(source.values())).shape
            if (width, height) != size:
                raise PyengineError(f"{name} of {width}x{height} pixels: the exemplar has {size[0]}x{size[1]}")
    missing = [k for k in present if not any(k in source and source[k].any() for source in sources)]
    if missing:
        found = sorted({k for source in sources for k, mask in source.items() if k and mask.any()})
        raise PyengineError(
            f"output_regions: no exemplar has region {', '.join(map(_name, missing))}: "
            f"there are {', '.join(map(_name, found)) or 'none'}"
        )
    exemplars = []
    for source in sources:
        empty = np.zeros_like(next(iter(source.values())))
        exemplars.append(np.stack([source.get(k, empty) for k in present]))
    return Painting(tuple(map(_name, present)), exemplars, np.stack([output[k] for k in present]))


def _read(source: Any, name: str) -> dict[int, Float32]:
    """A mask for every region by number, of one size; 0 is among them where there are pixels of no region."""
    if isinstance(source, (list, tuple)):
        if not source:
            raise PyengineError(f"{name}: an empty list: give an index image, or a mask for each region")
        masks = {k: load_mask(mask, f"{name}[{k - 1}]") for k, mask in enumerate(source, 1)}
        if len({mask.shape for mask in masks.values()}) > 1:
            sizes = ", ".join(f"{mask.shape[1]}x{mask.shape[0]}" for mask in masks.values())
            raise PyengineError(f"{name}: masks of different sizes, {sizes}: make them one size")
        return masks
    indices = load_indices(source, name)
    numbers = [int(number) for number in np.unique(indices)]
    return dict(zip(numbers, one_hot(indices, numbers), strict=True))


def _name(number: int) -> str:
    return f"#{number - FIRST_COLOR:06x}" if number >= FIRST_COLOR else str(number)
