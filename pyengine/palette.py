"""An exemplar's own few colours, and no others, for pixel art: `palette="keep"`.

A picture that was optimised has other colours, and the nearest ones of a palette, pixel by pixel, make noise of it. So
pixels agree on them as in texture optimisation (Kwatra et al. 2005), in whole colours: each patch of the picture looks
for the exemplar's patch that is most like it, each pixel takes the colour that most of the patches over it have there,
and so on until they agree: what is left is made of the exemplar's own edges, outlines and highlights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.checks import check_choice
from pyengine.errors import PyengineError
from pyengine.images.masks import Flags, dilate
from pyengine.kernels import Kernels
from pyengine.level import Exemplar, Level
from pyengine.pyramid import Start
from pyengine.sources import COUNTS
from pyengine.wrap import Wrap

Keep = Literal["keep"]
"""What may become of an exemplar's palette."""

Codes = npt.NDArray[np.int16]

MOST_COLORS = 256
"""Colours of a palette, at most: as many as a file's palette may have."""

SIDES = (9, 7, 5)
"""Pixels on a side of the patches, one after the other. With 7 alone, thin lines end; with 5 alone, bricks get longer
than any of the exemplar's, and with 7 and 5 now and then; with 3, single pixels stay that mean nothing."""

ROUNDS = 6
"""How often pixels of patches of a side agree, at most: after four, one in two thousand changes."""

FALLOFF = 2.0
"""A patch's side over the standard deviation of the Gaussian by which its pixels have a say."""

WORK = 2**38
"""Multiplications of a search, at most: of more, fewer of the exemplars' patches are looked at, evenly spread. That is
512x512 pixels of a 64x64 exemplar, with the largest patches."""

ITERATIONS = 20
"""Iterations after a layout at full size, where it isn't said how many: they close what gapes between its patches, and
more of them only add colours that are taken away again."""

AT_A_TIME = 2**14
"""Patches that are in memory at a time."""

