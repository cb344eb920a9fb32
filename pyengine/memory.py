"""What a synthesis takes of memory, and how it is made to fit: the image whole, or in tiles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyengine.errors import PyengineError
from pyengine.losses.options import LossOptions
from pyengine.losses.structure import SHIFTS
from pyengine.network.architecture import Architecture
from pyengine.network.graphs import LEAST_SIDE, WINOGRAD_TILE, is_winograds
from pyengine.network.tiles import margins
from pyengine.tiled import MATCHED

TEMPORARY_BYTES = {1: 1000, WINOGRAD_TILE: 190}
"""For each pixel of an image that is evaluated, by grain: maps that sessions keep for a moment, and kernels' scratch.
Measured, on a CPU (docs/performance.md)."""

MEASURING_BYTES = {1: 1060, WINOGRAD_TILE: 370}
"""The same for an exemplar that is measured, with its histograms."""

BASE_BYTES = 470 * 10**6
"""On a CPU: Python, the libraries, the weights, and what an evaluation takes whatever the size."""

VECTOR_BYTES = 12
"""For each pixel, of an image in float32."""

VECTORS = 2
"""Images there are at a time, besides the rows of the optimiser's matrix: one that is evaluated, and its gradient."""

CHANNEL_BYTES = 4 + 12 // MATCHED
"""For each pixel and channel of the first map that is in memory; one that is matched takes as much for its gradient,
and 8 for sorting."""

ROWS_BYTES = 130 * 10**6
"""Of the optimiser's matrix, where it is in a file: the part that is in use."""

LARGEST_TILE, SMALLEST_TILE = 2048, 128

CHANNELS_AT_A_TIME = (16, 8, 4)

COMFORTABLE_TILE = 768
"""Pixels on a side, below which the halo costs more than a file for the optimiser's matrix does."""

WEIGHT_BYTES = 12
"""For each pixel and painted region: what counts for it, on maps of all sizes, whole and in tiles."""

SHARE = 0.8
"""Of the device's memory that is used where nobody says how much."""


@dataclass(frozen=True)
class Plan:
    """How an image of some size is evaluated and optimised.

    Attributes
    ----------
    side : int, optional
        Of a tile, in pixels; None: the image whole.
    channels : int
        Of the network's first map that are looked at together, where there are tiles.
    spill : bool
        Whether the optimiser's matrix is in a file rather than in memory.
    """

    side: int | None = None
    channels: int = CHANNELS_AT_A_TIME[0]
    spill: bool = False


WHOLE = Plan()


