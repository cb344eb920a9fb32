"""Where the time goes."""

from __future__ import annotations

import pytest

from pyengine.kernels.cpu import CpuKernels
from pyengine.stopwatch import Stopwatch


def test_seconds_are_kept_by_stage(engine, natural):
    objective = engine.objective(natural, weights={"variation": 1.0})
    assert objective.stopwatch.seconds == {}
    objective(natural)
    first = dict(objective.stopwatch.seconds)
    assert first.keys() == {"forward", "losses", "backward"}
    assert all(seconds > 0 for seconds in first.values())
    objective(natural)
    assert all(seconds > first[stage] for stage, seconds in objective.stopwatch.seconds.items())


def test_marks_do_not_pile_up(monkeypatch):
    """On a GPU each holds an event; they become seconds before there are too many, and sums stay the same."""
    turned = []

    class Counting(CpuKernels):
        def mark(self) -> float:
            return next(clock)

        def seconds(self, start: float, end: float) -> float:
            turned.append(end)
            return super().seconds(start, end)

    clock = iter(range(1000))
    monkeypatch.setattr("pyengine.stopwatch.MOST_OPEN", 10)
    watch = Stopwatch(Counting(threads=1))
    for k in range(25):
        with watch("odd" if k % 2 else "even"):
            assert len(turned) >= 11 * (k // 11)
    assert len(turned) == 22
    assert watch.seconds == {"even": 13, "odd": 12}
    watch.clear()
    assert watch.seconds == {}


def test_a_stage_that_fails_is_timed_too():
    watch = Stopwatch(CpuKernels(threads=1))
    with pytest.raises(RuntimeError), watch("forward"):
        raise RuntimeError
    assert list(watch.seconds) == ["forward"]
