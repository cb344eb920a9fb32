"""L-BFGS over the pixels, each kept within [0, 1] by projection.

All vectors are rows of one matrix on the device, and the inner products of its rows are kept beside it. So an iteration
reads the matrix twice, and the host gets what it needs to decide in one transfer. The matrix is cut into blocks of
columns, so that of one in a file only a block has to be in memory.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels
from pyengine.machine import no_room

PAIRS = 10
"""How many steps, with the changes of the gradient along them, the curvature is known from."""

ROWS = 2 * (PAIRS + 1) + 4
"""Vectors whose inner products are kept: the pairs and one in the making, and the gradient and the direction of descent
here and at the next point."""

SIDES = ROWS - 4, ROWS - 2
"""The numbers of the gradient's row at one point and at the other; each is followed by the descent's."""

POINT, DIRECTION = ROWS, ROWS + 1
"""The numbers of further rows, whose inner products nobody needs."""

STATE = ROWS + 2
"""All rows of the matrix."""

FIRST_STEP = 0.02
"""Mean change of a pixel by the first step: nothing but its direction is known."""

BLOCK = 2**20
"""Columns in a block of the matrix."""

SUFFICIENT = 1e-4
"""Share of the decrease expected by the slope that a step must achieve (Armijo)."""

SHORTENINGS = 12
"""How often a step is shortened before the curvature is forgotten; a step along the gradient is the last one then."""


def minimize(
    function: Callable[[Float32], tuple[Float64, Float32]],
    start: Float32,
    iterations: int,
    kernels: Kernels,
    callback: Callable[[Float32, list[float]], None] | None = None,
    free: npt.NDArray[np.bool_] | None = None,
) -> Float32:
    """Find an image near a minimum of `function` within the bounds 0 and 1: so many steps of a `Descent`.

    Parameters
    ----------
    function, start, kernels, free
        See `Descent`.
    iterations : int
        How many iterations there are at most; fewer only where no lower value can be found.
    callback : callable, optional
        Called after each iteration with the image and its terms. Default: None, nobody is told.

    Returns
    -------
    float32 array
        The image, in the place of `start`.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> target = np.array([0.25, 2.0], np.float32)
    >>> def square(x):
    ...     return ((x - target) ** 2).astype(np.float64), 2 * (x - target)
    >>> minimize(square, np.zeros(2, np.float32), 20, CpuKernels(threads=1))
    array([0.25, 1.  ], dtype=float32)
    """
    descent = Descent(function, start, kernels, free)
    for _ in range(iterations):
        if not descent.step():
            break
        if callback is not None:
            callback(descent.image, descent.terms)
    return descent.image


Blocks = Callable[[], Iterator[tuple[slice, Float32]]]
"""Goes through the matrix block by block: gives its columns, and the block (STATE, C) itself."""


def _matrix(columns: int, kernels: Kernels, *, spill: bool) -> Blocks:
    """A matrix of zeros, which is gone when nobody uses it any more."""
    parts = [slice(begin, min(begin + BLOCK, columns)) for begin in range(0, columns, BLOCK)]
    if not spill:
        matrices = [kernels.xp.zeros((STATE, part.stop - part.start), np.float32) for part in parts]
        return lambda: zip(parts, matrices, strict=True)
    size = 4 * STATE * columns
    with TemporaryFile(prefix="pyengine-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk would be noticed too late, and fatally
            else:
                file.truncate(size)
        except OSError as error:
            raise no_room(size, f"{error.strerror}") from None
        memory = mmap.mmap(file.fileno(), size)  # which keeps the file

    def blocks() -> Iterator[tuple[slice, Float32]]:
        for part in parts:
            begin, count = 4 * STATE * part.start, STATE * (part.stop - part.start)
            yield part, np.frombuffer(memory, np.float32, count, begin).reshape(STATE, -1)
            if hasattr(mmap, "MADV_DONTNEED"):
                memory.madvise(mmap.MADV_DONTNEED, begin, 4 * count)  # the block stays in the file

    return blocks


@dataclass(frozen=True)
class State:
    """Where a minimisation is between two steps: all that its next ones depend on, besides the function.

    Attributes
    ----------
    terms : list of float
        The terms at the point.
    pairs : int
        How many pairs there are, 0 to `PAIRS`.
    slot : int
        The slot of the next pair, 0 to `PAIRS`. Rows are added up in their order, on which bits depend.
    side : int
        Which of the two places for a gradient is the point's, 0 or 1; it is part of that order.
    vectors : iterable of float32 arrays (C,)
        On the host, for each block of columns: the point, its gradient, and of each pair, the oldest first, the step
        and the change of the gradient. What `Descent.state` gives can be gone through once, before the next step.
    """

    terms: list[float]
    pairs: int
    slot: int
    side: int
    vectors: Iterable[Float32]

    @staticmethod
    def lengths(variables: int, pairs: int) -> list[int]:
        """The lengths of all `vectors`, for so many variables and pairs.

        Examples
        --------
        >>> State.lengths(BLOCK + 1, 1)
        [1048576, 1048576, 1048576, 1048576, 1, 1, 1, 1]
        """
        blocks = [min(BLOCK, variables - begin) for begin in range(0, variables, BLOCK)]
        return [length for length in blocks for _ in range(2 + 2 * pairs)]


class Descent:
    """A minimisation within the bounds 0 and 1, step by step.

    L-BFGS (Nocedal 1980) with the two-metric projection of Bertsekas 1982: variables that are at a bound, and that the
    gradient holds there, are left out of the step, and the rest of the image is moved along the quasi-Newton direction
    and clipped. A method that stops a step where the first variable reaches its bound, such as L-BFGS-B's, gets stuck
    on images in black and white.

    Parameters
    ----------
    function : callable
        Gives the terms whose sum is an image's value, float64 (K,), and the float32 gradient. It may overwrite what it
        gave out before.
    start : float32 array
        The image to start from, contiguous; it is overwritten. This and all other arrays are on the device of
        `kernels`.
    kernels : Kernels
        The device's, which must be active.
    free : bool array, optional
        Which pixels may change, with one axis less than `start`; the others are no variables at all. Default: None,
        all.
    spill : bool
        Keep the matrix in a temporary file rather than in memory; on a CPU only. The result is the same.
        Default: False.
    state : State, optional
        Where an earlier descent was, on the same function: this one goes on from there, to the same bits, and `start`
        is only the place for the image. Default: None, it begins at `start`.

    Attributes
    ----------
    terms : list of float
        The terms at the point that the last step led to; none before the first.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> descent = Descent(lambda x: (x.astype(float), np.ones_like(x)), np.ones(2, np.float32), CpuKernels(threads=1))
    >>> descent.step(), descent.image
    (True, array([0.98, 0.98], dtype=float32))
    """

    def __init__(
        self,
        function: Callable[[Float32], tuple[Float64, Float32]],
        start: Float32,
        kernels: Kernels,
        free: npt.NDArray[np.bool_] | None = None,
        *,
        spill: bool = False,
        state: State | None = None,
    ) -> None:
        self.terms: list[float] = []
        self._function = function
        self._kernels = kernels
        self._blocks = _matrix(start.size, kernels, spill=spill)
        self._shape = start.shape
        self._variables = start.size if free is None else int(free.sum()) * (start.size // free.size)
        self._mask = None if free is None else kernels.upload(free.astype(np.float32)[..., None])
        # The inner products of the rows over each block's columns, and over all.
        self._parts: Float64 = kernels.xp.zeros((-(-start.size // BLOCK), ROWS, ROWS), np.float64)
        self._products = self._parts.sum(axis=0)
        self._pairs: deque[int] = deque(maxlen=PAIRS)
        self._slots = deque(range(PAIRS + 1))  # the first slot is free, or holds the oldest pair
        self._here, self._there = SIDES  # each is the first of two rows, gradient and descent
        self._x = start.reshape(-1)  # where the function is evaluated; the row POINT is where the last step ended
        if state is not None:
            self._go_on(state)

    @property
    def image(self) -> Float32:
        """The point that the last step led to, in the shape of the start."""
        return self._x.reshape(self._shape)

    def step(self) -> bool:
        """Go through one iteration; returns False, back where it began, if no lower value can be found."""
        if not self._variables:
            return False
        if not self.terms:
            self._kernels.xp.clip(self._x, 0, 1, out=self._x)
            self._keep()
            self.terms = self._kernels.fetch([self._evaluate(self._here)])
        while not self._search():
            if not self._pairs:
                for part, rows in self._blocks():
                    self._x[part] = rows[POINT]
                return False
            self._pairs.clear()  # the curvature that is known leads nowhere
        self._keep()
        return True

    @property
    def state(self) -> State:
        """Where it is after a step."""
        rows = self._rows()
        vectors = (self._kernels.download(block[row]) for _, block in self._blocks() for row in rows)
        return State(self.terms, len(self._pairs), self._slots[0], SIDES.index(self._here), vectors)

    def _rows(self) -> list[int]:
        """The rows that the next step depends on, but for what can be computed from them."""
        return [POINT, self._here, *(row for slot in self._pairs for row in (2 * slot, 2 * slot + 1))]

    def _go_on(self, state: State) -> None:
        self.terms = state.terms
        self._slots.rotate(-state.slot)
        self._pairs.extend([*self._slots][len(self._slots) - state.pairs :])
        self._here, self._there = SIDES[state.side], SIDES[1 - state.side]
        kept, vectors = self._rows(), iter(state.vectors)
        needed = [self._here + 1, *kept[2:]]
        for (part, rows), own in zip(self._blocks(), self._parts, strict=True):
            for row in kept:
                rows[row] = self._kernels.upload(next(vectors))
            self._x[part] = rows[POINT]
            self._kernels.descent(self._x[part], rows[self._here], rows[self._here + 1])
            for k in range(0, len(needed), 3):
                self._kernels.inner_products(rows[:ROWS], needed[k : k + 3], own)
        self._products = self._parts.sum(axis=0)

    def _evaluate(self, point: int) -> Float64:
        """Return the terms at `_x`, and write gradient and descent to the two rows of `point`."""
        terms, gradient = self._function(self.image)
        if self._mask is not None:
            gradient = gradient * self._mask
        flat = gradient.ravel()
        for part, rows in self._blocks():
            rows[point] = flat[part]
            self._kernels.descent(self._x[part], rows[point], rows[point + 1])
        return terms

    def _keep(self) -> None:
        for part, rows in self._blocks():
            rows[POINT] = self._x[part]

    def _direct(self) -> float:
        """Write the direction, and return how far to go along it at first; 0 if there is no way down."""
        xp = self._kernels.xp
        ends = [(2 * k, 2 * k + 1) for k in self._pairs]
        coefficients = self._kernels.two_loop(self._products, ends, self._here + 1)
        sizes = []
        for _, rows in self._blocks():
            self._kernels.combine(rows[:ROWS], coefficients, rows[DIRECTION])
            if not self._pairs:
                sizes.append(xp.abs(rows[DIRECTION]).sum(dtype=np.float64))
        if self._pairs:
            return 1.0
        size = sum(self._kernels.fetch(sizes))
        return FIRST_STEP * self._variables / size if size else 0.0

    def _search(self) -> bool:
        """Go along the direction until the value is low enough, and note what was learned of the curvature."""
        kernels, xp = self._kernels, self._kernels.xp
        slot, here, there = self._slots[0], self._here, self._there
        step, change = 2 * slot, 2 * slot + 1
        length = self._direct()
        if length == 0:
            return False
        value = sum(self.terms)
        for _ in range(SHORTENINGS):
            for part, rows in self._blocks():
                kernels.advance(rows[POINT], rows[here + 1], rows[DIRECTION], length, self._x[part])
                xp.subtract(self._x[part], rows[POINT], out=rows[step])
            found_terms = self._evaluate(there)
            for (_, rows), own in zip(self._blocks(), self._parts, strict=True):
                xp.subtract(rows[there], rows[here], out=rows[change])
                kernels.inner_products(rows[:ROWS], (step, change, there + 1), own)
            products = self._products = self._parts.sum(axis=0)
            *found, expected, curvature, steepness = kernels.fetch(
                [found_terms, products[step, here], products[step, change], products[change, change]]
            )
            if not expected < 0:
                return False
            found_value = sum(found)
            if found_value <= value + SUFFICIENT * expected:
                self._arrive(found, slot, worth_keeping=curvature > 1e-10 * steepness)
                return True
            # The next try is where the parabola through both values and the slope is lowest, but neither too near nor
            # too far.
            bend = found_value - value - expected
            length *= min(max(-expected / (2 * bend), 0.1), 0.5) if np.isfinite(bend) else 0.1
        return False

    def _arrive(self, terms: list[float], slot: int, *, worth_keeping: bool) -> None:
        """End a step: where it led to is where the next begins; its pair is kept if it shows a curvature."""
        if worth_keeping:
            self._pairs.append(slot)
            self._slots.rotate(-1)
        self.terms = terms
        self._here, self._there = self._there, self._here
