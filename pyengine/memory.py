"""What a synthesis takes of memory, and how it is made to fit: the image whole, or in tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyengine.errors import PyengineError
from pyengine.losses.options import LossOptions
from pyengine.losses.structure import SHIFTS
from pyengine.network.graphs import WINOGRAD_TILE
from pyengine.network.tiles import margins
from pyengine.network.weights import CHANNELS, pools_before
from pyengine.tiled import MATCHED

EVALUATION_BYTES, MEASURING_BYTES = {1: 2600, WINOGRAD_TILE: 1220}, {1: 1550, WINOGRAD_TILE: 850}
"""Memory for each pixel of the image of an objective, and of an exemplar, by grain (docs/performance.md): of maps between
those in use, Winograd's convolutions keep bits only, or nothing."""

SYNTHESIS_BYTES = {1: 3200, WINOGRAD_TILE: 2000}
"""For each pixel of the output of a synthesis."""

TILE_BYTES = EVALUATION_BYTES
"""For each pixel of a tile's region."""

BASE_BYTES = 470 * 10**6
"""Python, the libraries, the weights, and what an evaluation takes whatever the size."""

VECTOR_BYTES = 12
"""For each pixel, of an image in float32."""

VECTORS = 2
"""Images there are at a time, besides the rows of the optimiser's matrix: the one that is evaluated, and its gradient."""

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
    reaches : dict of str to int
        The feature maps that tiles need, and how many pixels further on each is looked at.
    bytes : int
        Of what was measured.
    kept : float
        Bytes for each pixel that are kept all the time.
    maps : float
        Bytes for each pixel of the whole maps that an evaluation keeps.
    """

    reaches: Mapping[str, int]
    bytes: int
    kept: float
    maps: float

    @classmethod
    def of(cls, losses: LossOptions, exemplar_pixels: int, regions: int) -> Demand:
        """What losses need that were measured on so many pixels, and `regions` painted regions."""
        first = "relu1_1"
        histograms = losses.used("histogram")
        reaches = {
            layer: max(max(shift) for shift in SHIFTS) if layer in losses.used("structure") else 0
            for layer in losses.layers
            if layer != first or layer in (*losses.used("gram"), *losses.used("structure"), *losses.used("content"))
        }
        return cls(
            reaches or {first: 0},
            exemplar_pixels * math.ceil(sum(map(_map_bytes, histograms))),
            sum(map(_map_bytes, losses.used("content"))) + regions * WEIGHT_BYTES,
            sum(_map_bytes(layer) for layer in histograms if layer != first),
        )

    def plan(
        self, size: tuple[int, int], layers: Sequence[str], limit: float, rows: int, *, grain: int, spill: bool
    ) -> Plan:
        """The fastest way that takes no more than so many bytes.

        Parameters
        ----------
        size : (height, width)
        layers : sequence of str
            The network's feature maps, first to last.
        limit : float
            Bytes.
        rows : int
            Of the optimiser's matrix.
        grain : int
            As in `Tiling`.
        spill : bool
            Whether that may go to a file.

        Raises
        ------
        PyengineError
            There is no way.

        Examples
        --------
        >>> demand = Demand({"relu1_1": 0, "relu4_1": 0}, bytes=0, kept=0.0, maps=32.0)
        >>> layers = ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1"]
        >>> for side in (512, 1024, 4096):
        ...     print(demand.plan((side, side), layers, 3e9, rows=28, grain=4, spill=True))
        Plan(side=None, channels=16, spill=False)
        Plan(side=704, channels=16, spill=False)
        Plan(side=416, channels=4, spill=True)
        """
        pixels = size[0] * size[1]
        if BASE_BYTES + pixels * SYNTHESIS_BYTES[grain] <= limit:
            return WHOLE
        unit, halo = margins(layers, self.reaches, grain)
        for spilled, least in (
            ((False, COMFORTABLE_TILE), (True, SMALLEST_TILE)) if spill else ((False, SMALLEST_TILE),)
        ):
            kept = BASE_BYTES + self.bytes + pixels * (self.kept + VECTOR_BYTES * VECTORS)
            kept += ROWS_BYTES if spilled else pixels * VECTOR_BYTES * rows
            for channels in CHANNELS_AT_A_TIME:
                matching = pixels * channels * CHANNEL_BYTES
                if matching > (limit - kept) / 8 and channels != CHANNELS_AT_A_TIME[-1]:
                    continue  # the rest is better spent on tiles
                needed = kept + max(matching, pixels * self.maps)
                room = max(limit - needed, 0) / TILE_BYTES[grain]
                side = min(int(room**0.5) - 2 * halo, LARGEST_TILE) // unit * unit
                if pixels <= room:  # one tile, without a halo
                    side = -(-max(size) // unit) * unit
                if side >= least:
                    return Plan(side, channels, spilled)
        needed = math.ceil(needed + (SMALLEST_TILE + 2 * halo) ** 2 * TILE_BYTES[grain])
        raise PyengineError(
            f"size {size[1]}x{size[0]} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes) even in tiles, and "
            f"{limit / 1e9:.1f} GB ({limit:.0f} bytes) may be used: make it smaller, or give more memory_limit"
        )


def check_whole(what: str, size: tuple[int, int], limit: float, grain: int, *, gradient: bool) -> None:
    """Raise PyengineError, naming `what`, for an image that can't be evaluated, or an exemplar measured, at once.

    Parameters
    ----------
    what : str
    size : (height, width)
    limit : float
        Bytes.
    grain : int
        As in `Tiling`.
    gradient : bool
        Whether there is a way back.

    Examples
    --------
    >>> check_whole("exemplar of", (512, 512), 1e9, grain=4, gradient=False)
    >>> check_whole("exemplar of", (1024, 1024), 1e9, grain=4, gradient=False)
    Traceback (most recent call last):
    pyengine.errors.PyengineError: exemplar of 1024x1024 pixels needs about 1.4 GB (1361289600 bytes), and 1.0 GB ...
    """
    height, width = size
    each = (EVALUATION_BYTES if gradient else MEASURING_BYTES)[grain]
    needed = BASE_BYTES + height * width * each
    if needed > limit:
        raise PyengineError(
            f"{what} {width}x{height} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes), and {limit / 1e9:.1f} GB "
            f"({limit:.0f} bytes) may be used: at most {int((max(limit - BASE_BYTES, 0) / each) ** 0.5)} pixels on a side "
            "fit, or give more memory_limit"
        )


def _map_bytes(layer: str) -> float:
    """Of a feature map, for each pixel of the image."""
    pools = pools_before(layer)
    return 4 * CHANNELS[pools] / float(4**pools)
