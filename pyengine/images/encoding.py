"""What a picture's file says besides its pixels: depth, channels, profile, resolution, and what its values mean.

A curve leads from a file's values to the engine's, which are in [0, 1] and as a display shows them, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from pyengine.arrays import Float32, Float64

Depth: TypeAlias = Literal[8, 16, "half", "float"]
"""How a file holds a value: as an integer of so many bits, or as a floating-point number of 16 or 32 bits."""

DEPTHS: tuple[Depth, ...] = (8, 16, "half", "float")

HELD_BY: dict[Depth, tuple[Depth, ...]] = {
    8: (8, 16, "half", "float"),
    16: (16, "float"),
    "half": ("half", "float"),
    "float": ("float",),
}
"""The depths that hold all that one holds, the least first."""

ROWS = 64
"""Rows that are computed with at once, in float64."""

LEAST_KNEE = 1e-6
"""The least knee of a logarithmic curve, as a part of the greatest value: float32 has not many more digits."""


DARK = 0.02
"""The share of a picture's values that are below the knee of its logarithmic curve. Of 0.02, 0.05 and 1/2, the least
keeps the shares of values by decades best, in textures of four pictures."""

SAMPLED = 2**20
"""Values by which that is told, at most about twice as many: it is wanted to a digit or two."""


@dataclass(frozen=True)
class Display:
    """Values as a display shows them, by sRGB's transfer function or a profile's: they are the engine's."""

    def encode(self, values: Float32) -> Float32:
        """The engine's values for a file's."""
        return values

    def decode(self, image: Float32) -> Float32:
        """The file's values for the engine's."""
        return image


@dataclass(frozen=True)
class Data:
    """Values that are no light, such as heights: the engine's are in proportion.

    Attributes
    ----------
    low, high : float
        The file's values that are the engine's 0 and 1. Default: 0 and 1.

    Examples
    --------
    >>> Data(-1, 3).encode(np.float32([[-1, 0, 3]])), Data(-1, 3).decode(np.float32([[0, 0.25, 1]]))
    (array([[0.  , 0.25, 1.  ]], dtype=float32), array([[-1.,  0.,  3.]], dtype=float32))
    """

    low: float = 0.0
    high: float = 1.0

    def encode(self, values: Float32) -> Float32:
        """The engine's values for a file's."""
        return values if self == Data() else _by_rows(values, lambda v: (v - self.low) / (self.high - self.low))

    def decode(self, image: Float32) -> Float32:
        """The file's values for the engine's."""
        return image if self == Data() else _by_rows(image, lambda x: self.low + x * (self.high - self.low))


@dataclass(frozen=True)
class Linear:
    """Values in proportion to light, in [0, 1]: the engine's are sRGB's transfer function of them.

    Examples
    --------
    >>> Linear().encode(np.float32([[0, 0.2140, 1]])).round(3), Linear().decode(np.float32([[0, 0.5, 1]])).round(3)
    (array([[0. , 0.5, 1. ]], dtype=float32), array([[0.   , 0.214, 1.   ]], dtype=float32))
    """

    def encode(self, values: Float32) -> Float32:
        """The engine's values for a file's."""
        return _by_rows(values, lambda v: np.where(v <= 0.0031308, 12.92 * v, 1.055 * v.clip(0) ** (1 / 2.4) - 0.055))

    def decode(self, image: Float32) -> Float32:
        """The file's values for the engine's."""
        return _by_rows(image, lambda x: np.where(x <= 0.04045, x / 12.92, ((x.clip(0) + 0.055) / 1.055) ** 2.4))


