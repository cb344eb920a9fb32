"""Runs the graphs: ONNX Runtime sessions on an execution provider, with inputs and outputs bound to arrays of ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine import _core
from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.network.graphs import DOMAIN, Graph

if TYPE_CHECKING:
    import onnx


def runtimes(module: str) -> dict[str, str]:
    """Versions, by name, of the distributions that bring a module: of one, if all is well.

    Examples
    --------
    >>> len(runtimes("onnxruntime"))
    1
    """
    # Not packages_distributions(), which reads the list of files of every distribution: 45 ms rather than 1.
    top_levels = ((found.read_text("top_level.txt") or "", found) for found in distributions())
    return {found.name: found.version for names, found in top_levels if module in names.split()}


@cache
def runtime() -> Any:
    """The `onnxruntime` module, which reports nothing to anybody unless ORT_DISABLE_TELEMETRY is set to 0.

    Raises
    ------
    PyengineError
        None is installed, or two whose files overwrite each other.
    """
    installed = sorted(runtimes("onnxruntime"))
    if len(installed) > 1:
        raise PyengineError(
            f"{' and '.join(installed)} are both installed and break each other: "
            f"pip uninstall -y {' '.join(installed)}, then pip install 'pyengine[cpu]' or 'pyengine[gpu]'"
        )
    # It would keep an identifier and a log of events in the user's cache, and look a host up to send them to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        if installed:
            raise PyengineError(f"{installed[0]} is installed but does not load: {error}") from None
        raise PyengineError(
            "ONNX Runtime is not installed: pip install 'pyengine[cpu]', or 'pyengine[gpu]' for NVIDIA GPUs"
        ) from None
    return onnxruntime


CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
"""ONNX Runtime's names of its execution providers."""

THREADED = ("AveragePool", "Conv", "MaxPool")
"""ONNX Runtime's operators that take long enough to be worth threads of its own."""


@dataclass(frozen=True)
class Provider:
    """An execution provider, set up as the engine needs it.

    Attributes
    ----------
    name : str
        `CPU`, the default, `CUDA` or `TENSORRT`.
    index : int
        Number of the GPU, by default 0.
    stream : int
        Address of the CUDA stream that everything runs on, in the order of the calls; by default 0, for one of the
        provider's own.
    tf32 : bool
        Whether products of float32 may be computed in TF32, a GPU's faster format of 10 bits of mantissa; by default
        they may not.
    """

    name: str = CPU
    index: int = 0
    stream: int = 0
    tf32: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether arrays are in a GPU's memory."""
        return self.name != CPU

    @property
    def fixes_sizes(self) -> bool:
        """Whether a session is for one size only."""
        return self.name == TENSORRT

    def settings(self, model: bytes, *, capture: bool) -> list[tuple[str, dict[str, str]]]:
        """The providers of a session, first choice first, with their options.

        Parameters
        ----------
        model : bytes
        capture : bool
            Whether to record the session's work as a CUDA graph in its first runs, and replay that later.
        """
        if not self.on_gpu:
            return [(self.name, {})]
        place = {"device_id": str(self.index)}
        if self.stream:
            place["user_compute_stream"] = str(self.stream)
        cuda = {
            **place,
            "arena_extend_strategy": "kSameAsRequested",
            # Not EXHAUSTIVE: that times the algorithms, and may choose others, of other rounding, the next time.
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "1",
            "do_copy_in_default_stream": "1",
            "prefer_nhwc": "1",  # the layout of tensor cores
            "use_tf32": str(int(self.tf32)),
            "enable_cuda_graph": str(int(capture and not self.fixes_sizes)),
        }
        providers = [(CUDA, cuda)]
        if self.fixes_sizes:
            # ONNX Runtime names an engine after its graph, not its weights, so each model needs a folder of its own.
            folder = str(engine_folder() / hashlib.sha256(model).hexdigest()[:16])
            Path(folder).mkdir(parents=True, exist_ok=True)
            tensorrt = {
                **place,
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": folder,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(engine_folder()),
                "trt_cuda_graph_enable": str(int(capture)),
            }
            providers.insert(0, (self.name, tensorrt))
        return providers


def engine_folder() -> Path:
    """Where TensorRT engines and timings are kept between runs."""
    from platformdirs import user_cache_path

    return user_cache_path("pyengine") / "tensorrt"


