"""Device memory: guarded on both sides to find writes out of bounds, and not a number until it is written."""

import ctypes
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

import emulation

ALIGNMENT = 512  # as CuPy's
GUARD = 4096
# A quiet NaN as float32 and as float64, unlike the one that arithmetic makes: what reads it shows up, too.
PATTERN = b"\xfd\x7f" * (GUARD // 2)
DTYPES = "?bhilqBHILQefdFD"


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


@dataclass(frozen=True)
class MemoryPointer:
    """What `ndarray.data` is."""

    ptr: int


class Memory(np.ndarray):
    """The bytes of an allocation and of its guards, which the base of every array on the device leads to."""

    length: int  # of what was asked for


_live: "weakref.WeakValueDictionary[int, Memory]" = weakref.WeakValueDictionary()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def empty(shape: int | Sequence[int], dtype: object, order: str = "C") -> np.ndarray:
    dtype = np.dtype(dtype)
    if dtype.char not in DTYPES:
        raise ValueError(f"Unsupported dtype {dtype}")
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > emulation.memory_info[0]:
        raise OutOfMemoryError(nbytes, used())
    memory = Memory(nbytes + 2 * GUARD + ALIGNMENT, np.uint8)
    memory.length = nbytes
    start = GUARD + -(address(memory) + GUARD) % ALIGNMENT
    _live[address(memory) + start] = memory
    _guard(address(memory) + start, nbytes)
    content = memory.view(np.ndarray)[start : start + nbytes]
    content[:] = 0xFF
    return content.view(dtype).reshape(shape, order=order)


def _guard(start: int, length: int) -> None:
    ctypes.memmove(start - GUARD, PATTERN, GUARD)
    ctypes.memmove(start + length, PATTERN, GUARD)


def on_device(array: np.ndarray) -> bool:
    """Whether this is a view of device memory."""
    base = array.base
    while base is not None and not isinstance(base, Memory):
        base = getattr(base, "base", None)
    return base is not None


def empty_like(array: np.ndarray, dtype: object, order: str = "K") -> np.ndarray:
    """New device memory of this shape; with order "K" its axes lie there as those of `array` do."""
    axes = list(range(array.ndim))
    if order == "F" or (order == "A" and array.flags.f_contiguous and not array.flags.c_contiguous):
        axes.reverse()
    elif order == "K":
        axes.sort(key=lambda axis: (-abs(array.strides[axis]), axis))
    return empty([array.shape[axis] for axis in axes], dtype).transpose(np.argsort(axes))


def copy(array: np.ndarray, order: str = "C", dtype: object = None) -> np.ndarray:
    result = empty_like(array, array.dtype if dtype is None else dtype, order)
    with np.errstate(all="ignore"):  # a GPU does not warn
        result[...] = array
    return result


def at(start: int, size: int, dtype: object) -> np.ndarray:
    """The elements at an address."""
    interface = {"version": 3, "data": (start, False), "shape": (size,), "typestr": np.dtype(dtype).str}
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def is_device(start: int, nbytes: int = 1) -> bool:
    """Whether all these bytes are of one allocation."""
    return any(first <= start and start + nbytes <= first + memory.length for first, memory in list(_live.items()))


def check_bounds(start: int, nbytes: int) -> None:
    if not is_device(start, nbytes):
        raise RuntimeError(f"{nbytes} bytes at address {start:#x} are not within one array on the device")


def damage() -> str | None:
    """Which guard was overwritten, if any; it is set again."""
    found = None
    for start, memory in list(_live.items()):
        length = memory.length
        before, after = ctypes.string_at(start - GUARD, GUARD), ctypes.string_at(start + length, GUARD)
        if before == PATTERN == after:
            continue
        offsets = [length + i for i in range(GUARD) if after[i] != PATTERN[i]]
        offsets += [i - GUARD for i in reversed(range(GUARD)) if before[i] != PATTERN[i]]
        found = f"wrote out of bounds, at byte {offsets[0]} of an array of {length} bytes"
        _guard(start, length)
    return found


def used() -> int:
    return sum(memory.length for memory in list(_live.values()))
