"""A synthesis, described: the one thing that the API and the command line build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.checks import check_choice, is_integer, is_number
from pyengine.color import luminance, match_colors, match_luminance
from pyengine.errors import PyengineError
from pyengine.images import Source, load_mask, load_with_alpha, resize
from pyengine.level import Exemplar, Level
from pyengine.losses.options import LossOptions
from pyengine.masks import band, fill_by_reflection
from pyengine.network.graphs import LEAST_SIDE, Padding, Pooling
from pyengine.pyramid import MULTIPLE, default_iterations, default_levels, level_sizes
from pyengine.regions import RegionSource, load_regions
from pyengine.tuning import (
    CONTENT_LAYERS,
    GRAM_LAYERS,
    HISTOGRAM_LAYERS,
    METHODS,
    STRUCTURE_LAYERS,
    Method,
    Preset,
    Weights,
)

LARGEST = 16383
"""Pixels that a side may have: what a WebP file can hold."""

LARGEST_SCALE = 8.0

BAND = 8
"""With `tile`, the shorter side to the width of the band that is made again at each border."""

PreserveColor = Literal["luminance", "match"]


class Options(TypedDict, total=False):
    """The keyword arguments of `Recipe.create`, for type checkers; `pyengine.synthesize` explains them."""

    exemplars: Sequence[Source] | None
    exemplar_weights: Sequence[float] | None
    size: tuple[int, int] | int | None
    content: Source | None
    content_strength: float
    init: Source | None
    style_scale: float
    preserve_color: PreserveColor | None
    exemplar_regions: RegionSource | Sequence[RegionSource] | None
    output_regions: RegionSource | None
    keep: Source | None
    fill: Source | None
    tile: bool
    method: Method
    weights: Weights | None
    structure: bool
    gram_layers: Sequence[str]
    histogram_layers: Sequence[str]
    content_layers: Sequence[str] | None
    padding: Padding | None
    pooling: Pooling
    seed: int
    levels: int | None
    iterations: int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Recipe:
    """A validated synthesis, every default filled in. Made by `Recipe.create`.

    Attributes
    ----------
    level : Level
        What it is made from, at full scale.
    sizes : tuple of (width, height)
        Of the output at each level of the pyramid, coarsest first; the last is the result's.
    iterations : tuple of int
        At most so many at each level.
    seed : int
        Of the noise.
    losses : LossOptions
    colors : float32 (H, W, 3), optional
        The picture whose colours the result's luminance gets.
    """

    level: Level = field(repr=False)
    sizes: tuple[tuple[int, int], ...]
    iterations: tuple[int, ...]
    seed: int
    losses: LossOptions
    colors: Float32 | None = field(default=None, repr=False)

    def exemplar_sizes(self, level: int) -> list[tuple[int, int]]:
        """(width, height) of each exemplar at a level: reduced as the output is.

        Examples
        --------
        >>> Recipe.create(np.zeros((100, 64, 3), np.uint8)).exemplar_sizes(0)
        [(32, 50)]
        """
        return [level_sizes(exemplar.size, len(self.sizes))[level] for exemplar in self.level.exemplars]

    def at(self, level: int) -> Level:
        """What the output is made from at a level of the pyramid."""
        return self.level.reduced(self.sizes[level], self.exemplar_sizes(level))

    @classmethod
    def create(
        cls,
        exemplar: Source | None = None,
        *,
        exemplars: Sequence[Source] | None = None,
        exemplar_weights: Sequence[float] | None = None,
        size: tuple[int, int] | int | None = None,
        content: Source | None = None,
        content_strength: float = 1.0,
        init: Source | None = None,
        style_scale: float = 1.0,
        preserve_color: PreserveColor | None = None,
        exemplar_regions: RegionSource | Sequence[RegionSource] | None = None,
        output_regions: RegionSource | None = None,
        keep: Source | None = None,
        fill: Source | None = None,
        tile: bool = False,
        method: Method = "histogram",
        weights: Weights | None = None,
        structure: bool = False,
        gram_layers: Sequence[str] = GRAM_LAYERS,
        histogram_layers: Sequence[str] = HISTOGRAM_LAYERS,
        content_layers: Sequence[str] | None = None,
        padding: Padding | None = None,
        pooling: Pooling = "average",
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
        check_choice("method", method, tuple(METHODS))
        preset = METHODS[method]
        if content is None and content_layers is not None:
            raise PyengineError("content_layers without content: give the picture whose layout is to be kept")
        if content is None and content_strength != 1:
            raise PyengineError("content_strength without content: give the picture whose layout is to be kept")
        if weights is None or isinstance(weights, Mapping):
            weights = {**preset.weights, **(weights or {})} or "auto"
        losses = LossOptions(
            weights,
            gram_layers,
            histogram_layers,
            STRUCTURE_LAYERS if structure else (),
            () if content is None else CONTENT_LAYERS if content_layers is None else content_layers,
            content_strength,
            preset.padding if padding is None else padding,
            pooling,
        )
        pictures = _load_exemplars(exemplar, exemplars)
        shown = None if content is None else _load_picture(content, "content")
        start = _load_init(init, shown)
        hole = _Hole.create(pictures, start, keep, fill, tile) if keep is not None or fill is not None or tile else None
        if hole:
            pictures = [replace(p, opaque=hole.known) if p is hole.picture else p for p in pictures]
        if hole and shown:
            raise PyengineError(
                "content with keep, fill or tile: to keep part of the content, paint it 0 in output_regions"
            )
        if tile and losses.padding != "wrap":
            raise PyengineError(f"tile=True with padding={losses.padding!r}: borders meet only under 'wrap'")
        painting = load_regions([picture.size for picture in pictures], exemplar_regions, output_regions)

        natural = shown or hole or painting or start or pictures[0]
        final = _checked_size(natural.size if size is None else size)
        if hole and final != hole.size:
            raise PyengineError(
                f"size {final[0]}x{final[1]}: with keep, fill or tile it is the picture's: leave it out"
            )
        if painting and painting.size != final:
            raise PyengineError(
                f"output_regions of {painting.size[0]}x{painting.size[1]} pixels: the output has "
                f"{final[0]}x{final[1]}: draw them at that size"
            )

        # What is kept, and what counts.
        background = None if shown is None else resize(shown.image, final)
        kept, free = (None, None) if hole is None else (hole.image, hole.free)
        if painting:
            unpainted = np.asarray(~painting.output.any(axis=0))
            if background is not None and unpainted.any():
                kept, free = background, ~unpainted
            elif (unpainted if free is None else unpainted & free).any():
                raise PyengineError(
                    "output_regions: part of it is 0, no region, and nothing says what belongs there: "
                    "number it, or give content to leave there"
                )
        scaled = _style_sizes([picture.size for picture in pictures], style_scale, final, transfer=shown is not None)
        factors = _factors(pictures, scaled, exemplar_weights)
        made = []
        for k, (picture, factor) in enumerate(zip(pictures, factors, strict=True)):
            masks = painting.exemplars[k] if painting else None
            image, known = picture.image, picture.opaque
            if known is not None and not known.all():
                image = fill_by_reflection(image, known)
                masks = known[None].astype(np.float32) if masks is None else masks * known
            made.append(Exemplar(image, masks, factor))
        names = painting.names if painting else ("",)
        for region, name in enumerate(names):
            if not any(e.factor and (counts is None or counts.any()) for e in made for counts in [e.counts(region)]):
                raise PyengineError(
                    f"region {name}: all of it is transparent, in the hole, or of no weight by exemplar_weights"
                )

        colors = None
        if preserve_color is not None:
            check_choice("preserve_color", preserve_color, get_args(PreserveColor))
            if background is None:
                raise PyengineError("preserve_color without content: give the picture whose colours are to be kept")
            change = match_colors if preserve_color == "match" else match_luminance
            made = [replace(e, image=change(e.image, background)) for e in made]
            if preserve_color == "luminance":
                colors, background = background, luminance(background)
                kept = None if kept is None else background
                start = None if start is None else replace(start, image=luminance(start.image))
        level = Level(
            final,
            tuple(e.resized(size) for e, size in zip(made, scaled, strict=True)),
            names,
            painting.output if painting else None,
            background,
            kept,
            free,
            None if start is None or hole else resize(start.image, final),
        )
        planned = _plan([final, *scaled], levels, iterations, preset)
        if not is_integer(seed) or seed < 0:
            raise PyengineError(f"seed={seed!r}: give a whole number that is not negative")
        return cls(level, tuple(level_sizes(final, len(planned), MULTIPLE)), planned, int(seed), losses, colors)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture as given, and which of its pixels are opaque; None: all."""

    image: Float32
    opaque: npt.NDArray[np.bool_] | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return _size(self.image)


