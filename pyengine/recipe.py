"""A synthesis, described: the one thing that the API and the command line build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images import Source, load
from pyengine.network.graphs import Padding, Pooling
from pyengine.network.sessions import SMALLEST
from pyengine.pyramid import default_iterations, default_levels, level_sizes
from pyengine.tuning import GRAM_LAYERS, HISTOGRAM_LAYERS, Weight

LARGEST = 16383
"""Pixels that a side may have: what a WebP file can hold."""


@dataclass(frozen=True)
class LossOptions:
    """Which losses, on which layers, with which weights, on which network.

    Raises
    ------
    PyengineError
        A weight that is negative or no number, all of them 0, no layers for a loss that is used, or an unknown padding
        or pooling.

    Examples
    --------
    >>> LossOptions(histogram=0.0).layers
    ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1')
    """

    gram: Weight = "auto"
    histogram: Weight = "auto"
    gram_layers: Sequence[str] = GRAM_LAYERS
    histogram_layers: Sequence[str] = HISTOGRAM_LAYERS
    padding: Padding = "wrap"
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        for name in ("gram", "histogram"):
            weight, layers = getattr(self, name), getattr(self, f"{name}_layers")
            if weight != "auto" and not (_is_number(weight) and 0 <= weight < float("inf")):
                raise PyengineError(f"{name}={weight!r}: give a number that is not negative, or 'auto'")
            if isinstance(layers, str) or not (
                isinstance(layers, Sequence) and all(isinstance(x, str) for x in layers)
            ):
                raise PyengineError(f"{name}_layers={layers!r}: give a sequence of names, such as ('relu4_1',)")
            if weight and not layers:
                raise PyengineError(f"{name}_layers is empty: name a layer, or leave the loss out with {name}=0")
            object.__setattr__(self, f"{name}_layers", tuple(layers))
        if not (self.gram or self.histogram):
            raise PyengineError("gram=0 and histogram=0: nothing is left to match; give one of them a weight")
        _check_choice("padding", self.padding, ("wrap", "zeros"))
        _check_choice("pooling", self.pooling, get_args(Pooling))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in use, each once."""
        used = [*(self.gram_layers if self.gram else ()), *(self.histogram_layers if self.histogram else ())]
        return tuple(dict.fromkeys(used))


@dataclass(frozen=True, eq=False)
class Recipe:
    """A validated synthesis, every default filled in. Made by `Recipe.create`.

    Attributes
    ----------
    exemplar : float32 (H, W, 3)
        RGB in [0, 1].
    sizes : tuple of (width, height)
        Of the output at each level, coarsest first; the last is the result's.
    iterations : tuple of int
        At most so many at each level.
    seed : int
        Of the noise that the coarsest level starts from.
    losses : LossOptions
    """

    exemplar: Float32 = field(repr=False)
    sizes: tuple[tuple[int, int], ...]
    iterations: tuple[int, ...]
    seed: int
    losses: LossOptions

    def exemplar_size(self, level: int) -> tuple[int, int]:
        """(width, height) of the exemplar at a level: reduced as the output is.

        Examples
        --------
        >>> Recipe.create(np.zeros((100, 64, 3), np.uint8)).exemplar_size(0)
        (32, 50)
        """
        height, width = self.exemplar.shape[:2]
        return level_sizes((width, height), len(self.sizes))[level]

    @classmethod
    def create(
        cls,
        exemplar: Source,
        losses: LossOptions | None = None,
        *,
        size: tuple[int, int] | int | None = None,
        seed: int = 0,
        levels: int | None = None,
        iterations: int | Sequence[int] | None = None,
    ) -> Recipe:
        """Check the arguments of `pyengine.synthesize` and fill in the defaults.

        Raises
        ------
        PyengineError
            An argument that can't be used; the message names it and says what can.

        Examples
        --------
        >>> recipe = Recipe.create(np.zeros((64, 96, 3), np.uint8), size=(192, 128))
        >>> recipe.sizes
        ((96, 64), (192, 128))
        """
        image = load(exemplar)
        own = (image.shape[1], image.shape[0])
        if min(own) < SMALLEST:
            raise PyengineError(
                f"exemplar of {own[0]}x{own[1]} pixels: both sides must be at least {SMALLEST}; enlarge it first"
            )
        size = _checked_size(own if size is None else size)
        most = default_levels(own, size, coarsest=SMALLEST)
        if levels is None:
            levels = default_levels(own, size)
        elif not is_integer(levels) or not 1 <= levels <= most:
            raise PyengineError(
                f"levels={levels!r}: give 1 to {most}; the coarsest level's sides must be at least {SMALLEST}"
            )
        planned: Any = default_iterations(levels) if iterations is None else iterations
        if is_integer(planned):
            planned = (planned,) * levels
        if (
            not isinstance(planned, (Sequence, np.ndarray))
            or len(planned) != levels
            or not all(is_integer(n) and n >= 0 for n in planned)
        ):
            raise PyengineError(
                f"iterations={planned!r}: give one number, or {levels} of them, one a level, coarsest first"
            )
        if not is_integer(seed) or seed < 0:
            raise PyengineError(f"seed={seed!r}: give a whole number that is not negative")
        return cls(image, tuple(level_sizes(size, levels)), tuple(planned), int(seed), losses or LossOptions())


def _checked_size(size: Any) -> tuple[int, int]:
    pair = (size, size) if is_integer(size) else size
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_integer, pair))):
        raise PyengineError(f"size={size!r}: give (width, height) in pixels, or one number for a square")
    width, height = pair
    if min(pair) < SMALLEST or max(pair) > LARGEST:
        raise PyengineError(f"size {width}x{height}: both sides must be {SMALLEST} to {LARGEST} pixels")
    return int(width), int(height)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise PyengineError(f"{name}={value!r}: choose {' or '.join(map(repr, choices))}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
