"""Pictures and an engine that the tests share."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

# Before NumPy is imported. The reference multiplies small matrices, between which OpenBLAS' idle threads spin and take
# the cores from everything else: the tests took up to seven times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
import reference
from PIL import Image

import pyengine
from pyengine import _core
from pyengine.kernels import Coverage
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses.options import LossOptions
from pyengine.memory import Budget, Demand, Plan
from pyengine.network.graphs import Padding
from pyengine.network.model import Model
from pyengine.network.modelfile import load
from pyengine.network.network import ModelSessions
from pyengine.network.sessions import Provider
from pyengine.wrap import Wrap

EXAMPLES = Path(__file__).parent.parent / "examples"
VGG16 = load("vgg16").architecture
KERNELS = CpuKernels(threads=1)
WRAPS = [Wrap(*wrap) for wrap in reference.WRAPS]
PADDINGS = [Padding(*padding) for padding in reference.PADDINGS]
REFLECTED, ZEROS = Padding("reflect", "reflect"), Padding("zeros", "zeros")
LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2")


def pytest_report_header() -> str:
    return f"kernels: {_core.simd} of {', '.join(_core.simd_supported)}"


def border_options(padding: Padding) -> dict[str, Any]:
    """The arguments of `pyengine.synthesize` under which an output is so padded."""
    axes = "".join(axis for axis in "xy" if getattr(padding.wrap, axis))
    return {"wrap": axes or "none", "padding": next((own for own in padding if own != "wrap"), "reflect")}


@pytest.fixture(scope="session")
def engine() -> Iterator[pyengine.Engine]:
    with pyengine.Engine(threads=1) as engine:
        yield engine


@pytest.fixture(scope="session")
def sessions() -> ModelSessions:
    return sessions_of(load("vgg16"))


@pytest.fixture(scope="session")
def expected_vgg() -> reference.Network:
    return reference.load(str(files("pyengine.models") / "vgg16.onnx"))


@pytest.fixture(scope="session")
def natural() -> np.ndarray:
    """A photograph in colour, float32 (96, 96, 3)."""
    with Image.open(EXAMPLES / "galaxies.png") as image:
        return np.asarray(image.convert("RGB"), np.float32)[100:196, 150:246] / 255


@pytest.fixture(scope="session")
def other() -> np.ndarray:
    """Another part of the same photograph, float32 (64, 64, 3)."""
    with Image.open(EXAMPLES / "galaxies.png") as image:
        return np.asarray(image.convert("RGB"), np.float32)[:64, :64] / 255


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Euclidean norm of the difference over that of the expected."""
    return float(np.linalg.norm(np.ravel(found) - np.ravel(expected)) / np.linalg.norm(expected))


def sessions_of(model: Model, *, half: bool = False) -> ModelSessions:
    """A model's sessions on the CPU."""
    return ModelSessions(model, CpuKernels(threads=1), Provider(), threads=1, half=half)


@dataclass(frozen=True)
class Cut(Budget):
    """A budget under which every image is evaluated in tiles of so many pixels."""

    side: int = 32
    channels: int = 24

    def plan(self, size: tuple[int, int], demand: Demand, losses: LossOptions) -> Plan:
        return Plan(demand, self.side, self.channels)


def cut_budget(engine: pyengine.Engine, side: int, channels: int = 24) -> Budget:
    """What to give an engine as its budget, so that it evaluates every image in tiles."""
    own = engine.budget
    return Cut(own.limit, own.architecture, own.alignment, own.on_cpu, side, channels)


def coverage(array: np.ndarray | None) -> Coverage | None:
    """How much each pixel counts, as the losses take it."""
    if array is None:
        return None
    values = np.ascontiguousarray(array, np.float32).ravel()
    return Coverage(values, float(values.sum(dtype=np.float64)))


def features(shape: tuple[int, int], content: str = "relu", seed: int = 0) -> np.ndarray:
    """A feature map (C, N)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.25 + 0.1 * seed, 1, shape)
    if content == "relu":  # about 40 % zeros, as after the first layer
        x = np.maximum(x, 0)
    elif content == "zeros":
        x[:] = 0
    elif content == "equal":
        x[:] = 1.5 + seed
    elif content == "integers":  # ties at every value, negative ones too, and both zeros
        x = np.where(x < -1, -0.0, np.round(2 * x))
    return x.astype(np.float32)


def covering(pixels: int, kind: str = "random", seed: int = 0) -> np.ndarray | None:
    """How much each pixel counts, or None."""
    rng = np.random.default_rng(100 + seed)
    w = rng.random(pixels).astype(np.float32) + np.float32(0.01)
    if kind == "none":
        return None
    if kind == "sparse":
        w[rng.random(pixels) < 0.5] = 0
        w[0] = 1
    elif kind == "one":
        w[:] = 0
        w[pixels // 2] = 0.25
    elif kind == "nothing":
        w[:] = 0
    return w
