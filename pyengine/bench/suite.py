"""The suite: what an evaluation costs at growing sizes, stage by stage, and what this machine could do at best."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import truediv
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pyengine import _core
from pyengine.arrays import Float32, Float64
from pyengine.bench import load_torch_baseline
from pyengine.bench.ceilings import copy_gb_per_second, gemm
from pyengine.bench.cold import first_evaluation, import_seconds
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.kernels import Kernels
from pyengine.losses.options import LossOptions
from pyengine.machine import cores
from pyengine.network.graphs import LEAST_SIDE
from pyengine.network.model import Model
from pyengine.optimizers.lbfgs import PAIRS, minimize

Baseline: TypeAlias = Callable[[Float32, Float32, Model, int], Callable[[], object]]
"""Makes an evaluation by another library, to hold ours against, from exemplar, image, model and threads."""


def measure(sizes: Sequence[int], threads: int | None, repeats: int, against: str | None) -> dict[str, Any]:
    """Time evaluations of Gram and histogram losses at square sizes.

    Parameters
    ----------
    sizes : sequence of int
        Pixels on a side, of image and exemplar: white noise both. They are measured from the smallest to the largest.
    threads : int or None
        See `Engine`.
    repeats : int
        How many evaluations of each size to take the median of, after one that is not counted.
    against : {"torch"} or None
        Interleave with `torch_baseline` in the same process.

    Returns
    -------
    dict
        What docs/performance.md lists, ready for `json.dumps`.

    Raises
    ------
    PyengineError
        A size is too small or too large, or `against` names what is not installed.

    Examples
    --------
    >>> measure([512, 8], threads=1, repeats=1, against=None)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: size 8x8: both sides must be at least 16
    """
    sizes = sorted(set(sizes))
    for size in sizes:
        if size < LEAST_SIDE:
            raise PyengineError(f"size {size}x{size}: both sides must be at least {LEAST_SIDE}")
    baseline: Baseline | None = load_torch_baseline().evaluation if against else None
    with Engine("cpu", threads=threads) as engine:
        engine.budget.check_whole((sizes[-1], sizes[-1]), LossOptions().on(engine.model.architecture).maps)
        report = {
            **_machine(),
            "simd": _core.simd,
            "threads": engine.threads,
            "repeats": repeats,
            "import_s": import_seconds(),
            "copy_gb_per_s": copy_gb_per_second(engine.threads),
        }
        rate = gemm(engine.threads)
        report["sizes"] = [_measure_size(engine, size, repeats, baseline, rate) for size in sizes]
    return report


def _measure_size(
    engine: Engine, size: int, repeats: int, baseline: Baseline | None, rate: Callable[[], float]
) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    exemplar, image = (generator.random((size, size, 3), np.float32) for _ in range(2))
    since_start, peak = first_evaluation(size, engine.threads)
    objective = engine.objective(exemplar)
    layers = tuple({loss.layer for loss in objective.losses})

    def evaluate() -> dict[str, float]:
        objective.stopwatch.clear()
        objective.term_stopwatch.clear()
        start = time.perf_counter()
        objective(image)
        end = time.perf_counter()
        stages, terms = objective.stopwatch.seconds, objective.term_stopwatch.seconds
        return {
            "forward": stages["forward"],
            "losses": stages["losses"],
            **{name: terms[name] for name in objective.names},
            "backward": stages["backward"],
            "evaluation": end - start,
        }

    evaluate()  # makes the sessions
    with objective.evaluator((size, size)) as evaluator:
        held = evaluator.nbytes / 1e6
    theirs = None
    if baseline is not None:
        theirs = baseline(exemplar, image, engine.model, engine.threads)
        theirs()
    runs: list[dict[str, float]] = []
    rates: list[float] = []
    faults: list[int] = []
    for _ in range(repeats):
        before = page_faults()
        runs.append(evaluate())
        faults.append(page_faults() - before)
        rates.append(rate())
        if theirs is not None:
            start = time.perf_counter()
            theirs()
            runs[-1]["torch"] = time.perf_counter() - start
    seconds = {stage: statistics.median([run[stage] for run in runs]) for stage in runs[0]}
    seconds |= {"optimizer": optimizer_seconds(size, repeats, engine.kernels), "first evaluation": since_start}
    gflop = convolution_gflop(engine.model, (size, size), layers)
    networks = [run["forward"] + run["backward"] for run in runs]
    evaluations = [run["evaluation"] for run in runs]
    row = {
        "size": size,
        "seconds": seconds,
        "over_networks": statistics.median(map(truediv, evaluations, networks)),
        "over_floor": statistics.median([e / (gflop / r) for e, r in zip(evaluations, rates, strict=True)]),
        "gflop": gflop,
        "gflops": gflop / statistics.median(networks),
        "gemm_gflops": statistics.median(rates),
        "share_of_gemm": statistics.median([gflop / n / r for n, r in zip(networks, rates, strict=True)]),
        "network_mb": held,
        "peak_mb": peak,
        "page_faults": statistics.median(faults),
    }
    if theirs is not None:
        row["torch_over_ours"] = statistics.median([run["torch"] / run["evaluation"] for run in runs])
    return row


def convolution_gflop(model: Model, size: tuple[int, int], layers: tuple[str, ...]) -> float:
    """Arithmetic of the convolutions of one forward and one backward pass, in 10^9 additions and multiplications.

    Parameters
    ----------
    model : Model
        The model, whose convolutions up to the deepest of `layers` count.
    size : (height, width)
        The image's size in pixels.
    layers : tuple of str
        The feature maps that have losses.

    Examples
    --------
    >>> from pyengine.network.modelfile import load
    >>> convolution_gflop(load("vgg16"), (32, 48), ("relu1_1",)) * 1e9  # from 3 channels to 64, and back
    10616832.0
    >>> 2 * 2 * 32 * 48 * 3 * 64 * 9
    10616832
    """
    architecture = model.architecture
    operations = 0
    for convolution in model.up_to(architecture.deepest(layers)).convolutions:
        height, width = architecture.map_size(convolution.layer.name, size)
        operations += 2 * convolution.filters.size * height * width  # the adjoint has as many
    return 2 * operations / 1e9


def optimizer_seconds(size: int, repeats: int, kernels: Kernels) -> float:
    """L-BFGS's own seconds in an iteration: without the evaluation, and with all the pairs that it keeps.

    Its arithmetic does not depend on what is minimised, so that this is a sum of squares, some of them so much steeper
    than others that the minimum stays far away; the losses would take too long to fill the pairs.

    Parameters
    ----------
    size : int
        Pixels on a side.
    repeats : int
        How many iterations to take the median of.
    kernels : Kernels
        The device's.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> optimizer_seconds(16, repeats=2, kernels=CpuKernels(threads=1)) > 0
    True
    """
    shape = (size, size, 3)
    target = kernels.upload(np.random.default_rng(0).random(shape, np.float32))
    steepness = kernels.upload(np.geomspace(1, 1e4, target.size, dtype=np.float32).reshape(shape))
    iterations: list[float] = []
    evaluating = 0.0
    begun = time.perf_counter()

    def function(image: Float32) -> tuple[Float64, Float32]:
        nonlocal evaluating
        start = time.perf_counter()
        difference = image - target
        gradient = steepness * difference
        value = (gradient * difference).sum(dtype=np.float64).reshape(1) / 2
        evaluating += time.perf_counter() - start
        return value, gradient

    def after_iteration(_: Float32, __: list[float]) -> None:
        nonlocal evaluating, begun
        now = time.perf_counter()
        iterations.append(now - begun - evaluating)
        begun, evaluating = now, 0.0

    with kernels.active():
        minimize(function, kernels.xp.full_like(target, 0.5), PAIRS + repeats, kernels, after_iteration)
    return statistics.median(iterations[PAIRS:])


def page_faults() -> int:
    """How many pages of memory this process was given so far, each zeroed first; 0 where the system won't tell."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    return {"cpu": _processor(), "cores": cores(), "memory_gb": memory, "os": platform.platform()}


def _processor() -> str:
    """The processor's model, or where the system won't tell, its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()
