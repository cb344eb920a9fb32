"""What a GPU does: agreement with the CPU, and evaluations held against the floor and against PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from pyengine.arrays import Float32
from pyengine.bench import load_torch_baseline
from pyengine.bench.suite import convolution_gflop, optimizer_seconds
from pyengine.devices import Precision
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.images.resampling import resize, upsample
from pyengine.kernels import Kernels
from pyengine.kernels.cuda import TF32_MATH
from pyengine.network.model import Model
from pyengine.wrap import BOTH

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

AGREEMENT_SIZE = 256
"""Pixels on a side of what GPU and CPU have to agree on."""

SIDE, COPIED = 8192, 2**28
"""The side of the matrices to multiply, and the numbers to copy: enough for the rates to be the GPU's own."""

RUNS = 5
"""How often a matrix product or a copy is timed, after once that is not counted."""

TRAFFIC_BYTES = 4 * (4 * 248 + 3 * 120 + 10 * 2 * (64 + 8))
"""About how many bytes an evaluation has to move for a pixel: feature maps are written and read once forward and twice
backward, the maps that have losses (120 numbers a pixel) are read by them, and their gradients written and read; the
channels that are sorted (64 and 8) go four times through two arrays."""


def measure(device: str, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measure a GPU: rates, agreement with the CPU, evaluations, and a whole synthesis.

    Parameters
    ----------
    device : str
        The GPU, as `Engine` takes it: "cuda", "tensorrt", ...
    sizes : sequence of int
        Pixels on a side of exemplar and image.
    repeats : int
        Evaluations to take the median of.

    Returns
    -------
    dict
        "device"; "matrix_gflops" by precision and "copy_gb_per_s", measured; "agreement" by precision: relative errors
        of value and gradient against the CPU; "evaluations": a dict for every size and precision; "synthesis_s".

    Raises
    ------
    PyengineError
        The device does not work.
    """
    with Engine(device) as engine:
        if engine.device.kind == "cpu":
            raise PyengineError(f"device={device!r}: this measures GPUs; give cuda or tensorrt")
        report: dict[str, Any] = {"device": str(engine.device), **_rates(engine)}
    report["agreement"] = {precision: _agreement(device, precision) for precision in PRECISIONS}
    report["evaluations"] = [
        _evaluation(device, precision, size, repeats, report) for size in sizes for precision in PRECISIONS
    ]
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    with Engine(device) as engine:
        engine.synthesize(_picture(512, generator), size=1024)
    report["synthesis_s"] = time.perf_counter() - start
    return report


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The lines of a report for the eye, with tables in Markdown."""
    yield f"device {report['device']}"
    rates = ", ".join(f"{name} {rate / 1000:.0f} TFLOP/s" for name, rate in report["matrix_gflops"].items())
    yield f"matrix product: {rates}; copy {report['copy_gb_per_s']:.0f} GB/s"
    yield f"1024x1024 from 512x512 at default settings: {report['synthesis_s']:.1f} s, sessions included"
    yield "| precision | value against the CPU | gradient |"
    yield "| --- | --- | --- |"
    for precision, (value, gradient) in report["agreement"].items():
        yield f"| {precision} | {value:.1e} | {gradient:.1e} |"
    stages = list(report["evaluations"][0]["ms"])
    others = list(dict.fromkeys(name for row in report["evaluations"] for name in row["torch_ms"]))
    header = ["size", "precision", *stages, "floor", "idle", "bytes to the host", *others]
    yield from (f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header)))
    for row in report["evaluations"]:
        cells = [f"{row['size']}", row["precision"], *(f"{row['ms'][stage]:.2f}" for stage in stages)]
        cells += [f"{row['floor_ms']:.2f}", "" if row["idle"] is None else f"{row['idle']:.0%}", f"{row['bytes']}"]
        cells += [f"{row['torch_ms'][name]:.2f}" if name in row["torch_ms"] else "" for name in others]
        yield f"| {' | '.join(cells)} |"


