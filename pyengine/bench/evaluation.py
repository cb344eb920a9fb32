"""One evaluation of the objective: seconds by stage, memory by purpose, and a plain PyTorch version beside it."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.engine import Engine
from pyengine.errors import PyengineError


def measure(size: int, threads: int | None, repeats: int, against: str | None) -> dict[str, Any]:
    """Time evaluations of Gram and histogram losses at a square size.

    Parameters
    ----------
    size : int
        Pixels on a side, of image and exemplar: white noise both.
    threads : int, optional
        As in `Engine`.
    repeats : int
        Evaluations to take the median of, after one that is not counted.
    against : {"torch"}, optional
        Interleave with `torch_baseline` in the same process.

    Returns
    -------
    dict
        "seconds" (medians: "forward", "losses", "backward", "evaluation"), "over_networks" (evaluation to forward and
        backward, median of the ratios), "memory_mb" (peak of the process, and what it is made of), and with `against`
        also "torch" with its seconds and "ratio" (its evaluation to ours, median of the ratios run by run).

    Raises
    ------
    PyengineError
        `against` names what is not installed.

    Examples
    --------
    >>> sorted(measure(16, threads=1, repeats=1, against=None)["seconds"])
    ['backward', 'evaluation', 'forward', 'losses']
    """
    generator = np.random.default_rng(0)
    exemplar, image = (generator.random((size, size, 3), np.float32) for _ in range(2))
    with Engine(threads=threads) as engine:
        objective = engine.objective(exemplar)
        runs: list[dict[str, float]] = []

        def evaluate() -> None:
            objective.stopwatch.seconds.clear()
            start = time.perf_counter()
            objective(image)
            runs.append({**objective.stopwatch.seconds, "evaluation": time.perf_counter() - start})

        before = _peak_megabytes()
        evaluate()  # makes the sessions
        with objective.network((size, size)) as network:
            held = network.nbytes / 1e6
        report: dict[str, Any] = {
            "size": size,
            "threads": engine.threads,
            "memory_mb": {
                "peak of the process": _peak_megabytes(),
                "before the first evaluation": before,
                "feature maps and their gradients": held,
            },
        }
        other: Callable[[], float] | None = None
        if against is not None:
            other = _torch_evaluation(exemplar, image, engine)
            other()
        runs.clear()
        others: list[float] = []
        for _ in range(repeats):
            evaluate()
            if other is not None:
                others.append(other())
    report["seconds"] = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    report["over_networks"] = statistics.median(r["evaluation"] / (r["forward"] + r["backward"]) for r in runs)
    if others:
        report["torch"] = {"evaluation": statistics.median(others)}
        report["ratio"] = statistics.median(o / r["evaluation"] for o, r in zip(others, runs, strict=True))
    return report


def _torch_evaluation(exemplar: Float32, image: Float32, engine: Engine) -> Callable[[], float]:
    try:
        from pyengine.bench.torch_baseline import evaluation
    except ImportError:
        raise PyengineError("--against torch: PyTorch is not installed; pip install torch") from None
    evaluate = evaluation(exemplar, image, engine.weights, engine.threads)

    def timed() -> float:
        start = time.perf_counter()
        evaluate()
        return time.perf_counter() - start

    return timed


def _peak_megabytes() -> float | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
