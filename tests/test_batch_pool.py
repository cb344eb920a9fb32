"""Workers, and what becomes of those that die, hang, or never come."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_workers import Fake
from PIL import Image

from pyengine import PyengineError
from pyengine.batch.pool import Died, Pool, Task
from pyengine.batch.process import Process


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """One that takes for ever."""
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    recipe = {"exemplar": str(path), "iterations": 10**6}
    return Task({"do": "make", "name": "a", "recipe": recipe, "path": "", "compare": False}, alone=False)


def answers(pool: Pool, tasks: list[Task]) -> list[dict[str, Any]]:
    """In the order in which they come."""
    return [answer for _, answer in pool.answers(lambda: tasks.pop(0) if tasks else None)]


def named(*names: str) -> list[Task]:
    return [Task({"do": "time", "name": name, "recipe": {}}, alone=False) for name in names]


# ----------------------------------------------------------------- processes


def test_a_worker_that_is_killed(task: Task) -> None:
    """The job is known, and the next worker does it."""
    workers: list[Process] = []

    def start(engine: Any, at_once: int) -> Process:
        workers.append(Process(engine, at_once))
        return workers[-1]

    check = Task({**task.asked, "do": "check"}, alone=False)
    tasks = [check, task, task]
    with Pool([{"threads": 1}], start, timeout=5) as pool:
        found = pool.answers(lambda: tasks.pop(0) if tasks else None)
        assert {"bytes", "size", "name", "worker"} == next(found)[1].keys()
        killer = threading.Timer(0.5, os.kill, (int(workers[0].name.rpartition(":")[2]), signal.SIGABRT))
        killer.start()
        assert next(found)[1]["died"] == "ended its worker (SIGABRT)"
        assert next(found)[1]["died"].startswith("took longer than its timeout: ")
        assert len(workers) >= 2
        assert answers(pool, [check])[0]["size"] == [24, 16]


def test_workers_go_with_whoever_asks(task: Task) -> None:
    """Even from the middle of a job."""
    worker = Process({"threads": 1}, 1)
    worker.send(task)
    assert worker.introduce()["device"] == "cpu"
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 10


def test_a_worker_that_does_not_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears nothing any more, not even at its start; the pool does not wait for ever."""
    monkeypatch.setattr("pyengine.batch.process.GRACE", 0.1)
    workers: list[Process] = []

    def start(engine: Any, at_once: int) -> Process:
        workers.append(Process(engine, at_once))
        os.kill(int(workers[-1].name.rpartition(":")[2]), signal.SIGSTOP)
        return workers[-1]

    pool = Pool([{"threads": 1}], start)
    while not workers:
        time.sleep(0.01)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_the_system_gives_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/none")
    with (
        Pool([{}], Process) as pool,
        pytest.raises(PyengineError, match=r"^no worker can be started: /none: No such file"),
    ):
        assert pool.introduction


# -------------------------------------------------------------- without them


def test_no_worker_starts() -> None:
    def start(engine: Any, at_once: int) -> Fake:
        raise Died("ended its worker (exit code 1): no memory")

    message = r"^no worker can be started: ended its worker \(exit code 1\): no memory$"
    with Pool([{}], start) as pool, pytest.raises(PyengineError, match=message):
        assert pool.introduction


def test_a_worker_that_waits_for_its_place() -> None:
    """The others do not wait for it."""
    ended = threading.Event()

    class Waiting(Fake):
        def introduce(self) -> dict[str, Any]:
            if "place" in self.engine:
                ended.wait()
                raise Died("ended")
            return super().introduce()

        def end(self) -> None:
            super().end()
            ended.set()

    with Pool([{"place": "none"}, {}], Waiting) as pool:
        assert len(answers(pool, named("a", "b"))) == 2


def test_a_worker_less() -> None:
    """The others do it all, and it is told."""

    def start(engine: Any, at_once: int) -> Fake:
        if "sight" in engine:
            raise PyengineError("node b: no such model")
        return Fake(engine, at_once)

    with (
        pytest.warns(RuntimeWarning, match=r"^goes on with a worker less: node b: no such model$"),
        Pool([{}, {"sight": "none"}], start) as pool,
    ):
        assert [answer["seconds"] for answer in answers(pool, named("a", "b", "c"))] == [2.0] * 3


def test_an_error_that_nobody_foresaw() -> None:
    """Whoever waits gets it."""

    class Wrong(Fake):
        def receive(self, timeout: float | None) -> dict[str, Any]:
            raise ZeroDivisionError("by zero")

    with Pool([{}], Wrong) as pool, pytest.raises(ZeroDivisionError, match="by zero"):
        answers(pool, named("a"))


def test_a_task_has_its_time_whatever_is_done_beside_it() -> None:
    """Of two at once, the first never ends; that others end gives it no more time, and they have all of theirs."""

    class Two(Fake):
        def send(self, task: Task) -> None:
            self.given = [*getattr(self, "given", []), task.asked["name"]]

        def receive(self, timeout: float | None) -> dict[str, Any]:
            assert timeout is not None
            time.sleep(min(timeout, 0.02))
            done = [name for name in self.given if name != "a"]
            if timeout <= 0.02 or not done:
                raise Died("is late")
            self.given.remove(done[0])
            return {"name": done[0], "left": timeout}

    tasks = named("a", *map(str, range(100)))
    with Pool([{}], Two, at_once=2, timeout=0.3) as pool:
        found = pool.answers(lambda: tasks.pop(0) if tasks else None)
        names = []
        for task, answer in found:
            if "died" in answer:
                break
            names.append(task.asked["name"])
        assert task.asked["name"] == "a"
        assert 0 < len(names) < 20
        after = [answer["left"] for _, answer in found if "left" in answer]
    assert min(after) > 0.1