LOSSY = ("JPEG", "HDR", "AVIF")
"""Formats of files, by their names in `formats.FORMATS`, that don't keep colours exactly."""


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours of exemplars, and where they are.

    Attributes
    ----------
    colors : float32 (K, C)
        In [0, 1], of all the channels that a picture has: opacity is a part of a colour.
    exemplars : tuple of int16 (h, w)
        Which of the colours; -1 where a pixel does not count.
    """

    colors: Float32
    exemplars: tuple[Codes, ...] = field(repr=False)

    @classmethod
    def of(cls, exemplars: Sequence[Exemplar]) -> Palette:
        """Those of the pixels that count, for any region.

        Raises
        ------
        PyengineError
            There are too many for a palette.

        Examples
        --------
        >>> board = (np.indices((16, 16)).sum(0) % 2).astype(np.float32)[:, :, None].repeat(3, axis=2)
        >>> palette = Palette.of([Exemplar(board)])
        >>> palette.colors.tolist(), palette.exemplars[0][:2, :4].tolist()
        ([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [[0, 1, 0, 1], [1, 0, 1, 0]])
        """
        counts = [
            np.ones(e.image.shape[:2], np.bool_) if e.masks is None else (e.masks > COUNTS).any(axis=0)
            for e in exemplars
        ]
        pixels = np.concatenate([e.image[there] for e, there in zip(exemplars, counts, strict=True)])
        colors, codes = np.unique(pixels, axis=0, return_inverse=True)
        if len(colors) > MOST_COLORS:
            raise PyengineError(
                f"palette='keep': the exemplar has {len(colors)} colours, and {MOST_COLORS} are the most: give one of "
                "fewer, such as a PNG that never was a JPEG"
            )
        placed = []
        for there, own in zip(counts, np.split(codes.ravel(), np.cumsum([c.sum() for c in counts])[:-1]), strict=True):
            code = np.full(there.shape, -1, np.int16)
            code[there] = own
            placed.append(code)
        return cls(colors, tuple(placed))

    def applied(self, image: Float32, level: Level, kernels: Kernels) -> Float32:
        """The picture of a level in these colours, but for what is kept, which stays as it is.

        Parameters
        ----------
        image : float32 (H, W, C)
        level : Level
            Of the picture's size.
        kernels : Kernels
            Active.

        Examples
        --------
        >>> from pyengine.kernels.cpu import CpuKernels
        >>> board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((2, 2)))[:, :, None].repeat(3, axis=2)
        >>> noisy = (0.5 * board + np.random.default_rng(0).uniform(0, 0.5, board.shape)).astype(np.float32)
        >>> palette = Palette.of([Exemplar(board.astype(np.float32))])
        >>> applied = palette.applied(noisy, Level((16, 16), ()), CpuKernels(threads=1))
        >>> bool((applied == board).all())
        True
        """
        looks = perceived(self.colors)
        wanted, colors = perceived(image).reshape(-1, looks.shape[1]), kernels.upload(np.ascontiguousarray(looks.T))
        pieces = np.array_split(wanted, -(-len(wanted) // AT_A_TIME))
        nearest = [kernels.nearest(kernels.upload(np.ascontiguousarray(p.T)), colors)[0] for p in pieces]
        codes = np.concatenate([kernels.download(n) for n in nearest]).astype(np.int16).reshape(image.shape[:2])
        for side in SIDES:
            codes = self._agreed(codes, side, looks, level, kernels)
        return level.keep(self.colors[codes])

    def _agreed(self, codes: Codes, side: int, looks: Float32, level: Level, kernels: Kernels) -> Codes:
        """The colours (H, W) on which the patches of a side agree."""
        shown = self._patches(side, codes.size)
        if not len(shown):
            return codes
        sources = kernels.upload(np.ascontiguousarray(looks[shown].reshape(len(shown), -1).T))
        reach = side // 2
        height, width = codes.shape
        found = np.zeros(codes.size, np.intp)
        asked = np.ones(codes.shape, np.bool_)
        for _ in range(ROUNDS):
            windows = _windows(level.wrap.pad(codes, reach, "reflect"), side)
            where = np.flatnonzero(asked)
            for piece in np.array_split(where, -(-len(where) // AT_A_TIME)):
                queries = looks[windows[piece // width, piece % width]].reshape(len(piece), -1)
                numbers, _ = kernels.nearest(kernels.upload(np.ascontiguousarray(queries.T)), sources)
                found[piece] = kernels.download(numbers)
            voted = self._voted(found.reshape(height, width), shown, side, wrap=level.wrap)
            if level.free is not None:
                voted = np.where(level.free, voted, codes)
            changed: Flags = voted != codes
            if not changed.any():
                break
            codes, asked = voted, dilate(changed.astype(np.float32), reach, wrap=level.wrap) > 0
        return codes

    def _patches(self, side: int, pixels: int) -> Codes:
        """The exemplars' patches (N, side * side) of which all pixels count, for a picture of so many pixels."""
        shown = [_windows(codes, side).reshape(-1, side * side) for codes in self.exemplars if min(codes.shape) >= side]
        counting = [np.flatnonzero((patches >= 0).all(axis=1)) for patches in shown]
        total = sum(map(len, counting))
        step = max(-(-total * pixels * self.colors.shape[1] * side * side // WORK), 1)
        none = np.zeros((0, side * side), np.int16)
        return np.concatenate([none, *(p[c[::step]] for p, c in zip(shown, counting, strict=True))])

    def _voted(self, found: npt.NDArray[np.intp], shown: Codes, side: int, *, wrap: Wrap) -> Codes:
        """The colour (H, W) that most of the patches over a pixel have there, by which of the sources these are."""
        height, width = found.shape
        reach, count = side // 2, len(self.colors)
        around = wrap.pad(found + 1, reach, "constant") - 1
        offsets = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
        says = np.exp(-np.array([y * y + x * x for y, x in offsets]) / 2 * (FALLOFF / side) ** 2)
        voted = np.empty((height, width), np.int16)
        rows = max(AT_A_TIME // width, 1)
        for top in range(0, height, rows):
            high = min(rows, height - top)
            votes = np.zeros(high * width * count)
            own = np.arange(high * width) * count
            for k, (y, x) in enumerate(offsets):
                patches = around[top + reach - y :, reach - x :][:high, :width].ravel()
                votes[own + shown[patches, k]] += says[k] * (patches >= 0)
            voted[top : top + high] = votes.reshape(high, width, count).argmax(axis=2)
        return voted


def check_format(name: str, path: str) -> None:
    """Warn of a file in a format that does not keep colours exactly.

    Examples
    --------
    >>> check_format("PNG", "out.png")
    """
    if name in LOSSY:
        warnings.warn(f"{path}: {name} does not keep the palette's colours exactly: write a PNG", stacklevel=3)


def check_palette(given: Mapping[str, Any]) -> None:
    """Raise PyengineError for a palette that can't be kept."""
    if given["palette"] is None:
        return
    check_choice("palette", given["palette"], get_args(Keep))
    for name, usual in (("flatten_light", False), ("preserve_color", None), ("style_scale", 1)):
        if given[name] != usual:
            raise PyengineError(f"palette='keep' with {name}, which makes other colours: leave one of them out")
    if given["fit"] == "scale":
        raise PyengineError("palette='keep' with fit='scale', which makes other colours: give fit='size'")


def usual_plan(given: Mapping[str, Any], start: Start) -> tuple[Any, Any]:
    """The levels and iterations that are asked for, or those that are usual for a palette that is kept.

    A layout at full size is one of the exemplar's own pixels; from half the size, they would all be new.

    Examples
    --------
    >>> usual_plan({"palette": "keep"}, "patches"), usual_plan({"palette": "keep", "levels": 2}, "patches")
    ((1, 20), (2, None))
    """
    levels, iterations = given.get("levels"), given.get("iterations")
    if given.get("palette") is None or start != "patches" or levels is not None or isinstance(iterations, Sequence):
        return levels, iterations
    return 1, ITERATIONS if iterations is None else iterations


def perceived(colors: Float32) -> Float32:
    """Colours of sRGB (..., C) in [0, 1] as lightness and two hues, in which distances are as they are seen.

    That is Oklab (Ottosson 2020). What there is beyond three channels, such as opacity, stays as it is; and so does all
    where there are fewer.

    Examples
    --------
    >>> perceived(np.float32([[1, 1, 1, 1], [0, 0, 0, 0.5]])).round(3).tolist()
    [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.5]]
    """
    if colors.shape[-1] < 3:
        return colors
    rgb = colors[..., :3].clip(0, 1).astype(np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (np.cbrt(linear @ _CONES) @ _OPPONENTS).astype(np.float32)
    return np.concatenate([seen, colors[..., 3:]], axis=-1)


_CONES = np.array(
    [
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ]
)


def _windows(values: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """The squares (H - side + 1, W - side + 1, side, side) of a map."""
    return np.lib.stride_tricks.sliding_window_view(values, (side, side))
