"""A synthesis, described: the one thing that the API and the command line build, and engines run."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, get_args

import numpy as np

from pyengine.arrays import Float32
from pyengine.checks import check_choice, check_flag, check_names, is_integer, is_number, names_checked
from pyengine.document import files_of, from_document, open_files, to_document, without_pictures
from pyengine.errors import PyengineError, in_short
from pyengine.files import check_path
from pyengine.images.color import is_grey, luminance, match_colors, match_luminance
from pyengine.images.encoding import Encoding
from pyengine.images.masks import fill_by_reflection
from pyengine.images.reading import ProfileUse, Source
from pyengine.images.regions import Painting, RegionSource, load_regions
from pyengine.images.resampling import resize
from pyengine.inputs import (
    LARGEST_SIDE,
    Fit,
    Hole,
    alike,
    check_thresholds,
    exemplar_factors,
    fitted,
    load_exemplars,
    load_init,
    sampled,
    style_sizes,
)
from pyengine.level import Exemplar, Level
from pyengine.losses import KINDS, JointLoss
from pyengine.losses.options import USUAL, LossOptions, Weights
from pyengine.maps import ALPHA, PICTURE, Limits, Map, places, unit
from pyengine.methods import PRESETS, Method, Preset
from pyengine.network.graphs import LEAST_SIDE, Beyond, Pooling
from pyengine.palette import Keep, Palette, check_palette, usual_plan
from pyengine.pictures import Flags, Picture, PictureSource, limits_of, load_picture
from pyengine.pyramid import (
    MULTIPLE,
    Start,
    default_iterations,
    default_levels,
    equal_iterations,
    level_sizes,
    most_levels,
)
from pyengine.wrap import NEITHER, Axes, AxesIfAny, Wrap

PreserveColor = Literal["luminance", "match"]
Alpha = Literal["synthesize", "mask"]
Augmentation = Literal["flips", "turns"]

MOST_SEEDS = 2**128
"""Seeds there are: as many as UUIDs."""


class Options(TypedDict, total=False):
    """The keyword arguments of `Recipe.create`, for type checkers; `pyengine.synthesize` explains them."""

    exemplars: Sequence[PictureSource] | None
    exemplar_weights: Sequence[float] | None
    augment: Sequence[Augmentation] | None
    flatten_light: bool
    alpha: Alpha | None
    size: tuple[int, int] | int | None
    fit: Fit | None
    content: Source | None
    content_strength: float
    init: PictureSource | None
    start: Start | None
    style_scale: float
    preserve_color: PreserveColor | None
    palette: Keep | None
    profile: ProfileUse
    exemplar_regions: RegionSource | Sequence[RegionSource] | None
    output_regions: RegionSource | None
    regions: int | None
    keep: Source | None
    fill: Source | None
    sample_mask: Source | Sequence[Source] | None
    mask_threshold: float | None
    seamless: Axes | None
    method: Method
    weights: Weights | None
    structure: bool
    gram_layers: Sequence[str] | None
    histogram_layers: Sequence[str] | None
    content_layers: Sequence[str] | None
    wrap: AxesIfAny | None
    padding: Beyond | None
    pooling: Pooling | None
    seed: int
    levels: int | None
    iterations: int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of which a part is made.

    Attributes
    ----------
    picture : float32 (H, W, 3)
    left, top : int
        Where the part is.
    """

    picture: Float32
    left: int
    top: int

    @property
    def size(self) -> tuple[int, int]:
        """The picture's (width, height) in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    def around(self, image: Float32) -> Float32:
        """The picture, with an image (h, w, 3) in it where the part is."""
        whole = self.picture.copy()
        whole[self.top :, self.left :][: image.shape[0], : image.shape[1]] = image
        return whole


@dataclass(frozen=True, eq=False)
class Recipe:
    """A validated synthesis, every default filled in that does not depend on the model. `Recipe.create` makes it.

    Attributes
    ----------
    level : Level
        What the output is made from, at full scale.
    sizes : tuple of (width, height)
        The sizes of the output at each level of the pyramid, coarsest first; the last is the result's.
    iterations : tuple of int
        How many iterations each level gets at most.
    seed : int
        The seed of the noise.
    losses : LossOptions
        Which losses are used, and how much each counts.
    start : {"noise", "patches"}
        What the coarsest level starts from where there is no picture to start from. Default: "noise".
    preserve_color : {"luminance", "match"}, optional
        See `pyengine.synthesize`. Default: None.
    colors : float32 (H, W, 3), optional
        The picture whose colours the result gets. Default: None, it keeps its own.
    light : float, optional
        By how much of its mean the light over an exemplar varied at most, before it was made even. Default: None, it is
        as it was.
    arguments : dict
        The arguments that the recipe was made from, with references in the place of pictures. Default: none.
    frame : Frame, optional
        The picture around what is made, if that is only a part of it; see `focused`. Default: None.
    encodings : tuple of Encoding
        How the result's maps are to be in files: as the content, the picture with a hole, or the deepest exemplar.
        Default: of one picture, 8 bits and sRGB.
    suffixes : tuple of str or None
        How the names of the files end that the exemplar's maps were read from, if they were. Default: of one picture,
        none.
    limits : tuple of Limits
        What the values of each channel are in the exemplars. Default: not known, and not needed for a picture alone.
    alpha : float32 (H, W), optional
        How opaque the result is: the content's, or that of a picture with a hole. Default: None, altogether.
    palette : Palette, optional
        The only colours that the result has. Default: None, there may be any.
    """

    level: Level = field(repr=False)
    sizes: tuple[tuple[int, int], ...]
    iterations: tuple[int, ...]
    seed: int
    losses: LossOptions
    start: Start = "noise"
    preserve_color: PreserveColor | None = None
    colors: Float32 | None = field(default=None, repr=False)
    light: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    frame: Frame | None = field(default=None, repr=False)
    encodings: tuple[Encoding, ...] = (Encoding(),)
    suffixes: tuple[str | None, ...] = (None,)
    limits: tuple[Limits, ...] = field(default=(), repr=False)
    alpha: Float32 | None = field(default=None, repr=False)
    palette: Palette | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the result in pixels.

        Examples
        --------
        >>> Recipe.create(np.zeros((64, 96, 3), np.uint8)).size
        (96, 64)
        """
        return self.sizes[-1] if self.frame is None else self.frame.size

    @property
    def grey(self) -> bool:
        """Whether the output has no colour, because nothing that it is made from has one.

        Examples
        --------
        >>> Recipe.create(np.zeros((64, 64), np.uint8)).grey
        True
        """
        around = [self.colors, None if self.frame is None else self.frame.picture]
        return self.level.grey and all(picture is None or is_grey(picture) for picture in around)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that its pictures were read from."""
        return files_of(self.arguments)

    def exemplar_sizes(self, level: int) -> list[tuple[int, int]]:
        """The (width, height) of each exemplar at a level, at which it is reduced as the output is.

        Examples
        --------
        >>> Recipe.create(np.zeros((100, 64, 3), np.uint8)).exemplar_sizes(0)
        [(32, 50)]
        """
        return [level_sizes(exemplar.size, len(self.sizes))[level] for exemplar in self.level.exemplars]

    def focused(self) -> Recipe:
        """The same for the surroundings of a hole alone, if they are less than the picture: what is run.

        Examples
        --------
        >>> hole = np.zeros((600, 800))
        >>> hole[300:310, 400:430] = 1
        >>> recipe = Recipe.create(np.zeros((600, 800, 3), np.uint8), fill=hole)
        >>> recipe.sizes[-1], recipe.focused().sizes[-1], recipe.focused().size
        ((800, 600), (286, 266), (800, 600))
        """
        left, top, right, bottom = box = self.level.surroundings
        if self.frame is not None or (right - left, bottom - top) == self.level.size:
            return self
        assert self.level.picture is not None
        given = self.arguments
        ways = _ways(given.get("augment"))
        level = replace(self.level, exemplars=self.level.exemplars[:: len(ways)]).cropped(box)
        level = replace(level, exemplars=_turned(level.exemplars, ways))
        levels, iterations = usual_plan(given, self.start)
        preset = PRESETS[given.get("method", "histogram")]
        sizes = [level.size, *(exemplar.size for exemplar in level.exemplars)]
        if isinstance(iterations, Sequence):  # one for each level
            levels = len(self.iterations)
        if levels is not None and levels > most_levels(*sizes, coarsest=LEAST_SIDE):
            return self
        planned = _planned_iterations(sizes, levels, iterations, preset, self.start)
        return replace(
            self,
            level=level,
            sizes=tuple(level_sizes(level.size, len(planned), MULTIPLE)),
            iterations=self.iterations if len(planned) == len(self.iterations) else planned,
            frame=Frame(self.level.picture, left, top),
        )

    @property
    def encoding(self) -> Encoding:
        """How the result, or its first map, is to be in a file."""
        return self.encodings[0]

    def map(self, name: str) -> Map:
        """The map of a name."""
        return next(one for one in self.level.maps if one.name == name)

    def places(self, path: str | os.PathLike[str]) -> dict[str, Path]:
        """Where the result's maps are written, by name, whose first is written to a path; see `Result.files`."""
        names = [one.name for one in self.level.maps if one.name != ALPHA]
        return places(path, dict(zip(names, self.suffixes, strict=False)))

    def within_limits(self, image: Float32) -> Float32:
        """An image (H, W, C) of which normals have unit length, and data no values that exemplars do not have."""
        if self.level.maps == PICTURE:
            return image
        image = image.copy()
        for one in self.level.maps:
            if one.kind == "normal":
                image[:, :, one.channels] = unit(image[:, :, one.channels])
            elif one.kind != "color":
                for k in range(one.first, one.first + one.count):
                    image[:, :, k] = self.limits[k].of_these(image[:, :, k])
        return image

    def finished(self, image: Float32) -> dict[str, Float32]:
        """The result's maps by name, in [0, 1], for an image of its size; a picture alone has no name.

        Data is (H, W), the others are (H, W, 3); where the first is not opaque altogether, it is (H, W, 4).
        """
        image = image.clip(0, 1)
        made = {
            one.name: np.ascontiguousarray(image[:, :, one.first] if one.kind == "data" else one.of(image))
            for one in self.level.maps
        }
        alpha = made.pop(ALPHA, self.alpha)
        if alpha is not None:
            first = next(iter(made))
            made[first] = np.dstack([made[first], alpha])
        return made

    def at(self, level: int) -> Level:
        """What the output is made from at a level of the pyramid."""
        return self.level.reduced(self.sizes[level], self.exemplar_sizes(level))

    @classmethod
    @names_checked
    def create(
        cls,
        exemplar: PictureSource | None = None,
        *,
        exemplars: Sequence[PictureSource] | None = None,
        exemplar_weights: Sequence[float] | None = None,
        augment: Sequence[Augmentation] | None = None,
        flatten_light: bool = False,
        alpha: Alpha | None = None,
        size: tuple[int, int] | int | None = None,
        fit: Fit | None = None,
        content: Source | None = None,
        content_strength: float = 1.0,
        init: PictureSource | None = None,
        start: Start | None = None,
        style_scale: float = 1.0,
        preserve_color: PreserveColor | None = None,
        palette: Keep | None = None,
        profile: ProfileUse = "srgb",
        exemplar_regions: RegionSource | Sequence[RegionSource] | None = None,
        output_regions: RegionSource | None = None,
        regions: int | None = None,
        keep: Source | None = None,
        fill: Source | None = None,
        sample_mask: Source | Sequence[Source] | None = None,
        mask_threshold: float | None = None,
        seamless: Axes | None = None,
        method: Method = "histogram",
        weights: Weights | None = None,
        structure: bool = False,
        gram_layers: Sequence[str] | None = None,
        histogram_layers: Sequence[str] | None = None,
        content_layers: Sequence[str] | None = None,
        wrap: AxesIfAny | None = None,
        padding: Beyond | None = None,
        pooling: Pooling | None = None,
        seed: int = 0,
        levels: int | None = None,
        iterations: int | Sequence[int] | None = None,
    ) -> Recipe:
        """Check the arguments of `pyengine.synthesize`, which explains them, and fill in the defaults.

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
        given = {name: value for name, value in locals().items() if name != "cls"}
        check_choice("method", method, tuple(PRESETS))
        check_choice("profile", profile, get_args(ProfileUse))
        for name in ("flatten_light", "structure"):
            check_flag(name, given[name])
        if seamless is not None:
            check_choice("seamless", seamless, get_args(Axes))
        if wrap is not None:
            check_choice("wrap", wrap, get_args(AxesIfAny))
            if seamless is not None and not {*seamless} <= {*wrap}:
                raise PyengineError(
                    f"seamless={seamless!r} with wrap={wrap!r}: what is to tile wraps round: leave wrap out"
                )
        check_palette(given)
        start = _chosen_start(given, PRESETS[method])
        losses = _loss_options(given, PRESETS[method], start)
        if fit is not None:
            check_choice("fit", fit, get_args(Fit))
            _check_fit(given)
            if not any(losses.wrap):
                raise PyengineError(f"fit={fit!r} with wrap='none': nothing has to tile: leave one of them out")
        opened = open_files(given)
        pictures = load_exemplars(opened["exemplar"], opened["exemplars"], profile)
        if isinstance(content, Mapping):
            raise PyengineError("content, a dictionary: a style transfer shows one picture: give that")
        shown = None if content is None else load_picture(opened["content"], "content", profile)
        begun = load_init(opened["init"], shown, profile)
        has_hole = seamless is not None or keep is not None or fill is not None
        if shown is not None and pictures[0].maps != PICTURE:
            raise PyengineError("content with a material's maps: a style is one picture's: give the albedo alone")
        pictures = _with_alpha(pictures, given)
        if len(pictures[0].maps) > 1:
            losses = replace(losses, kinds=(*losses.kinds, JointLoss.kind))
        pictures, shown, begun, encodings = alike(pictures, shown, begun, has_hole=has_hole)
        check_thresholds(mask_threshold, [keep, fill, sample_mask])
        follows = start == "patches"
        hole = Hole.create(
            pictures, begun, opened["keep"], opened["fill"], seamless, follows=follows, threshold=mask_threshold
        )
        if hole:
            pictures = [replace(p, opaque=hole.known) if p is hole.picture else p for p in pictures]
        pictures = sampled(pictures, opened["sample_mask"], mask_threshold)
        light = None
        if flatten_light:
            kept_picture = [] if hole is None else [replace(hole.picture, opaque=hole.known)]
            light = max(picture.light for picture in [*pictures, *kept_picture])
            pictures = [picture.flattened() for picture in pictures]
            hole = hole and hole.flattened()
        _check_hole(hole, shown)
        painting = load_regions(
            [picture.size for picture in pictures],
            opened["exemplar_regions"],
            opened["output_regions"],
            regions,
            content is None and (True if hole is None else hole.free),
        )
        natural = shown or hole or painting or begun or pictures[0]
        final = _final_size(size, natural.size, hole, painting)
        scaled = style_sizes([picture.size for picture in pictures], style_scale, final, transfer=shown is not None)
        if fit is not None:
            scaled, final = fitted(fit, pictures, scaled, final, losses.wrap)
        factors = exemplar_factors(pictures, scaled, exemplar_weights)
        made = _masked_exemplars(pictures, factors, painting)
        if palette is not None and any(one.name not in ("", ALPHA) for one in made[0].maps):
            raise PyengineError(f"palette={palette!r} with several maps: colours are kept of one picture: leave it out")
        few_colors = None if palette is None else Palette.of(made)
        names = painting.names if painting else ("",)
        _check_regions(names, made)

        background = None if shown is None else resize(shown.image, final)
        kept, free = _kept(hole, painting, background)
        colors = None
        if preserve_color is not None:
            check_choice("preserve_color", preserve_color, get_args(PreserveColor))
            if background is None:
                raise PyengineError("preserve_color without content: give the picture whose colours are to be kept")
            change = match_colors if preserve_color == "match" else match_luminance
            made = [replace(e, image=change(e.image, background)) for e in made]
            colors = background
            if preserve_color == "luminance":
                background = luminance(background)
                kept = None if kept is None else background
                begun = None if begun is None else replace(begun, image=luminance(begun.image))
        made = [e.resized(size) for e, size in zip(made, scaled, strict=True)]
        ways = _ways(augment)
        level = Level(
            final,
            _turned([replace(e, factor=e.factor / len(ways)) for e in made], ways),
            names,
            painting.output if painting else None,
            background,
            kept,
            free,
            None if hole is None else hole.needed,
            None if begun is None or hole else resize(begun.image, final),
            losses.wrap,
        )
        planned = _planned_iterations([final, *scaled], *usual_plan(given, start), PRESETS[method], start)
        check_seed(seed)
        sizes = tuple(level_sizes(final, len(planned), MULTIPLE))
        opacity = hole.alpha if hole else None if shown is None else shown.alpha
        return cls(
            level,
            sizes,
            planned,
            int(seed),
            losses,
            start,
            preserve_color,
            colors,
            light,
            without_pictures(opened),
            encodings=encodings,
            limits=() if level.maps == PICTURE else limits_of(pictures),
            suffixes=pictures[0].suffixes,
            alpha=None if opacity is None else resize(opacity, final).clip(0, 1),
            palette=few_colors,
        )

    def to_json(self) -> str:
        """The recipe as JSON, from which `from_json` makes it again: arguments by their names, pictures by path.

        Raises
        ------
        PyengineError
            A picture was given in memory, which JSON can't hold.

        Examples
        --------
        >>> Recipe.create(np.eye(20)).to_json()
        Traceback (most recent call last):
        ...
        pyengine.errors.PyengineError: exemplar is an array of float64, (20, 20), in memory, which JSON can't hold: ...
        """
        return json.dumps(to_document(self.arguments, for_result=False))

    @classmethod
    def from_json(cls, text: str, folder: str | os.PathLike[str] = ".", **overrides: Any) -> Recipe:
        """Make a recipe from JSON: what `to_json` gives, `pyengine synthesize --json` prints, or a PNG carries.

        Parameters
        ----------
        text : str
            The JSON.
        folder : str or path
            The folder of files that are named without one. Default: the current one.
        **overrides
            Arguments of `create` that count instead of those in the text; None leaves out what the text has.

        Raises
        ------
        PyengineError
            The text is no recipe; a file is missing, or has other contents than it had; or `create` refuses an
            argument.

        Examples
        --------
        >>> recipe = Recipe.from_json('{"recipe": {"size": [48, 32], "seed": 7}}', exemplar=np.eye(20))
        >>> recipe.sizes, recipe.seed
        (((48, 32),), 7)
        """
        check_path("folder", folder)
        known = frozenset(inspect.signature(cls.create).parameters)
        check_names(overrides, [*known, "text", "folder"])
        return cls.create(**{**from_document(text, Path(folder), overrides, known), **overrides})


def check_seed(seed: Any) -> None:
    """Raise PyengineError for what is no seed of noise.

    Examples
    --------
    >>> check_seed(-1)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: seed=-1: give a whole number from 0 to 2**128 - 1
    """
    if not is_integer(seed) or not 0 <= seed < MOST_SEEDS:
        raise PyengineError(f"seed={in_short(seed)}: give a whole number from 0 to 2**128 - 1")


Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(function: Function) -> Function:
    """Show, to `help` and to whatever else asks a running Python, each option of `Recipe.create` with its default."""
    own = inspect.signature(function)
    kinds = inspect.Parameter
    options = [p for p in inspect.signature(Recipe.create).parameters.values() if p.kind is kinds.KEYWORD_ONLY]
    positional = [p for p in own.parameters.values() if p.kind is kinds.POSITIONAL_OR_KEYWORD]
    named = [p for p in own.parameters.values() if p.kind is kinds.KEYWORD_ONLY]
    function.__signature__ = own.replace(parameters=[*positional, *options, *named])  # type: ignore[attr-defined]
    return function


def _chosen_start(given: Mapping[str, Any], preset: Preset) -> Start:
    """What the coarsest level starts from: as given, or as the method has it where nothing else is to start from."""
    start: Start | None = given["start"]
    has_hole = given["seamless"] is not None or given["keep"] is not None or given["fill"] is not None
    others = [name for name in ("content", "init") if given[name] is not None and not (has_hole and name == "init")]
    if start is None:
        return "noise" if others else preset.start
    check_choice("start", start, get_args(Start))
    if start == "patches" and others:
        raise PyengineError(f"start='patches' with {others[0]}, which is a start of its own: leave one of them out")
    return start


def _loss_options(given: Mapping[str, Any], preset: Preset, start: Start) -> LossOptions:
    content, weights = given["content"] is not None, given["weights"]
    for name, is_usual in (
        ("content_layers", given["content_layers"] is None),
        ("content_strength", is_number(given["content_strength"]) and given["content_strength"] == 1),
    ):
        if not content and not is_usual:
            raise PyengineError(f"{name} without content: give the picture whose layout is to be kept")
    if weights is None or isinstance(weights, Mapping):
        weights = {**preset.weights, **(weights or {})} or "auto"
    layers = {kind: given[f"{kind}_layers"] for kind in KINDS if given.get(f"{kind}_layers") is not None}
    # What patches put in its place must not be moved by what it is to look like; noise is left to the paper's losses.
    asked_for = {"structure": given["structure"], "content": content, "correlation": start == "patches"}
    return LossOptions(
        weights,
        layers,
        (*USUAL, *(kind for kind, is_asked_for in asked_for.items() if is_asked_for)),
        content,
        content_strength=given["content_strength"],
        wrap=_default_wrap(given, preset) if given["wrap"] is None else Wrap.of(given["wrap"]),
        padding=preset.padding if given["padding"] is None else given["padding"],
        pooling=_default_pooling(given) if given["pooling"] is None else given["pooling"],
    )


def _default_wrap(given: Mapping[str, Any], preset: Preset) -> Wrap:
    """That of the method; but a picture that is not to tile must not see what is on its opposite side."""
    if given["seamless"] is not None:
        return Wrap.of(given["seamless"])
    shows = any(given[name] is not None for name in ("content", "keep", "fill", "output_regions"))
    return NEITHER if shows else preset.wrap


def _default_pooling(given: Mapping[str, Any]) -> Pooling:
    """For transfers the maximum: what is in the null space of averages, checks and dots, grows where all is flat."""
    return "max" if given["content"] is not None and given["method"] == "histogram" else "average"


def _check_hole(hole: Hole | None, shown: Picture | None) -> None:
    if hole and shown:
        raise PyengineError(
            "content with keep, fill or seamless: to keep part of the content, paint it 0 in output_regions"
        )


def _check_fit(given: Mapping[str, Any]) -> None:
    """Raise PyengineError for what periods can't be fitted to."""
    for name in ("init", "content", "keep", "fill", "seamless", "exemplar_regions", "output_regions"):
        if given[name] is not None:
            raise PyengineError(
                f"fit={given['fit']!r} with {name}: periods fit a texture made as a whole: leave one of them out"
            )


