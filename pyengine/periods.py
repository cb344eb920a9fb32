"""The lattice on which a picture repeats itself, found by its autocorrelation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.images.color import LUMINANCE
from pyengine.images.resampling import resize
from pyengine.lattice import REACH, WEAKEST, Lattice, mean_products, peaks, reduced

Offset = tuple[float, float]

LARGEST = 512
"""Pictures with a longer side are reduced to this one, as shifts are known to a fraction of a pixel; of half of it or
less, they are doubled, as peaks are high only where they fall on a pixel."""

GRAIN, SHADE = 1.0, 1 / 8
"""What is finer than so many pixels, or coarser than this share of the shorter side, tells nothing of a lattice."""

FLAT = 1e-4
"""The deviation of what is no more than the rounding of a flat picture."""

SPARSE = 0.02
"""The share of the weights that have to meet at a shift, against all."""

SHORTEST = 4.0
"""The shortest period, in pixels: between peaks that are closer, the autocorrelation can't fall."""

ALIKE = 0.93
"""Shifts that are so much as strong as others, on an average, belong to the lattice as well. It is close to 1, as a
weave is nearly as much like itself with over and under exchanged; and in doubt, multiples of a period fit too."""

STRONG = 0.8
"""Against the strongest peak, those that may span the lattice; and so lattices against the strongest, of whose shifts
there may be few. Of those left, the finest is taken."""

SEEDS = 8
"""How many of these, the shortest, are tried by twos."""

ASKEW = 0.25
"""The least sine of the angle between two of them: multiples of one shift, as peaks show them, are not parallel."""

WITNESSES = 4
"""How many shifts of a lattice have to lie within half of the picture's sides: as many as with two periods a side."""


LINES = 48
"""Across how many lines the autocorrelation is looked at for stripes."""


def find_lattice(image: Float32, known: npt.NDArray[np.bool_] | None = None) -> Lattice | None:
    """The lattice on which a picture repeats itself; None if there is none that is seen twice along each side.

    The finest that explains the autocorrelation of the luminance: every shift of the lattice is a peak of it, and
    strong peaks are shifts of the lattice. Where there is only one direction in which something recurs, such as with
    stripes or lines of text, the lattice has only this.

    Parameters
    ----------
    image : float32 (H, W, 3)
        RGB in [0, 1].
    known : bool (H, W), optional
        Which pixels count. Default: None, all do.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :96]
    >>> wall = ((y % 12 > 1) & ((x + y // 12 * 15) % 30 > 1)).astype(np.float32)
    >>> lattice = find_lattice(np.repeat(wall[:, :, None], 3, axis=2))
    >>> [(round(right), round(down)) for right, down in lattice.vectors]
    [(15, -12), (15, 12)]
    """
    from scipy.ndimage import gaussian_filter

    height, width = image.shape[:2]
    factor = LARGEST / max(height, width)
    luminance, weights = image @ LUMINANCE, np.ones((height, width))
    if known is not None:
        luminance, weights = np.where(known, luminance, luminance[known].mean()), known.astype(np.float64)
    grain = GRAIN
    if factor < 1:
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        luminance, weights = (resize(x.astype(np.float32), size).astype(np.float64) for x in (luminance, weights))
    elif factor >= 2:
        luminance, weights, grain = _doubled(luminance), np.clip(_doubled(weights), 0, 1), 2 * GRAIN
    shorter = min(luminance.shape)
    flat = gaussian_filter(luminance, grain) - gaussian_filter(luminance, SHADE * shorter, truncate=2)
    if shorter < 8 * SHORTEST or flat.std() < FLAT:
        return None
    correlation = _correlation(flat, weights)
    found = _Search(correlation).lattice() or _stripes(correlation)
    return None if found is None else found.scaled(width / luminance.shape[1], height / luminance.shape[0])


def _doubled(values: Float64) -> Float64:
    from scipy.ndimage import zoom

    doubled: Float64 = zoom(values, 2, grid_mode=True, mode="nearest")
    return doubled


