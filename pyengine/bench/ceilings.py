"""What the machine can do at best: the rates that an evaluation is held against."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pyengine.arrays import Float32
from pyengine.network.graphs import Graph
from pyengine.network.sessions import CPU, runtime

RUNS = 5
"""How many copies are timed, of which the fastest counts, after one that is not counted."""


def gemm(threads: int, side: int = 2048) -> Callable[[], float]:
    """Make a function that has ONNX Runtime multiply two square float32 matrices, and returns the rate in GFLOP/s.

    It is to be called in between what is held against it: a machine that others use too is not equally fast for long.
    NumPy would not do: its BLAS takes threads and instruction set from the environment. Where that does not hold it
    back, the two are within 2 % of each other.

    Parameters
    ----------
    threads : int
        How many threads multiply.
    side : int
        The matrices' side. Default: 2048, enough for the rate to be the processor's own.

    Examples
    --------
    >>> rate = gemm(threads=1, side=64)
    >>> rate() > 0
    True
    """
    ort = runtime()
    graph = Graph()
    graph.add("MatMul", ["a", "b"], "product")
    model = graph.model("gemm", {name: (side, side) for name in ("a", "b")}, {"product": (side, side)})
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the networks' sessions
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    generator = np.random.default_rng(0)
    matrices = {name: generator.random((side, side), np.float32) for name in ("a", "b")}

    def rate() -> float:
        start = time.perf_counter()
        session.run(None, matrices)
        return 2e-9 * side**3 / (time.perf_counter() - start)

    rate()  # starts the threads
    return rate


def copy_gb_per_second(threads: int, nbytes: int = 2**28) -> float:
    """Rate at which memory is read and written while an array is copied, both counted, in GB/s.

    Parameters
    ----------
    threads : int
        How many threads copy.
    nbytes : int
        The array's bytes. Default: 2**28, which is more than processors' caches hold.

    Examples
    --------
    >>> copy_gb_per_second(threads=1, nbytes=4096) > 0
    True
    """
    source = np.ones(nbytes // 4, np.float32)
    parts = list(zip(np.array_split(np.zeros_like(source), threads), np.array_split(source, threads), strict=True))

    def copy(part: tuple[Float32, Float32]) -> None:
        np.copyto(*part)

    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(1 + RUNS):
            start = time.perf_counter()
            list(pool.map(copy, parts))
            seconds.append(time.perf_counter() - start)
    return 2e-9 * source.nbytes / min(seconds[1:])
