"""What may come of an input: a result, or an error of one line, and nothing besides."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

MOST_CHARACTERS = 1000
"""Of a message, which has room for a name as long as names get, and for what is wrong with it."""

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells of this process's memory, and where it takes the order to forget the peak."""


class Wrong(AssertionError):
    """An input did what none may do."""


class Lost(Wrong):
    """A file is gone, cut or changed, or one is there that nobody asked for."""


def check_line(message: str) -> None:
    """Raise `Wrong` for an error's message that is not one line of plain text."""
    if not message.strip() or len(message) > MOST_CHARACTERS or not message.isprintable():
        raise Wrong(f"no line of text: {message!r}")


@contextmanager
def silent() -> Iterator[None]:
    """Raise `Wrong` if anything is written to standard error meanwhile, by a library of C as well."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        if file.seek(0, os.SEEK_END):
            file.seek(0)
            raise Wrong(f"on standard error: {file.read(200)!r}")


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Raise `Wrong` if the process has grown by more than so many bytes at any moment, where the system tells."""
    with suppress(OSError):
        PEAK.write_text("5")
    before = _resident("VmRSS")
    yield
    grown = _resident("VmHWM") - before
    if grown > most:
        raise Wrong(f"took {grown} bytes of memory, and {most} are the most")


def _resident(name: str) -> int:
    """Bytes of a line of the system's; 0 where there is none."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def kept(folder: Path, *but: Path) -> Iterator[None]:
    """Raise `Lost` if a folder is another than before, but for some files: whoever asked for these checks them."""
    before = contents(folder)
    yield
    after = contents(folder)
    for path in sorted({*before, *after} - {*but}):
        if before.get(path) != after.get(path):
            what = "is gone" if path not in after else "is new" if path not in before else "is another"
            raise Lost(f"{path.name!r} {what}")


def contents(folder: Path) -> dict[Path, bytes]:
    """What is in the files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def judged(most: int, folder: Path, *but: Path) -> Iterator[None]:
    """All of the above at once."""
    with ExitStack() as stack:
        stack.enter_context(kept(folder, *but))
        stack.enter_context(bounded(most))
        stack.enter_context(silent())
        yield
