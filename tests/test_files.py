"""Files written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pyengine import files
from pyengine.errors import PyengineError


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), PyengineError),
        (ValueError("a mistake of the caller's"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failed_write(tmp_path: Path, existing: bool, failure: BaseException, raised: type[Exception]) -> None:
    path = tmp_path / "out.txt"
    if existing:
        path.write_bytes(b"before")

    def fail(file: Any) -> None:
        file.write(b"half of it")
        raise failure

    with pytest.raises(raised) as caught:
        files.write_atomically(path, fail)
    if raised is PyengineError:
        message = f"{path}: cannot be written (No space left on device): choose another place"
        assert str(caught.value) == message
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"] * existing


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"a longer one")
    files.write_atomically(path, lambda file: file.write(b"done"))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("report.json", b"done")]


def test_places(tmp_path: Path) -> None:
    files.check_place(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())
    for place, expected in [(tmp_path, "is a folder"), (tmp_path / "none" / "report.json", "create it")]:
        with pytest.raises(PyengineError, match=expected):
            files.check_place(place)
