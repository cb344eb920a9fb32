"""A folder that is watched for pictures."""

from __future__ import annotations

import time
from pathlib import Path

from pyengine.batch.manifest import pictures_in
from pyengine.errors import PyengineError
from pyengine.files import one_line

PAUSE = 1.0
"""Seconds between two looks. A file that has not changed from one to the next is taken for whole."""


class Watched:
    """The pictures that appear in a folder, or change.

    Parameters
    ----------
    folder : Path

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     watched = Watched(Path(folder))
    ...     written = Path(folder, "grass.png").write_bytes(b"...")
    ...     looks = [[path.name for path in watched.new()] for _ in range(3)]
    >>> looks
    [[], ['grass.png'], []]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, tuple[int, int]] = {}
        self._given: dict[Path, tuple[int, int]] = {}
        self.new()

    def new(self) -> list[Path]:
        """Those that were not given before as they are now, and were the same at the look before.

        Raises
        ------
        PyengineError
            The folder can't be read.
        """
        before, self._seen = self._seen, {}
        try:
            for path in pictures_in(self.folder):
                status = path.stat()
                self._seen[path] = status.st_size, status.st_mtime_ns
        except FileNotFoundError as error:
            if not self.folder.is_dir():  # else a file is gone that was there a moment ago
                raise PyengineError(f"{self.folder}: no such folder: create it") from error
        except OSError as error:
            raise PyengineError(f"{self.folder}: cannot be watched ({one_line(error)}): choose another") from error
        whole = [path for path, now in self._seen.items() if now == before.get(path) != self._given.get(path)]
        self._given |= {path: self._seen[path] for path in whole}
        return whole

    def wait(self) -> None:
        """Wait until it is time to look again."""
        time.sleep(PAUSE)
