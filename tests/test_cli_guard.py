"""How the program ends: streams that are closed, full or read no more, signals, and errors that nobody foresaw."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import FAST, invoke
from PIL import Image

import pyengine.cli.commands
from pyengine.cli.output import Output
from pyengine.images.reading import load

posix = pytest.mark.skipif(os.name != "posix", reason="streams and signals are POSIX's")


@pytest.fixture
def exemplar(tmp_path: Path) -> Path:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a line of the shell does, in which $PROGRAM is the program."""
    variables = {**os.environ, "PROGRAM": f"{sys.executable} -m pyengine", **environment}
    variables.pop("PYTHONUNBUFFERED", None)  # what could not be written waits for a second try in a buffer
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, errors="replace", timeout=60, cwd=folder, env=variables
    )


SYNTHESIZE = f"$PROGRAM synthesize exemplar.png -o out.png {' '.join(FAST)}"

# ------------------------------------------------------------------ streams


@posix
@pytest.mark.parametrize(
    "redirected",
    [
        "2>&-",
        "2>/dev/full",
        ">&-",
        ">/dev/full",
        "<&- >&- 2>&-",
        ">/dev/full 2>/dev/full --verbose",
        "2>&- --verbose",
        "2>&1 | true",
        "2> >(true)",
        "> >(true)",
    ],
)
def test_talk_never_ends_a_run(redirected: str, exemplar: Path, tmp_path: Path) -> None:
    done = shell(f"{SYNTHESIZE} {redirected}; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert load(tmp_path / "out.png").shape == (16, 16, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exemplar.png", "out.png"]


@posix
def test_a_hint_never_ends_a_run(tmp_path: Path) -> None:
    board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((9, 9)))
    Image.fromarray((board * 255).astype(np.uint8)).save(tmp_path / "exemplar.png")
    line = f"{SYNTHESIZE.replace('--iterations 2', '--iterations 0')} --size 64"
    assert "Hint: the exemplar repeats itself every 12.7" in shell(line, tmp_path).stderr
    (tmp_path / "out.png").unlink()
    assert shell(f"{line} 2>/dev/full", tmp_path).returncode == 0
    assert load(tmp_path / "out.png").shape == (64, 64, 3)


@posix
@pytest.mark.parametrize(
    "command", [f"{SYNTHESIZE} --json", "$PROGRAM info", "$PROGRAM compare exemplar.png exemplar.png"]
)
def test_what_was_asked_for_is_missed(command: str, exemplar: Path, tmp_path: Path) -> None:
    done = shell(f"{command} >/dev/full", tmp_path)
    assert done.returncode == 2
    expected = "Error: standard output: cannot be written (No space left on device): choose another place"
    assert done.stderr.splitlines() == [expected]
    done = shell(f"{command} 2>/dev/null | true; exit ${{PIPESTATUS[0]}}", tmp_path)  # enough was read
    assert (done.returncode, done.stderr) == (0, "")


@posix
def test_help_that_is_missed(tmp_path: Path) -> None:
    for command in ("", "synthesize"):
        done = shell(f"$PROGRAM {command} --help >/dev/full", tmp_path)
        assert (done.returncode, done.stderr) == (2, "Error: No space left on device (OSError)\n")


@posix
def test_nothing_is_written_into_a_picture_by_way_of_a_closed_stream(exemplar: Path, tmp_path: Path) -> None:
    """Whatever is opened next would be standard error to all that is not Python."""
    code = """if True:
        import os, sys
        from pyengine.__main__ import main
        sys.argv[1:] = ["--version"]
        try:
            main()
        finally:
            with open("next", "wb") as file:
                os.write(2, b"from a library")
    """
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], timeout=60, cwd=tmp_path, check=True
    )
    assert done.returncode == 0
    assert (tmp_path / "next").read_bytes() == b""


