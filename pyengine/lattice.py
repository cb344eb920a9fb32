"""What recurs in a picture, and at what distances: its autocorrelation and the peaks of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float64
from pyengine.wrap import BOTH, Wrap

WEAKEST = 0.25
"""How strong a peak is at least: what is weaker comes and goes with noise and with grain."""

REACH = 3
"""How far around it, in pixels, a peak is the highest."""

TOLERATED = 0.01
"""By which share of its length a picture may be sheared or stretched, and nobody sees it."""

SHEAR = 10.0
"""How many times the share by which a side is changed a share of shear weighs beyond that."""

MOST = 0.1
"""By which share a picture is scaled at most to fit a size. Where five periods fit into a side or more, that is always
enough for a whole number of them; with fewer, things would be seen to be flattened, or to have grown."""

VISIBLE = 1 / 8
"""The share of a period by which opposite borders have to miss one another to be seen."""


@dataclass(frozen=True)
class Peak:
    """A shift by which a picture is much like itself.

    Attributes
    ----------
    strength : float
        The autocorrelation there: 1 if nothing changes.
    rows, columns : int
        The shift, in pixels: down, or else to the right.
    """

    strength: float
    rows: int
    columns: int


def autocorrelation(luminance: Float64) -> Float64:
    """How much a picture is like itself when it is shifted, for all shifts of up to half of its sides.

    The mean over all pairs of pixels that lie inside, one as far from the other as the shift says, of the product of
    their deviations from the picture's mean; over the variance, so that it is 1 where nothing is shifted.

    Parameters
    ----------
    luminance : float (H, W)
        The picture, or any channel of it; nothing is supposed of what lies beyond its borders.

    Returns
    -------
    float64 (2 (H // 2) + 1, 2 (W // 2) + 1)
        Entry ``[H // 2 + rows, W // 2 + columns]`` is that of the shift by so many rows and columns. A flat picture has
        0 everywhere.

    Examples
    --------
    >>> stripes = np.tile([0.0, 0.0, 1.0, 1.0], (8, 4))
    >>> autocorrelation(stripes)[4, 8::2].round(6)
    array([ 1., -1.,  1., -1.,  1.])
    """
    deviations = luminance - np.mean(luminance, dtype=np.float64)
    means = mean_products(deviations)
    variance = float(np.mean(deviations**2))
    flat = np.finfo(np.float32).eps * max(float(np.abs(luminance).max()), 1e-30)  # as fine as pixels are given
    return means / variance if variance > flat**2 else np.zeros_like(means)


def mean_products(values: Float64) -> Float64:
    """The mean, over all pairs that a shift leads from one to the other of, of their product, for the same shifts.

    Examples
    --------
    >>> mean_products(np.array([[1.0, 2.0, 3.0]])).round(6)
    array([[4. , 4.666667, 4. ]])
    """
    from scipy import fft

    # What is shifted beyond the border must meet zeros, not the other side.
    padded = [fft.next_fast_len(side + side // 2, real=True) for side in values.shape]
    spectrum = fft.rfft2(values, padded)
    sums = fft.irfft2(spectrum.real**2 + spectrum.imag**2, padded)
    rows, columns = (np.arange(-(side // 2), side // 2 + 1) for side in values.shape)
    pairs = np.outer(values.shape[0] - np.abs(rows), values.shape[1] - np.abs(columns))
    means: Float64 = sums[np.ix_(rows, columns)] / pairs
    return means


def peaks(correlation: Float64, shortest: float, weakest: float = WEAKEST) -> list[Peak]:
    """The shifts by which a picture is more like itself than by any other near them, the strongest first.

    Of a shift and its opposite, which are as strong, one is named: that down, or else to the right.

    Parameters
    ----------
    correlation : float64 (2 H + 1, 2 W + 1)
        What `autocorrelation` gives, or a part of it around its centre.
    shortest : float
        The length of the shortest shift, in pixels.
    weakest : float
        The least strength. Default: 0.25.

    Examples
    --------
    >>> board = np.kron(np.indices((6, 6)).sum(0) % 2, np.ones((8, 8)))
    >>> sorted((peak.rows, peak.columns) for peak in peaks(autocorrelation(board), shortest=8))
    [(0, 16), (8, -8), (8, 8), (16, -16), (16, 0), (16, 16)]
    """
    from scipy.ndimage import maximum_filter

    height, width = correlation.shape
    is_peak = correlation == maximum_filter(correlation, 2 * REACH + 1)
    is_peak[:REACH] = is_peak[-REACH:] = is_peak[:, :REACH] = is_peak[:, -REACH:] = False  # they may rise yet
    rows, columns = np.nonzero(is_peak & (correlation >= weakest))
    strengths = correlation[rows, columns]
    rows, columns = rows - height // 2, columns - width // 2
    kept = ((rows > 0) | ((rows == 0) & (columns > 0))) & (np.hypot(rows, columns) >= shortest)
    found = [Peak(float(s), int(y), int(x)) for s, y, x in zip(strengths[kept], rows[kept], columns[kept], strict=True)]
    return sorted(found, key=lambda peak: -peak.strength)


def reduced(basis: Float64) -> Float64:
    """The basis (2, 2) of the same lattice with the shortest vectors, one in each row, the shortest first."""
    a, b = basis
    while True:
        if a @ a > b @ b:
            a, b = b, a
        multiple = round((a @ b) / (a @ a))
        if not multiple:
            return np.array([a, b])
        b = b - multiple * a


@dataclass(frozen=True)
class Lattice:
    """Shifts by which a picture is like itself: all sums of multiples of one vector or two.

    Attributes
    ----------
    vectors : tuple of (right, down)
        The shortest, in pixels, the flattest first. Where there is only one, such as for stripes, a picture is at right
        angles to it either the same or without an order.
    regularity : float
        How strong the picture's autocorrelation is at these shifts on an average, 0 to 1.

    Examples
    --------
    >>> lattice = Lattice(((30.0, 0.0), (15.0, 12.0)), regularity=0.9)
    >>> lattice.fitting_size((128, 128)), lattice.shows((128, 128)), lattice.shows((120, 120))
    ((120, 120), True, False)
    >>> lattice.may_be_scaled((128, 128)), lattice.may_be_scaled((40, 128))
    (True, False)
    """

    vectors: tuple[tuple[float, float], ...]
    regularity: float

    @classmethod
    def of(cls, basis: Float64, regularity: float) -> Lattice:
        """The lattice of vectors (right, down), one in each row, in the order and with the signs that it has here."""
        right = [vector if vector[0] > 1e-6 * abs(vector[1]) else -vector for vector in basis]
        right = [-vector if vector[0] <= 1e-6 * abs(vector[1]) and vector[1] < 0 else vector for vector in right]
        right.sort(key=lambda vector: (round(abs(vector[1]) / np.hypot(*vector), 2), vector[1]))
        return cls(tuple((float(x), float(y)) for x, y in right), min(max(regularity, 0.0), 1.0))

    @property
    def periods(self) -> tuple[float, ...]:
        """How long the vectors are, in pixels."""
        return tuple(float(np.hypot(*vector)) for vector in self.vectors)

    @property
    def angles(self) -> tuple[float, ...]:
        """The vectors' directions in degrees: 0 is to the right, and 90 upwards."""
        return tuple(float(np.degrees(np.arctan2(-down, right))) for right, down in self.vectors)

    def scaled(self, x: float, y: float) -> Lattice:
        """The lattice of the picture when it is scaled."""
        return Lattice.of(np.array(self.vectors) * (x, y), self.regularity)

    def fitting_size(self, size: tuple[int, int], shortest: int = 1, wrap: Wrap = BOTH) -> tuple[int, int]:
        """The (width, height) that tiles, and is nearest to another, with no side below the shortest.

        A side tiles if a shift of the lattice leads along it from border to border; on a lattice that is askew, it may
        lead a little to one side, and the longer ones do so least. One that need not tile, by `wrap`, is as it was.
        """
        sides = [*size]
        for axis, side in self._tiling(size, wrap):
            along, astray = self._along(axis, side)
            along, astray = along[along >= shortest], astray[along >= shortest]
            shear = np.maximum(np.abs(astray) / along - TOLERATED, 0)
            sides[axis] = round(along[(np.abs(along - side) / side + SHEAR * shear).argmin()])
        return sides[0], sides[1]

    def fitting_scale(self, size: tuple[int, int], wrap: Wrap = BOTH) -> tuple[float, float]:
        """By how much the picture has to be scaled in width and in height for a (width, height) to tile by `wrap`."""
        factors = [1.0, 1.0]
        for axis, side in self._tiling(size, wrap):
            along, astray = self._along(axis, side)
            factors[axis] = float(side / along[(np.abs(np.log(side / along)) + np.abs(astray) / along).argmin()])
        return factors[0], factors[1]

    def may_be_scaled(self, size: tuple[int, int], wrap: Wrap = BOTH) -> bool:
        """Whether a (width, height) tiles by `wrap` when the picture is scaled by no more than a tenth."""
        return max(abs(factor - 1) for factor in self.fitting_scale(size, wrap)) <= MOST

    def shows(self, size: tuple[int, int], wrap: Wrap = BOTH) -> bool:
        """Whether a picture of a (width, height) that wraps round is so far from tiling that it shows."""
        for axis, side in self._tiling(size, wrap):
            along, astray = self._along(axis, side)
            miss = float(np.hypot(along - side, astray).min())
            if miss > VISIBLE * min(self.periods) and miss > TOLERATED * side:
                return True
        return False

    @staticmethod
    def _tiling(size: tuple[int, int], wrap: Wrap) -> list[tuple[int, int]]:
        """The axes, 0 or 1, of a (width, height) that are to tile, each with its side."""
        return [(axis, size[axis]) for axis, wraps in enumerate((wrap.x, wrap.y)) if wraps]

    def _along(self, axis: int, side: int) -> tuple[Float64, Float64]:
        """How far along an axis, 0 or 1, the shifts near it lead, up to more than a side, and how far astray."""
        basis = np.array(self.vectors)
        if len(basis) == 1:  # along stripes, every pixel is as good
            (right, down), length = basis[0], np.hypot(*basis[0])
            basis = np.array([basis[0], [-down / length, right / length]])
        basis = basis[np.abs(basis[:, 1 - axis]).argsort()]
        reach = np.empty(2)
        reach[axis], reach[1 - axis] = 2 * side + np.linalg.norm(basis, axis=1).max(), abs(basis[1, 1 - axis])
        most = int(np.abs(np.linalg.inv(basis))[:, 0] @ reach) + 1
        first = np.arange(-most, most + 1)
        shifts = np.outer(first, basis[0])
        shifts += np.outer(np.rint(-shifts[:, 1 - axis] / basis[1, 1 - axis]), basis[1])
        ahead = shifts[shifts[:, axis] > 0.5]
        return ahead[:, axis], ahead[:, 1 - axis]
