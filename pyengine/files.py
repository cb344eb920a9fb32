"""Files written whole or not at all, and what is wrong with a place for one."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pyengine.errors import PyengineError

LOGGER = logging.getLogger(__name__)


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
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise PyengineError(f"{path}: is a folder: name a file in it")
        if not target.parent.is_dir():
            raise PyengineError(f"{path}: the folder {target.parent} does not exist: create it")
        # Permissions do not tell of read-only file systems or names too long; making a file does.
        trial = _beside(target)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill a temporary file, then put it in the place of `path` in one step.

    Readers see the old file or the new one, never a part. If anything fails, the old one is untouched and
    nothing is left behind. As with a plain `open`, a new file gets the permissions that the umask leaves, an
    existing one keeps its own, and a link keeps pointing where it did.

    Raises
    ------
    PyengineError
        The system refuses: no such folder, no permission, a full disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "notes", lambda file: file.write(b"done"))
    ...     (Path(folder) / "notes").read_bytes()
    b'done'
    """
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    try:
        temporary.touch(exist_ok=False)
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    LOGGER.info("wrote %s", path)


def _beside(target: Path) -> Path:
    """Name a temporary file in the same folder, hence on the same file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _unwritable(path: str | os.PathLike[str], error: Exception) -> PyengineError:
    return PyengineError(f"{path}: cannot be written ({one_line(error)}): choose another place")


def one_line(error: Exception) -> str:
    """What went wrong, without the number and the temporary name that an OSError carries.

    Examples
    --------
    >>> one_line(FileNotFoundError(2, "No such file or directory", ".out.png.tmp"))
    'No such file or directory'
    >>> one_line(ValueError())
    'ValueError'
    """
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())
