"""Workers, and what becomes of those that die: each costs the tasks that it had, and nothing else.

Tasks go into a worker, answers come out, and `Died` is raised where none will come. `Process` is one on this machine. A
thread for each keeps it busy and starts another in its place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Protocol, TypeAlias

from pyengine.errors import PyengineError, printable


@dataclass(frozen=True)
class Task:
    """Something to do.

    Attributes
    ----------
    asked : dict
        What a worker is told, see `worker`; its "name" tells tasks apart.
    alone : bool
        Whether it has its worker to itself: a task that ended another must not be mistaken for one beside it.
    about : object
        Whatever belongs to it on this side. Default: None.
    """

    asked: Mapping[str, Any]
    alone: bool
    about: Any = None


Answer: TypeAlias = dict[str, Any]
"""What a worker says to a task; or "died", why there is no answer."""

STARTS = 5
"""How many workers may die before they say a word, one after the other, until no more are started in their place."""

MOST_SAID = 300
"""Characters of a worker's last words that are repeated."""


class Died(Exception):
    """A worker has ended, or had to be ended, while it had something to do."""


class Worker(Protocol):
    """What a pool asks of its workers, wherever they are."""

    introduction: Answer

    @property
    def name(self) -> str:
        """What the journal calls it."""

    def send(self, task: Task) -> None:
        """Give it something to do, or raise `Died`."""

    def receive(self, timeout: float | None) -> Answer:
        """Wait for the answer to one of its tasks, for so many seconds at most, or raise `Died`."""

    def forget(self) -> None:
        """Its earlier tasks are done: what it has said of them is not to be repeated when it dies."""

    def end(self) -> None:
        """Let it end, whatever it is doing, but for a file that it is writing. May be called from any thread."""

    def close(self) -> None:
        """End it, and wait until it is gone."""


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
    PyengineError
        There is no such engine.
    Died
    """

    def __init__(self, engine: Mapping[str, Any], at_once: int) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from pyengine.batch.worker import main; main()"
        threads = engine.get("threads")
        # OpenBLAS starts a thread for each core when it is imported, whatever it is wanted for.
        environment = {**({} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)}), **os.environ}
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=environment,
            encoding="utf-8",
        )
        self._late: float | None = None
        self._send({"engine": engine, "at_once": at_once})
        self.introduction = self.receive(None)
        if "error" in self.introduction:
            self.close()
            raise PyengineError(self.introduction["error"])

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
        """Wait for the answer to one of its tasks; one that takes longer than so many seconds ends it."""
        timer = threading.Timer(timeout or 0, self._end_late, [timeout])
        timer.daemon = True
        if timeout is not None:
            timer.start()
        try:
            line = self._process.stdout.readline()  # type: ignore[union-attr]
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            raise self._death()
        answer: Answer = json.loads(line)
        return answer

    def _end_late(self, timeout: float) -> None:
        self._late = timeout
        self._process.kill()

    def _death(self) -> Died:
        """What it died of, as far as can be told."""
        self._process.kill()  # it may have closed its output and live
        code = self._process.wait()
        if self._late is not None:
            reason = f"took longer than {self._late:g} s: give more --timeout, or leave it out"
        elif code == -getattr(signal, "SIGKILL", 0):
            reason = "was killed (SIGKILL), as the system does where memory is short: give fewer workers"
        else:
            reason = f"ended its worker ({_ended_by(code)})"
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        words = printable(lines[-1])[:MOST_SAID] if lines and self._late is None else ""
        self._close_files()
        return Died(f"{reason}: {words}" if words else reason)

    def forget(self) -> None:
        """Drop what it has said on standard error until now."""
        self._words.seek(0)
        self._words.truncate()

    def end(self) -> None:
        """Let it end, whatever it is doing, but for a file that it is writing. May be called from any thread."""
        with suppress(OSError):  # of what it has not read yet
            self._process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.end()
        self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        self.end()
        self._words.close()
        self._process.stdout.close()  # type: ignore[union-attr]


def _ended_by(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


class Pool:
    """Workers with an engine each.

    Parameters
    ----------
    engines : list of dict
        The arguments of each worker's `Engine`.
    at_once : int
        How many tasks a worker does at once. Default: 1.
    timeout : float, optional
        Seconds that a task may take. Default: None, any time.
    start : callable
        Makes a worker of an engine's arguments and `at_once`. Default: `Process`.

    Examples
    --------
    >>> with Pool([{"threads": 1, "device": "cpu"}]) as pool:
    ...     pool.introduction["device"]
    'cpu'
    """

    def __init__(
        self,
        engines: Sequence[Mapping[str, Any]],
        at_once: int = 1,
        timeout: float | None = None,
        start: Callable[[Mapping[str, Any], int], Worker] = Process,
    ) -> None:
        self.at_once, self.timeout = at_once, timeout
        self._start = start
        self._tasks: deque[Task] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._answers: SimpleQueue[tuple[Task, Answer] | PyengineError] = SimpleQueue()
        self._introduction: Answer | None = None
        self._problem: PyengineError | None = None
        self._failed = 0
        self._workers: dict[threading.Thread, Worker] = {}
        self._threads: list[threading.Thread] = []
        self.engines: list[Mapping[str, Any]] = []
        self.add(engines)

    def add(self, engines: Sequence[Mapping[str, Any]]) -> None:
        """Add workers with these engines."""
        for engine in engines:
            self.engines.append(engine)
            self._threads.append(threading.Thread(target=self._serve, args=(engine,), daemon=True))
            self._threads[-1].start()

    @property
    def introduction(self) -> Answer:
        """What the first worker that is there says of its engine.

        Raises
        ------
        PyengineError
            There is no such engine, or no worker can be started.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._introduction or self._problem)
        if self._introduction is None and self._problem is not None:
            raise self._problem
        return self._introduction or {}

    def answers(self, claim: Callable[[], Task | None]) -> Iterator[tuple[Task, Answer]]:
        """Have tasks done, and give each back with its answer, as they come.

        Parameters
        ----------
        claim : callable
            Gives the next task, or None where there is none; it is asked again after each answer. Few tasks are out at
            a time, whatever their number.

        Raises
        ------
        PyengineError
            No worker can be started.
        """
        # One for each worker waits beside those that are done, so that none idles while answers are looked at.
        most, out = 2 * len(self.engines) * self.at_once, 0
        while True:
            while out < most and (task := claim()) is not None:
                self._give(task)
                out += 1
            if not out:
                return
            answered = self._answers.get()
            if isinstance(answered, PyengineError):
                raise answered
            out -= 1
            yield answered

    def close(self) -> None:
        """End all workers, and what they are doing."""
        with self._changed:
            self._is_closed = True
            self._tasks.clear()
            self._changed.notify_all()
            for worker in self._workers.values():
                worker.end()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _give(self, task: Task) -> None:
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def _take(self, given: Mapping[str, Task]) -> Task | None:
        """The next task for a worker that has been given some, which waits for one only if it has nothing to do."""
        with self._changed:
            while True:
                fits = (t for t in self._tasks if not (given and (t.alone or any(g.alone for g in given.values()))))
                task = next(fits, None)
                if task is not None:
                    self._tasks.remove(task)
                    return task
                if given or self._is_closed:
                    return None
                self._changed.wait()

    def _serve(self, engine: Mapping[str, Any]) -> None:
        """Keep one worker busy, and start another when it dies."""
        given: dict[str, Task] = {}
        worker: Worker | None = None
        starts = 0
        while not self._is_closed:
            try:
                if worker is None:
                    starts += 1
                    worker = self._start(engine, self.at_once)
                    starts = 0
                    self._is_there(worker)
                while len(given) < self.at_once and (task := self._take(given)) is not None:
                    if not given:
                        worker.forget()
                    given[task.asked["name"]] = task
                    worker.send(task)
                if given:
                    answer = worker.receive(self.timeout)
                    self._answers.put((given.pop(answer["name"]), {**answer, "worker": worker.name}))
            except Died as death:
                for task in given.values():
                    self._answers.put((task, {"died": str(death), "worker": worker.name if worker else ""}))
                given.clear()
                worker = None
                if starts == STARTS:
                    self._fail(PyengineError(f"no worker can be started: {death}"))
                    return
            except PyengineError as error:
                self._fail(error)
                return
        if worker is not None:
            worker.close()

    def _is_there(self, worker: Worker) -> None:
        with self._changed:
            self._workers[threading.current_thread()] = worker
            self._introduction = worker.introduction
            self._changed.notify_all()

    def _fail(self, error: PyengineError) -> None:
        """Do without a worker that can't be started; without any, there is nothing that could be done."""
        with self._changed:
            self._failed += 1
            if self._failed == len(self.engines):
                self._problem = error
                self._answers.put(error)
                self._changed.notify_all()
