"""A few faults of every kind; `python -m robustness` tries many."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from robustness.worker import Tally

FEW = {"no room": 14, "errors": 14, "signals": 15, "limits": 8, "streams": 2, "starts": 2, "kills": 2}
TESTS = Path(__file__).parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="faults are made of what Linux has")
@pytest.mark.parametrize("group", FEW)
def test_nothing_is_lost_and_nothing_left(group: str, tmp_path: Path) -> None:
    """In a process of its own, which makes copies of itself: that is not safe with the threads that there are here."""
    file = tmp_path / "tally.json"
    words = [sys.executable, "-m", "robustness.worker", group, "0", str(FEW[group]), str(file)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=TESTS, timeout=300)
    assert done.returncode == 0, done.stderr
    tally = Tally(**json.loads(file.read_text()))
    assert tally.findings == {}
    assert tally.inputs == FEW[group]