def _correlation(picture: Float64, weights: Float64) -> Float64:
    """The autocorrelation, to which pixels count by their weights, and less towards the borders.

    What a border cuts off is seen with some shifts and not with others, which would move the peaks outwards.
    """
    rows, columns = (np.sin(np.pi * (np.arange(side) + 0.5) / side) for side in picture.shape)
    weights = weights * np.outer(rows, columns)
    products, shares = mean_products(weights * picture), mean_products(weights)
    # Shifts by which nearly nothing meets tell nothing.
    correlation: Float64 = np.where(shares > SPARSE * shares.max(), products / np.maximum(shares, 1e-9), 0)
    correlation /= correlation[len(correlation) // 2, len(correlation[0]) // 2]
    return correlation


class _Search:
    """The search for a lattice of two directions. Vectors are (down, right) here, a basis has one in each row."""

    def __init__(self, correlation: Float64) -> None:
        from scipy.ndimage import maximum_filter

        self._map = correlation
        self._high = maximum_filter(correlation, 3)  # shifts are no whole pixels
        self._centre = np.array(correlation.shape) // 2
        self._reach = self._centre - REACH

    def lattice(self) -> Lattice | None:
        """The lattice; None if there is none, or only one direction."""
        found = peaks(self._map, SHORTEST)
        strong = [peak for peak in found if peak.strength >= STRONG * found[0].strength]
        strong.sort(key=lambda peak: np.hypot(peak.rows, peak.columns))
        tried, bases = set(), []
        for pair in combinations([np.array([peak.rows, peak.columns]) for peak in strong[:SEEDS]], 2):
            basis = np.array(pair, np.float64)
            if abs(np.linalg.det(basis)) < ASKEW * np.linalg.norm(basis, axis=1).prod():
                continue
            basis = reduced(basis)
            key = tuple(np.rint(basis).ravel())
            if key in tried:
                continue
            tried.add(key)
            right = self._right(basis)
            if right is not None:
                strength, witnesses = self._strength(right)
                if witnesses >= WITNESSES:
                    bases.append((strength, right))
        best = max((strength for strength, _ in bases), default=0.0)
        if best < WEAKEST:
            return None
        strength, basis = min(
            ((strength, basis) for strength, basis in bases if strength >= STRONG * best),
            key=lambda found: abs(np.linalg.det(found[1])),
        )
        return Lattice.of(basis[:, ::-1], strength)

    def _right(self, basis: Float64) -> Float64 | None:
        """The basis of the finest lattice of which all shifts are alike, from that of a finer or coarser one."""
        for _ in range(20):
            settled = self._settled(basis)
            if settled is None:
                return None
            basis = settled
            strength, _ = self._strength(basis)
            if strength <= 0:
                return None
            finer = [(self._strength(basis, offset)[0] / strength, new) for offset, new in _finer(basis)]
            alike, new = max(finer, key=lambda one: one[0])
            if alike < ALIKE:
                for offset, new in _coarser(basis):
                    strength, witnesses = self._strength(new)
                    alike = ALIKE if witnesses >= WITNESSES else STRONG  # the fewer they are, the more it is chance
                    if self._strength(new, offset)[0] < alike * strength:
                        break
                else:
                    return basis
            basis = reduced(new)
        return None

    def _settled(self, basis: Float64) -> Float64 | None:
        """The basis that fits best to the peaks near its shifts; None if that is none."""
        reach = 1.5 * np.linalg.norm(basis, axis=1).max()
        while True:
            multiples, shifts = self._shifts(basis)
            near = np.linalg.norm(shifts, axis=1) <= reach
            found, strengths = self._peaks(shifts[near])
            roots = np.sqrt(np.maximum(strengths, 0))[:, None]
            if np.linalg.matrix_rank(roots * multiples[near]) < 2:
                return None
            basis = reduced(np.linalg.lstsq(roots * multiples[near], roots * found)[0])
            if np.linalg.norm(basis, axis=1).min() < SHORTEST or abs(np.linalg.det(basis)) < SHORTEST**2:
                return None
            if near.all():
                return basis
            reach *= 2  # the n-th multiple is known as well as the first, and so tells n times as much

    def _strength(self, basis: Float64, offset: Offset = (0, 0)) -> tuple[float, int]:
        """How strong the shifts of a lattice, moved by an offset, are on an average, and how many."""
        rows, columns = np.rint(self._shifts(basis, offset)[1]).astype(int).T + self._centre[:, None]
        return (float(self._high[rows, columns].mean()) if len(rows) else 0.0), len(rows)

    def _shifts(self, basis: Float64, offset: Offset = (0, 0)) -> tuple[Float64, Float64]:
        """All shifts of a lattice, moved by an offset, in half of the map: multiples of the basis, and vectors."""
        most = np.abs(self._reach @ np.abs(np.linalg.inv(basis))).astype(int) + 1
        multiples = np.mgrid[-most[0] : most[0] + 1, -most[1] : most[1] + 1].reshape(2, -1).T + offset
        shifts = multiples @ basis
        inside = (np.abs(shifts) <= self._reach).all(axis=1) & (shifts @ [1, 1e-6] > 1e-6)
        return multiples[inside], shifts[inside]

    def _peaks(self, shifts: Float64) -> tuple[Float64, Float64]:
        """The highest near some shifts, to a fraction of a pixel, and how high."""
        window = np.mgrid[-2:3, -2:3].reshape(2, -1)
        rows, columns = np.rint(shifts).astype(int).T + self._centre[:, None]
        around = window[:, self._map[rows[:, None] + window[0], columns[:, None] + window[1]].argmax(axis=1)]
        rows, columns = rows + around[0], columns + around[1]
        heights = self._map[rows, columns]
        vertical = _vertex(self._map[rows - 1, columns], heights, self._map[rows + 1, columns])
        horizontal = _vertex(self._map[rows, columns - 1], heights, self._map[rows, columns + 1])
        return np.stack([rows + vertical, columns + horizontal], axis=1) - self._centre, heights


def _vertex(before: Float64, at: Float64, after: Float64) -> Float64:
    """Where the parabola through three neighbours is highest, from the one in the middle: at most half a pixel off."""
    curvature = np.maximum(2 * at - before - after, 1e-12)
    place: Float64 = np.clip((after - before) / (2 * curvature), -0.5, 0.5)
    return place


def _finer(basis: Float64) -> Iterator[tuple[Offset, Float64]]:
    """The lattices with twice and three times the shifts: a shift that they have besides, in multiples; the basis."""
    a, b = basis
    for n in (2, 3):
        yield (0, 1 / n), reduced(np.array([a, b / n]))
        for k in range(n):
            yield (1 / n, k / n), reduced(np.array([(a + k * b) / n, b]))


def _coarser(basis: Float64) -> Iterator[tuple[Offset, Float64]]:
    """The lattices with half and a third of the shifts: a shift that they lack, in their multiples; the basis."""
    a, b = basis
    for n in (2, 3):
        yield (0, 1 / n), np.array([a, n * b])
        for k in range(n):
            yield (1 / n, 0), np.array([n * a, b + k * a])


def _stripes(correlation: Float64) -> Lattice | None:
    """The lattice of one direction, across which a picture recurs; None if there is none."""
    from scipy import fft
    from scipy.ndimage import map_coordinates

    centre = np.array(correlation.shape) // 2
    reach = int(centre.min()) - REACH
    # All harmonics of stripes lie on one line through the spectrum's middle.
    power = np.abs(fft.rfft2(correlation))
    power[0, 0] = 0
    row, column = np.unravel_index(power.argmax(), power.shape)
    waves = np.array([fft.fftfreq(len(correlation))[row], fft.rfftfreq(correlation.shape[1])[column]])
    wave = float(np.hypot(*waves))
    if wave * reach < 2:
        return None
    angles = np.arctan2(*waves) + np.arange(-0.5 / wave - 1, 0.5 / wave + 2) / reach
    across, along = np.arange(0.0, reach), np.linspace(-0.4 * reach, 0.4 * reach, LINES)

    def profiles(angles: Float64) -> Float64:
        """How strong the shifts by so much across each angle are on an average, whatever they are along it."""
        normals = np.stack([np.sin(angles), np.cos(angles)])[:, :, None, None]
        lines = np.stack([normals[1], -normals[0]])
        points = across[:, None] * normals + along * lines + centre[:, None, None, None]
        profiles: Float64 = map_coordinates(correlation, points, order=1, mode="nearest").mean(axis=2)
        return profiles

    spread = profiles(angles).std(axis=1)
    best = int(np.clip(spread.argmax(), 1, len(spread) - 2))
    angle = angles[best] + 1 / reach * float(_vertex(*spread[best - 1 : best + 2]))
    profile = profiles(np.array([angle]))[0]
    found = _recurrence(profile)
    if found is None:
        return None
    strength, period = found
    return Lattice.of(period * np.array([[np.cos(angle), np.sin(angle)]]), strength)


def _recurrence(profile: Float64) -> tuple[float, float] | None:
    """How strong a profile recurs, and the period; None if it does not twice."""
    found: list[tuple[float, float]] = []
    for first in np.flatnonzero((profile[1:-1] >= profile[:-2]) & (profile[1:-1] >= profile[2:])) + 1:
        period = float(first)
        places: list[float] = []
        heights: list[float] = []
        while (len(places) + 1) * period < len(profile) - 2:
            at = round((len(places) + 1) * period)
            at += int(profile[at - 1 : at + 2].argmax()) - 1
            places.append(at + float(_vertex(profile[at - 1], profile[at], profile[at + 1])))
            heights.append(profile[at])
            multiples = np.arange(1, len(places) + 1)
            period = float(multiples @ places / (multiples @ multiples))
        if first >= SHORTEST and len(places) > 1:
            between = profile[np.rint((multiples - 0.5) * period).astype(int)]
            strength = float(np.mean(heights))
            if np.mean(between) < STRONG * strength and np.mean(heights[::2]) >= STRONG * np.mean(heights[1::2]):
                found.append((strength, period))
    best = max((strength for strength, _ in found), default=0.0)
    if best < WEAKEST:
        return None
    return min((one for one in found if one[0] >= ALIKE * best), key=lambda one: one[1])
