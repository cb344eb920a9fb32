"""Stopwatches, which say where the device's time goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyengine.kernels import Kernels

MOST_OPEN = 10000
"""How many blocks may wait to be turned into seconds."""


class Stopwatch:
    """Adds up seconds of the device's work by stage.

    Parameters
    ----------
    kernels : Kernels
        Where the work is done. On a GPU, whose work lags behind the calls, the stopwatch notes points in its sequence,
        and asks for times when it has to.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> watch = Stopwatch(CpuKernels(threads=1))
    >>> with watch("forward"):
    ...     pass
    >>> list(watch.seconds)
    ['forward']
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._open: list[tuple[str, Any, Any]] = []
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block as part of `stage`."""
        start = self._kernels.mark()
        try:
            yield
        finally:
            self._open.append((stage, start, self._kernels.mark()))
            if len(self._open) > MOST_OPEN:
                self._add_up()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, up to now."""
        self._add_up()
        return self._seconds

    def clear(self) -> None:
        """Begin anew."""
        self._open.clear()
        self._seconds.clear()

    def _add_up(self) -> None:
        closed, self._open = self._open, []
        for stage, start, end in closed:
            self._seconds[stage] += self._kernels.seconds(start, end)


class Watches:
    """The stopwatches of an objective.

    Attributes
    ----------
    stages : Stopwatch
        Seconds by stage: "forward", "losses" and "backward".
    terms : Stopwatch
        Seconds spent in losses, by the term's name.
    """

    def __init__(self, kernels: Kernels) -> None:
        self.stages = Stopwatch(kernels)
        self.terms = Stopwatch(kernels)
