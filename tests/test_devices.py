"""Which device is chosen, and what ONNX Runtime is asked for on it; nothing of it needs a GPU."""

import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulation
import numpy as np
import pytest
from click.testing import CliRunner

from pyengine import Engine, PyengineError, devices
from pyengine.cli import main
from pyengine.devices import Device, choose
from pyengine.images.writing import save
from pyengine.kernels.cpu import CpuKernels
from pyengine.network import network as networks
from pyengine.network import sessions
from pyengine.network.graphs import WRAPPED
from pyengine.network.modelfile import load
from pyengine.network.network import ModelSessions, Network
from pyengine.network.sessions import Provider, Session

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class CUDARuntimeError(RuntimeError):
    pass


def cupy_with(gpus: int | Exception) -> Any:
    """A CuPy that finds so many GPUs."""

    def count() -> int:
        if isinstance(gpus, Exception):
            raise gpus
        return gpus

    class CudaDevice:
        def __init__(self, index: int) -> None:
            self.mem_info = (10 + index, 20)
            self.compute_capability = "120" if index else "90"

    runtime = SimpleNamespace(
        getDeviceCount=count,
        CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=lambda index: {"name": f"GPU {index}".encode()},
    )
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=CudaDevice))


@dataclass
class Fake:
    """An ONNX Runtime with some providers, of whose sessions this decides what becomes."""

    providers: list[str] = field(default_factory=lambda: [TENSORRT, CUDA, CPU])
    error: Exception | None = None  # raised by every session
    unrecordable: bool = False  # raised by those that are to record
    dropped: bool = False  # the session is made without the provider
    sessions: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)

    def module(self) -> Any:
        fake = self

        class Options(SimpleNamespace):
            def __init__(self) -> None:
                super().__init__(entries={})

            def add_session_config_entry(self, key: str, value: str) -> None:
                self.entries[key] = value

            add_run_config_entry = add_session_config_entry

            def register_custom_ops_library(self, path: str) -> None:
                self.operators = path

        class Binding:
            def __init__(self) -> None:
                self.bound: dict[str, tuple[Any, ...]] = {}

            def bind_input(self, name: str, *arguments: Any) -> None:
                self.bound[name] = arguments

            bind_output = bind_input

        class InferenceSession:
            def __init__(
                self, data: bytes, options: Any, providers: list[tuple[str, dict[str, str]]], enable_fallback: int = 1
            ) -> None:
                assert not enable_fallback, "it would go on with the CPU"
                self.options, self.asked = options, providers
                fake.sessions.append(self)
                if fake.error is not None:
                    raise fake.error
                names = ("enable_cuda_graph", "trt_cuda_graph_enable")
                if fake.unrecordable and any(options.get(name) == "1" for _, options in providers for name in names):
                    raise RuntimeError("This session cannot use the graph capture feature")

            def get_providers(self) -> list[str]:
                return [CPU] if fake.dropped else [*(name for name, _ in self.asked), CPU]

            def get_inputs(self) -> list[Any]:
                return [SimpleNamespace(name="x")]

            def get_outputs(self) -> list[Any]:
                return [SimpleNamespace(name="y")]

            def io_binding(self) -> Binding:
                return Binding()

            def run_with_iobinding(self, binding: Binding, options: Any) -> None:
                fake.runs.append((self, binding, options))

        return SimpleNamespace(
            get_available_providers=lambda: fake.providers,
            InferenceSession=InferenceSession,
            SessionOptions=Options,
            RunOptions=Options,
            preload_dlls=lambda: None,
            OrtMemoryInfo=lambda *_: None,
            OrtAllocatorType=SimpleNamespace(ORT_ARENA_ALLOCATOR=0),
            OrtMemType=SimpleNamespace(DEFAULT=0),
            OrtArenaCfg=lambda *_: None,
            create_and_register_allocator=lambda *_: None,
        )


@pytest.fixture(autouse=True)
def _forget():
    """What is found out once in a process is found out in each test, and in those that follow."""
    caches = [devices.problem_with, devices.warn_once, sessions.load_libraries, sessions.share_arena]
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def install(monkeypatch):
    """Puts an ONNX Runtime and a CuPy in place; None stands for a CuPy that does not load."""

    def install(fake: Fake, cupy: Any) -> Fake:
        module = fake.module()
        monkeypatch.setattr(devices, "runtime", lambda: module)
        monkeypatch.setattr(sessions, "runtime", lambda: module)
        monkeypatch.setitem(sys.modules, "cupy", cupy)  # None makes the import fail
        monkeypatch.setattr(devices, "try_kernels", lambda index: tried.append(index))
        return fake

    tried: list[int] = []

    return install


