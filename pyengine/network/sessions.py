"""Runs the graphs: ONNX Runtime sessions for one image size, with their buffers bound once."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from functools import cache
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.network.graphs import Graph, Padding, Pooling, backward_graph, forward_graph, shapes_of
from pyengine.network.weights import Weights

if TYPE_CHECKING:
    import onnx

SMALLEST = 16
"""Pixels on the shorter side that an image must have."""


def runtimes() -> dict[str, str]:
    """Versions, by name, of the distributions that bring an `onnxruntime` module: of one, if all is well.

    Examples
    --------
    >>> len(runtimes())
    1
    """
    # Not packages_distributions(), which reads the list of files of every distribution: 45 ms rather than 1.
    top_levels = ((found.read_text("top_level.txt") or "", found) for found in distributions())
    return {found.name: found.version for names, found in top_levels if "onnxruntime" in names.split()}


@cache
def runtime() -> Any:
    """The `onnxruntime` module.

    Raises
    ------
    PyengineError
        None is installed, or two whose files overwrite each other.
    """
    installed = sorted(runtimes())
    if len(installed) > 1:
        raise PyengineError(
            f"{' and '.join(installed)} are both installed and break each other: "
            f"pip uninstall -y {' '.join(installed)}, then pip install 'pyengine[cpu]' or 'pyengine[gpu]'"
        )
    try:
        import onnxruntime
    except ImportError as error:
        if installed:
            raise PyengineError(f"{installed[0]} is installed but does not load: {error}") from None
        raise PyengineError(
            "ONNX Runtime is not installed: pip install 'pyengine[cpu]', or 'pyengine[gpu]' for NVIDIA GPUs"
        ) from None
    return onnxruntime


@cache
def _share_arena() -> None:
    """Let all sessions take their working memory from one arena: only one of them runs at a time, as a rule.

    A session's own arena, and the pattern it plans its memory by, take twice as much.
    """
    ort = runtime()
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = ort.OrtArenaCfg({"arena_extend_strategy": 1})
    with suppress(RuntimeError):  # the application has registered an arena: that one serves as well
        ort.create_and_register_allocator(memory, as_requested)


class _Session:
    """One graph with every input and output bound to an array of ours."""

    def __init__(self, model: onnx.ModelProto, buffers: dict[str, Float32], threads: int) -> None:
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False
        # ONNX Runtime's threads must not spin on while the losses' kernels want the cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        self._buffers = buffers  # the binding holds addresses only
        for bind, values in (
            (self._binding.bind_input, self._session.get_inputs()),
            (self._binding.bind_output, self._session.get_outputs()),
        ):
            for value in values:
                array = buffers[value.name]
                bind(value.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Compute the outputs."""
        self._session.run_with_iobinding(self._binding)

    def run_and_release(self) -> None:
        """Compute the outputs, and give the arena's free memory back to the system."""
        options = runtime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session.run_with_iobinding(self._binding, options)


def _allocate(shapes: dict[str, tuple[int, ...]]) -> dict[str, Float32]:
    """Arrays in one piece of memory, which goes back to the system with the last of them.

    Of arrays allocated one by one, the C library keeps those below 32 MB for itself.
    """
    sizes = {name: -(-math.prod(shape) // 16) * 16 for name, shape in shapes.items()}  # each at a cache line
    memory = np.frombuffer(mmap.mmap(-1, 4 * sum(sizes.values())), np.float32)
    ends = np.cumsum(list(sizes.values()))
    return {
        name: memory[end - size : end][: math.prod(shapes[name])].reshape(shapes[name])
        for (name, size), end in zip(sizes.items(), ends, strict=True)
    }


def release_memory() -> None:
    """Give the free memory of the sessions' arena back to the system."""
    graph = Graph()
    graph.add("Neg", ["x"], "y")
    nothing = graph.model("nothing", {"x": (1,)}, {"y": (1,)})
    _Session(nothing, _allocate(shapes_of(nothing)), threads=1).run_and_release()


class Network:
    """A VGG for images of one size. Not for several threads at once.

    Parameters
    ----------
    weights : Weights
    size : (height, width)
        In pixels, both at least 16.
    layers : tuple of str
        The feature maps to give out.
    padding, pooling
        See `graphs.forward_graph`.
    threads : int
    gradient : bool
        Whether `backward` will be called. If not, only the buffers of `layers` are kept.

    Attributes
    ----------
    features : dict of str to float32 (C, H, W)
        The feature maps, written by `forward`.
    gradients : dict of str to float32 (C, H, W)
        What `backward` reads: gradients of a scalar with respect to `features`.

    Examples
    --------
    >>> from pyengine.network.weights import load
    >>> network = Network(load("vgg16"), (20, 17), ("relu2_1",), threads=1)
    >>> network.forward(np.zeros((20, 17, 3), np.float32))
    >>> network.features["relu2_1"].shape  # an odd side is rounded up when pooled
    (128, 10, 9)
    """

    def __init__(
        self,
        weights: Weights,
        size: tuple[int, int],
        layers: tuple[str, ...],
        *,
        padding: Padding = "wrap",
        pooling: Pooling = "average",
        threads: int,
        gradient: bool = True,
    ) -> None:
        weights.check_layers(layers)
        if min(size) < SMALLEST:
            raise PyengineError(
                f"image of {size[1]}x{size[0]} pixels: both sides must be at least {SMALLEST}; enlarge it first"
            )
        deepest = max(map(weights.layers.index, layers))
        outputs = tuple(weights.layers[: deepest + 1]) if gradient else layers
        graph = forward_graph(weights, size, outputs, padding, pooling)
        shapes = shapes_of(graph)
        if gradient:
            shapes |= {f"gradient/{name}": shapes[name] for name in ("image", *layers)}
        self._buffers = _allocate(shapes)
        self._forward = _Session(graph, self._buffers, threads)
        self.features = {layer: self._buffers[layer][0] for layer in layers}
        self.gradients: dict[str, Float32] = {}
        if gradient:
            self._backward = _Session(backward_graph(graph, layers), self._buffers, threads)
            self.gradients = {layer: self._buffers[f"gradient/{layer}"][0] for layer in layers}

    def forward(self, image: Float32) -> None:
        """Compute `features` of an image, float32 (H, W, 3) in [0, 1]."""
        self._buffers["image"][0] = image
        self._forward.run()

    def backward(self) -> Float32:
        """Gradient with respect to the image, float32 (H, W, 3), from `gradients`. Overwritten by the next call."""
        self._backward.run()
        gradient: Float32 = self._buffers["gradient/image"][0]
        return gradient

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that the sessions read and write: feature maps, their gradients, and the image."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