@cache
def share_arena() -> None:
    """Let all sessions on a CPU take their working memory from one arena: only one runs at a time, as a rule.

    A session's own arena, and the pattern it plans its memory by, take twice as much.
    """
    ort = runtime()
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = ort.OrtArenaCfg({"arena_extend_strategy": 1})
    with suppress(RuntimeError):  # the application has registered an arena: that one serves as well
        ort.create_and_register_allocator(memory, as_requested)


@cache
def load_libraries(provider: str) -> None:
    """Load the CUDA, cuDNN and TensorRT libraries that came from PyPI, which the linker does not find by itself."""
    preload = getattr(runtime(), "preload_dlls", None)
    if preload is not None:
        preload()
    if provider == TENSORRT:
        with suppress(ImportError):  # they may be where the linker looks
            import_module("tensorrt")


class Session:
    """A graph, ready to run on a provider. May be used from several threads at once."""

    def __init__(self, model: onnx.ModelProto, provider: Provider, threads: int, *, capture: bool = False) -> None:
        from onnx import helper

        ort = runtime()
        self._provider = provider
        for node in model.graph.node:
            if node.domain == DOMAIN:
                node.attribute.append(helper.make_attribute("threads", threads))
        options = ort.SessionOptions()
        # Each session would have so many threads of its own: none, where our operator does the work, on the kernels'.
        options.intra_op_num_threads = threads if any(n.op_type in THREADED for n in model.graph.node) else 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        if provider.on_gpu:
            load_libraries(provider.name)
        else:
            share_arena()
            options.register_custom_ops_library(_core.__file__)
            options.add_session_config_entry("session.use_env_allocators", "1")
            # ONNX Runtime's threads must not spin: there may be others, or other processes, that want the cores.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = model.SerializeToString()

        def make(capture: bool) -> Any:
            # By itself ONNX Runtime would print what is wrong, and go on with the CPU.
            return ort.InferenceSession(data, options, provider.settings(data, capture=capture), enable_fallback=0)

        try:
            self._session = make(capture)
        except Exception:
            if not capture:
                raise
            # What the provider can't record, such as a node that it leaves to the CPU, it refuses.
            self._session = make(False)

    @property
    def providers(self) -> list[str]:
        """Names of the providers that took part of the graph; ONNX Runtime drops one that fails without a word."""
        names: list[str] = self._session.get_providers()
        return names

    def bind(self, buffers: Mapping[str, Float32]) -> Run:
        """Tie inputs and outputs to arrays by name."""
        return Run(self._session, buffers, self._provider)


class Run:
    """A session's inputs and outputs, tied to arrays."""

    def __init__(self, session: Any, buffers: Mapping[str, Float32], provider: Provider) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._buffers = buffers  # the binding holds addresses only
        self._options = runtime().RunOptions()
        if provider.on_gpu:  # what follows is on the same stream, so there is nothing to wait for
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        memory = "cuda" if provider.on_gpu else "cpu"
        for bind, values in (
            (self._binding.bind_input, session.get_inputs()),
            (self._binding.bind_output, session.get_outputs()),
        ):
            for value in values:
                array = buffers[value.name]
                # CuPy's arrays have their address there.
                address = array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data
                bind(value.name, memory, provider.index, array.dtype.type, array.shape, address)

    def __call__(self, *, shrink: bool = False) -> None:
        """Compute the outputs; with `shrink`, give the arena's free memory back to the system as well (CPU only)."""
        options = self._options
        if shrink:
            options = runtime().RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session.run_with_iobinding(self._binding, options)


def smallest_graph() -> onnx.ModelProto:
    """A graph that does next to nothing: it shows whether a provider works, and reaches the arena of all sessions."""
    graph = Graph()
    graph.add("Neg", ["x"], "y")
    return graph.model("nothing", {"x": (1,)}, {"y": (1,)})


def release_memory() -> None:
    """Give the free memory of the arena that sessions on a CPU share back to the system."""
    zeros = {name: np.zeros(1, np.float32) for name in "xy"}
    Session(smallest_graph(), Provider(), threads=1).bind(zeros)(shrink=True)


def works(provider: Provider) -> str | None:
    """None if a session can be made on this provider, else what ONNX Runtime says."""
    try:
        taken = Session(smallest_graph(), provider, threads=1).providers
    except Exception as error:  # ONNX Runtime's own classes have no base in common
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None if provider.name in taken else "it was dropped when a session was made"