# ------------------------------------------------------------------ choosing

BAD_NAMES = [
    "gpu", "", "CPU", "cpu:0", "cpu:1", "auto:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cuda:0:1", "cuda 0",
    ":0", "tensorrt:", "Tensorrt", "rocm", "cuda:³", None, 0, ("cuda",),
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_names_that_there_are_not(install, name):
    install(Fake(), cupy_with(4))
    with pytest.raises(PyengineError) as info:
        choose(name)
    assert str(info.value) == (f"device={name!r}: choose 'auto', 'cpu', 'cuda', 'cuda:1', 'tensorrt' or 'tensorrt:1'")


@pytest.mark.parametrize(
    ("name", "kind", "index"),
    [
        ("auto", "cuda", 0),
        ("cpu", "cpu", 0),
        ("cuda", "cuda", 0),
        ("cuda:0", "cuda", 0),
        ("cuda:3", "cuda", 3),
        ("tensorrt", "tensorrt", 0),
        ("tensorrt:2", "tensorrt", 2),
    ],
)
def test_names_that_there_are(install, name, kind, index):
    fake = install(Fake(), cupy_with(4))
    device = choose(name)
    assert (device.kind, device.index) == (kind, index)
    assert device.reason == ("the CUDA provider works" if name == "auto" else "as asked for")
    assert str(device) == (kind if kind == "cpu" else f"{kind}:{index}")
    if kind == "cpu":
        assert not fake.sessions
    else:
        (session,) = fake.sessions  # it was tried, on that very GPU
        assert session.asked[0][0] == {"cuda": CUDA, "tensorrt": TENSORRT}[kind]
        assert session.asked[0][1]["device_id"] == str(index)
    assert choose(name) == device
    assert len(fake.sessions) <= 1


def test_auto_without_the_provider_is_the_cpu(install, recwarn):
    """As most have it: nothing is wrong, and nothing is said."""
    install(Fake([CPU]), None)
    device = choose("auto")
    assert (device.kind, device.reason) == ("cpu", "the ONNX Runtime that is installed has no CUDA provider")
    assert not recwarn.list


@pytest.mark.filterwarnings("default:onnxruntime-gpu is installed:RuntimeWarning")  # to be shown, not raised
def test_the_command_line_says_it_in_a_line(install, tmp_path):
    install(Fake(), None)
    picture = tmp_path / "exemplar.png"
    save(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), picture)
    arguments = ["synthesize", str(picture), "-o", str(tmp_path / "out.png"), "--iterations", "0"]
    result = CliRunner().invoke(main, arguments)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Warning")]
    assert line.startswith("Warning: onnxruntime-gpu is installed, but CuPy does not load")


def test_kernels_are_tried_too(install, monkeypatch):
    """CuPy may load where the libraries that it compiles and multiplies with do not."""
    install(Fake(), cupy_with(2))
    tried = []

    def fail(index: int) -> None:
        tried.append(index)
        raise OSError("libnvrtc.so.13: cannot open\nmore")

    monkeypatch.setattr(devices, "try_kernels", fail)
    with pytest.raises(
        PyengineError, match=r"^device='cuda:1': CuPy fails \(libnvrtc.so.13: cannot open\): pip install"
    ):
        choose("cuda:1")
    assert tried == [1]


def test_trying_kernels_works_where_they_do(monkeypatch):
    if emulation.unavailable():
        pytest.skip(emulation.unavailable())
    emulation.install(monkeypatch)
    devices.try_kernels(0)
    assert emulation.launches["gram_sum"] == 1


