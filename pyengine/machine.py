"""What this process may take of the machine: cores, memory, and room for temporary files.

The limits of a container are those of its control groups: of the group that /proc/self/cgroup names and of all above
it, version 1 and version 2. What is not there, or says nothing, limits nothing.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from tempfile import gettempdir

from pyengine.errors import PyengineError

ROOT = Path("/")
"""Where the folders /proc and /sys are."""

SHARE = 0.8
"""The share of the memory there is that is used where nobody says how much."""

LOADED_BYTES = 200 * 10**6
"""Bytes of Python, the libraries and the model, which are in memory when pictures are read."""

READING_BYTES, TRANSPARENT_BYTES = 40, 60
"""Bytes that reading a picture takes for each of its pixels, in Pillow and as float32, if it is opaque and if it is
transparent in places: measured with the file, 36 and 49 of the largest kinds, in floating-point numbers."""


def cores(root: Path = ROOT) -> int:
    """How many cores this process may use: those that it may run on, but no more than its container's quota of time.

    Parameters
    ----------
    root : Path
        Where /proc and /sys are. Default: "/".

    Examples
    --------
    >>> cores() >= 1
    True
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([own, *(math.ceil(quota) for quota in _quotas(root))])


def default_threads(root: Path = ROOT) -> int:
    """How many threads to compute with where nobody says: one for each of `cores`, but no more than OMP_NUM_THREADS.

    Parameters
    ----------
    root : Path
        Where /proc and /sys are. Default: "/".

    Examples
    --------
    >>> 1 <= default_threads() <= cores()
    True
    """
    wanted = _number(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])  # further ones are for nested loops
    return min(cores(root), wanted or cores(root))


def memory(root: Path = ROOT) -> int | None:
    """Bytes of memory that this process may have: the machine's, or less where its container or `ulimit -v` says so.

    Parameters
    ----------
    root : Path
        Where /proc and /sys are. Default: "/".

    Returns
    -------
    int or None
        None where the system does not tell.

    Examples
    --------
    >>> memory() > 0
    True
    """
    if not hasattr(os, "sysconf"):
        return None
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _address_space(root)]
    for folder, is_version_2 in _groups(root, "memory"):
        # Beyond memory.high, a process is slowed down until it is as good as stopped.
        files = ("memory.max", "memory.high") if is_version_2 else ("memory.limit_in_bytes",)
        limits += [_number(_text(folder / file)) for file in files]
    return min(limit for limit in limits if limit)


@contextmanager
def reading_within(limit: float | None) -> Iterator[None]:
    """In this context, and in this thread, only pictures are read that take no more than so many bytes.

    None stands for `SHARE` of the memory there is, as without any context.

    Examples
    --------
    >>> with reading_within(1e9):
    ...     check_picture("exemplar", 20_000, 20_000, transparent=True)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: exemplar of 20000x20000 pixels: reading it alone takes about 24.2 GB ...
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


_limit: ContextVar[float | None] = ContextVar("limit", default=None)


def check_picture(name: str, width: int, height: int, *, transparent: bool) -> None:
    """Refuse a picture by the size that its header tells, before it is decoded, if that takes more than there is.

    Raises
    ------
    PyengineError
        The picture is too large; the message begins with `name`, and says how much it takes.

    Examples
    --------
    >>> check_picture("exemplar", 640, 480, transparent=False)
    """
    limit = _limit.get()
    if limit is None:
        limit = SHARE * (memory() or math.inf)
    needed = LOADED_BYTES + width * height * (TRANSPARENT_BYTES if transparent else READING_BYTES)
    if needed > limit:
        raise PyengineError(
            f"{name} of {width}x{height} pixels: reading it alone takes about {needed / 1e9:.1f} GB ({needed} bytes), "
            f"and {limit / 1e9:.1f} GB ({limit:.0f} bytes) may be used: scale it down, or give more memory_limit"
        )


def check_room(size: int) -> None:
    """Refuse, before the work, to put so many bytes into a temporary file that the disk has no room for.

    Raises
    ------
    PyengineError
        There is no room.

    Examples
    --------
    >>> check_room(1000)
    """
    free = shutil.disk_usage(gettempdir()).free
    if size > free:
        raise no_room(size, f"{free} are free")


def no_room(size: int, why: str) -> PyengineError:
    """What is said where a temporary file of so many bytes can't be made."""
    return PyengineError(
        f"{gettempdir()} has no room for {size} bytes ({why}): set TMPDIR to a folder that has, "
        "or give more memory_limit"
    )


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The folders of the control groups that this process is in, each with those above it, and if it is of version 2.

    Those of version 1 are for a controller, such as "memory"; version 2 has all controllers together.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for name in (controllers, controller) if controllers else (".", "unified"):
            top = Path("/sys/fs/cgroup") / name
            own = top / _below(path, _mounted(root, top))
            for folder in (own, *own.parents):
                if folder.is_relative_to(top):
                    yield root / folder.relative_to("/"), not controllers


def _mounted(root: Path, top: Path) -> str:
    """The group that a folder of groups begins with: in a container it may be the container's own."""
    found = [line.split()[3:5] for line in _text(root / "proc/self/mountinfo").splitlines()]
    return next((group for group, place in reversed(found) if place == str(top)), "/")


def _below(path: str, mounted: str) -> PurePosixPath:
    """A group's path from the one that is mounted; that one itself, if the group is none of those below it."""
    group = PurePosixPath(path)
    inside = group.is_relative_to(mounted) and ".." not in group.parts
    return group.relative_to(mounted) if inside else PurePosixPath()


def _quotas(root: Path) -> Iterator[float]:
    """How many cores' time the control groups allow."""
    for folder, is_version_2 in _groups(root, "cpu"):
        files = ("cpu.max",) if is_version_2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        numbers = [_number(word) for file in files for word in _text(folder / file).split()]
        if len(numbers) == 2 and all(numbers):
            yield numbers[0] / numbers[1]


def _address_space(root: Path) -> int:
    """Bytes of memory that the limit of the address space leaves; 0 if there is none.

    Much of that space is taken up by what is never in memory, such as libraries; and half of what is left, or more, by
    the stacks and the heaps that threads reserve once they are started.
    """
    lines = _text(root / "proc/self/limits").splitlines()
    most = next((_number(line.split()[3]) for line in lines if line.startswith("Max address space")), 0)
    sizes = [_number(word) for word in _text(root / "proc/self/statm").split()[:2]]
    if not most or len(sizes) < 2:
        return most
    mapped, resident = sizes
    return max((most - (mapped - resident) * os.sysconf("SC_PAGE_SIZE")) // 2, 1)


def _text(file: Path) -> str:
    """What a file says; nothing if there is none."""
    with suppress(OSError):
        return file.read_text()
    return ""


def _number(text: str) -> int:
    """A number above 0, as the system writes them; 0 for none: "max", -1."""
    text = text.strip()
    return int(text) if text.isdecimal() else 0
