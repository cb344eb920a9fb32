"""The command line, as tests call it."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner, Result

from pyengine.cli import main

FAST = ("--start", "noise", "--iterations", "2", "--levels", "1", "--threads", "1")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def program(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """The real thing, in a process of its own."""
    command = [sys.executable, "-m", "pyengine", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **{"text": True, **pipes, **options})  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr
