"""The memory budget: what each level of a synthesis takes, and how it is made to fit, the image whole or in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pyengine.errors import PyengineError
from pyengine.evaluation.tiled import MATCHED
from pyengine.level import Level
from pyengine.losses import KINDS
from pyengine.losses.base import ChannelLoss
from pyengine.losses.options import LossOptions
from pyengine.machine import check_room
from pyengine.maps import PICTURE, Map
from pyengine.network.architecture import Architecture
from pyengine.network.footprint import IMAGE_BYTES, map_bytes, network_bytes
from pyengine.network.graphs import LEAST_SIDE, WINOGRAD_TILE
from pyengine.network.tiles import Tiling, margins
from pyengine.optimizers.lbfgs import STATE
from pyengine.recipe import Recipe

TEMPORARY_BYTES = {1: 1000, WINOGRAD_TILE: 190}
"""Bytes that an evaluation takes for each pixel besides the network's arrays, by the alignment (1 is without Winograd's
convolutions): maps that sessions keep for a moment, and kernels' scratch. Measured, on a CPU (docs/performance.md)."""

MEASURING_BYTES = {1: 1060, WINOGRAD_TILE: 370}
"""The same for an exemplar that is measured, with its histograms."""

BASE_BYTES = 470 * 10**6
"""Bytes that a run takes on a CPU whatever the size: Python, the libraries, the model, what an evaluation keeps."""

IMAGES = 2
"""How many images there are besides the rows of the optimiser's matrix: the one that is evaluated, and its gradient."""

CHANNEL_BYTES = 4 + 12 // MATCHED
"""Bytes for each pixel and channel of the first map that is in memory; one that is matched takes as much for its
gradient, and 8 for sorting."""

ROWS_BYTES = 130 * 10**6
"""Bytes in use of the optimiser's matrix, where it is in a file."""

LARGEST_TILE, SMALLEST_TILE = 2048, 128
"""Pixels on a side of a tile, at most and at least."""

CHANNELS_AT_A_TIME = (16, 8, 4)
"""Channels of the first map that may be looked at together, the fastest first."""

COMFORTABLE_TILE = 768
"""Pixels on a side of a tile, below which the halo costs more time than a file for the optimiser's matrix does."""

COVERAGE_BYTES = 12
"""Bytes for each pixel and painted region: what counts for it, on maps of all sizes, whole and in tiles."""

LAYOUT_BYTES, SOURCE_BYTES = 200, 450
"""Bytes that a start by patches takes for each pixel of the output at the coarsest level, and of the exemplars there:
measured, 142 and 435."""

MEASURED_COPIES, KEPT_COPIES, COPIES = 2, 1.5, (10, 7, 5)
"""How often what a loss spreads over the whole image is in memory, of the exemplars, of the output all the time, and
for a moment, by how many axes wrap round: measured, 1.1, 1.25, and 9.5, 6.2, 4.5. The first two are of each region; so
is one of the last."""


class TooLarge(PyengineError):
    """What does not fit; with `needed`, as many bytes as would have to be allowed for it.

    Examples
    --------
    >>> TooLarge("an image of 3 GB", 3 * 10**9).needed
    3000000000
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True)
class Demand:
    """What a level wants to have in memory, whatever its size.

    Attributes
    ----------
    maps : tuple of str
        The feature maps that an image needs as a whole.
    reaches : dict of str to int
        The feature maps that tiles give out, and how many pixels around a pixel of each the losses look at.
    measured_bytes : int
        Bytes of the targets that were measured on exemplars.
    pixel_bytes : float
        Bytes for each pixel of the output that are kept all the time.
    whole_map_bytes : float
        Bytes for each pixel of the output of the maps that tiles do without only as a whole.
    image_bytes : int
        Bytes for each pixel of an image. Default: those of a picture.
    """

    maps: tuple[str, ...]
    reaches: Mapping[str, int]
    measured_bytes: int
    pixel_bytes: float
    whole_map_bytes: float
    image_bytes: int = IMAGE_BYTES

    @classmethod
    def of(
        cls,
        losses: LossOptions,
        architecture: Architecture,
        exemplar_pixels: int,
        regions: int = 0,
        pictures: int = 0,
        maps: tuple[Map, ...] = PICTURE,
    ) -> Demand:
        """The demand of losses that are measured on so many pixels.

        Parameters
        ----------
        losses : LossOptions
            The losses in use, on the architecture.
        architecture : Architecture
            The network's.
        exemplar_pixels : int
            Pixels of all exemplars together.
        regions : int
            Regions that are painted. Default: 0.
        pictures : int
            Pictures of the output's size that are kept besides: a start, a content, what is left of a picture.
            Default: 0.
        maps : tuple of Map
            What images consist of. Default: a picture.
        """
        kinds = [(kind, layer) for name, kind in KINDS.items() for layer in losses.used(name) if layer in losses.maps]
        reaches: dict[str, int] = {}
        for layer in losses.maps:
            looked_at = [kind.reach for kind, own in kinds if own == layer and not issubclass(kind, ChannelLoss)]
            # The first map is too large to be kept whole; what needs it so computes it again, a few channels at a time.
            if layer != architecture.first or looked_at:
                reaches[layer] = max(looked_at, default=0)
        kept = {
            source: sum(
                map_bytes(architecture, layer) for kind, layer in kinds if kind.keeps_map and kind.source == source
            )
            for source in ("exemplars", "content")
        }
        spread = sum(kind.whole_channels * 4 ** (1 - architecture.pools(layer)) for kind, layer in kinds)
        parts = max(regions, 1) * len(maps)
        image_bytes = 4 * sum(one.count for one in maps)
        return cls(
            losses.maps,
            reaches or {architecture.first: 0},
            exemplar_pixels * math.ceil(kept["exemplars"] * len(maps) + spread * parts * MEASURED_COPIES),
            kept["content"] + spread * parts * KEPT_COPIES + regions * COVERAGE_BYTES + pictures * image_bytes,
            sum(
                map_bytes(architecture, layer)
                for kind, layer in kinds
                if issubclass(kind, ChannelLoss) and layer != architecture.first
            )
            + spread * (COPIES[sum(losses.wrap)] + parts - 1),
            image_bytes,
        )


def level_demand(level: Level, losses: LossOptions, architecture: Architecture, exemplar_pixels: int) -> Demand:
    """The demand of a level whose exemplars have so many pixels; of `level`, only which pictures there are counts."""
    regions = 0 if level.masks is None and level.free is None else len(level.regions)
    pictures = [level.init, level.content, level.picture, level.free]  # the last stands for where the gradient counts
    count = sum(picture is not None for picture in pictures)
    return Demand.of(losses, architecture, exemplar_pixels, regions, count, level.maps)


@dataclass(frozen=True)
class Plan:
    """How an image of some size is evaluated and optimised.

    Attributes
    ----------
    demand : Demand
        What is wanted for it.
    side : int, optional
        Pixels on a side of a tile. Default: None, the image is evaluated whole.
    channels : int
        How many channels of the network's first map are looked at together, where there are tiles. Default: 16.
    spill : bool
        Whether the optimiser's matrix is in a file rather than in memory. Default: False.
    needed : int
        Bytes that it takes. Default: 0, not known.
    """

    demand: Demand
    side: int | None = None
    channels: int = CHANNELS_AT_A_TIME[0]
    spill: bool = False
    needed: int = 0

    def __str__(self) -> str:
        image = "the image whole" if self.side is None else f"tiles of {self.side} pixels"
        return f"{image}, the optimiser's state {'in a file' if self.spill else 'in memory'}"


@dataclass(frozen=True)
class Budget:
    """The memory that runs may take, for one network on one device.

    Attributes
    ----------
    limit : float
        Bytes that a run may take.
    architecture : Architecture
        The network's.
    alignment : callable
        Says of an image of a (height, width) how its tiles must lie, see `ModelSessions.alignment`.
    on_cpu : bool
        Whether Python is in the same memory, and the optimiser's matrix may go to a file. Default: True.
    """

    limit: float
    architecture: Architecture
    alignment: Callable[[tuple[int, int]], int]
    on_cpu: bool = True

    def plans(self, recipe: Recipe, losses: LossOptions) -> list[Plan]:
        """How each level of a synthesis fits, coarsest first.

        Parameters
        ----------
        recipe : Recipe
            What is to be made.
        losses : LossOptions
            The recipe's, on the architecture.

        Raises
        ------
        PyengineError
            A level does not fit, an exemplar can't be measured, or patches can't be laid out. The message names what
            needs most: with as much memory, all fits.
        """
        refusals: list[TooLarge] = []
        plans: list[Plan] = []

        def attempt(step: Callable[[], Plan | int]) -> None:
            try:
                plan = step()
            except TooLarge as refusal:
                refusals.append(refusal)
            else:
                plans.extend([plan] if isinstance(plan, Plan) else [])

        attempt(lambda: self.check_exemplars(recipe.level, losses))
        if recipe.start == "patches":
            attempt(lambda: self._check_layout(recipe))
        for k, (width, height) in enumerate(recipe.sizes):
            pixels = sum(w * h for w, h in recipe.exemplar_sizes(k))
            demand = level_demand(recipe.level, losses, self.architecture, pixels)
            attempt(partial(self.plan, (height, width), demand, losses))
        if refusals:
            raise max(refusals, key=lambda refusal: refusal.needed)
        return plans

    def needed(self, recipe: Recipe, losses: LossOptions) -> int:
        """Bytes that a synthesis takes; the arguments and errors are those of `plans`."""
        planned = [plan.needed for plan in self.plans(recipe, losses)]
        layout = self._check_layout(recipe) if recipe.start == "patches" else 0
        return max(*planned, layout, self.check_exemplars(recipe.level, losses))

    def plan(self, size: tuple[int, int], demand: Demand, losses: LossOptions) -> Plan:
        """The fastest way to evaluate and optimise an image in no more than the limit.

        Parameters
        ----------
        size : (height, width)
            The image's size in pixels.
        demand : Demand
            What is wanted in memory besides.
        losses : LossOptions
            The losses in use, on the architecture; what can't be done in tiles is refused.

        Raises
        ------
        PyengineError
            The image does not fit even in tiles, or has to be made in tiles and can't be.

        Examples
        --------
        >>> from pyengine.network.modelfile import load
        >>> budget = Budget(3e9, load("vgg16").architecture, alignment=lambda size: 4)
        >>> losses = LossOptions().on(budget.architecture)
        >>> demand = Demand.of(losses, budget.architecture, exemplar_pixels=0)
        >>> for side in (512, 2048, 4096):
        ...     print(budget.plan((side, side), demand, losses))
        the image whole, the optimiser's state in memory
        tiles of 1120 pixels, the optimiser's state in a file
        tiles of 832 pixels, the optimiser's state in a file
        """
        pixels = size[0] * size[1]
        matrix = pixels * demand.image_bytes * STATE
        whole = math.ceil(self._kept_bytes(pixels, demand) + matrix + pixels * self.evaluation_bytes(size, demand.maps))
        if whole <= self.limit:
            return Plan(demand, needed=whole)
        if losses.weights == "thresholds":
            raise TooLarge(
                f"weights='thresholds' need the whole image in memory, {whole / 1e9:.1f} GB ({whole} bytes): "
                "give 'auto', or more memory_limit",
                whole,
            )
        wrap = losses.wrap
        try:  # making the tiles refuses a size that can't be cut, before the work begins
            Tiling(size, SMALLEST_TILE, self.architecture, demand.reaches, wrap=wrap, alignment=self.alignment(size))
        except PyengineError as error:
            raise TooLarge(f"{error}, or give memory_limit={whole}", whole) from None
        return self._tiled(size, demand, whole)

    def _kept_bytes(self, pixels: int, demand: Demand) -> float:
        """Bytes in memory all the time, but for the optimiser's matrix."""
        base = BASE_BYTES if self.on_cpu else 0
        return base + demand.measured_bytes + pixels * (demand.pixel_bytes + demand.image_bytes * IMAGES)

    def _tiled(self, size: tuple[int, int], demand: Demand, whole: int) -> Plan:
        """The fastest plan in tiles, for an image that would need so many bytes as a whole."""
        pixels = size[0] * size[1]
        always = self._kept_bytes(pixels, demand)
        matrix = pixels * demand.image_bytes * STATE
        each = self.evaluation_bytes(size, demand.reaches)
        unit, halo = margins(self.architecture, demand.reaches, self.alignment(size))
        ways = ((False, COMFORTABLE_TILE), (True, SMALLEST_TILE)) if self.on_cpu else ((False, SMALLEST_TILE),)
        for spill, least in ways:
            kept = always + (ROWS_BYTES if spill else matrix)
            for channels in CHANNELS_AT_A_TIME:
                matching = pixels * channels * CHANNEL_BYTES
                if matching > (self.limit - kept) / 8 and channels != CHANNELS_AT_A_TIME[-1]:
                    continue  # the rest is better spent on tiles
                needed = kept + max(matching, pixels * demand.whole_map_bytes)
                room = max(self.limit - needed, 0) / each
                side = min(int(room**0.5) - 2 * halo, LARGEST_TILE) // unit * unit
                if pixels <= room:  # one tile, without a halo
                    side = -(-max(size) // unit) * unit
                if side >= least:
                    tile = min((side + 2 * halo) ** 2, pixels)
                    return Plan(demand, side, channels, spill, math.ceil(needed + tile * each))
        needed = min(
            whole, math.ceil(needed + (SMALLEST_TILE + 2 * halo) ** 2 * each)
        )  # a small image is a tile's part
        raise TooLarge(
            f"size {size[1]}x{size[0]} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes) even in tiles, and "
            f"{self.limit / 1e9:.1f} GB ({self.limit:.0f} bytes) may be used: "
            "make it smaller, or give more memory_limit",
            needed,
        )

    def evaluation_bytes(self, size: tuple[int, int], maps: Collection[str]) -> float:
        """Bytes of an evaluation with its gradient, for each pixel of the image."""
        alignment = self.alignment(size)
        own = network_bytes(self.architecture, maps, winograd=alignment > 1, gradient=True)
        return own + TEMPORARY_BYTES[alignment]

    def check_exemplars(self, level: Level, losses: LossOptions) -> int:
        """Bytes that measuring the exemplars takes; PyengineError for one that can't be: none is in tiles."""
        own = network_bytes(self.architecture, losses.style_maps, winograd=False, gradient=False)
        sizes = sorted((exemplar.size[::-1] for exemplar in level.exemplars), key=math.prod, reverse=True)
        return max(
            self._check_whole("exemplar of", size, own + MEASURING_BYTES[self.alignment(size)]) for size in sizes
        )

    def check_whole(self, size: tuple[int, int], maps: Collection[str]) -> None:
        """Raise PyengineError for an image of a (height, width) that can't be evaluated whole."""
        self._check_whole("an image", size, self.evaluation_bytes(size, maps))

    def _check_layout(self, recipe: Recipe) -> int:
        (width, height), own = recipe.sizes[0], sum(w * h for w, h in recipe.exemplar_sizes(0))
        base = BASE_BYTES if self.on_cpu else 0
        needed = base + width * height * LAYOUT_BYTES + own * SOURCE_BYTES
        if needed > self.limit:
            raise TooLarge(
                f"start='patches' at {width}x{height} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes), and "
                f"{self.limit / 1e9:.1f} GB ({self.limit:.0f} bytes) may be used: "
                "give more levels, more memory_limit, or start='noise'",
                needed,
            )
        return needed

    def _check_whole(self, what: str, size: tuple[int, int], each: float) -> int:
        height, width = size
        base = BASE_BYTES if self.on_cpu else 0
        needed = math.ceil(base + height * width * each)
        if needed > self.limit:
            side = int((max(self.limit - base, 0) / each) ** 0.5)
            remedy = f"at most {side} pixels on a side fit, or " if side >= LEAST_SIDE else ""
            raise TooLarge(
                f"{what} {width}x{height} pixels needs about {needed / 1e9:.1f} GB ({needed} bytes), and "
                f"{self.limit / 1e9:.1f} GB ({self.limit:.0f} bytes) may be used: {remedy}give more memory_limit",
                needed,
            )
        return needed


def check_spilling(sizes: Sequence[tuple[int, int]], plans: Sequence[Plan]) -> None:
    """Raise PyengineError where the optimiser's matrix of a level goes to a file that the disk has no room for.

    Parameters
    ----------
    sizes : sequence of (width, height)
        The levels' sizes.
    plans : sequence of Plan
        The levels' plans.
    """
    spilled = [w * h * plan.demand.image_bytes for (w, h), plan in zip(sizes, plans, strict=True) if plan.spill]
    if spilled:
        check_room(max(spilled) * STATE)
