"""Files written whole or not at all, and what is wrong with a place for one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyengine.errors import PyengineError, in_short

MOST_BYTES = 2**31 - 1
"""The largest file that is read: what ONNX files may have, and a picture of 89 million pixels at 24 bytes each."""

PIECE = 2**20
"""Bytes that are read at once."""

MOST_SAID = 200
"""Characters of other people's errors that a message repeats: some hold what they found in a file."""

ENDING = ("SIGTERM", "SIGHUP", "SIGBREAK", "SIGINT")
"""What may end a program from outside; SIGINT is the last, so that Ctrl-C finds all others put back."""


def pieces(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The contents of a file piece by piece, as long as there are no more than any file that pyengine reads may have.

    Raises
    ------
    OSError
        The file can't be read, or is too large, such as a device that never ends.

    Examples
    --------
    >>> sum(map(len, pieces(os.devnull)))
    0
    """
    read = 0
    with Path(path).open("rb") as file:
        while piece := file.read(PIECE):
            read += len(piece)
            if max(read, os.fstat(file.fileno()).st_size) > MOST_BYTES:
                raise OSError(errno.EFBIG, f"more than {MOST_BYTES} bytes")
            yield piece


def is_url(value: object) -> bool:
    """Whether this is a URL: a scheme, of more letters than a drive has, and what comes behind ://.

    Examples
    --------
    >>> is_url("s3://textures/grass.png"), is_url("textures/grass.png"), is_url("C://grass.png")
    (True, False, False)
    """
    return isinstance(value, str) and re.match("[A-Za-z][A-Za-z0-9+.-]+://", value) is not None


def check_path(name: str, value: object) -> None:
    """Raise PyengineError for an argument that is no path.

    Examples
    --------
    >>> check_path("folder", 3)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: folder=3: give a path
    """
    if not isinstance(value, (str, os.PathLike)):
        raise PyengineError(f"{name}={in_short(value)}: give a path")


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse, before the work, a path that `write_atomically` could not write to after it.

    Raises
    ------
    PyengineError
        The path is a folder, or its folder is missing or read-only.

    Examples
    --------
    >>> check_place("no such folder/report.json")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: no such folder/report.json: the folder ... does not exist: create it
    """
    try:
        target = Path(os.path.realpath(path))
        with suppress(FileNotFoundError, NotADirectoryError):
            target.stat()  # tells of a name that is too long, as the trial below does not
        if target.is_dir():
            raise PyengineError(f"{path}: is a folder: name a file in it")
        if not target.parent.is_dir():
            raise PyengineError(f"{path}: the folder {target.parent} does not exist: create it")
        # Permissions do not tell of read-only file systems; making a file does.
        trial = _beside(target)
        with _signals_held_back():
            try:
                trial.touch(exist_ok=False)
            finally:
                trial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def write_atomically(path: str | os.PathLike[str], content: bytes | memoryview | Iterable[memoryview]) -> None:
    """Write a temporary file, then put it in the place of `path` in one step; so is written whatever pyengine keeps.

    Readers see the old file or the new one, never a part, also after a power cut. If anything fails, the old one is
    untouched and nothing is left behind. Signals that end the program wait for the end of the write, as long as it is
    in the main thread, the only one that Python lets see to signals. As with a plain `open`, a new file gets the
    permissions that the umask leaves, an existing one keeps its own, and a link keeps pointing where it did.

    Parameters
    ----------
    path : str or path
    content : bytes, or iterable of memoryview
        All of it, or piece by piece where it is too large to be in memory twice. Encoders are not left to write a file
        themselves: some take a full disk for done.

    Raises
    ------
    PyengineError
        The system refuses: no such folder, no permission, a full disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "notes", b"done")
    ...     (Path(folder) / "notes").read_bytes()
    b'done'
    """
    try:
        target = Path(os.path.realpath(path))
        with _signals_held_back():
            _write(target, content)
    except (OSError, ValueError) as error:  # ValueError: a name with a null in it
        raise _unwritable(path, error) from error
    import logging  # not for the sake of the command's help, which reads names of formats

    logging.getLogger(__name__).info("wrote %s", path)


def _write(target: Path, content: bytes | memoryview | Iterable[memoryview]) -> None:
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:
            for piece in [content] if isinstance(content, (bytes, memoryview)) else content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    # The file is there; its name is in the folder, which not every system lets one open or flush.
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let signals wait that may end the program, and come back to them at the end.

    An exception out of a handler, as Ctrl-C raises it, could come anywhere, also where a temporary file is about to be
    removed; and without a handler, the program would be gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    # What is ignored, as SIGHUP under nohup, stays so; and what is no handler of Python's could not be put back.
    handlers = {n: h for n in numbers if (h := signal.getsignal(n)) is not None and h is not signal.SIG_IGN}
    try:
        try:
            for number in handlers:
                signal.signal(number, lambda number, frame: noted.append(number))
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    finally:
        for number in noted:
            signal.raise_signal(number)


def _beside(target: Path) -> Path:
    """Name a temporary file in the same folder, hence on the same file system; the name may be as long as any."""
    return target.with_name(f".pyengine-{uuid.uuid4().hex[:12]}.tmp")


def _unwritable(path: str | os.PathLike[str], error: Exception) -> PyengineError:
    return PyengineError(f"{path}: cannot be written ({one_line(error)}): choose another place")


def one_line(error: Exception) -> str:
    """What went wrong, without the number and the temporary name that an OSError carries.

    Examples
    --------
    >>> one_line(FileNotFoundError(2, "No such file or directory", ".out.png.tmp"))
    'No such file or directory'
    >>> one_line(ValueError()), one_line(MemoryError())
    ('ValueError', 'memory is short')
    """
    name = "memory is short" if isinstance(error, MemoryError) else type(error).__name__
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or name
    text = " ".join(text.split())
    return text if len(text) <= MOST_SAID else f"{text[: MOST_SAID - 3]}..."
