"""`cupy.cuda`: devices, streams, events, and the runtime's functions."""

import itertools
import threading
import time
from typing import Any

import emulation
from emulation import memory

ERRORS = {
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    400: "cudaErrorInvalidResourceHandle: invalid resource handle",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(ERRORS[status])


class CompileException(Exception):
    def __init__(self, msg: str, source: str, name: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
        self._msg = msg
        self.source = source
        self.name = name
        self.options = options
        self.backend = backend
        super().__init__(msg)


class _Current(threading.local):
    device = 0

    def __init__(self) -> None:
        self.streams: list[Stream] = [Stream.null]


# --------------------------------------------------------------------- Runtime


def getDeviceCount() -> int:
    if not emulation.device_count:
        raise CUDARuntimeError(100)
    return emulation.device_count


def getDevice() -> int:
    getDeviceCount()
    return _current.device


def setDevice(device: int) -> None:
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError(101)
    _current.device = device


def memGetInfo() -> tuple[int, int]:
    return emulation.memory_info


def getDeviceProperties(device: int) -> dict[str, Any]:
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError(101)
    return {
        "name": b"Emulated",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": emulation.memory_info[1],
        "multiProcessorCount": 4,
        "maxThreadsPerMultiProcessor": 2048,
        "maxThreadsPerBlock": 1024,
        "sharedMemPerBlock": 48 * 1024,
        "sharedMemPerBlockOptin": 227 * 1024,
        "warpSize": 32,
    }


def driverGetVersion() -> int:
    return 13000


def runtimeGetVersion() -> int:
    return 13000


def deviceSynchronize() -> None:
    pass


def is_available() -> bool:
    return emulation.device_count > 0


# --------------------------------------------------------------------- Devices


class Device:
    def __init__(self, device: "int | Device | None" = None) -> None:
        self.id = getDevice() if device is None else int(device)
        self._previous: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> "Device":
        self._previous.append(getDevice())
        setDevice(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        setDevice(self._previous.pop())

    def use(self) -> None:
        setDevice(self.id)

    def synchronize(self) -> None:
        pass

    @property
    def mem_info(self) -> tuple[int, int]:
        return memGetInfo()

    @property
    def compute_capability(self) -> str:
        properties = getDeviceProperties(self.id)
        return f"{properties['major']}{properties['minor']}"

    @property
    def attributes(self) -> dict[str, int]:
        names = ("multiProcessorCount", "maxThreadsPerMultiProcessor", "maxThreadsPerBlock", "warpSize")
        properties = getDeviceProperties(self.id)
        return {
            **{name[0].upper() + name[1:]: properties[name] for name in names},
            "MaxSharedMemoryPerBlock": properties["sharedMemPerBlock"],
            "MaxSharedMemoryPerBlockOptin": properties["sharedMemPerBlockOptin"],
        }

    @property
    def cublas_handle(self) -> int:
        return 1


def get_cublas_handle() -> int:
    return Device().cublas_handle


# --------------------------------------------------------------------- Streams, where everything is done at once


class Stream:
    null: "Stream"
    _numbers = itertools.count(0x1000)

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self.ptr = 0 if null else next(Stream._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> "Stream":
        _current.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.streams.pop()

    def use(self) -> "Stream":
        _current.streams[-1] = self
        return self

    def synchronize(self) -> None:
        pass

    def record(self, event: "Event | None" = None) -> "Event":
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        pass

    @property
    def done(self) -> bool:
        return True


Stream.null = Stream(null=True)
_current = _Current()


def get_current_stream() -> Stream:
    return _current.streams[-1]


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._timed = not disable_timing
        self._time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        pass

    @property
    def done(self) -> bool:
        return True


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """In milliseconds."""
    start, end = start_event._time, end_event._time
    if start is None or end is None or not (start_event._timed and end_event._timed):
        raise CUDARuntimeError(400)
    return 1000 * (end - start)


# --------------------------------------------------------------------- Memory


class MemoryPool:
    """Memory that nobody uses is never kept."""

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        pass

    def used_bytes(self) -> int:
        return memory.used()

    def total_bytes(self) -> int:
        return memory.used()

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0


_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    return _pool
