"""The modules of CuPy that there are, put together."""

from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from emulation import arrays, cublas, cuda, kernels, memory, transforms


def _module(name: str, package: bool = False, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=package)  # for importlib.util.find_spec
    vars(module).update(members)
    return module


def _members(source: ModuleType, names: str) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names.split()}


def get_array_module(*args: Any) -> ModuleType:
    return cupy if any(isinstance(value, arrays.ndarray) for value in args) else np


_runtime = _module(
    "cupy.cuda.runtime",
    **_members(
        cuda,
        "CUDARuntimeError deviceSynchronize driverGetVersion getDevice getDeviceCount getDeviceProperties memGetInfo "
        "runtimeGetVersion setDevice",
    ),
    CUDA_R_32F=0,
    CUDA_R_64F=1,
    CUDA_R_16F=2,
)
_device = _module("cupy.cuda.device", **_members(cuda, "Device get_cublas_handle"))
_stream = _module("cupy.cuda.stream", **_members(cuda, "Event Stream get_current_stream get_elapsed_time"))
_memory = _module("cupy.cuda.memory", **_members(memory, "MemoryPointer OutOfMemoryError"), MemoryPool=cuda.MemoryPool)
_compiler = _module("cupy.cuda.compiler", CompileException=cuda.CompileException)
_cuda = _module(
    "cupy.cuda",
    package=True,
    **_members(
        cuda, "Device Event MemoryPool Stream get_cublas_handle get_current_stream get_elapsed_time is_available"
    ),
    MemoryPointer=memory.MemoryPointer,
    compiler=_compiler,
    cublas=_module("cupy.cuda.cublas", **{k: v for k, v in vars(cublas).items() if k[0] != "_" and k != "reset"}),
    device=_device,
    memory=_memory,
    runtime=_runtime,
    stream=_stream,
)
cupy = _module(
    "cupy",
    package=True,
    __version__="14.2.0",
    **arrays.functions,
    **_members(np, "bool_ dtype e float16 float32 float64 inf int8 int16 int32 int64 nan newaxis pi"),
    **_members(np, "uint8 uint16 uint32 uint64"),
    RawModule=kernels.RawModule,
    cuda=_cuda,
    get_array_module=get_array_module,
    get_default_memory_pool=cuda.get_default_memory_pool,
    ndarray=arrays.ndarray,
)

_fft = _module("cupyx.scipy.fft", **_members(transforms, "irfft2 rfft2"))
_scipy = _module("cupyx.scipy", package=True, fft=_fft)
_cupyx = _module("cupyx", package=True, scipy=_scipy)

# Those of CuPy 14 that are files of it, which `import` finds by their whole names.
importable = {
    module.__name__: module
    for module in (cupy, _cuda, _compiler, _device, _memory, _runtime, _stream, _cupyx, _scipy, _fft)
}
