"""Faults of the machine while a command runs: no room, errors of the system, signals, streams and limits.

Most run in a copy of this process, in which all is imported already: a fault takes a tenth of a second. Those that a
program meets at its start, and the streams of a shell, are tried on the program itself.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import select
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import pyengine
from pyengine.__main__ import main
from pyengine.images.reading import load
from pyengine.network.modelfile import load as load_model
from robustness.models import chain, tiny
from robustness.oracle import Lost, Wrong, check_line, contents

SECONDS = 60
"""After which a command hangs."""

# ----------------------------------------------------------------- commands


@dataclass(frozen=True)
class Command:
    """A command that writes a file, and perhaps another from which it goes on when it is given again."""

    words: str
    output: str
    checkpoint: str | None = None


FAST = "--model tiny.onnx --start noise --levels 1 --iterations 2 --threads 1 --size 40"
COMMANDS = {
    "PNG": Command(f"synthesize exemplar.png -o out.png {FAST}", "out.png"),
    "JPEG": Command(f"synthesize exemplar.png -o out.jpg {FAST}", "out.jpg"),
    "TIFF": Command(f"synthesize exemplar.png -o out.tif {FAST}", "out.tif"),
    "WebP": Command(f"synthesize exemplar.png -o out.webp {FAST}", "out.webp"),
    "checkpoint": Command(
        f"synthesize exemplar.png -o out.png {FAST} --iterations 9 --checkpoint run --checkpoint-every 0",
        "out.png",
        "run",
    ),
    "sheet": Command("compare exemplar.png exemplar.png --picture sheet.png", "sheet.png"),
    "model": Command("models import chain.onnx -o new.onnx --force --preprocessing torchvision", "new.onnx"),
    "installed": Command(
        "models import chain.onnx --name mine --force --preprocessing torchvision", "models/mine.onnx"
    ),
}


@cache
def _made() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def stage() -> dict[str, bytes]:
    """What is in the working folder before a command: what it reads, and the old file in the place of each new one."""
    folder = Path(_made().name)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)).save(folder / "exemplar.png")
    files = {"exemplar.png": (folder / "exemplar.png").read_bytes(), "chain.onnx": chain((8, 3), (8, 8))}
    files["tiny.onnx"] = tiny(folder).read_bytes()
    for command in COMMANDS.values():
        old = folder / Path(command.output).name
        if old.suffix == ".onnx":
            old.write_bytes(
                pyengine.import_model(tiny(folder), output=folder / "old.onnx", half=True, force=True).path.read_bytes()
            )
        else:
            Image.new("RGB", (9, 9)).save(old)
        files[command.output] = old.read_bytes()
    return files


def prepare(folder: Path) -> None:
    """Put into a folder what is on the stage, and nothing else."""
    for path in contents(folder):
        path.unlink()
    (folder / "models").mkdir(exist_ok=True)
    for name, content in stage().items():
        (folder / name).write_bytes(content)


# ------------------------------------------------------------------- ending


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it said on standard error."""

    code: int
    said: str


def check(folder: Path, command: Command, ended: Ended, codes: set[int], *, killed: bool = False) -> None:
    """Raise `Wrong` for a command that should have ended otherwise, or `Lost` for what it left in the folder.

    With exit code 0, the new file is there and whole; with 2, there is one line, and the old file; else, one of the
    two. Nothing else is there, unless the process was killed, which leaves its temporary file. Where there is a
    checkpoint, the command goes on from it to the picture that it makes without a fault.
    """
    before = {folder / name: content for name, content in stage().items()}
    after = contents(folder)
    output = folder / command.output
    for path in sorted({*before, *after} - {output, folder / (command.checkpoint or command.output)}):
        if before.get(path) != after.get(path) and not (killed and path.suffix == ".tmp"):
            raise Lost(f"{path.name!r} is {'gone' if path not in after else 'there'}, exit code {ended.code}")
    if output not in after:
        raise Lost(f"the old file is gone, exit code {ended.code}")
    is_new = after[output] != before[output]
    if is_new:
        try:
            load_model(output) if output.suffix == ".onnx" else load(output)
        except pyengine.PyengineError as error:
            raise Lost(f"the old file is gone, and the new one is not whole: {error}") from None
    lines = [
        line for line in ended.said.splitlines() if not line.startswith(("level ", "Hint: ", "Warning: checkpoint"))
    ]
    if ended.code not in codes or "Traceback" in ended.said or "should not happen" in ended.said:
        raise Wrong(f"exit code {ended.code}, and said {lines}")
    if ended.code == 2:
        if len(lines) != 1 or not lines[0].startswith("Error: "):
            raise Wrong(f"said {lines}")
        check_line(lines[0])
    if ended.code == (0 if not is_new else 2):
        raise Lost(f"exit code {ended.code}, and the file is {'new' if is_new else 'old'}")
    if command.checkpoint and ended.code != 0:
        again = run(command.words, folder, lambda ready: None)
        if again.code != 0 or not (load(output) == picture(command)).all():
            raise Lost(f"another picture when it was given again: {again}")
    if ended.code == 2:
        raise pyengine.PyengineError(lines[0])


