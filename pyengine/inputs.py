"""The pictures that a recipe is made from, as they were given: read, checked, and brought to size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pyengine.arrays import Float32
from pyengine.checks import is_number
from pyengine.errors import PyengineError, in_short
from pyengine.images.encoding import DEPTHS, Encoding, shared, under
from pyengine.images.labels import check_threshold, load_flags
from pyengine.images.masks import band, fill_by_reflection
from pyengine.images.reading import ProfileUse, Source
from pyengine.maps import PICTURE
from pyengine.network.graphs import LEAST_SIDE
from pyengine.periods import find_lattice
from pyengine.pictures import Flags, Picture, PictureSource, load_picture
from pyengine.wrap import Axes, Wrap

LARGEST_SIDE = 16383
"""How many pixels a side may have: as many as a WebP file can hold."""

LARGEST_SCALE = 8.0
"""The largest `style_scale`."""

BAND_SHARE = 8
"""With `seamless`, how many times the width of the band that is made again at each border the shorter side is."""

Fit = Literal["size", "scale"]


def alike(
    exemplars: list[Picture], content: Picture | None, init: Picture | None, *, has_hole: bool
) -> tuple[list[Picture], Picture | None, Picture | None, tuple[Encoding, ...]]:
    """Pictures in which equal values of files are equal, and how what is made of them is to be in files, by map.

    That is as the content is, or the picture with a hole, or else the deepest exemplar.

    Raises
    ------
    PyengineError
        Their maps differ, or their profiles do, which happens only where they are kept.
    """
    given = [p for p in (*exemplars, content, init) if p is not None]
    colored = {one.name for picture in given for one in picture.maps if one.kind == "color" and one.count == 3}
    exemplars = [picture.in_color(colored) for picture in exemplars]
    content, init = (None if picture is None else picture.in_color(colored) for picture in (content, init))
    pictures = [*exemplars, *(p for p in (content, init) if p is not None)]
    if len({picture.encoding.profile for picture in pictures}) > 1:
        raise PyengineError(
            "profile='keep': the pictures have different colour profiles: convert them to one, or leave profile out"
        )
    maps = exemplars[0].maps
    if any(picture.maps != maps for picture in pictures):
        raise PyengineError(
            f"exemplars of {_maps_of(exemplars[0])} beside a picture of "
            f"{_maps_of(next(p for p in pictures if p.maps != maps))}: give all of them the same maps"
        )
    encodings = []
    for k, one in enumerate(maps):
        deepest = max(exemplars, key=lambda picture: DEPTHS.index(picture.encodings[k].depth))
        natural = (content or (init if has_hole else None) or deepest).encodings[k]
        if one.kind != "normal":  # whose values are the same vectors under every curve
            natural = replace(natural, curve=shared([p.encodings[k].curve for p in pictures], natural.curve))
        encodings.append(natural)
    made: dict[int, Picture] = {}  # the init may be the content

    curves = [encoding.curve for encoding in encodings]

    def brought(picture: Picture) -> Picture:
        own = [encoding.curve for encoding in picture.encodings]
        if own == curves:
            return picture
        parts = [
            picture.image[:, :, one.channels]
            if one.kind == "normal"
            else under(picture.image[:, :, one.channels], *pair)
            for one, *pair in zip(maps, own, curves, strict=True)
        ]
        return made.setdefault(id(picture), replace(picture, image=np.concatenate(parts, axis=2)))

    content, init = (None if picture is None else brought(picture) for picture in (content, init))
    return [brought(picture) for picture in exemplars], content, init, tuple(encodings)


def _maps_of(picture: Picture) -> str:
    if picture.maps == PICTURE:
        return "colours alone"
    return " and ".join(repr(one.name) if one.name else "colours" for one in picture.maps)


def load_exemplars(exemplar: PictureSource | None, exemplars: Any, profile: ProfileUse) -> list[Picture]:
    """Read the only exemplar, or all of several."""
    if (exemplar is None) == (exemplars is None):
        raise PyengineError("give either one exemplar, or a list of exemplars")
    if exemplar is not None:
        return [load_picture(exemplar, "exemplar", profile)]
    if not isinstance(exemplars, (list, tuple)) or not exemplars:
        raise PyengineError(f"exemplars, a {type(exemplars).__name__}: give a list of at least one picture")
    return [load_picture(source, f"exemplars[{k}]", profile) for k, source in enumerate(exemplars)]


def load_init(init: Any, content: Picture | None, profile: ProfileUse) -> Picture | None:
    """Read the picture to start from; None for noise."""
    if init is None:
        return content
    if isinstance(init, str) and init == "noise":
        return None
    if isinstance(init, str) and init == "content":
        if content is None:
            raise PyengineError("init='content' without content: give the picture to start from")
        return content
    return load_picture(init, "init", profile)


def exemplar_factors(pictures: list[Picture], sizes: list[tuple[int, int]], weights: Any) -> list[float]:
    """How much a pixel of each exemplar counts: alike, or so that exemplars count as much as their weights say."""
    if weights is None:
        return [1.0] * len(pictures)
    if isinstance(weights, np.ndarray):
        weights = weights.tolist()
    if not isinstance(weights, (list, tuple)) or len(weights) != len(pictures):
        raise PyengineError(
            f"exemplar_weights={in_short(weights)}: give a list of {len(pictures)}, one for each exemplar"
        )
    if not all(is_number(w) and 0 <= w < float("inf") for w in weights) or not any(weights):
        raise PyengineError(f"exemplar_weights={in_short(weights)}: give numbers that are not negative, and not all 0")
    largest = max(float(w) for w in weights)
    # Only ratios count; of these, neither sums nor parts leave the range of a float.
    weights = [float(w) / largest for w in weights]
    opaque = [1.0 if picture.opaque is None else float(picture.opaque.mean()) for picture in pictures]
    pixels = [share * width * height for share, (width, height) in zip(opaque, sizes, strict=True)]
    return [w / n * sum(pixels) / sum(weights) for w, n in zip(weights, pixels, strict=True)]


def style_sizes(
    own: list[tuple[int, int]], scale: Any, final: tuple[int, int], *, transfer: bool
) -> list[tuple[int, int]]:
    """The (width, height) at which each exemplar is measured.

    A style is seen at the content's scale: a larger picture is reduced to the output's area.

    Examples
    --------
    >>> style_sizes([(64, 64)], 1.0, (32, 32), transfer=True), style_sizes([(64, 64)], 2.0, (32, 32), transfer=False)
    ([(32, 32)], [(128, 128)])
    """
    if not is_number(scale) or not 0 < scale <= LARGEST_SCALE:
        raise PyengineError(f"style_scale={in_short(scale)}: give a number above 0, and at most {LARGEST_SCALE:g}")
    sizes = []
    for width, height in own:
        fit = min(1.0, (final[0] * final[1] / (width * height)) ** 0.5) if transfer else 1.0
        sizes.append((round(width * fit * scale), round(height * fit * scale)))
        _check_measured(f"style_scale={in_short(scale)}", (width, height), sizes[-1])
    return sizes


def _check_measured(why: str, own: tuple[int, int], size: tuple[int, int]) -> None:
    if min(size) < LEAST_SIDE or max(size) > LARGEST_SIDE:
        raise PyengineError(
            f"{why}: an exemplar of {own[0]}x{own[1]} pixels would be measured at {size[0]}x{size[1]}; "
            f"both sides must be {LEAST_SIDE} to {LARGEST_SIDE}"
        )


def fitted(
    fit: Fit, pictures: list[Picture], scaled: list[tuple[int, int]], final: tuple[int, int], wrap: Wrap
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """The sizes at which exemplars are measured, and the output's, of which one is changed so that periods fit.

    They are those of the first exemplar that has any; where none has, nothing changes. They fit where the output wraps
    round.

    Raises
    ------
    PyengineError
        Exemplars would have to be scaled by more than a tenth.
    """
    found = (
        (picture, size, find_lattice(picture.guide, picture.opaque))
        for picture, size in zip(pictures, scaled, strict=True)
    )
    for picture, size, lattice in found:
        if lattice is None:
            continue
        lattice = lattice.scaled(size[0] / picture.size[0], size[1] / picture.size[1])
        if fit == "size":
            return scaled, lattice.fitting_size(final, LEAST_SIDE, wrap)
        x, y = lattice.fitting_scale(final, wrap)
        if not lattice.may_be_scaled(final, wrap):
            width, height = lattice.fitting_size(final, LEAST_SIDE, wrap)
            raise PyengineError(
                f"fit='scale': for whole periods in {final[0]}x{final[1]}, the exemplar would be scaled by {x:.2f} in "
                f"width and {y:.2f} in height, and a tenth is the most: give fit='size', which makes it "
                f"{width}x{height}, or another size"
            )
        sizes = [(round(x * width), round(y * height)) for width, height in scaled]
        for one, changed in zip(pictures, sizes, strict=True):
            _check_measured(f"fit={fit!r}", one.size, changed)
        return sizes, final
    return scaled, final


@dataclass(frozen=True, eq=False)
class Hole:
    """A picture of which only a part is made.

    Attributes
    ----------
    picture : Picture
        The picture as it was given.
    image : float32 (H, W, 3)
        The picture, continued to where it is not known.
    known : bool (H, W)
        Where the picture may be measured.
    free : bool (H, W)
        Where the output is made: what is not known, and with `seamless` also a band at borders.
    needed : bool (H, W), optional
        Where it has to be: of a band that may follow the picture's contours, the part at the borders. None for all.
    alpha : float32 (H, W), optional
        How opaque the output is: altogether where a mask has it made, and else as the picture. None for all of it.
    """

    picture: Picture
    image: Float32
    known: Flags
    free: Flags
    needed: Flags | None
    alpha: Float32 | None

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) in pixels."""
        return self.picture.size

    def flattened(self) -> Hole:
        """The same in a picture under even light."""
        picture = replace(self.picture, opaque=self.known).flattened()
        return replace(self, picture=picture, image=fill_by_reflection(picture.image, self.known))

    @classmethod
    def create(
        cls,
        pictures: list[Picture],
        init: Picture | None,
        keep: Source | None,
        fill: Source | None,
        seamless: Axes | None,
        *,
        follows: bool,
        threshold: float | None = None,
    ) -> Hole | None:
        """The hole in `init`, or else in the only exemplar; None where none is asked for.

        With `follows`, the band of `seamless` is half as wide to half as wide again, as the picture's contours have it.
        The masks are white above a threshold, if there is one.
        """
        if keep is None and fill is None and seamless is None:
            return None
        if keep is not None and fill is not None:
            raise PyengineError("keep and fill: give one of them, they say the same")
        if init is None and len(pictures) > 1:
            raise PyengineError("keep, fill or seamless with several exemplars: give the picture to keep as init")
        picture = init or pictures[0]
        shape = picture.image.shape[:2]
        known = np.ones(shape, np.bool_) if picture.opaque is None else picture.opaque
        alpha = picture.alpha
        if isinstance(fill, str) and fill == "alpha":
            if picture.opaque is None:
                raise PyengineError("fill='alpha': the picture has no transparent pixels: give a mask")
            alpha = None
        elif fill is not None or keep is not None:
            kept = (
                _selected(keep, "keep", shape, threshold)
                if fill is None
                else ~_selected(fill, "fill", shape, threshold)
            )
            known = known & kept
            alpha = None if alpha is None else np.where(kept, alpha, np.float32(1))
        free = ~known
        needed = None
        if seamless is not None:
            axes, width = Wrap.of(seamless), max(min(shape) // BAND_SHARE, 1)
            if follows:
                needed = free | band(shape, max(width // 2, 1), axes)
                width += width // 2
            free = free | band(shape, width, axes)
        if not free.any():
            raise PyengineError("nothing is to be filled: white is filled with fill, black with keep")
        if not known.any():
            raise PyengineError("nothing is to be kept: white is filled with fill, black with keep")
        return cls(picture, fill_by_reflection(picture.image, known), known, free, needed, alpha)


def seamless_band(shape: tuple[int, ...], seamless: Axes) -> Flags:
    """What `seamless` makes again of a picture of this (height, width): bool (H, W).

    Examples
    --------
    >>> int(seamless_band((16, 18), "xy").sum()), int(seamless_band((16, 18), "x").sum())
    (120, 64)
    """
    height, width = shape
    return band((height, width), max(min(shape) // BAND_SHARE, 1), Wrap.of(seamless))


def sampled(pictures: list[Picture], masks: Any, threshold: float | None) -> list[Picture]:
    """The same exemplars, of which what is black in masks is measured as little as what is transparent.

    Parameters
    ----------
    pictures : list of Picture
    masks : mask, or with several exemplars a sequence of one for each; optional
        None for all of the exemplars.
    threshold : float, optional
        The level above which masks are white; see `labels.load_flags`.

    Raises
    ------
    PyengineError
        A mask that can't be read or is of another size, or as many as there are exemplars not; or nothing is white.

    Examples
    --------
    >>> left = np.arange(20)[None].repeat(20, axis=0) < 10
    >>> (picture,) = sampled([load_picture(np.zeros((20, 20)), "exemplar")], left, None)
    >>> float(picture.opaque.mean())
    0.5
    """
    if masks is None:
        return pictures
    if len(pictures) == 1 and not isinstance(masks, (list, tuple)):
        masks = [masks]
    if not isinstance(masks, (list, tuple)) or len(masks) != len(pictures):
        raise PyengineError(f"sample_mask: give a list of {len(pictures)}, one for each exemplar")
    found = []
    for k, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        name = "sample_mask" if len(masks) == 1 else f"sample_mask[{k}]"
        measured = _selected(mask, name, picture.image.shape[:2], threshold)
        if picture.opaque is not None:
            measured &= picture.opaque
        if not measured.any():
            raise PyengineError(f"{name}: nothing is left to measure: paint what is to be measured white")
        found.append(replace(picture, opaque=measured))
    return found


def check_thresholds(threshold: Any, masks: Sequence[Any]) -> None:
    """Raise PyengineError for a threshold that can't be used, or where there is no mask to use it for."""
    if threshold is None:
        return
    check_threshold(threshold)
    if all(mask is None for mask in masks):
        raise PyengineError("mask_threshold without keep, fill or sample_mask: give the mask that it is for")


def _selected(source: Source | None, name: str, shape: tuple[int, ...], threshold: float | None) -> Flags:
    """Read a mask, and say where it is white rather than black."""
    assert source is not None
    mask = load_flags(source, name, threshold)
    if mask.shape != shape:
        raise PyengineError(
            f"{name} of {mask.shape[1]}x{mask.shape[0]} pixels: the picture has {shape[1]}x{shape[0]}, so must it"
        )
    return mask
