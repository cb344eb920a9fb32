"""What there is to know of an exemplar before anything is made of it: its periods, and what fits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyengine.checks import names_checked
from pyengine.lattice import Lattice
from pyengine.network.graphs import LEAST_SIDE
from pyengine.periods import find_lattice
from pyengine.pictures import PictureSource, load_picture
from pyengine.recipe import Recipe

MULTIPLES = (1, 2, 4)
"""How many times the exemplar's size sizes are suggested."""


@dataclass(frozen=True)
class Inspection:
    """What `inspect` finds.

    Attributes
    ----------
    size : (width, height)
        The exemplar's, in pixels.
    periods : tuple of float
        After how many pixels it repeats itself, in each of two directions, or in one, such as for stripes; none if it
        does not, or not twice along each side.
    angles : tuple of float
        These directions in degrees: 0 is to the right, and 90 upwards.
    regularity : float
        How alike, on an average, what is such periods apart is in luminance: 1 if it is the same, and 0 if there are
        none.
    sizes : tuple of (width, height)
        The sizes nearest to its own, to twice and to four times it that can tile; all can if there are no periods.
    light : float
        By how much of its mean its brightness varies slowly from place to place, as the light over a photograph does;
        so does what is brighter below than above of itself. `flatten_light=True` takes it out.
    settings : dict
        The arguments of `pyengine.synthesize` that are suggested.
    """

    size: tuple[int, int]
    periods: tuple[float, ...]
    angles: tuple[float, ...]
    regularity: float
    sizes: tuple[tuple[int, int], ...]
    light: float
    settings: dict[str, Any]


@names_checked
def inspect(exemplar: PictureSource) -> Inspection:
    """Find an exemplar's periods, by its autocorrelation, and the sizes at which a texture of it can tile.

    Parameters
    ----------
    exemplar : path, PIL image, array, or dict of these
        Anything that `pyengine.synthesize` takes; of the maps of a material, the first is looked at.

    Raises
    ------
    PyengineError
        An image that can't be read, is too small, or nowhere opaque.

    Examples
    --------
    >>> import numpy as np
    >>> board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((9, 9)))
    >>> found = inspect(board)
    >>> [round(period, 1) for period in found.periods], found.sizes
    ([12.7, 12.7], ((72, 72), (144, 144), (288, 288)))
    """
    picture = load_picture(exemplar, "exemplar")
    width, height = picture.size
    sizes = tuple((n * width, n * height) for n in MULTIPLES)
    lattice = find_lattice(picture.guide, picture.opaque)
    if lattice is None:
        return Inspection(picture.size, (), (), 0.0, sizes, picture.light, {})
    return Inspection(
        picture.size,
        lattice.periods,
        lattice.angles,
        lattice.regularity,
        tuple(lattice.fitting_size(size, LEAST_SIDE) for size in sizes),
        picture.light,
        {"fit": "size"},
    )


def hint(recipe: Recipe) -> str | None:
    """One line of advice where the size of a texture misses the exemplar's periods by so much that it shows."""
    level = recipe.level
    if "fit" in recipe.arguments or level.fixes_size or level.init is not None or not any(level.wrap):
        return None
    lattice = _first_lattice(recipe)
    if lattice is None or not lattice.shows(level.size, level.wrap):
        return None
    periods = " and ".join(f"{period:.1f}" for period in lattice.periods)
    width, height = lattice.fitting_size(level.size, LEAST_SIDE, level.wrap)
    scale = ", fit='scale' scales the exemplar" if lattice.may_be_scaled(level.size, level.wrap) else ""
    return (
        f"the exemplar repeats itself every {periods} pixels, which do not fit into {level.size[0]}x{level.size[1]}: "
        f"fit='size' makes it {width}x{height}{scale}"
    )


def _first_lattice(recipe: Recipe) -> Lattice | None:
    """That of the first exemplar that has one, as it is measured."""
    for exemplar in recipe.level.exemplars:
        lattice = find_lattice(exemplar.guide, None if exemplar.masks is None else exemplar.masks[0] > 0.5)
        if lattice is not None:
            return lattice
    return None
