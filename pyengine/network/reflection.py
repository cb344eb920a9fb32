"""The way back through a convolution that sees its map's reflection beyond the border."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.kernels import Kernels
from pyengine.network.graphs import Padding


class Reflection:
    """What pixels beyond the border of a map send back to those that they reflect.

    The adjoint of a convolution under zeros is right for what a map's own pixels get back. Under reflection the same
    sum goes on beyond the border, as far as the filters reach, and what it gives there belongs to the pixels that are
    reflected there. Where the other axis wraps round, it does so along the border too.

    Parameters
    ----------
    filters : float32 (I, O, K, K)
        The adjoint's; see `graphs.adjoint_filters`.
    kernels : Kernels
        Active when this is made, and when it is used.
    """

    def __init__(self, filters: Float32, kernels: Kernels) -> None:
        self._kernels = kernels
        self._border = filters.shape[2] // 2

        def by_row(filters: Float32) -> list[Any]:  # a matrix (I, K O) for each row of the filters
            rows = (filters[:, :, row].transpose(0, 2, 1) for row in range(filters.shape[2]))
            return [kernels.upload(np.ascontiguousarray(row.reshape(len(row), -1), np.float64)) for row in rows]

        self._rows, self._columns = by_row(filters), by_row(filters.swapaxes(2, 3))

    def add(self, padded: Float32, gradient: Float32, padding: Padding) -> None:
        """Add what comes from beyond the border to the gradient with respect to a convolution's input.

        Parameters
        ----------
        padded : float32 (O, H + 2 b, W + 2 b)
            The gradient with respect to the convolution's output, with a border as wide as the filters reach: of zeros,
            or wrapped round in an axis that wraps round.
        gradient : float32 (I, H, W)
            What the adjoint has made of that; may be a view.
        padding : Padding
            Under which the convolution is; "reflect" in one axis at least.
        """
        if padding.y == "reflect":
            self._add_rows(padded, gradient, self._rows, corners=padding.x == "reflect")
        if padding.x == "reflect":
            self._add_rows(padded.swapaxes(1, 2), gradient.swapaxes(1, 2), self._columns, corners=False)

    def _add_rows(self, padded: Float32, gradient: Float32, filters: list[Any], *, corners: bool) -> None:
        """The part of the rows above and below, with or without what is to the left and right of the map as well."""
        border, (inputs, height, width) = self._border, gradient.shape
        down, across = (np.pad(np.arange(side), border, mode="reflect") for side in (height, width))
        span = width + 2 * border if corners else width
        for depth in range(1, border + 1):
            for side, edge in ((1, 0), (-1, height - 1)):  # above and below
                beyond = self._kernels.xp.zeros((inputs, span), np.float32)
                for step in range(border + 1 - depth):
                    seen = self._windows(padded[:, border + edge + side * step], span)
                    row = filters[border + side * (depth + step)]
                    self._kernels.mix(seen, row, 1.0, beyond, accumulate=True)
                at = down[border + edge - side * depth]
                if not corners:
                    gradient[:, at] += beyond
                    continue
                gradient[:, at] += beyond[:, border:-border]
                for k in (*range(border), *range(border + width, span)):
                    gradient[:, at, across[k]] += beyond[:, k]

    def _windows(self, line: Float32, span: int) -> Float32:
        """What the filters see of a line (O, N) at each of so many pixels, (K O, span), with zeros where it ends."""
        xp, sides = self._kernels.xp, 2 * self._border
        margin = (span + sides - line.shape[1]) // 2
        wide = xp.pad(line, ((0, 0), (margin, margin)))
        windows: Float32 = xp.stack([wide[:, k : k + span] for k in range(sides + 1)])
        return windows.reshape(-1, span)
