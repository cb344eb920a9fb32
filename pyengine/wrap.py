"""In which axes a picture wraps round, so that it tiles with itself there."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Axes = Literal["x", "y", "xy"]
"""Axes by name: x from left to right, y from top to bottom."""

AxesIfAny = Literal["x", "y", "xy", "none"]
"""The same, or none."""

Scalar = TypeVar("Scalar", bound=np.generic)


class Wrap(NamedTuple):
    """In which axes a picture wraps round: where its borders meet.

    It is in the order of an array's axes. As any tuple that is not empty, it counts as true: ask for `x` or `y`, for
    `any` or for `all`.

    Attributes
    ----------
    y : bool
        Whether top and bottom meet.
    x : bool
        Whether left and right meet.

    Examples
    --------
    >>> Wrap.of("x"), any(Wrap.of("none"))
    (Wrap(y=False, x=True), False)
    """

    y: bool
    x: bool

    @classmethod
    def of(cls, axes: AxesIfAny) -> Wrap:
        """The axes of a name."""
        return cls(axes in ("y", "xy"), axes in ("x", "xy"))

    def pad(
        self, values: npt.NDArray[Scalar], width: int, beyond: Literal["edge", "reflect", "constant"]
    ) -> npt.NDArray[Scalar]:
        """An array (H, W, ...) with a border of so many entries.

        Parameters
        ----------
        values : array (H, W, ...)
        width : int
            How wide the border is.
        beyond : {"edge", "reflect", "constant"}
            What it holds in an axis that does not wrap round, as `numpy.pad` calls it.

        Examples
        --------
        >>> Wrap.of("x").pad(np.array([[1, 2, 3]]), 1, "constant")
        array([[0, 0, 0, 0, 0],
               [3, 1, 2, 3, 1],
               [0, 0, 0, 0, 0]])
        """
        for axis, wraps in enumerate(self):
            widths: list[Any] = [(0, 0)] * values.ndim
            widths[axis] = (width, width)
            values = np.pad(values, widths, mode="wrap" if wraps else beyond)
        return values


BOTH, NEITHER = Wrap(True, True), Wrap(False, False)
