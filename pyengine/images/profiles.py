"""ICC profiles of a matrix and curves, such as cameras' and displays': exact, where LittleCMS in Pillow has 8 bits."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.images.encoding import ROWS, Linear

Space: TypeAlias = Literal["RGB", "L"]
"""Pillow's names of the colour spaces that profiles here are of."""

SAME = 1 / 255
"""By how much a profile's colours may differ from sRGB's and be taken for them: an 8-bit level, and at most in the
darkest. Many profiles call themselves sRGB, each rounded in its own way."""

OUTSIDE = 2e-3
"""By how much a colour is beyond [0, 1] that is said to be outside sRGB: half an 8-bit level."""

# The primaries of LittleCMS's sRGB, which is written into files, adapted to D50: rows are X, Y and Z.
_SRGB = np.array([[28576, 25239, 9375], [14581, 46983, 3972], [912, 6361, 46787]]) / 65536

# How many numbers a parametric curve of each kind has; ICC.1:2022, 10.18.
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}

_Curve: TypeAlias = Callable[[Float64], Float64]


@dataclass(frozen=True, eq=False)
class Profile:
    """A profile, and how its colours become sRGB's.

    Attributes
    ----------
    content : bytes
    space : {"RGB", "L"}
        Of colours or of grey.
    curves : tuple of callables, optional
        What makes light of each channel's values. Default: None, it is by tables, which are not read here.
    matrix : (3, 3), optional
        What makes linear sRGB of light of red, green and blue. Default: None, of grey.
    """

    content: bytes = field(repr=False)
    space: Space
    curves: tuple[_Curve, ...] | None = None
    matrix: Float64 | None = None

    @classmethod
    def read(cls, content: bytes) -> Profile | None:
        """A profile of colours or grey; None if it is of neither, or damaged.

        Examples
        --------
        >>> Profile.read(srgb_profile()).is_srgb, Profile.read(b"no profile")
        (True, None)
        """
        space: Space | None = {b"RGB ": "RGB", b"GRAY": "L"}.get(content[16:20])  # type: ignore[assignment]
        if space is None or content[36:40] != b"acsp":
            return None
        names = ("rTRC", "gTRC", "bTRC") if space == "RGB" else ("kTRC",)
        with suppress(struct.error, KeyError, ValueError, ZeroDivisionError):
            tags = _tags(content)
            if content[20:24] == b"XYZ " and names[0].encode() in tags:
                curves = tuple(_curve(tags[name.encode()]) for name in names)
                if space == "L":
                    return cls(content, space, curves)
                columns = [struct.unpack(">3i", tags[f"{channel}XYZ".encode()][8:20]) for channel in "rgb"]
                matrix = np.linalg.inv(_SRGB) @ (np.array(columns, np.float64).T / 65536)
                return cls(content, space, curves, matrix)
            return cls(content, space) if b"A2B0" in tags else None
        return None

    @property
    def is_srgb(self) -> bool:
        """Whether it changes nothing that shows."""
        if self.curves is None:
            return False
        steps = np.linspace(0, 1, 33, dtype=np.float32)
        if self.space == "L":
            shown = steps[:, None, None]
        else:
            shown = np.stack(np.meshgrid(steps[::4], steps, steps[::4], indexing="ij"), -1)
        before = shown.copy()
        self.to_srgb(shown)
        return bool(np.abs(shown - before).max() < SAME)

    def to_srgb(self, colors: Float32) -> float:
        """Convert colours (H, W, 1 or 3) in place; those outside sRGB become the nearest values in it.

        Returns
        -------
        float
            The share of the pixels that were outside.
        """
        assert self.curves is not None
        outside = 0
        for row in range(0, len(colors), ROWS):
            part = colors[row : row + ROWS].astype(np.float64)
            light = np.stack([curve(part[..., k]) for k, curve in enumerate(self.curves)], -1)
            light = np.nan_to_num(light.clip(0, 1))
            if self.matrix is not None:
                light = light @ self.matrix.T
            shown = Linear().encode(light.astype(np.float32))
            outside += int(((shown < -OUTSIDE) | (shown > 1 + OUTSIDE)).any(-1).sum())
            colors[row : row + ROWS] = shown.clip(0, 1)
        return float(outside / (colors.size / colors.shape[-1]))


def _tags(content: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", content, 128)
    found = {}
    for entry in range(132, min(132 + 12 * count, len(content)), 12):
        name, start, length = struct.unpack_from(">4sII", content, entry)
        found[name] = content[start : start + length]
    return found


def _curve(tag: bytes) -> _Curve:
    """What a curve's tag says."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        numbers = [number / 65536 for number in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
        return _parametric(kind, numbers)
    if tag[:4] != b"curv":
        raise ValueError(tag[:4])
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return lambda x: x
    table = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
    if count == 1:
        return lambda x: x ** (table[0] / 256)
    return lambda x: np.interp(x, np.linspace(0, 1, count), table / 65535)


def _parametric(kind: int, numbers: list[float]) -> _Curve:
    g, a, b, c, d, e, f = [*numbers, *[0.0] * (7 - len(numbers))]
    if kind == 0:
        a = 1
    elif kind in (1, 2):
        c, d, e, f = 0, -b / a, c, c

    def light(x: Float64) -> Float64:
        with np.errstate(all="ignore"):
            curved = np.maximum(a * x + b, 0) ** g + e
        values: Float64 = np.where(x >= d, curved, c * x + f)
        return values

    return light


@cache
def srgb_profile() -> bytes:
    """SRGB's profile, the same bytes always.

    Examples
    --------
    >>> srgb_profile()[36:40]
    b'acsp'
    """
    from PIL import ImageCms

    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return content[:24] + bytes(12) + content[36:]  # without the date