def _size(image: npt.NDArray[Any]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _load_picture(source: Source, name: str) -> _Picture:
    image, alpha = load_with_alpha(source, name)
    width, height = _size(image)
    if min(width, height) < LEAST_SIDE:
        raise PyengineError(
            f"{name} of {width}x{height} pixels: both sides must be at least {LEAST_SIDE}; enlarge it first"
        )
    opaque = None if alpha is None else alpha > 0.5
    if opaque is not None and not opaque.any():
        raise PyengineError(f"{name}: no pixel is more than half opaque: remove its alpha channel")
    return _Picture(image, opaque)


def _load_exemplars(exemplar: Source | None, exemplars: Any) -> list[_Picture]:
    if (exemplar is None) == (exemplars is None):
        raise PyengineError("give either one exemplar, or a list of exemplars")
    if exemplar is not None:
        return [_load_picture(exemplar, "exemplar")]
    if not isinstance(exemplars, (list, tuple)) or not exemplars:
        raise PyengineError(f"exemplars, a {type(exemplars).__name__}: give a list of at least one picture")
    return [_load_picture(source, f"exemplars[{k}]") for k, source in enumerate(exemplars)]


def _factors(pictures: list[_Picture], sizes: list[tuple[int, int]], weights: Any) -> list[float]:
    """What a pixel of each exemplar counts: alike, or so that the exemplars count as much as their weights say."""
    if weights is None:
        return [1.0] * len(pictures)
    if isinstance(weights, np.ndarray):
        weights = weights.tolist()
    if not isinstance(weights, (list, tuple)) or len(weights) != len(pictures):
        raise PyengineError(f"exemplar_weights={weights!r}: give a list of {len(pictures)}, one for each exemplar")
    if not all(is_number(w) and 0 <= w < float("inf") for w in weights) or not any(weights):
        raise PyengineError(f"exemplar_weights={weights!r}: give numbers that are not negative, and not all 0")
    opaque = [1.0 if picture.opaque is None else float(picture.opaque.mean()) for picture in pictures]
    pixels = [share * width * height for share, (width, height) in zip(opaque, sizes, strict=True)]
    return [float(w) / n * sum(pixels) / sum(weights) for w, n in zip(weights, pixels, strict=True)]


def _load_init(init: Any, content: _Picture | None) -> _Picture | None:
    """The picture to start from; None for noise."""
    if init is None:
        return content
    if isinstance(init, str) and init == "noise":
        return None
    if isinstance(init, str) and init == "content":
        if content is None:
            raise PyengineError("init='content' without content: give the picture to start from")
        return content
    return _load_picture(init, "init")


@dataclass(frozen=True, eq=False)
class _Hole:
    """A picture of which only a part is made.

    Attributes
    ----------
    picture : _Picture
    image : float32 (H, W, 3)
        The picture, continued to where it is not known.
    known : bool (H, W)
        Where it may be measured.
    free : bool (H, W)
        Where it is made: what is not known, and with `tile` also a band at the borders.
    """

    picture: _Picture
    image: Float32
    known: npt.NDArray[np.bool_]
    free: npt.NDArray[np.bool_]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return _size(self.image)

    @classmethod
    def create(
        cls, pictures: list[_Picture], init: _Picture | None, keep: Source | None, fill: Source | None, tile: bool
    ) -> _Hole:
        """The picture is `init`, or else the only exemplar."""
        if keep is not None and fill is not None:
            raise PyengineError("keep and fill: give one of them, they say the same")
        if init is None and len(pictures) > 1:
            raise PyengineError("keep, fill or tile with several exemplars: give the picture they are about as init")
        picture = init or pictures[0]
        shape = picture.image.shape[:2]
        known = np.ones(shape, np.bool_) if picture.opaque is None else picture.opaque
        if isinstance(fill, str) and fill == "alpha":
            if picture.opaque is None:
                raise PyengineError("fill='alpha': the picture has no transparent pixels: give a mask")
        elif fill is not None:
            known = known & ~_selected(fill, "fill", shape)
        elif keep is not None:
            known = known & _selected(keep, "keep", shape)
        free = ~known
        if tile:
            free = free | band(shape, max(min(shape) // BAND, 1))
        if not free.any():
            raise PyengineError("nothing is to be filled: white is filled with fill, black with keep")
        if not known.any():
            raise PyengineError("nothing is to be kept: white is filled with fill, black with keep")
        return cls(picture, fill_by_reflection(picture.image, known), known, free)


def _selected(source: Source, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Where a mask is white rather than black."""
    mask = load_mask(source, name)
    if mask.shape != shape:
        raise PyengineError(
            f"{name} of {mask.shape[1]}x{mask.shape[0]} pixels: the picture has {shape[1]}x{shape[0]}, so must it"
        )
    return mask > 0.5


def _style_sizes(
    own: list[tuple[int, int]], scale: Any, final: tuple[int, int], *, transfer: bool
) -> list[tuple[int, int]]:
    """The (width, height) at which each exemplar is measured.

    A style is seen at the content's scale: a larger picture is reduced to the output's area.
    """
    if not is_number(scale) or not 0 < scale <= LARGEST_SCALE:
        raise PyengineError(f"style_scale={scale!r}: give a number above 0, and at most {LARGEST_SCALE:g}")
    sizes = []
    for width, height in own:
        fit = min(1.0, (final[0] * final[1] / (width * height)) ** 0.5) if transfer else 1.0
        size = round(width * fit * scale), round(height * fit * scale)
        if min(size) < LEAST_SIDE or max(size) > LARGEST:
            raise PyengineError(
                f"style_scale={scale!r}: an exemplar of {width}x{height} pixels would be measured at "
                f"{size[0]}x{size[1]}; both sides must be {LEAST_SIDE} to {LARGEST}"
            )
        sizes.append(size)
    return sizes


def _plan(sizes: list[tuple[int, int]], levels: Any, iterations: Any, preset: Preset) -> tuple[int, ...]:
    """How many iterations at each level of a pyramid for images of these (width, height)s."""
    most = default_levels(*sizes, coarsest=LEAST_SIDE)
    if levels is None:
        levels = preset.levels or default_levels(*sizes)
    elif not is_integer(levels) or not 1 <= levels <= most:
        raise PyengineError(
            f"levels={levels!r}: give 1 to {most}; the coarsest level's sides must be at least {LEAST_SIDE}"
        )
    if iterations is None:
        iterations = preset.iterations or default_iterations(levels)
    planned = (iterations,) * levels if is_integer(iterations) else iterations
    if (
        not isinstance(planned, (Sequence, np.ndarray))
        or len(planned) != levels
        or not all(is_integer(n) and n >= 0 for n in planned)
    ):
        raise PyengineError(
            f"iterations={planned!r}: give one number, or {levels} of them, one a level, coarsest first"
        )
    return tuple(int(n) for n in planned)


def _checked_size(size: Any) -> tuple[int, int]:
    pair = (size, size) if is_integer(size) else size
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_integer, pair))):
        raise PyengineError(f"size={size!r}: give (width, height) in pixels, or one number for a square")
    width, height = pair
    if min(pair) < LEAST_SIDE or max(pair) > LARGEST:
        raise PyengineError(f"size {width}x{height}: both sides must be {LEAST_SIDE} to {LARGEST} pixels")
    return int(width), int(height)