@posix
@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "utf-8:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_names_that_are_no_text(environment: dict[str, str], exemplar: Path, tmp_path: Path) -> None:
    done = shell("mv exemplar.png $'\\xff.png'", tmp_path)
    line = f"$PROGRAM synthesize $'\\xff.png' -o $'\\xfe.png' {' '.join(FAST)}"
    for flag in ("", "--json"):
        done = shell(f"{line} {flag}", tmp_path, **environment)
        assert (done.returncode, "Error" in done.stderr) == (0, False)
        assert "\\udcfe.png" in done.stdout
    assert (tmp_path / "\udcfe.png").exists()
    done = shell("$PROGRAM synthesize $'\\xff\\xff.png' -o é.png", tmp_path, **environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_terminal_gets_nothing_but_text(tmp_path: Path) -> None:
    name = "\x1b]0;title\x07\x1b[2J\u202e\x7f\n.png"
    Image.new("RGB", (16, 16), "teal").save(tmp_path / name)
    found = invoke("compare", tmp_path / name, tmp_path / name, "--verbose")
    refused = [invoke("compare", tmp_path / f"no{name}", tmp_path / name), invoke("info", name), invoke(name)]
    assert found.exit_code == 0
    for text in (found.stdout, found.stderr, *(result.stderr for result in refused)):
        assert "\\x1b]0;title\\x07" in text
        assert "\\u202e\\x7f" in text
        assert text.replace("\n", "").isprintable()
    as_json = invoke("compare", tmp_path / name, tmp_path / name, "--json").stdout
    assert as_json.replace("\n", "").isprintable()


# ------------------------------------------------------------------ signals


@posix
@pytest.mark.parametrize("module", ["click", "numpy", "onnxruntime"])
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, ""), (signal.SIGINT, "Error: interrupted\n")])
def test_signals_during_imports(
    number: signal.Signals, expected: str, module: str, exemplar: Path, tmp_path: Path
) -> None:
    """What is imported would turn an exception into another, or print it."""
    code = f"""if True:
        import signal, sys

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    signal.raise_signal({int(number)})

        sys.meta_path.insert(0, Finder())
        from pyengine.__main__ import main
        main()
    """
    arguments = ("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--quiet")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", expected)
    assert [path.name for path in tmp_path.iterdir()] == ["exemplar.png"]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_during_a_write(number: signal.Signals, exemplar: Path, tmp_path: Path) -> None:
    code = f"""if True:
        import os, signal, sys
        from pyengine.__main__ import main
        sync = os.fsync

        def interrupted(descriptor):
            signal.raise_signal({int(number)})
            sync(descriptor)

        os.fsync = interrupted
        main()
    """
    arguments = ("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--quiet")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + number
    assert load(tmp_path / "out.png").shape == (16, 16, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exemplar.png", "out.png"]


# ------------------------------------------------------------------- errors


@pytest.mark.parametrize("words", [["info", "a\nb"], ["info", "--a\nb"], ["synthesize", "--seed", "a\nb"], ["a\nb"]])
def test_what_was_typed_makes_no_lines(words: list[str]) -> None:
    *_, last = invoke(*words).stderr.splitlines()
    assert last.startswith("Error: ")
    assert last.replace("\\n", " ").count("a b") == 1


def test_what_was_typed_is_spelled_out() -> None:
    assert invoke("info", "\x1b[2J\n").stderr.splitlines()[-1] == "Error: Got unexpected extra argument (\\x1b[2J )"


class Trouble:
    """A command that raises an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: BaseException = ValueError()
        module = type(sys)("pyengine.cli.commands.trouble")
        module.command = click.command(self.raises)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(pyengine.cli.commands.Commands, "get_command", lambda *_: module.command)

    def raises(self) -> None:
        raise self.error

    def line(self, error: BaseException, *flags: str) -> list[str]:
        self.error = error
        result = invoke(*flags, "trouble")
        assert (result.exit_code, result.stdout) == (2, "")
        return result.stderr.splitlines()


SHORT = "make a smaller --size, give a lower --memory-limit, or free some"
REPORT = "this should not happen: please report it, with what --debug and `pyengine info` show"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("a\nb"), f"KeyError: 'a\\nb'; {REPORT}"),
        (RuntimeError("two\nlines, \x1b[31mred"), f"RuntimeError: two lines, \\x1b[31mred; {REPORT}"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory (FileNotFoundError)"),
        (OSError(24, "Too many open files", "a.py"), "a.py: Too many open files (OSError)"),
        (MemoryError(), f"memory is short (MemoryError): {SHORT}"),
        (RuntimeError("std::bad_alloc"), f"memory is short (RuntimeError): {SHORT}"),
        (SystemError("x failed without setting an exception"), f"memory is short (SystemError): {SHORT}"),
        (ImportError("an essay\nof lines\nx.so: cannot open\n"), "x.so: cannot open"),
    ],
)  # fmt: skip
def test_any_error_is_one_line(error: BaseException, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = Trouble(monkeypatch)
    assert trouble.line(error) == [f"Error: {expected}"]
    *above, last = trouble.line(error, "--debug")
    assert last == f"Error: {expected}"
    assert above[0] == "Traceback (most recent call last):"
    assert any("in raises" in line for line in above)


def test_a_command_line_that_does_not_load() -> None:
    code = """if True:
        import sys
        sys.modules["click"] = None
        from pyengine.__main__ import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("Error: the command line does not load: ModuleNotFoundError('import of click halted")


def test_an_interrupt_of_a_caller() -> None:
    """The program itself ends in a handler; who calls `main` has Python's."""

    class Interrupted(Output):
        def say(self, text: str) -> None:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyengine.cli.output.Output", Interrupted)
        result = invoke("info")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.strip() == "Error: interrupted"


@posix
def test_a_working_folder_that_is_gone(exemplar: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    for line in ("synthesize ../exemplar.png -o o.png", f"synthesize {exemplar} -o o.png", "compare a.png b.png"):
        done = shell(f"cd gone; rmdir ../gone; $PROGRAM {line}; code=$?; mkdir ../gone; exit $code", tmp_path)
        assert (done.returncode, done.stderr.count("\n"), "Error: " in done.stderr) == (2, 1, True), done.stderr


@pytest.mark.parametrize(
    "line",
    [
        ["compare", "LONG", "exemplar.png", "--picture", "out.png"],
        ["compare", "exemplar.png", "LONG", "--picture", "out.png"],
        ["compare", "exemplar.png", "exemplar.png", "--picture", "LONG"],
        ["synthesize", "LONG", "-o", "out.png"],
        ["synthesize", "exemplar.png", "-o", "LONG"],
        ["synthesize", "exemplar.png", "-o", "out.png", "--recipe", "LONG"],
        ["synthesize", "exemplar.png", "-o", "out.png", "--model", "LONG.onnx"],
        ["synthesize", "exemplar.png", "-o", "out.png", "--model", "LONG"],
        ["models", "import", "LONG.onnx", "--name", "new"],
        ["models", "import", "exemplar.png", "--name", "LONG"],
        ["models", "import", "exemplar.png", "-o", "LONG.onnx"],
        ["models", "remove", "LONG"],
        ["bench", "--compare", "LONG"],
        ["bench", "--output", "LONG.json"],
    ],
)
def test_long_names(line: list[str], exemplar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.png").write_bytes(b"precious")
    result = invoke(*(word.replace("LONG", "n" * 300) for word in line))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "should not happen" not in result.stderr
    assert (tmp_path / "out.png").read_bytes() == b"precious"
