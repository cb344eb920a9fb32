"""Where the time goes."""

from __future__ import annotations


def test_seconds_are_kept_by_stage(engine, natural):
    objective = engine.objective(natural, weights={"variation": 1.0})
    assert objective.stopwatch.seconds == {}
    objective(natural)
    first = dict(objective.stopwatch.seconds)
    assert first.keys() == {"forward", "losses", "backward"}
    assert all(seconds > 0 for seconds in first.values())
    objective(natural)
    assert all(seconds > first[stage] for stage, seconds in objective.stopwatch.seconds.items())
