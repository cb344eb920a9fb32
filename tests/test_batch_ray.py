"""Batches on a cluster: Ray's own, of several nodes on this machine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FAST, finish, program
from fake_workers import Fake
from PIL import Image

import pyengine
from pyengine import Outcome, PyengineError, run_batch
from pyengine.batch.run import Batch

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# On a busy machine, a request at the start may be lost: it is to be made again within the 30 s that a node has.
os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "5")
ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "pyengine[ray]"')
pytestmark = pytest.mark.filterwarnings("ignore:::ray")

JOBS = 12


def add_node(cluster: Any) -> None:
    cluster.add_node(num_cpus=1, memory=10**9, object_store_memory=10**8)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a core each, and one that has none, whose memory is what a node may be given."""
    from ray.cluster_utils import Cluster

    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))  # nodes import the fake workers
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(3):
            add_node(cluster)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def exemplar(tmp_path: Path) -> str:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_what_goes_wrong_costs_its_job_only(cluster: Any, exemplar: str, tmp_path: Path) -> None:
    """Workers without an engine on the nodes, so that what they die of is known."""
    jobs: list[dict[str, Any]] = [{"exemplar": exemplar, "seed": seed} for seed in (1, 66, 67, 2, 3)]
    jobs.append({"exemplar": exemplar, "seed": 65, "levels": 9})
    with Batch(tmp_path / "out", ray=cluster.address, start=Fake) as batch:
        batch.ask(jobs, {"output": "{seed}.png"})
        outcomes = [*batch.check()]
        [size] = batch.plan()
        assert (size.workers, size.threads) == (3, 1)
        outcomes += batch.run()
    found = {outcome.output.stem: outcome for outcome in outcomes if isinstance(outcome.output, Path)}
    assert {name: (outcome.state, outcome.attempts) for name, outcome in found.items()} == {
        "1": ("made", 1), "2": ("made", 1), "3": ("made", 1), "65": ("refused", 0), "66": ("failed", 2),
        "67": ("failed", 1),
    }  # fmt: skip
    assert found["66"].error == "ended its worker (SIGABRT) (2 times: it is set aside)"
    assert found["67"].error == "no room on the disk"
    assert not ray.is_initialized()


def test_the_command(cluster: Any, exemplar: str, tmp_path: Path) -> None:
    """Ray says nothing of its own."""
    command = ("batch", exemplar, "-o", tmp_path / "out", "--ray", cluster.address, "--json", *FAST)
    code, stdout, stderr = finish(program(*command))
    assert (code, stderr) == (0, "")
    job, end = map(json.loads, stdout.splitlines())
    assert (job["state"], end["made"]) == ("made", 1)


def test_others_use_the_cluster(cluster: Any, exemplar: str, tmp_path: Path) -> None:
    """It waits for them, says so, and leaves alone what was joined before."""
    from ray.util import placement_group, remove_placement_group

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        others = placement_group([{"CPU": 1}] * 3)
        assert others.wait(60)
        threading.Timer(2, remove_placement_group, [others]).start()
        with pytest.warns(RuntimeWarning, match=r"^ray: others use all of the cluster: waits for a place$"):
            batch = Batch(tmp_path / "out", ray=cluster.address, start=Fake)
        with batch:
            batch.ask(exemplar, {})
            assert [outcome.state for outcome in (*batch.check(), *batch.run())] == ["made"]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_no_cluster(exemplar: str, tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match=r"^ray=127\.0\.0\.1:x: cannot be reached "):
        [*run_batch(exemplar, tmp_path / "out", ray="127.0.0.1:x")]


def test_a_node_is_lost(cluster: Any, exemplar: str, tmp_path: Path) -> None:
    """In the middle of its jobs: they are made elsewhere, to the same bits."""
    jobs = [{"exemplar": exemplar, "seed": seed, "output": f"{seed}.png"} for seed in range(JOBS)]
    arguments: dict[str, Any] = {"start": "noise", "iterations": 100, "levels": 1}
    outcomes: list[Outcome] = []
    for outcome in run_batch(jobs, tmp_path / "out", ray=cluster.address, threads=1, **arguments):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            cluster.remove_node(next(iter(cluster.worker_nodes)))
    assert [outcome.error for outcome in outcomes] == [None] * JOBS
    assert sorted(outcome.attempts for outcome in outcomes) == [1] * (JOBS - 1) + [2]
    for seed in (0, 5, JOBS - 1):
        single = pyengine.synthesize(exemplar, seed=seed, threads=1, **arguments)
        assert (tmp_path / "out" / f"{seed}.png").read_bytes() == single.encode()


def test_all_nodes_are_lost(cluster: Any, exemplar: str, tmp_path: Path) -> None:
    """It waits for the next."""
    jobs = [{"exemplar": exemplar, "seed": seed, "output": f"{seed}.png"} for seed in range(6)]
    outcomes: list[Outcome] = []
    for outcome in run_batch(jobs, tmp_path / "out", ray=cluster.address, start="noise", iterations=50, levels=1):
        outcomes.append(outcome)
        if len(outcomes) == 1:
            for node in [*cluster.worker_nodes]:
                cluster.remove_node(node)
            add_node(cluster)
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert max(outcome.attempts for outcome in outcomes) == 2