def _final_size(size: Any, natural: tuple[int, int], hole: Hole | None, painting: Painting | None) -> tuple[int, int]:
    """The (width, height) of the result, which a hole or a layout fixes."""
    size = natural if size is None else size
    pair = (size, size) if is_integer(size) else size
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_integer, pair))):
        raise PyengineError(f"size={in_short(size)}: give (width, height) in pixels, or one number for a square")
    width, height = int(pair[0]), int(pair[1])
    if min(pair) < LEAST_SIDE or max(pair) > LARGEST_SIDE:
        raise PyengineError(
            f"size {in_short(width)}x{in_short(height)}: both sides must be {LEAST_SIDE} to {LARGEST_SIDE} pixels"
        )
    if hole and (width, height) != hole.size:
        raise PyengineError(f"size {width}x{height}: with keep, fill or seamless it is the picture's: leave it out")
    if painting and painting.size != (width, height):
        raise PyengineError(
            f"output_regions of {painting.size[0]}x{painting.size[1]} pixels: the output has "
            f"{width}x{height}: draw them at that size"
        )
    return width, height


def _kept(
    hole: Hole | None, painting: Painting | None, background: Float32 | None
) -> tuple[Float32 | None, Flags | None]:
    """The picture of which a part is kept, if any is, and where the output is made."""
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
    return kept, free


