"""Lends networks, and keeps those that were given back for the next who wants the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from pyengine.kernels import Kernels
from pyengine.network.architecture import Architecture
from pyengine.network.footprint import network_bytes
from pyengine.network.graphs import WRAPPED, Padding, Pooling
from pyengine.network.network import ModelSessions, Network
from pyengine.network.sessions import release_memory
from pyengine.network.tiles import TiledNetwork

IDLE_BYTES = 2**28
"""Networks of other kinds than the last one used are kept for the next run while all hold no more than this."""

Lent = TypeVar("Lent", Network, TiledNetwork)


class NetworkPool:
    """The networks of one model on one device. May be used from several threads at once.

    Parameters
    ----------
    make_sessions : callable
        Makes the model's sessions on the device, which `close` drops.
    """

    def __init__(self, make_sessions: Callable[[], ModelSessions]) -> None:
        self._make_sessions = make_sessions
        self._sessions = make_sessions()
        self._idle: list[tuple[Any, Network | TiledNetwork]] = []  # least recently used first
        self._lock = Lock()

    @property
    def kernels(self) -> Kernels:
        """The device's kernels."""
        return self._sessions.kernels

    @property
    def architecture(self) -> Architecture:
        """The networks' architecture."""
        return self._sessions.model.architecture

    def alignment(self, size: tuple[int, int]) -> int:
        """See `ModelSessions.alignment`."""
        return self._sessions.alignment(size)

    @property
    def idle(self) -> tuple[Network | TiledNetwork, ...]:
        """The networks that are kept, least recently used first."""
        return tuple(network for _, network in self._idle)

    @contextmanager
    def whole(
        self,
        size: tuple[int, int],
        maps: tuple[str, ...],
        *,
        padding: Padding = WRAPPED,
        pooling: Pooling = "average",
        gradient: bool = False,
    ) -> Iterator[Network]:
        """Lend a network for images of one size to one caller.

        It is kept afterwards only if it has a gradient: one that has measured an exemplar is not asked for again soon.

        Parameters
        ----------
        size : (height, width)
        maps : tuple of str
            The feature maps to give out.
        padding, pooling, gradient
            See `Network`. Default: "wrap" in both axes, "average" and False.
        """
        key = (size, maps, padding, pooling)
        make = partial(Network, self._sessions, size, maps, padding=padding, pooling=pooling, gradient=gradient)
        winograd = self.alignment(size) > 1
        each = network_bytes(self.architecture, maps, winograd=winograd, gradient=gradient)
        with self._lend(key, make, each * size[0] * size[1], keep=gradient) as network:
            yield network

    @contextmanager
    def tiled(
        self,
        size: tuple[int, int],
        side: int,
        reaches: Mapping[str, int],
        *,
        padding: Padding = WRAPPED,
        pooling: Pooling = "average",
        channels: int = 1,
        gradient: bool = True,
    ) -> Iterator[TiledNetwork]:
        """Lend a network for tiles of images of one size to one caller; memory is short then: nothing else is kept.

        Parameters
        ----------
        size : (height, width)
        side, reaches, padding, pooling, channels, gradient
            See `TiledNetwork`. Default: "wrap" in both axes, "average", 1 and True.
        """
        key = (size, side, tuple(reaches.items()), padding, pooling, channels)
        make = partial(
            TiledNetwork,
            self._sessions,
            size,
            side,
            reaches,
            padding=padding,
            pooling=pooling,
            channels=channels,
            gradient=gradient,
        )
        with self._lock:
            self._idle = [entry for entry in self._idle if entry[0] == key]
        with self._lend(key, make, 0, keep=gradient) as network:
            yield network

    @contextmanager
    def _lend(self, key: Any, make: Callable[[], Lent], nbytes: float, *, keep: bool) -> Iterator[Lent]:
        """Lend an idle network of a kind, or one that `make` makes, of about so many bytes."""
        network: Any = None
        sessions = self._sessions
        if keep:
            with self._lock:
                found = next((k for k, (idle_key, _) in enumerate(self._idle) if idle_key == key), None)
                network = None if found is None else self._idle.pop(found)[1]
                self._drop_idle(key, nbytes)
        if network is None:
            network = make()
        try:
            yield network
        finally:
            if keep:
                with self._lock:
                    if sessions is self._sessions:  # else the pool was closed in the meantime
                        self._idle.append((key, network))
                        self._drop_idle(key, 0)

    def _drop_idle(self, key: Any, lent_bytes: float) -> None:
        """Drop the networks not used for longest, other than those of one kind, until few enough bytes are held.

        `lent_bytes` are those of a network that is not idle.
        """
        others = [entry for entry in self._idle if entry[0] != key]
        while others and lent_bytes + sum(network.nbytes for _, network in self._idle) > IDLE_BYTES:
            self._idle.remove(others.pop(0))

    def drop_tiled(self) -> None:
        """Drop the networks for tiles, each of which takes what memory there is."""
        with self._lock:
            self._idle = [entry for entry in self._idle if not isinstance(entry[1], TiledNetwork)]

    def release(self) -> None:
        """Give memory that is not in use back to the system."""
        if not self._sessions.on_gpu:
            release_memory()
        self.kernels.release()

    def close(self) -> None:
        """Drop all networks and sessions, and give their memory back; they are made again when they are wanted."""
        with self._lock:
            self._idle.clear()
            self._sessions = self._make_sessions()
        self.release()
