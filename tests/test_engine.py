"""What an engine owns and lends: a device, a model, threads and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pyengine
from pyengine import Engine, PyengineError, devices


def test_threads_share_an_engine(natural):
    """Each gets what it would get alone, also when a size is in use twice."""
    jobs = [{"seed": 1}, {"seed": 2}, {"seed": 1, "size": (48, 64)}, {"seed": 3}]
    with Engine(threads=1) as engine:
        alone = [engine.synthesize(natural[:64, :64], iterations=3, **job).image for job in jobs]
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(engine.synthesize, natural[:64, :64], iterations=3, **job) for job in jobs]
            together = [run.result().image for run in runs]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert threading.active_count() < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, r"device='tpu': choose 'auto', 'cpu', 'cuda', 'cuda:1', 'tensorrt' or 'tensorrt:1'"),
        ({"model": "alexnet"}, r"unknown model 'alexnet': installed are .*vgg16"),
        ({"threads": 0}, r"threads=0"),
        ({"threads": 1.5}, r"threads=1.5"),
        ({"threads": 10**10}, r"threads=10000000000"),
        ({"device": "cpu", "precision": "tf32"}, r"precision='tf32' on a CPU: .*leave it out, or give 'float32'"),
        ({"device": "cpu", "precision": "float16"}, r"precision='float16' on a CPU: .*leave it out, or give 'float32'"),
        ({"device": "cpu", "precision": "double"}, r"precision='double': choose 'float32' or 'tf32' or 'float16'"),
    ],
)
def test_bad_engines(natural, options, message):
    with pytest.raises(PyengineError, match=message):
        pyengine.synthesize(natural, **options)


def test_a_gpu_where_there_is_none_says_what_to_install():
    if not devices.problem_with("cuda", 0):
        pytest.skip("there is a GPU")
    with pytest.raises(PyengineError, match=r"^device='cuda': .*(pip install 'pyengine\[gpu\]|check )") as error:
        Engine(device="cuda", threads=1)
    assert "\n" not in str(error.value)


def test_an_engine_says_what_it_computes_on_and_in():
    engine = Engine(device="cpu", threads=1)
    assert str(engine.device) == "cpu"
    assert engine.device.reason == "as asked for"
    assert engine.precision == "float32"


@pytest.mark.parametrize("limit", [0, -1, 2.5, "3GB", True])
def test_bad_memory_limits(limit):
    with pytest.raises(PyengineError, match=r"memory_limit=.*: give a whole number of bytes"):
        Engine(threads=1, memory_limit=limit)


def test_a_closed_engine_gives_its_memory_back():
    """In a process of its own, where no other test has left memory to reuse."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads the memory in use from /proc")
    code = """if True:
        import resource
        import numpy as np
        from pyengine import Engine

        def megabytes():
            return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

        exemplar = np.random.default_rng(0).random((64, 64, 3))
        with Engine(threads=1) as engine:
            engine.objective(exemplar)(np.zeros((32, 32, 3), np.float32))
            before = megabytes()
            engine.objective(exemplar)(np.zeros((512, 512, 3), np.float32))
            held = megabytes()
        print(held - before, megabytes() - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, left = map(float, done.stdout.split())
    assert held > 100
    assert left < 0.4 * held


@pytest.mark.parametrize("recipe", [None, "recipe.json", {}])
def test_only_recipes_are_run(engine, recipe):
    with pytest.raises(PyengineError, match=r"^recipe, a \w+: give what Recipe.create or from_json makes"):
        engine.run(recipe)


def test_a_memory_limit_beyond_all_memory_is_none(natural):
    with Engine(threads=1, memory_limit=10**400) as engine:
        assert engine.synthesize(natural, iterations=0).image.shape == natural.shape


# ------------------------------------------------------------------ callbacks


@pytest.fixture
def short(natural):
    return {"exemplar": natural[:32, :32], "levels": 2, "iterations": [2, 2], "size": 64}


def test_what_a_callback_writes_to_is_its_own(engine, short):
    expected = engine.synthesize(**short)

    def spoil(progress):
        progress.pixels[:] = np.nan
        progress.state.terms.clear()
        progress.state.weights.update(dict.fromkeys(progress.state.weights, 0.0))

    found = engine.synthesize(**short, callback=spoil)
    assert np.array_equal(found.image, expected.image)
    assert found.history == expected.history


def test_a_callback_may_use_the_engine(engine, short):
    expected = engine.synthesize(**short)
    inner = []
    found = engine.synthesize(**short, callback=lambda _: inner.append(engine.synthesize(**short).image))
    assert len(inner) == 4
    assert all(np.array_equal(image, expected.image) for image in (*inner, found.image))


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), PyengineError("mine")])
def test_what_a_callback_raises_comes_out(engine, short, error):
    expected = engine.synthesize(**short)

    def fail(_):
        raise error

    with pytest.raises(type(error)) as raised:
        engine.synthesize(**short, callback=fail)
    assert raised.value is error
    assert np.array_equal(engine.synthesize(**short).image, expected.image)


# ----------------------------------------------------------------------- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_has_memory_of_its_own():
    """An engine's arrays were shared with it, and both wrote to them."""
    code = """if True:
        import os
        from pyengine.kernels.cpu import CpuKernels

        array = CpuKernels(threads=1).allocate({"x": (4,)})["x"]
        array[:] = 1
        if os.fork() == 0:
            array[:] = 2
            os._exit(0)
        os.wait()
        print(array.max())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_engines_work_after_a_fork():
    """The one from before, though it has only the thread that forked, and one made after it."""
    code = """if True:
        import os
        import numpy as np
        from pyengine import Engine

        def image(engine):
            exemplar = np.random.default_rng(0).random((32, 32, 3))
            return engine.synthesize(exemplar, size=128, levels=2, iterations=1).image

        before = Engine("cpu")
        expected = image(before)
        child = os.fork()
        if child == 0:
            same = all(np.array_equal(image(engine), expected) for engine in (before, Engine("cpu")))
            os._exit(0 if same else 1)
        same = np.array_equal(image(before), expected)
        print(same, os.waitpid(child, 0)[1])
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["True", "0"], done.stderr