def _masked_exemplars(pictures: list[Picture], factors: list[float], painting: Painting | None) -> list[Exemplar]:
    """The exemplars at their own sizes, with what counts of each for every region."""
    made = []
    for k, (picture, factor) in enumerate(zip(pictures, factors, strict=True)):
        masks = painting.exemplars[k] if painting else None
        image, known = picture.image, picture.opaque
        if known is not None and not known.all():
            image = fill_by_reflection(image, known)
            masks = known[None].astype(np.float32) if masks is None else masks * known
        made.append(Exemplar(image, masks, factor, picture.maps))
    return made


def _with_alpha(pictures: list[Picture], given: Mapping[str, Any]) -> list[Picture]:
    """The exemplars with opacity as a map, if it is to be made."""
    set_out = ("content", "keep", "fill", "seamless", "init", "output_regions")
    others = [name for name in set_out if given[name] is not None]
    alpha = given["alpha"]
    if alpha is not None:
        check_choice("alpha", alpha, get_args(Alpha))
    if alpha == "synthesize" and others:
        raise PyengineError(f"alpha='synthesize' with {others[0]}: opacity is made in textures: leave one of them out")
    made = alpha == "synthesize" or (alpha is None and not others)
    if not made or all(picture.alpha is None for picture in pictures):
        return pictures
    return [picture.with_alpha() for picture in pictures]


