"""How many textures a batch makes, against a plain loop over the same jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyengine.batch.run import run_batch
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.images.reading import Source, load
from pyengine.images.resampling import resize
from pyengine.images.writing import save, to_uint8
from pyengine.machine import default_threads


@dataclass(frozen=True)
class ThroughputRun:
    """Seconds that the jobs of one size take, with all that is around them.

    Attributes
    ----------
    size : int
        Pixels on a side.
    jobs : int
        How many.
    loop : float
        One after another by an engine of all threads, saved as PNG.
    workers : float
        By `run_batch` with a worker of one thread for each core.
    threads : float
        By `run_batch` with one worker of all threads.
    """

    size: int
    jobs: int
    loop: float
    workers: float
    threads: float


def throughput(
    exemplars: Sequence[Source], *, sizes: Sequence[int] = (64, 128), jobs: int = 20
) -> Iterator[ThroughputRun]:
    """Make textures in a loop, and in batches of many workers and of many threads, on a CPU.

    Parameters
    ----------
    exemplars : sequence of path, PIL image, or array
        The pictures to look like, in turn, reduced to the size of what is made.
    sizes : sequence of int
        Pixels on a side of what is made, one size after another. Default: 64 and 128.
    jobs : int
        How many of each size, at least 1. Default: 20.

    Yields
    ------
    ThroughputRun
        One for each size in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Input that can't be used.

    Examples
    --------
    >>> list(throughput([], jobs=0))
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: jobs=0: give at least 1
    """
    if jobs < 1:
        raise PyengineError(f"jobs={jobs}: give at least 1")
    images = [load(exemplar) for exemplar in exemplars]
    cores = default_threads()
    for size in sizes:
        with TemporaryDirectory() as name:
            folder = Path(name)
            for k, image in enumerate(images):
                save(to_uint8(resize(image, (size, size))), folder / f"{k}.png")
            asked: list[dict[str, Any]] = [
                {"exemplar": folder / f"{k % len(images)}.png", "size": size, "seed": k} for k in range(jobs)
            ]
            yield ThroughputRun(
                size, jobs, _loop(asked, folder), _batch(asked, folder, cores, 1), _batch(asked, folder, 1, cores)
            )


def _loop(asked: Sequence[dict[str, Any]], folder: Path) -> float:
    begin = time.perf_counter()
    with Engine("cpu") as engine:
        for job in asked:
            engine.synthesize(**job).save(folder / "made.png")
    return time.perf_counter() - begin


def _batch(asked: Sequence[dict[str, Any]], folder: Path, workers: int, threads: int) -> float:
    begin = time.perf_counter()
    jobs = [{**job, "output": f"{k}.png"} for k, job in enumerate(asked)]
    output = folder / f"{workers} of {threads}"
    for outcome in run_batch(jobs, output, workers=workers, threads=threads, device="cpu"):
        if outcome.error is not None:
            raise PyengineError(outcome.error)
    return time.perf_counter() - begin
