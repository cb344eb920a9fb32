"""Files written whole or not at all, whatever ends the write."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyengine import files
from pyengine.errors import PyengineError


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), PyengineError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failed_write(
    tmp_path: Path,
    existing: bool,
    call: str,
    failure: BaseException,
    raised: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "out.txt"
    if existing:
        path.write_bytes(b"before")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, call, fail)
    monkeypatch.setattr(Path, "replace", lambda *paths: os.replace(*paths))  # noqa: PTH105
    with pytest.raises(raised) as caught:
        files.write_atomically(path, b"after")
    if raised is PyengineError:
        message = f"{path}: cannot be written (No space left on device): choose another place"
        assert str(caught.value) == message
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"] * existing


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"a longer one")
    files.write_atomically(path, b"done")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("report.json", b"done")]


def test_places(tmp_path: Path) -> None:
    files.check_place(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())
    for place, expected in [(tmp_path, "is a folder"), (tmp_path / "none" / "report.json", "create it")]:
        with pytest.raises(PyengineError, match=expected):
            files.check_place(place)


@pytest.mark.parametrize(("name", "expected"), [("a\0.json", "null"), ("n" * 256, "too long"), ("é" * 128, "too long")])
def test_names_that_no_file_can_have(name: str, expected: str, tmp_path: Path) -> None:
    for function in (files.check_place, lambda path: files.write_atomically(path, b"")):
        with pytest.raises(PyengineError, match=f"cannot be written .*{expected}"):
            function(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.check_place(path)
    files.write_atomically(path, b"done")
    assert path.read_bytes() == b"done"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder in use can't be deleted")
def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pyengine import files
        from pyengine.errors import PyengineError
        os.rmdir(os.getcwd())
        for function in (files.check_place, lambda path: files.write_atomically(path, b"")):
            try:
                function("out.json")
            except PyengineError as error:
                print(error)
    """
    folder = tmp_path / "gone"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=folder)
    expected = "out.json: cannot be written (No such file or directory): choose another place\n"
    assert done.stdout == expected * 2, done.stderr


def test_other_peoples_errors_are_repeated_in_short() -> None:
    assert files.one_line(ValueError("in a\nfile:  " + "x" * 1000)) == "in a file: " + "x" * 186 + "..."


# ------------------------------------------------------------------ signals


WRITE = """if True:
    import os, signal, sys
    from pathlib import Path
    from pyengine import files
    sync = os.fsync

    def interrupted(descriptor):
        signal.raise_signal(int(sys.argv[1]))
        sync(descriptor)

    os.fsync = interrupted
    if sys.argv[2] == "noted":
        signal.signal(int(sys.argv[1]), lambda number, frame: print("noted", number, Path("out").read_text()))
    elif sys.argv[2] == "ignored":
        signal.signal(int(sys.argv[1]), signal.SIG_IGN)
    elif int(sys.argv[1]) == signal.SIGINT:  # which is ignored where the tests run in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        signal.signal(int(sys.argv[1]), signal.SIG_DFL)
    files.write_atomically("out", b"after")
    print(Path("out").read_text(), signal.getsignal(int(sys.argv[1])))
"""


def write_and_signal(number: int, handler: str, folder: Path) -> tuple[int, str, str]:
    (folder / "out").write_text("before")
    command = [sys.executable, "-c", WRITE, str(int(number)), handler]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert [path.name for path in folder.iterdir()] == ["out"]
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 0)])
def test_signals_wait_for_the_end_of_a_write(number: int, tmp_path: Path) -> None:
    """Then the program ends as it would have, and the file is whole."""
    code, stdout, stderr = write_and_signal(number, "default", tmp_path)
    assert (code, stdout) == (-number, "")
    assert (stderr == "") == (number != signal.SIGINT)  # Python's own traceback
    assert (tmp_path / "out").read_text() == "after"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_signals_wait_for_the_end_of_a_trial(tmp_path: Path) -> None:
    code = """if True:
        import signal, sys
        from pyengine import files

        def interrupted(event, arguments):
            if event == "os.remove":
                signal.raise_signal(signal.SIGTERM)

        sys.addaudithook(interrupted)
        files.check_place("out")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_handlers_are_called_after_the_write_and_put_back(tmp_path: Path) -> None:
    code, stdout, _ = write_and_signal(signal.SIGTERM, "noted", tmp_path)
    assert code == 0
    assert stdout.startswith(f"noted {int(signal.SIGTERM)} after\n")
    assert "<function <lambda>" in stdout


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    code, stdout, _ = write_and_signal(signal.SIGHUP, "ignored", tmp_path)
    assert (code, stdout) == (0, f"after {signal.SIG_IGN}\n")


def test_any_thread_may_write(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=files.write_atomically, args=(tmp_path / "out", b"done"))
    thread.start()
    thread.join()
    assert (tmp_path / "out").read_bytes() == b"done"
    assert signal.getsignal(signal.SIGTERM) is before