def _ways(augment: Any) -> list[tuple[int, bool]]:
    """What flips and turns make of an exemplar: quarters of a turn, and whether mirrored first; itself is the first."""
    asked_for = () if augment is None else augment
    allowed = get_args(Augmentation)
    if not isinstance(asked_for, (list, tuple)) or not all(
        isinstance(name, str) and name in allowed for name in asked_for
    ):
        raise PyengineError(
            f"augment={in_short(augment)}: give a list of {' and '.join(map(repr, allowed))}, or of one of them"
        )
    turns = range(4) if "turns" in asked_for else (0, 2) if "flips" in asked_for else (0,)
    return [
        (quarters, mirrored) for quarters in turns for mirrored in ((False, True) if "flips" in asked_for else (False,))
    ]


def _turned(exemplars: Sequence[Exemplar], ways: Sequence[tuple[int, bool]]) -> tuple[Exemplar, ...]:
    """What each of the ways makes of each exemplar, one exemplar's after the other's."""
    return tuple(e.turned(quarters, mirrored=mirrored) for e in exemplars for quarters, mirrored in ways)


def _check_regions(names: tuple[str, ...], exemplars: list[Exemplar]) -> None:
    """Raise PyengineError for a region of which no exemplar has a pixel that counts."""
    for region, name in enumerate(names):
        found = [(e.factor, e.coverage(region)) for e in exemplars]
        if not any(factor and (coverage is None or coverage.any()) for factor, coverage in found):
            raise PyengineError(
                f"region {name}: all of it is transparent, in the hole, black in sample_mask, or of no weight by "
                "exemplar_weights"
            )


def _planned_iterations(
    sizes: list[tuple[int, int]], levels: Any, iterations: Any, preset: Preset, start: Start
) -> tuple[int, ...]:
    """How many iterations at each level of a pyramid for images of these (width, height)s."""
    most = most_levels(*sizes, coarsest=LEAST_SIDE)
    if levels is None:
        levels = preset.levels or default_levels(start, *sizes)
    elif not is_integer(levels) or not 1 <= levels <= most:
        raise PyengineError(
            f"levels={in_short(levels)}: give 1 to {most}; the coarsest level's sides must be at least {LEAST_SIDE}"
        )
    if iterations is None:
        iterations = preset.iterations or default_iterations(levels, start)
    levels = int(levels)
    planned = equal_iterations(iterations, levels, start) if is_integer(iterations) else iterations
    if isinstance(planned, np.ndarray):
        planned = planned.tolist()
    if (
        not isinstance(planned, Sequence)
        or len(planned) != levels
        or not all(is_integer(n) and n >= 0 for n in planned)
    ):
        raise PyengineError(
            f"iterations={in_short(planned)}: give one number, or {levels} of them, one a level, coarsest first"
        )
    return tuple(int(n) for n in planned)
