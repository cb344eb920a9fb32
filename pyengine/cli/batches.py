"""How far a batch is, for the eye and for programs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine.cli.output import Output, tell

if TYPE_CHECKING:
    from pyengine.batch.run import Outcome

PAUSE = 10.0
"""Seconds between two lines where there is no terminal to draw a bar on."""


def time_of(seconds: float) -> str:
    """Seconds in words.

    Examples
    --------
    >>> time_of(0.25), time_of(42.3), time_of(754), time_of(200_000)
    ('0.2 s', '42 s', '13 min', '55 h 33 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class BatchProgress:
    """Tells of each job as it ends: a line of JSON, or else what is wrong with it, and how far all of them are.

    Parameters
    ----------
    out : Output
    """

    def __init__(self, out: Output) -> None:
        self.out = out
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._began = self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> BatchProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def ended(self, outcome: Outcome) -> None:
        """Tell of a job."""
        self.counts[outcome.state] += 1
        self.out.document({"event": "job", **asdict(outcome), "output": str(outcome.output)})
        if outcome.error is not None and not self.out.as_json:
            self._say(f"{outcome.place}: {outcome.error}")
        if not self.total or outcome.state not in ("made", "failed") or self.out.quiet or self.out.as_json:
            return
        if sys.stderr.isatty():
            self._draw()
        elif time.monotonic() - self._told > PAUSE:
            self._told = time.monotonic()
            tell(self._line())

    def sum_up(self, folder: Path | str) -> int:
        """Tell of all, and give back how many have come to nothing."""
        seconds = time.monotonic() - self._began
        states = ("made", "kept", "failed", "refused")
        counts = {state: self.counts[state] for state in states}
        self.out.document({"event": "end", **counts, "seconds": seconds})
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "made")
        self.out.remark(f"{folder}: {words}, in {time_of(seconds)}")
        return counts["failed"] + counts["refused"]

    def _line(self) -> str:
        ended, seconds = self.counts["made"] + self.counts["failed"], time.monotonic() - self._began
        left = time_of(seconds / ended * max(self.total - ended, 0))
        return f"{self.counts['made']} of {self.total} made, {self.counts['failed']} failed, {left} left"

    def _draw(self) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=self.total, unit="job", dynamic_ncols=True)
        self._bar.set_postfix_str(f"{self.counts['failed']} failed", refresh=False)
        self._bar.update()

    def _say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            tell(text)
        else:
            with self._bar.external_write_mode(file=sys.stderr):
                tell(text)
