"""`cupy.RawModule`, whose kernels are compiled for the CPU."""

import atexit
import ctypes
import functools
import hashlib
import operator
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import emulation
from emulation import memory
from emulation.arrays import ndarray
from emulation.cuda import CompileException, Stream

HEADER = Path(__file__).parent / "cuda.hpp"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"]
ORDERS = ("ascending", "descending", "shuffled", "warps")

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
BOUNDS = r"(?:__launch_bounds__\s*\(([^()]*)\)\s*)?"
KERNEL = re.compile(rf'extern\s+"C"\s+__global__\s+{BOUNDS}void\s+{BOUNDS}(\w+)\s*\(')
DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w\s]+?)\s+(\w+)\s*\[\s*\]\s*;")

_lock = threading.Lock()  # the libraries keep their state in global variables


class Launch(ctypes.Structure):
    """`cuda_emulation::Launch`."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint64),
    )


class Compiled(NamedTuple):
    """A kernel in a library."""

    launch: Any
    parameters: list[str]  # such as "*f4", "i4"
    max_threads: int


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="cuda-emulation-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@functools.cache
def _compile(code: str, options: tuple[str, ...], expressions: tuple[str, ...]) -> dict[str, Compiled]:
    """The kernels of a source by name; compiled once in a process."""
    plain = COMMENT.sub(" ", code)
    bounds = {name: (before or after or "1024").split(",")[0] for before, after, name in KERNEL.findall(plain)}
    bounds |= {expression: "1024" for expression in expressions}
    launchers = [f"EMULATION_KERNEL({i}, ({bound}), {name})" for i, (name, bound) in enumerate(bounds.items())]
    shared = r"\1 *const \2 = reinterpret_cast<\1 *>(cuda_emulation::dynamic_shared);"
    text = "\n".join([DYNAMIC_SHARED.sub(shared, code), *launchers, ""])

    kept = [option for option in options if option.startswith(("-D", "-I", "-U"))]
    stem = hashlib.sha256(repr((text, kept)).encode()).hexdigest()[:16]
    source, target = _folder() / f"{stem}.cu", _folder() / f"{stem}.so"
    source.write_text(text)
    command = [*emulation.compiler(), *FLAGS, *kept, "-include", HEADER, "-x", "c++", source, "-o", target]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise CompileException(result.stderr, code, str(source), options)

    library = ctypes.CDLL(str(target))
    kernels = {}
    for i, name in enumerate(bounds):
        launch, signature = library[f"launch_{i}"], library[f"signature_{i}"]
        launch.restype = signature.restype = ctypes.c_char_p
        kernels[name] = Compiled(launch, signature().decode().split(), library[f"bound_{i}"]())
    return kernels


class RawModule:
    """Sources with kernels; those that are `extern "C"`, and the instances that `name_expressions` name."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool = False,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if code is None or backend != "nvrtc" or translate_cucomplex or enable_cooperative_groups or jitify:
            raise NotImplementedError("only sources for NVRTC are emulated")
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("`code` must be a str and `options` a tuple")
        self.code, self.options = code, options
        self.name_expressions = tuple(name_expressions or ())

    def compile(self, log_stream: Any = None) -> None:
        _compile(self.code, self.options, self.name_expressions)

    def get_function(self, name: str) -> "RawKernel":
        kernels = _compile(self.code, self.options, self.name_expressions)
        if name not in kernels:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(name, kernels[name])


class RawKernel:
    """A kernel: call it with a grid, a block and the arguments."""

    def __init__(self, name: str, compiled: Compiled) -> None:
        self.name = self.__name__ = name
        self.max_threads_per_block = compiled.max_threads
        self.max_dynamic_shared_size_bytes = 48 * 1024  # may be set
        self._compiled = compiled

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        *,
        shared_mem: int = 0,
        stream: Stream | None = None,
    ) -> None:
        launch = Launch(
            self._dimensions("grid", grid, (2**31 - 1, 65535, 65535)),
            self._dimensions("block", block, (1024, 1024, 64)),
            shared_mem,
            ORDERS.index(emulation.order),
            emulation.seed,
        )
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        if threads > self.max_threads_per_block:
            raise ValueError(f"kernel {self.name}: {threads} threads, of at most {self.max_threads_per_block}")
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes <= 227 * 1024:
            raise ValueError(f"kernel {self.name}: {shared_mem} bytes of dynamic shared memory are not allowed")
        if stream is not None and not isinstance(stream, Stream):
            raise TypeError(f"kernel {self.name}: not a stream: {stream!r}")
        parameters = self._compiled.parameters
        if len(args) != len(parameters):
            raise TypeError(f"kernel {self.name} takes {len(parameters)} arguments, not {len(args)}")
        values = [self._argument(i, *pair) for i, pair in enumerate(zip(args, parameters, strict=True))]
        pointers = (ctypes.c_void_p * len(values))(*map(memory.address, values))

        with _lock:
            error = self._compiled.launch(ctypes.byref(launch), pointers)
        emulation.launches[self.name] += 1
        errors = [error.decode() if error else None, memory.damage()]
        if any(errors):
            raise RuntimeError(f"kernel {self.name}: " + "; it ".join(filter(None, errors)))

    def _dimensions(self, what: str, given: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
        if not isinstance(given, tuple):
            raise TypeError(f"kernel {self.name}: the {what} must be a tuple, not {given!r}")
        sizes = tuple(map(operator.index, given)) + (1,) * (3 - len(given))
        # CuPy takes a zero for a one, so that the kernel would run where nothing is to be done.
        if len(sizes) != 3 or not all(1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
            raise ValueError(f"kernel {self.name}: bad {what} {given}")
        return sizes

    def _argument(self, position: int, value: Any, parameter: str) -> np.ndarray:
        """The bytes to pass for a parameter, as an array."""
        what = f"kernel {self.name}, argument {position}"
        if isinstance(value, ndarray):
            element = f"{value.dtype.kind}{value.itemsize}"
            if parameter not in (f"*{element}", "*") and {parameter, f"*{element}"} != {"*u1", "*b1"}:
                raise TypeError(f"{what}: {value.dtype} array for a parameter of type {parameter}")
            if not value.flags.c_contiguous:
                raise ValueError(f"{what}: not contiguous: shape {value.shape}, strides {value.strides}")
            return np.array(value.data.ptr, np.uint64)
        if isinstance(value, memory.MemoryPointer):
            value = value.ptr
        if isinstance(value, int | float) and not isinstance(value, np.generic):
            value = np.float64(value) if isinstance(value, float) else np.int64(value)  # as CuPy does, bool included
        if not isinstance(value, np.generic):
            raise TypeError(f"{what}: unsupported type {type(value)}")
        if parameter.startswith("*") and value.dtype.kind in "iu" and value.itemsize == 8:
            if value:
                memory.check_bounds(int(value), 1)
        elif parameter != f"{value.dtype.kind}{value.itemsize}":
            raise TypeError(f"{what}: {value.dtype} for a parameter of type {parameter}")
        return np.asarray(value)
