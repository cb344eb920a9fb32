"""What the first evaluation costs whoever has just started Python: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyengine


def import_seconds() -> float:
    """Seconds that ``import pyengine`` takes in an interpreter that has just started.

    Examples
    --------
    >>> 0 < import_seconds() < 60
    True
    """
    code = "import time; start = time.perf_counter(); import pyengine; print(time.perf_counter() - start)"
    return float(python("-c", code))


def first_evaluation(size: int, threads: int) -> tuple[float, float | None]:
    """Evaluate once, with the gradient, in a process that is started for it.

    Parameters
    ----------
    size : int
        Pixels on a side, of image and exemplar: white noise both.
    threads : int
        How many threads compute.

    Returns
    -------
    seconds : float
        From the start of the process to the end of the evaluation.
    megabytes : float or None
        Largest resident set of the process, where the system tells.
    """
    start = time.time()  # the one clock that two processes have in common
    found = json.loads(python("-m", __name__, str(size), str(threads)))
    return found["end"] - start, found["megabytes"]


def python(*arguments: str) -> str:
    """Run this Python with these arguments, and with this pyengine; returns what it prints."""
    # It runs in the folder that holds this pyengine, which is then first on the path, before any that the user is in.
    home = Path(pyengine.__file__).parent.parent
    return subprocess.run([sys.executable, *arguments], cwd=home, check=True, stdout=subprocess.PIPE, text=True).stdout


def _evaluate(size: int, threads: int) -> dict[str, Any]:
    """Do what the process is for; returns when it ended, and the memory it took."""
    import numpy as np

    generator = np.random.default_rng(0)
    exemplar, image = (generator.random((size, size, 3), np.float32) for _ in range(2))
    with pyengine.Engine(threads=threads) as engine:
        engine.objective(exemplar)(image)
        return {"end": time.time(), "megabytes": peak_megabytes()}


def peak_megabytes() -> float | None:
    """Largest resident set of this process so far, where the system tells."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, where getrusage starts with what the parent process took
        peaks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peaks[0]) * 1024 / 1e6 if peaks else None
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    print(json.dumps(_evaluate(*map(int, sys.argv[1:]))))
