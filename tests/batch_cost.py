"""What a batch costs besides its pictures, by workers that make none: `python tests/batch_cost.py --nodes 2`.

It prints milliseconds a job, of wall time and of the command's processor, from the start of the first; with nodes, on
Ray's own cluster on this machine. Then the size of the journal, and the command's peak of memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fake_workers import Fake
from PIL import Image

from pyengine.batch.journal import NAME
from pyengine.batch.run import Batch


def cluster_of(nodes: int) -> Any:
    """A cluster with a core a node, besides the head, which has none."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the nodes
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, memory=10**9, object_store_memory=10**8)
    return cluster


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--nodes", type=int, default=0)
    arguments = parser.parse_args()
    address = None
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        if arguments.nodes:
            cluster = cluster_of(arguments.nodes)
            opened.callback(cluster.shutdown)
            address = cluster.address
        Image.new("RGB", (16, 16)).save(folder / "exemplar.png")
        jobs = [{"exemplar": str(folder / "exemplar.png"), "seed": 1000 + k} for k in range(arguments.jobs)]
        with Batch(folder / "out", start=Fake, workers=1, ray=address) as batch:
            began = time.perf_counter()
            batch.ask(jobs, {"output": "{seed}.png"})
            batch.check()
            asked = (time.perf_counter() - began) / arguments.jobs
            began, used = time.perf_counter(), time.process_time()
            assert sum(outcome.state == "made" for outcome in batch.run()) == arguments.jobs
            wall = (time.perf_counter() - began) / arguments.jobs
            used = (time.process_time() - used) / arguments.jobs
        size = (folder / "out" / NAME).stat().st_size / arguments.jobs
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(
        f"to ask for a job {1e3 * asked:.2f} ms; to have it made {1e3 * wall:.2f} ms, {1e3 * used:.2f} ms of processor"
    )
    print(f"journal: {size:.0f} bytes a job; peak of memory: {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
