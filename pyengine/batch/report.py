"""The report: one file of HTML, which needs nothing but itself, with a row for each job, the worst first."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from pyengine.batch.journal import Journal, Row
from pyengine.files import write_atomically
from pyengine.quality.measures import FORMATS

NAME = "report.html"
"""The file's name, in the output folder."""

MOST_ROWS = 2000
"""How many jobs are shown: a page of more takes long to open, and nobody looks at all."""

PAUSE = 5.0
"""Seconds between two versions, at least."""

SHARE = 50
"""How many times longer than writing a version took the next has to wait."""


class Report:
    """The report of a batch.

    Parameters
    ----------
    folder : Path
        Where it is written.
    output : Path or str, optional
        The folder of the pictures, or its URL. Default: None, the same.
    """

    def __init__(self, folder: Path, output: Path | str | None = None) -> None:
        self.path = folder / NAME
        beside = output is None or output == folder
        self._base = "" if beside else f"{output.as_uri() if isinstance(output, Path) else output}/"
        self._next = 0.0
        self._page = (files("pyengine.batch") / "report.html").read_text(encoding="utf-8")

    @property
    def is_due(self) -> bool:
        """Whether there is time for another version."""
        return time.monotonic() >= self._next

    def write(self, journal: Journal, *, is_over: bool) -> None:
        """Write what there is so far.

        Parameters
        ----------
        journal : Journal
        is_over : bool
            Whether the batch is; until then, the page comes again by itself.
        """
        began = time.monotonic()
        counts = journal.counts(journal.first)
        done, total = counts.get("done", 0), sum(counts.values())
        failed = counts.get("failed", 0) + counts.get("refused", 0)
        summary = f"{done} of {total} done, {failed} failed"
        if done + failed > MOST_ROWS:
            summary += f"; the worst {MOST_ROWS} are shown"
        rows = [*journal.worst(MOST_ROWS)]
        measured = [name for name in FORMATS if any(row.figures.get(name) is not None for row in rows)]
        columns = ["output", "exemplar", "result", *(name.replace("_", " ") for name in measured), "seconds", "error"]
        page = self._page
        for key, text in {
            "$REFRESH": "" if is_over else f'<meta http-equiv="refresh" content="{2 * PAUSE:g}">',
            "$SUMMARY": escape(summary),
            "$HEAD": "".join(f"<th>{name}" for name in columns),
            "$ROWS": "\n".join("".join(_cells(row, measured, self._base + quote(row.name))) for row in rows),
        }.items():
            page = page.replace(key, text, 1)
        write_atomically(self.path, page.encode())
        now = time.monotonic()
        self._next = now + max(PAUSE, SHARE * (now - began))


def _cells(row: Row, measured: list[str], link: str) -> Iterator[str]:
    """The cells of a row; what they are sorted by stands beside them where it is not their text."""
    yield f'<tr class="{row.state}"><td title="{escape(row.place)}">'
    yield (f'<a href="{escape(link)}">{escape(row.name)}</a>' if row.state == "done" else escape(row.name))
    for picture in (row.exemplar_shown, row.shown):
        yield "<td>"
        if picture:
            yield f'<img loading="lazy" src="data:image/webp;base64,{base64.b64encode(picture).decode()}">'
    for name in measured:
        value = row.figures.get(name)
        yield "<td>" if value is None else f'<td data-value="{value}">{value:{FORMATS[name]}}'
    yield "<td>" if row.seconds is None else f'<td data-value="{row.seconds}">{row.seconds:.1f}'
    yield f"<td>{escape(row.error or '')}"
