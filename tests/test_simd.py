"""The kernels on every instruction set that the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyengine import _core

ALL = ["baseline", "avx2", "avx512"]
TESTS = Path(__file__).parent
LOSSES = ["test_losses.py", "test_correlation.py", "test_structure.py", "test_variation.py"]
OF_KERNELS = ["test_kernels.py", "test_winograd.py", *LOSSES]

HASHES = """
import hashlib
import numpy as np
from pyengine import _core
from test_winograd import convolve, random
F = np.random.default_rng(0).normal(size=(64, 5000)).astype(np.float32)
G, out = _core.gram(F), np.empty_like(F)
_core.mix(F, G, 1.0, out)
few = np.empty((5, 5000), np.float32)
_core.mix(F, G[:5].copy(), 1.0, few)
y = convolve(*random(np.random.default_rng(0), 8, 8, (40, 40)))
print(_core.simd, *(hashlib.sha256(array.tobytes()).hexdigest() for array in (G, out, few, y)))
"""


def run(*command: str, simd: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own with an instruction set."""
    environment = {**os.environ, "PYENGINE_SIMD": simd, "PYTHONPATH": str(TESTS)}
    return subprocess.run([sys.executable, *command], env=environment, cwd=TESTS.parent, capture_output=True, text=True)


@pytest.mark.parametrize("simd", [name for name in _core.simd_supported if name != _core.simd])
def test_kernels_pass_on(simd):
    """Their tests once more, on each set but the one on which they run anyway."""
    files = [str(TESTS / name) for name in OF_KERNELS]
    result = run("-m", "pytest", "-x", "-n0", "-p", "no:cacheprovider", *files, simd=simd)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"kernels: {simd} of" in result.stdout


def test_the_best_is_taken_unless_told_otherwise():
    assert _core.simd == (os.environ.get("PYENGINE_SIMD") or _core.simd_supported[-1])
    assert list(_core.simd_supported) == [name for name in ALL if name in _core.simd_supported]
    assert run("-c", "from pyengine import _core; print(_core.simd)", simd="").stdout.split() == [
        _core.simd_supported[-1]
    ]


def test_every_kernel_follows():
    """Vectors of other lengths, and products that are rounded before they are added or not, show in the bits."""
    results = {}
    for simd in _core.simd_supported:
        result = run("-c", HASHES, simd=simd)
        assert result.returncode == 0, result.stderr
        name, *results[simd] = result.stdout.split()
        assert name == simd
    grams = [gram for gram, *_ in results.values()]
    assert len(set(grams)) == len(grams)
    baseline = results.pop("baseline")
    for others in results.values():
        assert all(ours != other for ours, other in zip(baseline, others, strict=True))


@pytest.mark.parametrize("name", ["avx9", "AVX2", *(name for name in ALL if name not in _core.simd_supported)])
def test_other_instruction_sets_are_refused(name):
    result = run("-c", "from pyengine import _core", simd=name)
    assert result.returncode == 1
    names = ", ".join(_core.simd_supported)
    message = f"PYENGINE_SIMD: expected an instruction set that this machine has ({names}), got {name}"
    assert result.stderr.splitlines()[-1] == f"ImportError: {message}"