def _picture(size: int, generator: np.random.Generator) -> Float32:
    """Noise with some structure, so that rounding matters as much as it does in photographs."""
    noise = generator.random((size, size, 3), np.float32)
    coarse = upsample(resize(noise, (size // 8, size // 8)), (size, size), wrap=BOTH)
    return np.clip(0.7 * coarse + 0.3 * noise, 0, 1)


def _rates(engine: Engine) -> dict[str, Any]:
    """GFLOP/s of matrix products by precision, and GB/s of a copy, where bytes that are read and written both count."""
    kernels, xp = engine.kernels, engine.kernels.xp
    cublas, rates = xp.cuda.cublas, {}
    with kernels.active():  # `active` sets the mode back
        handle = xp.cuda.device.get_cublas_handle()
        plain = cublas.CUBLAS_DEFAULT_MATH
        for precision, kind, mode in (("float32", "f4", plain), ("tf32", "f4", TF32_MATH), ("float16", "f2", plain)):
            a = xp.ones((SIDE, SIDE), kind)
            cublas.setMathMode(handle, mode)
            rates[precision] = 2e-9 * SIDE**3 / _device_seconds(kernels, partial(xp.matmul, a, a))
        source = xp.zeros(COPIED, np.float32)
        target = xp.empty_like(source)

        def copy() -> None:
            target[...] = source

        bandwidth = 2e-9 * source.nbytes / _device_seconds(kernels, copy)
    kernels.release()
    return {"matrix_gflops": rates, "copy_gb_per_s": bandwidth}


def _device_seconds(kernels: Kernels, work: Callable[[], object]) -> float:
    """The median of `RUNS` runs' seconds, after a run that is not counted."""
    seconds = []
    for _ in range(1 + RUNS):
        start = kernels.mark()
        work()
        seconds.append(kernels.seconds(start, kernels.mark()))
    return statistics.median(seconds[1:])


def _agreement(device: str, precision: Precision) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    exemplar, image = (_picture(AGREEMENT_SIZE, generator) for _ in range(2))
    found = []
    for engine in (Engine("cpu"), Engine(device, precision=precision)):
        with engine:
            found.append(engine.objective(exemplar, weights="auto")(image))
    (value, gradient), (value2, gradient2) = found
    error = np.linalg.norm((gradient2 - gradient).ravel().astype(np.float64)) / np.linalg.norm(gradient)
    return abs(value2 / value - 1), float(error)


def _evaluation(device: str, precision: Precision, size: int, repeats: int, rates: dict[str, Any]) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    exemplar, image = (_picture(size, generator) for _ in range(2))
    with Engine(device, precision=precision) as engine:
        kernels = engine.kernels
        objective = engine.objective(exemplar, weights="auto")
        with kernels.active(), objective.evaluator((size, size)) as evaluator:
            pixels = kernels.upload(image)

            def evaluate() -> list[float]:
                terms, _ = objective.evaluate(pixels, evaluator)
                return kernels.fetch([terms])

            for _ in range(3):  # at first the provider chooses algorithms, and records a CUDA graph
                evaluate()
            runs = []
            for _ in range(repeats):
                objective.stopwatch.clear()
                start = time.perf_counter()
                terms = evaluate()
                runs.append({"evaluation": time.perf_counter() - start, **objective.stopwatch.seconds})
            idle = _idle_share(evaluate)
        seconds = {stage: statistics.median([run[stage] for run in runs]) for stage in runs[0]}
        seconds["optimizer"] = optimizer_seconds(size, repeats, kernels)
        layers = tuple({loss.layer for loss in objective.losses})
        gflop = convolution_gflop(engine.model, (size, size), layers)
        arithmetic = gflop / rates["matrix_gflops"][precision]
        traffic = TRAFFIC_BYTES * size * size * 1e-9 / rates["copy_gb_per_s"]
        return {
            "size": size,
            "precision": precision,
            "ms": {stage: 1000 * s for stage, s in seconds.items()},
            "floor_ms": 1000 * (arithmetic + traffic),
            "idle": idle,
            "bytes": 8 * (len(terms) + 3),  # an iteration of L-BFGS fetches these at once; see optimizers/lbfgs.py
            "torch_ms": _torch(exemplar, image, engine.model, precision, repeats),
        }


def _idle_share(evaluate: Callable[[], object]) -> float | None:
    """Share of the time in which no kernel runs, by PyTorch's profiler; None without PyTorch."""
    try:
        from torch.profiler import ProfilerActivity, profile
    except ImportError:
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        for _ in range(5):
            evaluate()
        wall = time.perf_counter() - start
    busy = sum(event.time_range.elapsed_us() for event in profiler.events()) / 1e6
    return max(0.0, 1 - float(busy) / wall)


def _torch(exemplar: Float32, image: Float32, model: Model, precision: Precision, repeats: int) -> dict[str, float]:
    """Milliseconds of PyTorch's evaluation, eager and compiled; empty without PyTorch."""
    try:
        import torch
    except ImportError:
        return {}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    found = {}
    for name in ("PyTorch", "compiled"):
        evaluate = load_torch_baseline().evaluation(
            exemplar, image, model, 1, device="cuda", half=precision == "float16", compiled=name == "compiled"
        )
        seconds = []
        for _ in range(3 + repeats):
            start = time.perf_counter()
            evaluate()  # brings the value to the host
            seconds.append(time.perf_counter() - start)
        found[name] = 1000 * statistics.median(seconds[3:])
    return found
