"""A stand-in for CuPy that runs on the CPU, for tests of GPU code where there is no GPU.

Kernels are compiled by the host's C++ compiler against `cuda.hpp`, which emulates CUDA's execution model. The stand-in
knows only the part of CuPy that pyengine uses, and is as strict about it as CuPy is: where that raises, or would do
something else than NumPy, this raises. What is missing raises AttributeError, and is to be added when it is needed.

`install` puts it in CuPy's place. The attributes of this module control it and tell what happened::

    @pytest.fixture
    def cupy(monkeypatch):
        return emulation.install(monkeypatch)

    emulation.order = "shuffled"  # or "ascending", the default, or "descending": blocks, and threads between two waits;
                                  # with "warps", each warp goes on until it waits for others, the last one first
    emulation.seed = 1            # of the shuffle
    emulation.device_count = 0
    emulation.memory_info = (2**20, 2**30)  # free and total bytes; no array may be larger than what is free
    emulation.transfers.device_to_host      # copies, and waits for a value, since `install`; also _bytes
    emulation.launches["gram"]              # a Counter of kernels, and of functions of cuBLAS, by name
"""

import os
import shlex
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass
class Transfers:
    """What was copied between the host and the device."""

    device_to_host: int = 0
    device_to_host_bytes: int = 0
    host_to_device: int = 0
    host_to_device_bytes: int = 0


order = "ascending"
seed = 0
device_count = 1
memory_info = (6 * 2**30, 8 * 2**30)
transfers = Transfers()
launches: Counter[str] = Counter()


def reset() -> None:
    """Set everything above to what it is at first."""
    from emulation import cublas

    global order, seed, device_count, memory_info, transfers
    order, seed, device_count, memory_info = "ascending", 0, 1, (6 * 2**30, 8 * 2**30)
    transfers = Transfers()
    launches.clear()
    cublas.reset()


def compiler() -> list[str]:
    """The command of the C++ compiler."""
    return shlex.split(os.environ.get("CXX") or "c++")


def unavailable() -> str | None:
    """Why nothing can be emulated here, or None."""
    if not sys.platform.startswith("linux"):
        return "CUDA is emulated on Linux only"
    if shutil.which(compiler()[0]) is None:
        return f"no C++ compiler ({compiler()[0]}) to emulate CUDA with"
    return None


def module() -> ModuleType:
    """The module that stands in for `cupy`."""
    from emulation import namespace

    return namespace.cupy


def install(monkeypatch: Any) -> ModuleType:
    """Let `import cupy` find the stand-in until the test ends; returns it, with all settings and counters reset."""
    from emulation import namespace

    reset()
    for name, value in namespace.importable.items():
        monkeypatch.setitem(sys.modules, name, value)
    return namespace.cupy