TOO_MANY_LINES = "no kernel image\nat cuda_call.cc:123\nand so on"
BROKEN = {
    "no CuPy": (Fake(), None, "CuPy does not load (import of cupy halted; None in sys.modules): pip install"),
    "no driver": (
        Fake(),
        cupy_with(CUDARuntimeError("cudaErrorInsufficientDriver: too old\nmore")),
        "there is no GPU that CUDA can use (cudaErrorInsufficientDriver: too old): check the driver with nvidia-smi",
    ),
    "no GPU": (Fake(), cupy_with(0), "there is no GPU 0: 0 found"),
    "a session that fails": (
        Fake(error=RuntimeError(TOO_MANY_LINES)),
        cupy_with(1),
        "the cuda provider of ONNX Runtime fails (no kernel image): check that its libraries are installed",
    ),
    "a session that fails without a word": (
        Fake(error=ValueError()),
        cupy_with(1),
        "the cuda provider of ONNX Runtime fails (ValueError)",
    ),
    "a provider that is dropped": (
        Fake(dropped=True),
        cupy_with(1),
        "the cuda provider of ONNX Runtime fails (it was dropped when a session was made)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_auto_with_a_gpu_that_does_not_work_warns_once(install, case):
    fake, cupy, problem = BROKEN[case]
    install(fake, cupy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [choose("auto"), choose("auto")]
    assert found[0] == found[1]
    assert found[0].kind == "cpu"
    assert problem in found[0].reason
    (warning,) = caught
    assert warning.category is RuntimeWarning
    message = str(warning.message)
    assert message.startswith(f"onnxruntime-gpu is installed, but {problem}")
    assert message.endswith("computing on the CPU")
    assert "\n" not in message


@pytest.mark.parametrize("case", BROKEN)
def test_asking_for_a_gpu_that_does_not_work_is_an_error(install, case, recwarn):
    fake, cupy, problem = BROKEN[case]
    install(fake, cupy)
    with pytest.raises(PyengineError) as info:
        choose("cuda")
    message = str(info.value)
    assert message.startswith(f"device='cuda': {problem}")
    assert "\n" not in message
    with pytest.raises(PyengineError, match="device='cuda:0': "):
        Engine("cuda:0")
    assert not recwarn.list


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tensorrt", "tensorrt:1"])
def test_asking_for_a_provider_that_is_not_installed(install, name):
    install(Fake([CPU]), cupy_with(2))
    with pytest.raises(PyengineError) as info:
        choose(name)
    assert str(info.value) == (
        f"device={name!r}: the ONNX Runtime that is installed has no such provider: "
        "pip install 'pyengine[gpu]' instead of [cpu]"
    )


def test_tensorrt_where_there_is_only_cuda(install):
    install(Fake([CUDA, CPU]), cupy_with(1))
    assert choose("cuda").kind == "cuda"
    with pytest.raises(PyengineError, match=r"device='tensorrt': .*no such provider"):
        choose("tensorrt")


def test_a_gpu_that_there_is_not(install):
    install(Fake(), cupy_with(1))
    with pytest.raises(PyengineError) as info:
        choose("cuda:3")
    assert str(info.value) == "device='cuda:3': there is no GPU 3: 1 found, counted from 0"
    with pytest.raises(PyengineError, match=r"device='tensorrt:1': there is no GPU 1"):
        choose("tensorrt:1")


def test_gpus(install):
    install(Fake(), cupy_with(2))
    assert devices.gpus() == [
        {"index": 0, "name": "GPU 0", "bytes": 20, "free_bytes": 10, "capability": "9.0"},
        {"index": 1, "name": "GPU 1", "bytes": 20, "free_bytes": 11, "capability": "12.0"},
    ]
    for cupy in (None, cupy_with(0), cupy_with(CUDARuntimeError("no driver"))):
        install(Fake(), cupy)
        assert devices.gpus() == []


# ----------------------------------------------------------- what it is used as


def test_precision():
    cpu, cuda, tensorrt = (Device(kind, 0, "") for kind in ("cpu", "cuda", "tensorrt"))
    assert cpu.precision(None) == cpu.precision("float32") == "float32"
    for device in (cuda, tensorrt):
        assert device.precision(None) == "tf32"
        assert [device.precision(p) for p in ("float32", "tf32", "float16")] == ["float32", "tf32", "float16"]
    for asked in ("tf32", "float16"):
        with pytest.raises(PyengineError, match=f"precision='{asked}' on a CPU"):
            cpu.precision(asked)
    for asked in ("float64", "", 32, "TF32"):
        for device in (cpu, cuda):
            with pytest.raises(PyengineError, match=r"choose 'float32' or 'tf32' or 'float16'"):
                device.precision(asked)


@pytest.mark.parametrize(("kind", "name"), [("cpu", CPU), ("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_the_provider_of_a_device(kind, name):
    kernels = SimpleNamespace(stream=4711)
    device = Device(kind, 2, "")
    for precision, tf32 in (("float32", False), ("tf32", True), ("float16", True)):
        assert device.provider(kernels, precision) == Provider(name, 2, 4711, tf32)


def test_the_kernels_of_a_device(monkeypatch):
    assert Device("cpu", 0, "").kernels(3, "float32") == CpuKernels(3)
    made = []
    monkeypatch.setattr("pyengine.kernels.cuda.CudaKernels", lambda index, *, tf32: made.append((index, tf32)))
    for kind, precision in (("cuda", "float32"), ("cuda", "tf32"), ("tensorrt", "float16")):
        Device(kind, 1, "").kernels(3, precision)
    assert made == [(1, False), (1, True), (1, True)]


# ---------------------------------------------------------------- settings


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(sessions, "engine_folder", lambda: tmp_path / "tensorrt")
    return tmp_path / "tensorrt"


def test_settings_of_a_cpu(folder):
    assert Provider().settings(b"model", capture=False) == [(CPU, {})]
    assert not Provider().on_gpu
    assert not Provider().fixes_sizes
    assert not folder.exists()


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
def test_settings_of_cuda(folder, tf32, capture):
    provider = Provider(CUDA, 2, 4711, tf32)
    assert provider.on_gpu
    assert not provider.fixes_sizes
    ((name, options),) = provider.settings(b"model", capture=capture)
    assert name == CUDA
    assert all(isinstance(value, str) for value in options.values())
    assert options["device_id"] == "2"
    assert options["user_compute_stream"] == "4711"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"  # the others time, and so may differ from run to run
    assert options["use_tf32"] == str(int(tf32))  # on by default in ONNX Runtime
    assert options["enable_cuda_graph"] == str(int(capture))
    assert not folder.exists()


def test_settings_without_a_stream(folder):
    for name in (CUDA, TENSORRT):
        for _, options in Provider(name, 1).settings(b"model", capture=False):
            assert "user_compute_stream" not in options
            assert options["device_id"] == "1"


@pytest.mark.parametrize("capture", [False, True])
def test_settings_of_tensorrt(folder, capture):
    provider = Provider(TENSORRT, 3, 4711, tf32=True)
    assert provider.on_gpu
    assert provider.fixes_sizes
    (name, options), (second, cuda) = provider.settings(b"model", capture=capture)
    assert (name, second) == (TENSORRT, CUDA)
    for each in (options, cuda):
        assert each["device_id"] == "3"
        assert each["user_compute_stream"] == "4711"
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_cuda_graph_enable"] == str(int(capture))
    assert cuda["enable_cuda_graph"] == "0"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert Path(options["trt_engine_cache_path"]).parent == folder
    assert options["trt_timing_cache_path"] == str(folder)


def test_each_model_has_its_engines_to_itself(folder):
    """ONNX Runtime tells them apart by the graph, not by the weights in it."""

    def cache(model: bytes) -> str:
        return Provider(TENSORRT).settings(model, capture=False)[0][1]["trt_engine_cache_path"]

    assert cache(b"one") == cache(b"one") != cache(b"another")


def test_engines_are_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert sessions.engine_folder() == tmp_path / "pyengine" / "tensorrt"


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize("name", [CUDA, TENSORRT])
def test_a_graph_that_cannot_be_recorded_is_run_without(install, folder, name):
    fake = install(Fake(unrecordable=True), cupy_with(1))
    session = Session(sessions.smallest_graph(), Provider(name), 1, capture=True)
    flags = [dict(options).get("enable_cuda_graph") for s in fake.sessions for n, options in s.asked if n == CUDA]
    if name == TENSORRT:
        flags = [s.asked[0][1]["trt_cuda_graph_enable"] for s in fake.sessions]
    assert flags == ["1", "0"]
    assert session.providers[0] == name


def test_another_error_is_not_hidden(install):
    fake = install(Fake(error=RuntimeError("broken")), cupy_with(1))
    for capture, tries in ((False, 1), (True, 2)):
        fake.sessions.clear()
        with pytest.raises(RuntimeError, match="broken"):
            Session(sessions.smallest_graph(), Provider(CUDA), 1, capture=capture)
        assert len(fake.sessions) == tries


def on_device(address: int) -> Any:
    """An array as CuPy's."""
    return SimpleNamespace(data=SimpleNamespace(ptr=address), shape=(1,), dtype=np.dtype(np.float32))


def test_arrays_are_bound_by_their_address_on_the_device(install):
    fake = install(Fake(), cupy_with(1))
    run = Session(sessions.smallest_graph(), Provider(CUDA, 1), 1).bind({"x": on_device(100), "y": on_device(200)})
    run()
    ((_, binding, options),) = fake.runs
    assert binding.bound == {
        "x": ("cuda", 1, np.float32, (1,), 100),
        "y": ("cuda", 1, np.float32, (1,), 200),
    }
    assert options.entries["disable_synchronize_execution_providers"] == "1"


def test_on_a_cpu_arrays_are_numpys(install):
    fake = install(Fake([CPU]), None)
    arrays = {name: np.zeros(1, np.float32) for name in "xy"}
    Session(sessions.smallest_graph(), Provider(), 1).bind(arrays)()
    ((_, binding, options),) = fake.runs
    assert {name: bound[-1] for name, bound in binding.bound.items()} == {
        name: array.ctypes.data for name, array in arrays.items()
    }
    assert all(bound[0] == "cpu" for bound in binding.bound.values())
    assert "disable_synchronize_execution_providers" not in options.entries


def test_only_small_images_are_recorded(monkeypatch):
    """And on a CPU none; and what is recorded for some arrays is not replayed for others: it holds their addresses."""
    made = []

    def session(model: Any, provider: Provider, threads: int, *, capture: bool = False) -> str:
        made.append(capture)
        return f"session {len(made)}"

    monkeypatch.setattr(networks, "Session", session)
    layers, masks, rest = ("relu1_1",), ("relu1_2",), (WRAPPED, "average")
    for provider, size, capture in (
        (Provider(), (64, 64), False),
        (Provider(CUDA), (64, 64), True),
        (Provider(CUDA), (512, 512), True),
        (Provider(CUDA), (512, 513), False),
        (Provider(TENSORRT), (64, 64), True),
    ):
        on_device = ModelSessions(load("vgg16"), CpuKernels(1), provider, threads=1)
        first = on_device.forward(size, layers, masks, *rest, winograd=False)
        assert made[-1] == capture
        again = on_device.forward((size[0] + 16, size[1]), layers, masks, *rest, winograd=False)
        # A recorded graph is of one size, and a TensorRT engine is; the others take any.
        one_for_all = not provider.fixes_sizes and not capture
        assert (first == again) == one_for_all
        assert (on_device.forward(size, layers, masks, *rest, winograd=False) == first) == (not capture)
        on_device.forward(size, layers, (), *rest, winograd=False)
        assert not made[-1]  # without a way back it runs once


@pytest.mark.parametrize(("name", "loaded"), [(CPU, []), (CUDA, ["cuda"]), (TENSORRT, ["cuda", "tensorrt"])])
def test_libraries_from_pypi_are_loaded_first(install, folder, monkeypatch, name, loaded):
    found = []
    install(Fake(), cupy_with(1))
    monkeypatch.setattr(sessions.runtime(), "preload_dlls", lambda: found.append("cuda"))
    monkeypatch.setattr(sessions, "import_module", found.append)
    Session(sessions.smallest_graph(), Provider(name), 1)
    assert found == loaded


def test_all_of_a_network_runs_on_its_provider(install, monkeypatch):
    """And on its stream: forward, and backward through each convolution."""
    fake = install(Fake(), cupy_with(1))
    monkeypatch.setattr(sessions, "Run", lambda *_: None)
    on_device = ModelSessions(load("vgg16"), CpuKernels(1), Provider(CUDA, 0, 99, tf32=True), threads=1)
    Network(on_device, (16, 16), ("relu2_1",))
    assert len(fake.sessions) == 1 + 3
    for session in fake.sessions:
        ((name, options),) = session.asked
        assert (name, options["user_compute_stream"], options["use_tf32"]) == (CUDA, "99", "1")


# ---------------------------------------------------------------- imports


def test_without_cupy_everything_imports():
    code = """if True:
        import builtins
        original = builtins.__import__

        def refuse(name, *arguments, **options):
            if name.split(".")[0] == "cupy":
                raise ImportError("there is no cupy")
            return original(name, *arguments, **options)

        builtins.__import__ = refuse
        import pyengine, pyengine.engine, pyengine.kernels.cuda, pyengine.devices
        assert pyengine.devices.gpus() == []
        try:
            pyengine.kernels.cuda.CudaKernels(0, tf32=False)
        except ImportError as error:
            print(error)
        """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "there is no cupy"


def test_cupy_is_not_imported_for_a_cpu():
    code = "import sys, pyengine; pyengine.Engine('cpu', threads=1); print([m for m in sys.modules if 'cupy' in m])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
