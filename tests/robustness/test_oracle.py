"""The harness finds what it is there to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyengine.errors import PyengineError
from robustness.faults import COMMANDS, Ended, check, prepare, stage
from robustness.oracle import Lost, Wrong, bounded, check_line, kept, silent

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("message", ["", " ", "two\nlines", "\x1b[31mred", "x" * 1001])
def test_lines(message: str) -> None:
    check_line("exemplar: no such file")
    with pytest.raises(Wrong, match="no line"):
        check_line(message)


def test_words_of_libraries() -> None:
    with silent():
        pass
    with pytest.raises(Wrong, match="a word"), silent():
        os.write(2, b"a word")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a peak")
def test_memory() -> None:
    with bounded(50 * 10**6):
        pass
    with pytest.raises(Wrong, match="memory"), bounded(50 * 10**6):
        np.ones(10**7)


def test_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"old")
    for change in (
        lambda: (tmp_path / "one").write_bytes(b"cut"),
        lambda: (tmp_path / "two").unlink(),
        lambda: (tmp_path / ".new.tmp").touch(),
    ):
        with pytest.raises(Lost), kept(tmp_path):
            change()
    with kept(tmp_path, tmp_path / "one"):
        (tmp_path / "one").unlink()


PNG = COMMANDS["PNG"]


@pytest.mark.parametrize(
    ("output", "ended", "expected"),
    [
        (b"old", Ended(2, "Error: no room\n"), PyengineError),
        (b"old", Ended(-15, ""), None),
        (b"new", Ended(0, "level 1/1\n"), None),
        (b"new", Ended(-15, ""), None),
        (b"old", Ended(0, ""), Lost),
        (b"new", Ended(2, "Error: no room\n"), Lost),
        (b"cut", Ended(0, ""), Lost),
        (b"cut", Ended(-15, ""), Lost),
        (b"", Ended(-15, ""), Lost),
        (b"old", Ended(2, "Error: no room\nand more\n"), Wrong),
        (b"old", Ended(2, ""), Wrong),
        (b"old", Ended(1, ""), Wrong),
        (b"old", Ended(-11, ""), Wrong),
        (b"old", Ended(2, "Traceback (most recent call last):\nError: no room\n"), Wrong),
    ],
)
def test_endings(output: bytes, ended: Ended, expected: type[Exception] | None, tmp_path: Path) -> None:
    prepare(tmp_path)
    path = tmp_path / PNG.output
    new = stage()["exemplar.png"]
    {"old": lambda: None, "new": lambda: path.write_bytes(new), "cut": lambda: path.write_bytes(new[:500])}.get(
        output.decode(), path.unlink
    )()
    if expected is None:
        check(tmp_path, PNG, ended, {0, 2, -15})
    else:
        with pytest.raises(expected) as caught:
            check(tmp_path, PNG, ended, {0, 2, -15})
        assert caught.type is expected


def test_temporary_files(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / ".pyengine-0.tmp").touch()
    check(tmp_path, PNG, Ended(-9, ""), {-9}, killed=True)
    with pytest.raises(Lost, match="tmp"):
        check(tmp_path, PNG, Ended(-15, ""), {-15})


def test_a_run_that_does_not_go_on(tmp_path: Path) -> None:
    """In a process of its own: copies of this one are not safe."""
    code = """if True:
        import sys
        from pathlib import Path
        from robustness.faults import COMMANDS, Ended, check, prepare

        folder, command, killed = Path(sys.argv[1]), COMMANDS["checkpoint"], Ended(-15, "")
        prepare(folder)
        check(folder, command, killed, {-15})
        print("went on")
        prepare(folder)
        (folder / command.checkpoint).write_bytes(b"no checkpoint")
        check(folder, command, killed, {-15})
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=TESTS, capture_output=True, text=True)
    assert done.stdout == "went on\n"
    assert "Lost: another picture when it was given again" in done.stderr


def test_a_crash_is_named(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pathlib import Path
        from robustness.worker import work

        class Kind:
            def each(self, seed, count, function, *, shrink):
                for value in range(count):
                    function(value)

            def accepts(self, value, folder):
                if value == 3:
                    os.abort()
                return value == 1

        work(Kind(), 0, 10, Path(sys.argv[1]))
    """
    file = tmp_path / "tally.json"
    done = subprocess.run([sys.executable, "-c", code, str(file)], cwd=TESTS, capture_output=True, timeout=60)
    tally = json.loads(file.read_text())
    assert done.returncode < 0
    assert (tally["inputs"], tally["accepted"], tally["refused"], tally["current"]) == (4, 1, 2, "3")
