"""Crews: how many workers make the jobs of a size, with how many threads, and what is planned for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyengine.memory import BASE_BYTES

PIXEL_BYTES = 3
"""Bytes on the disk for each pixel of a picture, at most, as a PNG is compressed."""

AT_ONCE_ON_GPU = 2
"""Tasks that a GPU's worker does at once: the one that has the engine, and one that is being read or written."""


@dataclass(frozen=True)
class Crew:
    """The workers for the jobs that take so many bytes of memory or more.

    Attributes
    ----------
    engines : list of dict
        The arguments of each worker's engine.
    at_once : int
        How many tasks each does at once.
    least_bytes : int
        Jobs that take less are for the next crew.
    nodes : int
        On how many nodes of a cluster there are such workers. Default: 1.
    """

    engines: list[dict[str, Any]]
    at_once: int
    least_bytes: int
    nodes: int = 1


@dataclass(frozen=True)
class Size:
    """What is planned for the jobs of one size.

    Attributes
    ----------
    width, height : int
        In pixels.
    jobs : int
    bytes : int
        Of memory, for each.
    workers, threads : int
        How many workers make them, and with how many threads each.
    seconds : float
        How long one takes.
    """

    width: int
    height: int
    jobs: int
    bytes: int
    workers: int
    threads: int
    seconds: float

    @property
    def disk_bytes(self) -> int:
        """Bytes of the disk that a picture takes, at most."""
        return self.width * self.height * PIXEL_BYTES


class Crews:
    """Who makes what, on machines that are alike.

    Several workers of one thread do more than one worker of several, as nothing in them waits for anything of another's
    (docs/batch.md has what was measured); so there are more threads than one only where memory or jobs are for fewer
    workers.

    Parameters
    ----------
    introduction : dict
        What a worker says of its machine.
    engine : dict
        The arguments of each worker's `Engine`, as far as the caller says them.
    workers : int, optional
        How many on a machine. None for as many as cores, jobs and memory allow, or one for each GPU.
    nodes : int
        How many machines there are.
    """

    def __init__(
        self, introduction: Mapping[str, Any], engine: Mapping[str, Any], workers: int | None, nodes: int
    ) -> None:
        self._cores: int = introduction["cores"]
        self._bytes: int = introduction["bytes"]
        self._threads: int = introduction["threads"]
        self._gpus: Sequence[str] = introduction["devices"]
        self._engine, self._workers, self._nodes = engine, workers, nodes

    def for_checks(self, jobs: int) -> Crew:
        """Who checks so many jobs: as many as will make them, as far as can be told before."""
        return self._on_gpus() if self._gpus else self._on_cpu(max(1, self._bytes // BASE_BYTES), jobs, 0)

    def for_sizes(self, sizes: Sequence[tuple[int, int, int, int]]) -> list[Crew]:
        """Who makes jobs of these sizes, see `Journal.sizes`: for a span of them, as many workers as memory holds."""
        if self._gpus:
            return [self._on_gpus()]
        spans: list[tuple[int, int, int]] = []  # workers that memory holds, jobs, bytes of the smallest
        most = self._workers or self._cores
        for bytes, _, _, count in sizes:
            fit = max(1, min(most, self._bytes // bytes))
            if spans and spans[-1][0] == fit:
                spans[-1] = (fit, spans[-1][1] + count, bytes)
            else:
                spans.append((fit, count, bytes))
        return [self._on_cpu(fit, jobs, least) for fit, jobs, least in spans]

    def _on_cpu(self, fit: int, jobs: int, least_bytes: int) -> Crew:
        """As many as fit into memory, and no more than jobs, alike on each node, with threads for all cores."""
        nodes = min(self._nodes, jobs)
        jobs = -(-jobs // nodes)
        fit = self._workers or fit  # whoever says so knows better
        threads = self._engine.get("threads") or min(-(-self._cores // min(fit, jobs, self._cores)), self._threads)
        workers = max(1, min(fit, jobs, self._workers or self._cores // threads))
        return Crew([{**self._engine, "threads": threads}] * workers, 1, least_bytes, nodes)

    def _on_gpus(self) -> Crew:
        """A worker for each GPU, or for the one that is named."""
        device = self._engine.get("device", "auto")
        devices = [device] if ":" in device else self._gpus
        engines = [{**self._engine, "device": name} for name in devices[: self._workers]]
        return Crew(engines, AT_ONCE_ON_GPU, 0, self._nodes)
