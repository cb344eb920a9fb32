"""Workers, and what becomes of those that die: each costs the tasks that it had, and nothing else.

Tasks go into a worker, answers come out, and `Died` is raised where none will come. A thread for each keeps it busy and
starts another in its place.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from pyengine.errors import PyengineError


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
"""What a worker says to a task; or "died" or "lost", why there is no answer."""

STARTS = 5
"""How many workers may die before they say a word, one after the other, until no more are started in their place."""


class Died(Exception):
    """A worker has ended, or had to be ended, while it had something to do."""


class Lost(Died):
    """A worker is gone by no fault of what it had to do, such as with the machine that it was on."""


class Worker(Protocol):
    """What a pool asks of its workers, wherever they are."""

    def introduce(self) -> Answer:
        """Wait for what it says of its engine, once. Raises `Died`, or a `PyengineError` if there can't be any."""

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


Start: TypeAlias = Callable[[Mapping[str, Any], int], Worker]
"""Makes a worker of an engine's arguments and of how many tasks it does at once. It does not wait for the engine."""


class Pool:
    """Workers with an engine each.

    Parameters
    ----------
    engines : list of dict
        The arguments of each worker's `Engine`.
    start : callable
        Makes a worker, see `Start`.
    at_once : int
        How many tasks a worker does at once. Default: 1.
    timeout : float, optional
        Seconds that a task may take. Default: None, any time.

    Examples
    --------
    >>> from pyengine.batch.process import Process
    >>> with Pool([{"threads": 1, "device": "cpu"}], Process) as pool:
    ...     pool.introduction["device"]
    'cpu'
    """

    def __init__(
        self,
        engines: Sequence[Mapping[str, Any]],
        start: Start,
        at_once: int = 1,
        timeout: float | None = None,
    ) -> None:
        self.at_once, self.timeout = at_once, timeout
        self._start = start
        self._tasks: deque[Task] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._answers: SimpleQueue[tuple[Task, Answer] | Exception] = SimpleQueue()
        self._introduction: Answer | None = None
        self._problem: Exception | None = None
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
            # Together: who has been given one waits for its answer before it takes more.
            tasks = [*islice(iter(claim, None), most - out)]
            self.give(tasks)
            out += len(tasks)
            if not out:
                return
            answered = self.answered()
            out -= 1
            yield answered

    def give(self, tasks: Iterable[Task]) -> None:
        """Have tasks done, whatever others there are; `answered` has their answers."""
        with self._changed:
            self._tasks.extend(tasks)
            self._changed.notify_all()

    def answered(self) -> tuple[Task, Answer]:
        """Wait for the next answer.

        Raises
        ------
        PyengineError
            No worker can be started.
        """
        answered = self._answers.get()
        if isinstance(answered, Exception):
            raise answered
        return answered

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
        try:
            self._keep_busy(engine)
        except PyengineError as error:
            self._do_without(error)
        except Exception as error:  # nobody foresaw it; whoever waits for answers must not wait for ever
            self._give_up(error)

    def _keep_busy(self, engine: Mapping[str, Any]) -> None:
        """Give a worker all that it takes, and start another when it dies."""
        given: dict[str, Task] = {}
        since = 0.0  # when the worker had done all that it was given before the first of these
        worker: Worker | None = None
        starts = 0
        try:
            while not self._is_closed:
                try:
                    if worker is None:
                        starts += 1
                        worker = self._start(engine, self.at_once)
                        self._is_there(worker)
                        starts = 0
                    while len(given) < self.at_once and (task := self._take(given)) is not None:
                        if not given:
                            worker.forget()
                            since = time.monotonic()
                        given[task.asked["name"]] = task
                        worker.send(task)
                    if given:
                        left = None if self.timeout is None else max(0.0, since + self.timeout - time.monotonic())
                        answer = worker.receive(left)
                        if answer["name"] == next(iter(given)):
                            since = time.monotonic()
                        self._answers.put((given.pop(answer["name"]), {"worker": worker.name, **answer}))
                except Died as death:
                    end = "lost" if isinstance(death, Lost) else "died"
                    for task in given.values():
                        self._answers.put((task, {end: str(death), "worker": worker.name if worker else ""}))
                    given.clear()
                    worker = None
                    if starts == STARTS:
                        raise PyengineError(f"no worker can be started: {death}") from None
        finally:
            if worker is not None:
                worker.close()

    def _is_there(self, worker: Worker) -> None:
        with self._changed:
            self._workers[threading.current_thread()] = worker
            if self._is_closed:
                worker.end()
        introduction = worker.introduce()  # which may take any time, until `close` ends it
        with self._changed:
            self._introduction = introduction
            self._changed.notify_all()

    def _do_without(self, error: PyengineError) -> None:
        """Go on with the others, if there are any, without a worker that can't be started."""
        with self._changed:
            self._failed += 1
            are_all = self._failed == len(self.engines)
        if are_all:
            self._give_up(error)
        elif not self._is_closed:
            warnings.warn(f"goes on with a worker less: {error}", RuntimeWarning, stacklevel=2)

    def _give_up(self, error: Exception) -> None:
        """Tell whoever waits that there is nothing to wait for."""
        with self._changed:
            self._problem = error
            self._answers.put(error)
            self._changed.notify_all()
