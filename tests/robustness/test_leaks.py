"""What does not grow: memory and open files over many runs, and what threads share that use one engine."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pyengine
from robustness.models import tiny

QUICK = {"start": "noise", "levels": 1, "iterations": 3}
TESTS = Path(__file__).parent.parent

MEASURE = """if True:
    import gc, os, sys
    from pathlib import Path
    import numpy as np
    import pyengine
    from robustness.models import tiny

    SIZES = [(16 + k % 5, 16 + k % 7) for k in range(35)]
    exemplar = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)

    def run(engine, k):
        engine.synthesize(exemplar, size=SIZES[k % len(SIZES)], start="noise", levels=1, iterations=1, seed=k)

    def of_one_engine(k, engine=pyengine.Engine(model=tiny(Path(sys.argv[2])), threads=1)):
        run(engine, k)

    def of_many_engines(k):
        with pyengine.Engine(model=tiny(Path(sys.argv[2])), threads=1) as engine:
            run(engine, k)

    def of_refusals(k, engine=pyengine.Engine(model=tiny(Path(sys.argv[2])), threads=1)):
        for arguments in ({"size": 0}, {"content": "none.png"}, {"callback": lambda progress: 1 / 0}):
            try:
                engine.synthesize(exemplar, start="noise", levels=1, iterations=1, **arguments)
            except (pyengine.PyengineError, ZeroDivisionError):
                pass

    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    function, runs = globals()[sys.argv[1]], int(sys.argv[3])
    for k in range(runs // 2):  # after which all that is kept for reuse is there
        function(k)
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    for k in range(runs // 2, runs):
        function(k)
    print((resident() - before) / (runs // 2), len(os.listdir("/proc/self/fd")) - files)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what a process takes")
@pytest.mark.parametrize(
    ("function", "runs", "most"),
    [("of_one_engine", 500, 5000), ("of_many_engines", 100, 30000), ("of_refusals", 200, 5000)],
)
def test_nothing_grows(function: str, runs: int, most: int, tmp_path: Path) -> None:
    """So many bytes a run are noise: a feature map that is kept would be ten times as many."""
    words = [sys.executable, "-c", MEASURE, function, str(tmp_path), str(runs)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=TESTS, timeout=300)
    assert done.returncode == 0, done.stderr
    grown, files = done.stdout.split()
    assert int(files) == 0
    assert float(grown) < most


def test_eight_threads_on_one_engine(tmp_path: Path) -> None:
    """Each run has the bits that it has alone, whatever the others do, and however they end."""
    rng = np.random.default_rng(0)
    jobs = [
        {"exemplar": rng.random((20, 16 + k % 9, 3)), "size": (16 + k % 7, 20), "seed": k, **QUICK} for k in range(24)
    ]

    def fails(progress: pyengine.Progress) -> None:
        raise ZeroDivisionError

    with pyengine.Engine(model=tiny(tmp_path), threads=2) as engine:
        alone = [engine.synthesize(**job).image for job in jobs]

        def run(k: int) -> bool:
            job = jobs[k % len(jobs)]
            if k % 5 == 0:
                with pytest.raises(ZeroDivisionError):
                    engine.synthesize(**job, callback=fails)
            if k % 7 == 0:
                engine.close()
            return bool((engine.synthesize(**job).image == alone[k % len(jobs)]).all())

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(4 * len(jobs))))
