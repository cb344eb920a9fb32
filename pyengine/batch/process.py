"""A worker that is a process of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from pyengine.batch.pool import Answer, Died, Task
from pyengine.errors import PyengineError, printable
from pyengine.files import one_line

MOST_SAID = 300
"""Characters of a worker's last words that are repeated."""

GRACE = 30.0
"""Seconds that a worker has to end by itself when it is not wanted any more. It needs them for what it is writing."""


class Process:
    """A worker that is a process of this machine.

    Its interpreter is a new one, with nothing of this one's but the folders that modules are found in: a script needs
    no `if __name__ == "__main__"`, which it does with `multiprocessing`, and there is nothing that a fork would copy.

    Parameters
    ----------
    engine : dict
        The arguments of `Engine`.
    at_once : int
        How many tasks it does at once.

    Raises
    ------
    Died
        The system gives no process, or no file.
    """

    def __init__(self, engine: Mapping[str, Any], at_once: int) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from pyengine.batch.worker import main; main()"
        threads = engine.get("threads")
        # OpenBLAS starts a thread for each core when it is imported, whatever it is wanted for.
        environment = {**({} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)}), **os.environ}
        try:
            with ExitStack() as opened:
                self._words: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._words,
                    env=environment,
                    encoding="utf-8",
                )
                opened.pop_all()  # `_close_files` closes it
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Died(f"{where}{one_line(error)}") from None
        self._is_late = False
        self._end_at_last = threading.Timer(GRACE, self._process.kill)
        self._end_at_last.daemon = True
        self._send({"engine": engine, "at_once": at_once})

    def introduce(self) -> Answer:
        """Wait for what it says of its engine, once.

        Raises
        ------
        PyengineError
            There is no such engine.
        Died
        """
        said = self.receive(None)
        if "error" in said:
            raise PyengineError(said["error"])
        return said

    @property
    def name(self) -> str:
        """What the journal calls it."""
        return f"{os.uname().nodename if hasattr(os, 'uname') else ''}:{self._process.pid}"

    def send(self, task: Task) -> None:
        """Give it something to do."""
        self._send(task.asked)

    def _send(self, asked: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError):  # ValueError: `end` has closed it
            raise self._death() from None

    def receive(self, timeout: float | None) -> Answer:
        """Wait for the answer to one of its tasks; if none has come after so many seconds, that ends it."""
        with self._ended_after(timeout):
            line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise self._death()
        answer: Answer = json.loads(line)
        return answer

    @contextmanager
    def _ended_after(self, timeout: float | None) -> Iterator[None]:
        if timeout is None:
            yield
            return
        timer = threading.Timer(timeout, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _death(self) -> Died:
        """What it died of, as far as can be told."""
        self._process.kill()  # it may have closed its output and live
        code = self._process.wait()
        words = self._last_words()
        self._close_files()
        if self._is_late:
            return Died("took longer than its timeout: give more, or leave it out")
        if code == -getattr(signal, "SIGKILL", 0):
            reason = "was killed (SIGKILL), as the system does where memory is short: give fewer workers"
        else:
            reason = f"ended its worker ({_ended_by(code)})"
        return Died(f"{reason}: {words}" if words else reason)

    def _last_words(self) -> str:
        """The last line of what it has said on standard error."""
        end = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, end - 4 * MOST_SAID))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return printable(lines[-1])[:MOST_SAID] if lines else ""

    def forget(self) -> None:
        """Drop what it has said on standard error until now."""
        self._words.seek(0)
        self._words.truncate()

    def end(self) -> None:
        """Let it end, whatever it is doing, but for a file that it is writing. May be called from any thread."""
        with suppress(RuntimeError):  # it has been told before
            self._end_at_last.start()
        self._close_input()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.end()
        self._process.wait()
        self._close_files()

    def _close_input(self) -> None:
        with suppress(OSError):  # of what it has not read yet
            self._process.stdin.close()  # type: ignore[union-attr]

    def _close_files(self) -> None:
        """Close what belongs to a process that is gone."""
        self._end_at_last.cancel()
        self._close_input()
        self._words.close()
        self._process.stdout.close()  # type: ignore[union-attr]


def _ended_by(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
