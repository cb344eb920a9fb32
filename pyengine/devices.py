"""Which device computes, and why."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from pyengine.errors import PyengineError
from pyengine.network.sessions import CPU, CUDA, TENSORRT, Provider, runtime, works

if TYPE_CHECKING:
    from pyengine.kernels import Kernels

Kind = Literal["cpu", "cuda", "tensorrt"]
Precision = Literal["float32", "tf32", "float16"]

PROVIDERS: dict[Kind, str] = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}


@dataclass(frozen=True)
class Device:
    """A device that works.

    Attributes
    ----------
    kind : {"cpu", "cuda", "tensorrt"}
        "tensorrt" is "cuda" with the network's convolutions in TensorRT engines.
    index : int
        The GPU's number, from 0.
    reason : str
        Why this device was chosen.

    Examples
    --------
    >>> str(choose("cpu")), choose("cpu").reason
    ('cpu', 'as asked for')
    """

    kind: Kind
    index: int
    reason: str

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    def precision(self, asked: Precision | None) -> Precision:
        """What the network computes in: what is asked for, or if that is None float32 on a CPU and TF32 on a GPU.

        Raises
        ------
        PyengineError
            There is no such precision, or a CPU does not have it.
        """
        if asked is None:
            return "float32" if self.kind == "cpu" else "tf32"
        if asked not in get_args(Precision):
            raise PyengineError(f"precision={asked!r}: choose {' or '.join(map(repr, get_args(Precision)))}")
        if asked != "float32" and self.kind == "cpu":
            raise PyengineError(f"precision={asked!r} on a CPU: only GPUs gain by it; leave it out, or give 'float32'")
        return asked

    def provider(self, kernels: Kernels, precision: Precision) -> Provider:
        """The execution provider on this device, in the order of the kernels' calls."""
        return Provider(PROVIDERS[self.kind], self.index, kernels.stream, tf32=precision != "float32")

    def kernels(self, threads: int, precision: Precision) -> Kernels:
        """Kernels for this device."""
        if self.kind == "cpu":
            from pyengine.kernels.cpu import CpuKernels

            return CpuKernels(threads)
        from pyengine.kernels.cuda import CudaKernels

        return CudaKernels(self.index, tf32=precision != "float32")


def choose(asked: str) -> Device:
    """The device that is asked for: "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1", or "auto" for the best there is.

    Raises
    ------
    PyengineError
        There is no such device, or it does not work; the message says why and what to do. With "auto", a GPU that does
        not work though onnxruntime-gpu is installed gives a warning instead, once.

    Examples
    --------
    >>> choose("gpu")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: device='gpu': choose 'auto', 'cpu', 'cuda', 'cuda:1', 'tensorrt' or 'tensorrt:1'
    """
    kind, colon, number = asked.partition(":") if isinstance(asked, str) else ("", "", "")
    if kind not in ("auto", *PROVIDERS) or (colon and (kind in ("auto", "cpu") or not number.isdecimal())):
        raise PyengineError(f"device={asked!r}: choose 'auto', 'cpu', 'cuda', 'cuda:1', 'tensorrt' or 'tensorrt:1'")
    providers = runtime().get_available_providers()
    if kind == "cpu":
        return Device("cpu", 0, "as asked for")
    if kind != "auto":
        problem = problem_with(cast(Kind, kind), int(number or 0))
        if problem:
            raise PyengineError(f"device={asked!r}: {problem}")
        return Device(cast(Kind, kind), int(number or 0), "as asked for")
    if PROVIDERS["cuda"] not in providers:
        return Device("cpu", 0, "the ONNX Runtime that is installed has no CUDA provider")
    problem = problem_with("cuda", 0)
    if problem:
        warn_once(f"onnxruntime-gpu is installed, but {problem}; computing on the CPU")
        return Device("cpu", 0, problem)
    return Device("cuda", 0, "the CUDA provider works")


def gpus() -> list[dict[str, object]]:
    """The GPUs that CUDA finds, with their memory in bytes; none without CuPy or a driver."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception:  # CuPy raises errors of its own, and it may not be there at all
        return []
    found: list[dict[str, object]] = []
    for index in range(count):
        device = cupy.cuda.Device(index)
        try:
            free, total = device.mem_info
        except cupy.cuda.runtime.CUDARuntimeError:  # the GPU is so full, or so locked, that it can't even be asked
            free, total = None, None
        name = cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
        capability = f"{device.compute_capability[:-1]}.{device.compute_capability[-1]}"
        found.append({"index": index, "name": name, "bytes": total, "free_bytes": free, "capability": capability})
    return found


@cache
def warn_once(message: str) -> None:
    """Warn, but only once in a process, wherever the call is."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)


@cache
def problem_with(kind: Kind, index: int) -> str:
    """Why a GPU can't be used; empty if it can. A provider that is announced may still fail: only running it tells."""
    if PROVIDERS[kind] not in runtime().get_available_providers():
        return "the ONNX Runtime that is installed has no such provider: pip install 'pyengine[gpu]' instead of [cpu]"
    try:
        import cupy
    except ImportError as error:
        return f"CuPy does not load ({_first_line(error)}): pip install 'pyengine[gpu]'"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"there is no GPU that CUDA can use ({_first_line(error)}): check the driver with nvidia-smi"
    if index >= count:
        return f"there is no GPU {index}: {count} found, counted from 0"
    failure = works(Provider(PROVIDERS[kind], index))
    if failure is not None:
        return f"the {kind} provider of ONNX Runtime fails ({failure}): check that its libraries are installed"
    try:
        try_kernels(index)
    except Exception as error:  # a library that is missing or too old may raise anything
        return f"CuPy fails ({_first_line(error)}): pip install 'pyengine[gpu]' brings what it needs"
    return ""


def try_kernels(index: int) -> None:
    """Compile a kernel and multiply matrices."""
    from pyengine.kernels.cuda import CudaKernels

    kernels = CudaKernels(index, tf32=False)
    with kernels.active():
        kernels.fetch([kernels.gram(kernels.xp.ones((1, 1), np.float32))])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