@dataclass(frozen=True)
class Demand:
    """What is to be kept in memory for an image, whatever its size.

    Attributes
    ----------
    layers : tuple of str
        The feature maps that an image needs as a whole.
    reaches : dict of str to int
        Those that tiles need, and how many pixels further on each is looked at.
    bytes : int
        Of what was measured.
    kept : float
        Bytes for each pixel that are kept all the time.
    maps : float
        Bytes for each pixel of the whole maps that an evaluation keeps.
    """

    layers: tuple[str, ...]
    reaches: Mapping[str, int]
    bytes: int
    kept: float
    maps: float

    @classmethod
    def of(
        cls,
        losses: LossOptions,
        architecture: Architecture,
        exemplar_pixels: int,
        regions: int = 0,
        pictures: int = 0,
    ) -> Demand:
        """What losses need that were measured on so many pixels.

        Parameters
        ----------
        losses : LossOptions
        architecture : Architecture
            The network's.
        exemplar_pixels : int
        regions : int
            That are painted.
        pictures : int
            Of the output's size that are kept besides: a start, a content, what is left of a picture.
        """
        first = architecture.first
        histograms = losses.used("histogram")
        reaches = {
            layer: max(max(shift) for shift in SHIFTS) if layer in losses.used("structure") else 0
            for layer in losses.layers
            if layer != first or layer in (*losses.used("gram"), *losses.used("structure"), *losses.used("content"))
        }
        return cls(
            losses.layers,
            reaches or {first: 0},
            exemplar_pixels * math.ceil(_map_bytes(architecture, *histograms)),
            _map_bytes(architecture, *losses.used("content")) + regions * WEIGHT_BYTES + pictures * VECTOR_BYTES,
            _map_bytes(architecture, *(layer for layer in histograms if layer != first)),
        )

    def plan(
        self, size: tuple[int, int], architecture: Architecture, limit: float, rows: int, *, grain: int, on_cpu: bool
    ) -> Plan:
        """The fastest way that takes no more than so many bytes.

        Parameters
        ----------
        size : (height, width)
        architecture : Architecture
            The network's.
        limit : float
            Bytes.
        rows : int
            Of the optimiser's matrix.
        grain : int
            See `ModelSessions.alignment`.
        on_cpu : bool
            Whether Python is in the same memory, and the matrix may go to a file.

        Raises
        ------
        PyengineError
            There is no way.

        Examples
        --------
        >>> demand = Demand(("relu1_1", "relu4_1"), {"relu1_1": 0, "relu4_1": 0}, bytes=0, kept=0.0, maps=32.0)
        >>> from pyengine.network.vgg import vgg
        >>> for side in (512, 2048, 4096):
        ...     print(demand.plan((side, side), vgg("vgg16"), 3e9, rows=28, grain=4, on_cpu=True))
        Plan(side=None, channels=16, spill=False)
        Plan(side=1216, channels=4, spill=True)
        Plan(side=928, channels=4, spill=True)
        """
        pixels = size[0] * size[1]
        always = (BASE_BYTES if on_cpu else 0) + self.bytes + pixels * (self.kept + VECTOR_BYTES * VECTORS)
        matrix = pixels * VECTOR_BYTES * rows
        if always + matrix + pixels * evaluation_bytes(architecture, self.layers, grain) <= limit:
            return WHOLE
        each = evaluation_bytes(architecture, self.reaches, grain)
        unit, halo = margins(architecture, self.reaches, grain)
        for spilled, least in (
            ((False, COMFORTABLE_TILE), (True, SMALLEST_TILE)) if on_cpu else ((False, SMALLEST_TILE),)
        ):
            kept = always + (ROWS_BYTES if spilled else matrix)
            for channels in CHANNELS_AT_A_TIME:
                matching = pixels * channels * CHANNEL_BYTES
                if matching > (limit - kept) / 8 and channels != CHANNELS_AT_A_TIME[-1]:
                    continue  # the rest is better spent on tiles
                needed = kept + max(matching, pixels * self.maps)
                room = max(limit - needed, 0) / each
                side = min(int(room**0.5) - 2 * halo, LARGEST_TILE) // unit * unit
                if pixels <= room:  # one tile, without a halo
                    side = -(-max(size) // unit) * unit
                if side >= least:
                    return Plan(side, channels, spilled)
        needed = math.ceil(needed + (SMALLEST_TILE + 2 * halo) ** 2 * each)
        raise PyengineError(
            f"size {size[1]}x{size[0]} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes) even in tiles, and "
            f"{limit / 1e9:.1f} GB ({limit:.0f} bytes) may be used: make it smaller, or give more memory_limit"
        )


def network_bytes(architecture: Architecture, wanted: Collection[str], grain: int, *, gradient: bool) -> float:
    """Of a network's arrays, for each pixel of the image; see `Network`.

    Parameters
    ----------
    architecture : Architecture
        The network's.
    wanted : collection of str
        The feature maps given out.
    grain : int
        See `ModelSessions.alignment`.
    gradient : bool
        Whether there is a way back.

    Examples
    --------
    >>> from pyengine.network.vgg import vgg
    >>> network_bytes(vgg("vgg16"), ["relu1_1", "relu2_1"], 4, gradient=False)
    396.0
    >>> network_bytes(vgg("vgg16"), ["relu1_1", "relu2_1"], 4, gradient=True)
    928.0

    The first is 64 and 128 / 4 channels, and the image; the second has the bits of relu1_2 as well, and 2 * 64 channels
    on the way back.
    """
    if not gradient:
        return VECTOR_BYTES + _map_bytes(architecture, *wanted)
    used = architecture.up_to(architecture.deepest(wanted))
    total = 2.0 * (VECTOR_BYTES + max(_map_bytes(architecture, name) for name in used.names))
    for layer in used.layers:
        own = _map_bytes(architecture, layer.name)
        if layer.name not in wanted:
            total += own / (32 if grain > 1 and is_winograds(layer) else 1)
        elif used.pool_follows(layer.name):
            total += 2 * own  # a gradient of its own
        else:
            total += own
    return total


def evaluation_bytes(architecture: Architecture, wanted: Collection[str], grain: int) -> float:
    """Of an evaluation with its gradient, for each pixel; parameters are those of `network_bytes`."""
    return network_bytes(architecture, wanted, grain, gradient=True) + TEMPORARY_BYTES[grain]


def check_whole(
    what: str,
    size: tuple[int, int],
    architecture: Architecture,
    wanted: Collection[str],
    limit: float,
    *,
    grain: int,
    gradient: bool,
    on_cpu: bool,
) -> None:
    """Raise PyengineError, naming `what`, for an image that can't be evaluated, or an exemplar measured, at once.

    Parameters are those of `network_bytes` and `Demand.plan`.
    """
    height, width = size
    if gradient:
        each = evaluation_bytes(architecture, wanted, grain)
    else:
        each = network_bytes(architecture, wanted, grain, gradient=False) + MEASURING_BYTES[grain]
    base = BASE_BYTES if on_cpu else 0
    needed = math.ceil(base + height * width * each)
    if needed > limit:
        side = int((max(limit - base, 0) / each) ** 0.5)
        remedy = f"at most {side} pixels on a side fit, or " if side >= LEAST_SIDE else ""
        raise PyengineError(
            f"{what} {width}x{height} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes), and "
            f"{limit / 1e9:.1f} GB ({limit:.0f} bytes) may be used: {remedy}give more memory_limit"
        )


def _map_bytes(architecture: Architecture, *layers: str) -> float:
    """Bytes of some feature maps, for each pixel of the image."""
    return sum(4 * architecture[layer].channels / float(4 ** architecture.pools(layer)) for layer in layers)
