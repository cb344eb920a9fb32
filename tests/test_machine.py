"""What a process may take of the machine, by made-up /proc and /sys; and what is refused by it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyengine
from pyengine import Engine, PyengineError, Recipe
from pyengine.kernels.cpu import CpuKernels
from pyengine.machine import check_picture, check_room, cores, default_threads, memory, reading_within

MACHINE = 4096 * 1_000_000
"""Bytes of memory of the machine that tests are on."""

V2 = {"proc/self/cgroup": "0::/\n"}
NESTED_V2 = {"proc/self/cgroup": "0::/user.slice/job-1/step\n"}
HYBRID = {"proc/self/cgroup": "9:name=systemd:/job\n4:memory:/\n1:cpu:/\n0::/job\n"}
V1 = {"proc/self/cgroup": "11:cpu,cpuacct:/slurm/job\n4:memory:/slurm/job\n1:name=systemd:/elsewhere\n"}
CONTAINER = {  # without a namespace of its own, it sees its groups' names from outside
    "proc/self/cgroup": "11:cpu,cpuacct:/docker/ab12/job\n4:memory:/docker/ab12/job\n",
    "proc/self/mountinfo": "".join(
        f"{n} 31 0:{n} /docker/ab12 /sys/fs/cgroup/{name} ro,nosuid - cgroup cgroup rw,{name}\n"
        for n, name in ((35, "memory"), (36, "cpu,cpuacct"))
    ),
}
OUTSIDE = {"proc/self/cgroup": "0::/../../other\n"}


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    """A machine of 8 cores."""
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1_000_000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def tree(root: Path, *files: dict[str, str]) -> Path:
    for name, text in {k: v for some in files for k, v in some.items()}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ({}, {}, MACHINE),
        (V2, {}, MACHINE),
        (V2, {"memory.max": "1000000\n"}, 1_000_000),
        (V2, {"memory.max": "max\n"}, MACHINE),
        (V2, {"memory.max": "9" * 20}, MACHINE),
        (V2, {"memory.max": "max", "memory.high": "2000000"}, 2_000_000),
        *((V2, {"memory.max": text}, MACHINE) for text in ("", "x", "-5", "0", "1e9")),
        (NESTED_V2, {"user.slice/job-1/step/memory.max": "1000000"}, 1_000_000),
        (NESTED_V2, {"user.slice/job-1/memory.max": "1000000", "user.slice/memory.max": "2000000"}, 1_000_000),
        (NESTED_V2, {"user.slice/job-2/memory.max": "1000000"}, MACHINE),
        (HYBRID, {"unified/job/memory.max": "3000000", "memory/memory.limit_in_bytes": "4000000"}, 3_000_000),
        (V1, {"memory/slurm/job/memory.limit_in_bytes": "1000000"}, 1_000_000),
        (V1, {"memory/slurm/memory.limit_in_bytes": "1000000"}, 1_000_000),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),
        (V1, {"memory/elsewhere/memory.limit_in_bytes": "1000000"}, MACHINE),
        (V1, {"memory.max": "1000000"}, MACHINE),
        (CONTAINER, {"memory/memory.limit_in_bytes": "2000000"}, 2_000_000),
        (CONTAINER, {"memory/job/memory.limit_in_bytes": "1000000"}, 1_000_000),
        (OUTSIDE, {"memory.max": "1000000"}, 1_000_000),
    ],
)
def test_memory_is_that_of_the_groups(tmp_path, groups, files, expected):
    assert memory(tree(tmp_path, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})) == expected


def test_memory_is_what_the_address_space_leaves(tmp_path):
    """Four tenths of it are mapped, but not in memory; of the rest, threads will reserve half."""
    line = "Max address space         {:<20} unlimited            bytes\n"
    process = {"proc/self/statm": "125000 25000 900 1 0 60000 0\n"}
    assert memory(tree(tmp_path, process, {"proc/self/limits": line.format("unlimited")})) == MACHINE
    assert memory(tree(tmp_path, process, {"proc/self/limits": line.format(10**9)})) == (10**9 - 100_000 * 4096) // 2


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ({}, {}, 8),
        (V2, {"cpu.max": "max 100000\n"}, 8),
        (V2, {"cpu.max": "100000 100000\n"}, 1),
        (V2, {"cpu.max": "50000 100000\n"}, 1),
        (V2, {"cpu.max": "250000 100000\n"}, 3),
        (V2, {"cpu.max": "3200000 100000\n"}, 8),
        (V2, {"cpu.max": ""}, 8),
        (NESTED_V2, {"user.slice/cpu.max": "200000 100000", "user.slice/job-1/step/cpu.max": "max 100000"}, 2),
        (V1, {"cpu/slurm/job/cpu.cfs_quota_us": "200000", "cpu/slurm/job/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (CONTAINER, {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "50000"}, 3),
    ],
)
def test_cores_are_those_of_the_quota(tmp_path, groups, files, expected):
    root = tree(tmp_path, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cores(root) == default_threads(root) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("2,4", 2), ("64", 8), ("0", 8), ("-1", 8), ("", 8), ("many", 8)]
)
def test_openmp_has_a_say_in_threads(monkeypatch, tmp_path, text, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert default_threads(tmp_path) == expected
    assert cores(tmp_path) == 8


def test_more_threads_than_cores_are_cut_with_a_word(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    with pytest.warns(RuntimeWarning, match=r"^threads=777 are more than the cores .*: computing with 1$"):
        assert Engine("cpu", threads=777).threads == 1


# ------------------------------------------------------------------- refused


def header(width: int, height: int) -> bytes:
    """The beginning of a PNG in colour, with transparency; there is nothing to decode in it."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return start + struct.pack(">I", 1000) + b"IDAT"


