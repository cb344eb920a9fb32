"""A cluster: Ray's nodes as workers, each of which has a pool of processes, as this machine has one without a cluster.

Ray places an actor on each node, hands tasks and answers to and fro, and tells of nodes that are lost; engines are in
processes of their own there. A node is given as many tasks as it has engines, and no more.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pyengine import __version__
from pyengine.batch.pool import Answer, Lost, Pool, Start, Task
from pyengine.errors import PyengineError
from pyengine.files import one_line


class Cluster:
    """A Ray cluster that is running.

    Its nodes are cut into shares of one size, what the smallest of them has, so that every one can be given the same; a
    node twice as large has two.

    Parameters
    ----------
    address : str
        Its address, or "auto" for the one that this machine is in.
    gpus : bool
        Whether GPUs are used, and of nodes only those with GPUs, if there are any.
    timeout : float, optional
        Seconds that a task may take. None for any time.
    shared : Path, optional
        What each node has to see, as pictures are written there. None where they go to a URL.
    start : callable
        Makes a worker on a node, see `Pool`.

    Attributes
    ----------
    share : dict
        What a share has: CPUs, bytes of memory, GPUs, by Ray's names.
    nodes : int
        How many shares there are.

    Raises
    ------
    PyengineError
        Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str, *, gpus: bool, timeout: float | None, shared: Path | None, start: Start) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers where nobody says so
        try:
            self.ray: Any = import_module("ray")
        except ImportError:
            raise PyengineError(f'ray={address}: Ray is not installed: pip install "pyengine[ray]"') from None
        self.timeout, self.shared, self.start_there = timeout, shared, start
        self._is_own = not self.ray.is_initialized()
        if self._is_own:
            self._connect(address)
        try:
            self._divide([node["Resources"] for node in self.ray.nodes() if node["Alive"]], gpus)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str) -> None:
        handlers = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of many kinds
            raise PyengineError(
                f"ray={address}: cannot be reached ({one_line(error)}): start it by `ray start`"
            ) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray has some of its own, by which no exit code is the usual one

    def _divide(self, nodes: Sequence[Mapping[str, float]], gpus: bool) -> None:
        nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
        if not nodes:
            raise PyengineError("ray: no node of the cluster has a CPU to give: add one, by `ray start --address ...`")
        with_gpus = [node for node in nodes if gpus and node.get("GPU", 0) >= 1]
        nodes = with_gpus or nodes
        names = ("CPU", "memory", "GPU") if with_gpus else ("CPU", "memory")
        self.share = {name: int(min(node[name] for node in nodes)) for name in names}
        self.nodes = sum(min(int(node[name] // least) for name, least in self.share.items()) for node in nodes)
        free = self.ray.available_resources()
        if any(free.get(name, 0) < least for name, least in self.share.items()):
            warnings.warn("ray: others use all of the cluster: waits for a place", RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """Leave the cluster, unless the caller was in it before."""
        if self._is_own:
            self.ray.shutdown()

    def start(self, engine: Mapping[str, Any], at_once: int) -> Node:
        """Make a worker of a share, for a pool: its engine is that of all workers there."""
        return Node(self, engine["engines"], engine["at_once"])


class Node:
    """A worker that is a share of a cluster's node.

    It is there as soon as Ray has found a place for it, which after the loss of a node may be when another has joined.

    Parameters
    ----------
    cluster : Cluster
    engines : list of dict
        The arguments of each engine.
    at_once : int
        How many tasks each of them does at once.
    """

    def __init__(self, cluster: Cluster, engines: Sequence[Mapping[str, Any]], at_once: int) -> None:
        self._ray, self._share = cluster.ray, cluster.share
        options = {"num_cpus": self._share["CPU"], "memory": self._share["memory"]}
        if "GPU" in self._share:
            options["num_gpus"] = self._share["GPU"]
        # Two calls at a time: one waits for answers, while others bring tasks.
        actor = self._ray.remote(Engines).options(max_concurrency=2, **options)
        self._actor = actor.remote(engines, at_once, cluster.timeout, cluster.shared, cluster.start_there)

    def introduce(self) -> Answer:
        """Wait for a place, and for what the engines are, with as much of the machine as Ray gives."""
        said = self._get(self._actor.introduction.remote())
        if "error" in said:
            raise PyengineError(said["error"])
        if said["pyengine"] != __version__:
            raise PyengineError(
                f"ray: a node has pyengine {said['pyengine']}, this is {__version__}: install one of them"
            )
        cores, memory = self._share["CPU"], self._share["memory"]
        return {**said, "cores": cores, "threads": cores, "bytes": min(said["bytes"], memory)}

    @property
    def name(self) -> str:
        """What the journal calls it, where a task was lost with it; engines tell their names."""
        return "ray"

    def send(self, task: Task) -> None:
        """Give it something to do."""
        self._actor.send.remote(task.asked, task.alone)

    def receive(self, timeout: float | None) -> Answer:
        """Wait for the answer to one of its tasks; it sees to their time itself."""
        return self._get(self._actor.receive.remote())

    def _get(self, reference: Any) -> Answer:
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self.end()  # what can't be reached may live
            kind = type(error).__name__
            raise Lost(f"the node was lost ({kind}: {one_line(error)})") from None
        return answer

    def forget(self) -> None:
        """Nothing is kept here of what was said."""

    def end(self) -> None:
        """End it, and with it, its engines, but for files that they are writing. May be called from any thread."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """End it; Ray gives its place to others when it is gone."""
        self.end()


class Engines:
    """What is on a node: a pool of workers, which Ray calls from afar.

    Parameters
    ----------
    engines : list of dict
        The arguments of each worker's `Engine`.
    at_once : int
        How many tasks each does at once.
    timeout : float, optional
        Seconds that a task may take. None for any time.
    shared : Path, optional
        What has to be there.
    start : callable
        Makes a worker.
    """

    def __init__(
        self,
        engines: Sequence[Mapping[str, Any]],
        at_once: int,
        timeout: float | None,
        shared: Path | None,
        start: Start,
    ) -> None:
        self._shared = shared
        self._pool = Pool(engines, start, at_once, timeout)

    def introduction(self) -> Answer:
        """What the engines are, or why there are none."""
        node = os.uname().nodename
        if self._shared is not None and not self._shared.exists():
            return {"error": f"{self._shared}: is not on node {node}: write to a folder that all share, or to a URL"}
        try:
            return {**self._pool.introduction, "pyengine": __version__}
        except PyengineError as error:
            return {"error": f"node {node}: {error}"}

    def close(self) -> None:
        """End them; Ray does without, it ends the process."""
        self._pool.close()

    def send(self, asked: Mapping[str, Any], alone: bool) -> None:
        """Have a task done."""
        self._pool.give([Task(asked, alone)])

    def receive(self) -> Answer:
        """Wait for the next answer."""
        task, answer = self._pool.answered()
        return {"name": task.asked["name"], **answer}