@cache
def picture(command: Command) -> np.ndarray:
    """What a command makes where nothing goes wrong."""
    with TemporaryDirectory() as name:
        prepare(Path(name))
        run(command.words, Path(name), lambda ready: None)
        return load(Path(name) / command.output)


# ------------------------------------------------- in a copy of this process


Arm = Callable[[Callable[[], None]], None]
"""What a copy of this process does to itself before the program runs; it may call `ready`, now or later."""


def run(words: str, folder: Path, arm: Arm, moment: tuple[int, float] | None = None) -> Ended:
    """Run the program in a copy of this process.

    `moment`, where there is one, is a signal to send, and after how many seconds from when the copy says `ready`.
    """
    said, saying = os.pipe()
    armed, arming = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(saying, 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        code = 70
        try:
            os.chdir(folder)
            os.environ["PYENGINE_MODELS"] = str(folder / "models")
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["pyengine", *words.split()]
            arm(lambda: os.write(arming, b"x"))
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        except KeyboardInterrupt:  # before the program has a handler
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(saying)
    os.close(arming)
    if moment is not None:
        number, seconds = moment
        os.read(armed, 1)
        time.sleep(seconds)
        os.kill(process, number)
    text = _read(said, process)
    os.close(said)
    os.close(armed)
    _, status = os.waitpid(process, 0)
    return Ended(os.waitstatus_to_exitcode(status), text)


def _read(said: int, process: int) -> str:
    """All that a process says, until it is gone."""
    text, until = b"", time.monotonic() + SECONDS
    while True:
        if not select.select([said], [], [], max(0, until - time.monotonic()))[0]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise Wrong(f"hangs, and said {text!r}")
        if not (piece := os.read(said, 2**16)):
            return text.decode(errors="replace")
        text += piece


WRITES, REMOVES = ("open", "os.rename", "os.chmod", "os.mkdir"), ("os.remove",)
"""Audit events of files."""


def at_event(number: int, happens: Callable[[], None], events: tuple[str, ...], *, reads: bool) -> None:
    """Have something happen when this process comes to so manieth of some events.

    `reads` counts files as well that are opened to be read.
    """
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in events:
            return
        if event == "open" and not (reads or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        count += 1
        if count == number:
            happens()

    sys.addaudithook(hook)


@cache
def _usual(name: str) -> tuple[float, int]:
    """Seconds that a command takes, and bytes that it writes."""
    with TemporaryDirectory() as folder:
        prepare(Path(folder))
        began = time.monotonic()
        ended = run(COMMANDS[name].words, Path(folder), lambda ready: None)
        seconds = time.monotonic() - began
        check(Path(folder), COMMANDS[name], ended, {0})
        return seconds, (Path(folder) / COMMANDS[name].output).stat().st_size


# -------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Fault:
    """A fault while a command of `COMMANDS` runs.

    Attributes
    ----------
    command : str
    what : str
    details : tuple
        What it needs besides, such as a number of bytes.
    """

    command: str
    what: str
    details: tuple[Any, ...] = field(default=())

    def happen(self, folder: Path) -> None:
        """Run the command with the fault, and look at what is there then."""
        prepare(folder)
        WHAT[self.what](COMMANDS[self.command], folder, self.details)


def _no_room(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """No file may grow beyond so many bytes."""
    (size,) = details

    def arm(ready: Callable[[], None]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    check(folder, command, run(command.words, folder, arm), {0, 2})


def _error(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """The system refuses to open, make or rename a file; with `reads`, also to open one to be read."""
    at, number, reads = details

    def happens() -> None:
        raise OSError(number, os.strerror(number))

    ended = run(command.words, folder, lambda ready: at_event(at, happens, WRITES, reads=reads))
    check(folder, command, ended, {0, 2})


def _signal(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """A signal comes, so many seconds after a file is opened to be written, renamed or removed; or after the start."""
    number, at, seconds = details

    def arm(ready: Callable[[], None]) -> None:
        if at:
            at_event(at, ready, WRITES + REMOVES, reads=False)
        else:
            ready()

    ended = run(command.words, folder, arm, (number, seconds))
    codes = {0, -number, 128 + number} if number in (signal.SIGTERM, signal.SIGINT) else {0, -number}
    check(folder, command, ended, codes, killed=number == signal.SIGKILL)


def _limit(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """Memory or open files come to an end, so much further on."""
    name, more = details

    def arm(ready: Callable[[], None]) -> None:
        kind = getattr(resource, name)
        if name == "RLIMIT_AS":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        else:
            used = len([*Path("/proc/self/fd").iterdir()])
        resource.setrlimit(kind, (used + more, resource.getrlimit(kind)[1]))

    check(folder, command, run(command.words, folder, arm), {0, 2})


def _program(line: str, folder: Path) -> Ended:
    """What the shell makes of a line in which $PROGRAM is the program itself."""
    variables = {
        **os.environ,
        "PROGRAM": f"{shlex.quote(sys.executable)} -m pyengine",
        "PYENGINE_MODELS": str(folder / "models"),
    }
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        cwd=folder,
        env=variables,
    )
    return Ended(done.returncode, done.stderr)


def _stream(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """A standard stream is closed or full, or its reader is gone: no work is lost for that."""
    (redirected,) = details
    line = f"$PROGRAM {command.words} {redirected}; exit ${{PIPESTATUS[0]}}"
    ended = _program(line, folder)
    if command.words.startswith("compare") and redirected in (">/dev/full", ">/dev/full 2>/dev/full"):
        if ended.code != 2:  # the figures are missed, which it is there for
            raise Wrong(f"exit code {ended.code}")
        ended = Ended(0, "")
    check(folder, command, ended, {0})


def _start(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """Limits under which the program has to start."""
    (limit,) = details
    ended = _program(f"ulimit {limit}; exec $PROGRAM {command.words}", folder)
    # Where memory ends, libraries end the process; and without files, the system doesn't find Python's own.
    starved = ended.code == 127 or (limit.startswith("-v") and ended.code not in (0, 2))
    check(folder, command, Ended(1, "") if starved else ended, {0, 1, 2})


def _kill(command: Command, folder: Path, details: tuple[Any, ...]) -> None:
    """A signal comes at some moment of the program's life, which is mostly imports."""
    number, seconds = details
    words = [sys.executable, "-m", "pyengine", *command.words.split()]
    variables = {**os.environ, "PYENGINE_MODELS": str(folder / "models")}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, env=variables)
    time.sleep(seconds)
    process.send_signal(number)
    said = process.communicate(timeout=SECONDS)[1].decode(errors="replace")
    early = process.returncode in (-signal.SIGINT, 1) and "KeyboardInterrupt" in said  # before there is any of ours
    codes = {0, -number, 128 + number} if number in (signal.SIGTERM, signal.SIGINT) else {0, -number}
    check(
        folder,
        command,
        Ended(-number, "") if early else Ended(process.returncode, said),
        codes,
        killed=number == signal.SIGKILL,
    )


WHAT: dict[str, Callable[[Command, Path, tuple[Any, ...]], None]] = {
    "no room": _no_room,
    "error": _error,
    "signal": _signal,
    "limit": _limit,
    "stream": _stream,
    "start": _start,
    "kill": _kill,
}

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE, errno.EROFS, errno.ENOMEM)
REDIRECTED = (
    "2>&-", "2>/dev/full", ">&-", ">/dev/full", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", "2>&- --verbose",
    "2>/dev/full --verbose", "2>&1 | true", "2> >(true)", "> >(true)", "</dev/null >/dev/null 2>/dev/null",
)  # fmt: skip
LIMITS = (
    *(f"-v {kb}" for kb in range(100_000, 2_000_000, 150_000)),
    *(f"-n {number}" for number in (7, 8, 9, 10, 12, 16, 24, 40)),  # Python itself takes some of fewer for lost files
    *("-f 0", "-f 1", "-s 256", "-c 0"),
)


def _sizes(random: Random) -> Iterator[Fault]:
    """Every so manieth byte of every kind of file, and one after the last."""
    for part in itertools.count():
        for name in COMMANDS:
            _, size = _usual(name)
            share = (part * 0.618034) % 1  # which fills the range evenly, however many there are
            yield Fault(name, "no room", (size if part == 1 else int(size * share),))


def _errors(random: Random) -> Iterator[Fault]:
    for at in itertools.cycle(range(1, 6)):
        for name in COMMANDS:
            yield Fault(name, "error", (at, random.choice(ERRORS), False))
            yield Fault(name, "error", (int(1.5 ** random.uniform(0, 15)), random.choice(ERRORS), True))


def _signals(random: Random) -> Iterator[Fault]:
    """At every file event, at once or a little later; and at any time."""
    for at in itertools.count(1):
        for name in COMMANDS:
            for number in random.sample(SIGNALS, 2):
                yield Fault(name, "signal", (number, at % 6 + 1, random.choice([0, random.uniform(0, 0.003)])))
            yield Fault(name, "signal", (random.choice(SIGNALS), 0, random.uniform(0, 1.1 * _usual(name)[0])))


def _limits(random: Random) -> Iterator[Fault]:
    while True:
        for name in COMMANDS:
            yield Fault(
                name, "limit", ("RLIMIT_AS", random.choice([0, 10**6, 10**7, 10**8, random.randrange(3 * 10**8)]))
            )
            yield Fault(name, "limit", ("RLIMIT_NOFILE", random.randrange(8)))


def _streams(random: Random) -> Iterator[Fault]:
    for redirected in itertools.cycle(REDIRECTED):
        for name in random.sample([*COMMANDS], 2):
            yield Fault(name, "stream", (redirected,))


def _starts(random: Random) -> Iterator[Fault]:
    limits = [*LIMITS]
    while True:
        random.shuffle(limits)
        for limit in limits:
            yield Fault(random.choice([*COMMANDS]), "start", (limit,))


def _kills(random: Random) -> Iterator[Fault]:
    while True:
        yield Fault(random.choice([*COMMANDS]), "kill", (random.choice(SIGNALS), random.uniform(0, 1.5)))


GROUPS: dict[str, tuple[Callable[[Random], Iterator[Fault]], float]] = {
    "no room": (_sizes, 0.3),
    "errors": (_errors, 0.2),
    "signals": (_signals, 0.25),
    "limits": (_limits, 0.1),
    "streams": (_streams, 0.05),
    "starts": (_starts, 0.05),
    "kills": (_kills, 0.05),
}
"""Faults of a kind, and what share of all they are."""


@dataclass(frozen=True)
class Faulty:
    """A kind of faults, like `fuzzing.Kind`."""

    group: str

    def each(self, seed: int, count: int, function: Callable[[Any], None], *, shrink: bool = False) -> None:
        """Call a function with so many faults."""
        make, _ = GROUPS[self.group]
        for fault in itertools.islice(make(Random(seed)), count):
            function(fault)

    def accepts(self, fault: Fault, folder: Path) -> bool:
        """Whether a command did its work in spite of a fault; raises what should not be."""
        try:
            fault.happen(folder)
        except pyengine.PyengineError:
            return False
        return True