@pytest.mark.parametrize("name", ["exemplar", "content", "init", "keep", "fill", "exemplar_regions", "output_regions"])
def test_every_picture_is_refused_by_its_header(tmp_path, natural, name):
    (tmp_path / "huge.png").write_bytes(header(6000, 6000))
    pictures = {"exemplar": natural, name: tmp_path / "huge.png"}
    if name == "exemplar_regions":
        pictures["output_regions"] = np.ones((96, 96), np.uint8)
    message = rf"^{name}.* of 6000x6000 pixels: reading it alone takes about 2\.4 GB \(\d+ bytes\), and 1\.0 GB"
    with Engine("cpu", threads=1, memory_limit=10**9) as engine, pytest.raises(PyengineError, match=message):
        engine.synthesize(**pictures)
    with pytest.raises(PyengineError, match=message):
        pyengine.synthesize(**pictures, threads=1, device="cpu", memory_limit=10**9)


def test_a_refused_picture_says_what_reading_it_takes():
    with reading_within(10**9), pytest.raises(PyengineError) as error:
        check_picture("exemplar", 6000, 6000, transparent=True)
    needed = int(str(error.value).split("(")[1].split()[0])
    with reading_within(needed):
        check_picture("exemplar", 6000, 6000, transparent=True)


def test_opaque_pictures_take_less():
    with reading_within(10**9):
        check_picture("content", 4000, 4000, transparent=False)
        with pytest.raises(PyengineError, match="content of 4000x4000 pixels"):
            check_picture("content", 4000, 4000, transparent=True)


def test_the_machines_memory_is_the_limit_where_nobody_says():
    with pytest.raises(PyengineError, match=r"and 3\.3 GB \(3276800000 bytes\) may be used"):
        check_picture("exemplar", 10_000, 10_000, transparent=False)


def test_a_full_disk_is_noticed_before_the_first_level(monkeypatch, natural):
    recipe = Recipe.create(natural, size=2048, iterations=1)
    seen = []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with Engine("cpu", threads=1, memory_limit=1_400_000_000) as engine:
        assert engine.plans(recipe)[-1].spill
        with pytest.raises(PyengineError, match=r"has no room for \d+ bytes \(1000 are free\): set TMPDIR .*"):
            engine.run(recipe, seen.append)
    assert seen == []


def test_room_is_what_the_disk_has(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    check_room(1000)
    with pytest.raises(PyengineError, match="no room for 1001 bytes"):
        check_room(1001)


def test_a_cpu_has_the_processs_memory():
    assert CpuKernels(threads=1).free_bytes() == memory()


# ------------------------------------------------------------ threads, events


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds a process to a core")
def test_threads_do_not_spin():
    """Eight on one core take about the time of one, of the processor; spinning, they took six times as much."""
    code = """if True:
        import os, time
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import numpy as np
        from pyengine.kernels.cpu import CpuKernels
        from pyengine.network.modelfile import load
        from pyengine.network.network import ModelSessions, Network
        from pyengine.network.sessions import Provider

        def seconds(threads, side):
            sessions = ModelSessions(load("vgg16"), CpuKernels(threads), Provider(), threads=threads)
            network = Network(sessions, (side, side), ("relu2_1",))
            image = np.random.default_rng(0).random((side, side, 3), np.float32)
            network.forward(image)
            start = time.process_time()
            for _ in range(8):
                network.forward(image)
            return time.process_time() - start

        print(*(seconds(8, side) / seconds(1, side) for side in (64, 128)))
    """
    assert max(map(float, run(code).split())) < 2.5


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_large_images_are_computed_on_one_set_of_threads():
    """The exemplar's network, the output's, and the adjoint of each layer had threads of their own."""
    code = """if True:
        import os
        import numpy as np
        from pyengine.kernels.cpu import CpuKernels
        from pyengine.network.modelfile import load
        from pyengine.network.network import ModelSessions, Network
        from pyengine.network.sessions import Provider

        def count():
            return len(os.listdir("/proc/self/task"))

        sessions = ModelSessions(load("vgg16"), CpuKernels(4), Provider(), threads=4)
        before = count()
        network = Network(sessions, (128, 128), ("relu1_1", "relu2_1", "relu3_1"))
        network.forward(np.zeros((128, 128, 3), np.float32))
        network.zero_gradients()
        for layer in network.layers:
            network.backward(layer)
        print(count() - before)
    """
    assert int(run(code)) <= 3


SYNTHESIS = """if True:
    import os
    import numpy as np
    import pyengine
    pyengine.synthesize(np.random.default_rng(0).random((32, 32, 3)), levels=1, iterations=1, threads=1, device="cpu")
    print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_onnx_runtime_keeps_no_events(tmp_path, monkeypatch):
    """They would be in the user's cache, with an identifier of the device."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    folders = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "LOCALAPPDATA": str(tmp_path)}
    assert run(SYNTHESIS, **folders).strip() == "1"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="watches system calls")
def test_nothing_is_looked_up(tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    calls = tmp_path / "calls"
    watch = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(calls)]
    subprocess.run([*watch, sys.executable, "-c", SYNTHESIS], check=True, capture_output=True, timeout=100)
    assert calls.read_text() == ""


def test_whoever_wants_events_gets_them():
    assert run(SYNTHESIS, ORT_DISABLE_TELEMETRY="0").strip() == "0"