@dataclass(frozen=True)
class Log:
    """Values in proportion to light that exceed 1, or are negative: the engine's are a logarithm of them.

    A value v is log(1 + (v - low) / knee) / log(1 + (high - low) / knee): equal ratios above the knee are equal steps,
    so that each decade gets room, and what is darker, down to 0 and below, is in proportion.

    Attributes
    ----------
    low, high : float
        The file's values that are the engine's 0 and 1.
    knee : float
        Below it the curve is nearly linear, above it nearly a logarithm.

    Examples
    --------
    >>> values = np.float32([[0, 0.02, 0.2, 20]])
    >>> curve = Log.of(values)
    >>> curve.encode(values).round(2)
    array([[0.  , 0.08, 0.32, 1.  ]], dtype=float32)
    >>> curve.decode(curve.encode(values)).round(5)
    array([[ 0.  ,  0.02,  0.2 , 20.  ]], dtype=float32)
    """

    low: float
    high: float
    knee: float

    @classmethod
    def of(cls, values: Float32) -> Log:
        """The curve for a picture of these values."""
        low, high = float(values.min()), float(values.max())
        high = high if high > low else low + 1
        span = high - low
        some = values.reshape(-1)[:: max(values.size // SAMPLED, 1)]
        knee = float(np.quantile(some[some > low], DARK)) - low if (some > low).any() else span
        return cls(low, high, max(knee, LEAST_KNEE * span))

    def encode(self, values: Float32) -> Float32:
        """The engine's values for a file's."""
        whole = np.log1p((self.high - self.low) / self.knee)
        return _by_rows(values, lambda v: np.log1p((v - self.low).clip(0) / self.knee) / whole)

    def decode(self, image: Float32) -> Float32:
        """The file's values for the engine's."""
        whole = np.log1p((self.high - self.low) / self.knee)
        return _by_rows(image, lambda x: self.low + self.knee * np.expm1(x * whole))


Curve: TypeAlias = Display | Data | Linear | Log


def shared(curves: Iterable[Curve], natural: Curve) -> Curve:
    """The curve under which pictures of these are made into one that is to have the natural one.

    Equal values are to be equal in all of them: so the range is that of all whose values are of the same kind.

    Examples
    --------
    >>> shared([Data(-1, 2), Data(0, 5)], Data(-1, 2))
    Data(low=-1, high=5)
    """
    if isinstance(natural, (Data, Log)):
        kind = Data if isinstance(natural, Data) else Log
        alike = [curve for curve in curves if isinstance(curve, kind)]
        natural = replace(natural, low=min(curve.low for curve in alike), high=max(curve.high for curve in alike))
    return natural


def under(image: Float32, curve: Curve, other: Curve) -> Float32:
    """An image whose values came by a curve as they would have come by another, if that is of the same kind of values.

    Examples
    --------
    >>> under(np.float32([[0, 1]]), Data(0, 5), Data(-5, 5))
    array([[0.5, 1. ]], dtype=float32)
    """
    if curve == other or isinstance(curve, Data) != isinstance(other, Data) or isinstance(other, (Display, Linear)):
        return image
    values = Linear().decode(image) if isinstance(curve, Display) else curve.decode(image)
    return other.encode(values).clip(0, 1)


def _by_rows(values: Float32, function: Callable[[Float64], Float64]) -> Float32:
    """A function of each value, computed in float64, but not of all at once: a picture may be as large as all else."""
    made = np.empty(values.shape, np.float32)
    for row in range(0, len(values), ROWS):
        made[row : row + ROWS] = function(values[row : row + ROWS].astype(np.float64))
    return made


@dataclass(frozen=True)
class Encoding:
    """How a picture is in its file.

    Attributes
    ----------
    depth : {8, 16, "half", "float"}
        Default: 8.
    grey : bool
        Whether it has one channel. Default: False.
    curve : Curve
        What its values mean. Default: what a display shows.
    profile : bytes, optional
        The ICC profile of the engine's colours. Default: None, they are sRGB's.
    dpi : (float, float), optional
        Dots per inch in width and height. Default: None, it does not say.
    clipped : float
        The share of its pixels that were outside sRGB, whose colours are the nearest in it. Default: 0.

    Examples
    --------
    >>> Encoding(16, grey=True).depth
    16
    """

    depth: Depth = 8
    grey: bool = False
    curve: Curve = field(default_factory=Display)
    profile: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    clipped: float = 0.0
