"""Measuring what an output is made from: the losses of a level, with their targets and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pyengine.arrays import Float32
from pyengine.evaluation import Evaluator
from pyengine.evaluation.tiled import TiledEvaluator
from pyengine.evaluation.whole import WholeEvaluator
from pyengine.level import Level
from pyengine.losses import KINDS
from pyengine.losses.base import EVERYWHERE, IMAGE, Loss, Region, Sample
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import term_factors, term_weights
from pyengine.memory import Plan
from pyengine.network.graphs import Padding
from pyengine.network.pool import NetworkPool
from pyengine.objective import Lease, Objective
from pyengine.stopwatch import Watches
from pyengine.wrap import Wrap

Maps = dict[str, Float32]
"""Feature maps by layer, and the image itself by `IMAGE`."""


def measure(
    level: Level,
    options: LossOptions,
    pool: NetworkPool,
    plan_of: Callable[[tuple[int, int]], Plan],
    exemplar_padding: Padding,
) -> Objective:
    """Measure a level's exemplars and content, and make the objective.

    Parameters
    ----------
    level : Level
        What the output is made from.
    options : LossOptions
        The losses in use, on the pool's architecture.
    pool : NetworkPool
        Lends networks; its kernels must be active.
    plan_of : callable
        Says of an image of a (height, width) how it is evaluated.
    exemplar_padding : Padding
        What the network sees beyond the exemplars' borders.
    """
    losses = [
        *_measure_exemplars(level, options, pool, exemplar_padding),
        *_measure_content(level, options, pool, plan_of),
    ]
    losses.sort(key=lambda loss: list(KINDS).index(loss.kind))
    pool.release()  # gives back what the level before needed, and the measuring
    return Objective(
        _lease(options, pool, plan_of),
        losses,
        term_weights(losses, options, pool.architecture),
        term_factors(losses, options),
        pool.kernels,
        level.size if level.fixes_size else None,
    )


def _measure_exemplars(level: Level, options: LossOptions, pool: NetworkPool, padding: Padding) -> Iterator[Loss]:
    """The losses whose targets are the exemplars'."""
    kernels = pool.kernels
    pictures: list[Maps] = []  # the arrays outlive their networks
    for exemplar in level.exemplars:
        image = kernels.upload(exemplar.image)
        size = exemplar.image.shape[0], exemplar.image.shape[1]
        with pool.whole(size, options.style_maps, padding=padding, pooling=options.pooling) as network:
            network.forward(image)
            pictures.append({**network.features, IMAGE: image})
    regions = level.loss_regions(options.style_maps, pool.architecture, kernels)

    def samples(layer: str, region: int) -> list[Sample]:
        halvings = pool.architecture.pools(layer)
        return [
            exemplar.sample(region, maps[layer], halvings, kernels)
            for exemplar, maps in zip(level.exemplars, pictures, strict=True)
        ]

    for kind in KINDS.values():
        if kind.source != "exemplars":
            continue
        for layer in options.used(kind.kind):
            if kind.by_region:
                parts = [(region, samples(layer, k)) for k, region in enumerate(regions)]
            else:
                whole = [Sample(m[layer], None, e.factor) for e, m in zip(level.exemplars, pictures, strict=True)]
                parts = [(EVERYWHERE, whole)]
            yield from _losses_of(kind, layer, parts, pool, wrap=level.wrap)


def _losses_of(
    kind: type[Loss], layer: str, parts: Sequence[tuple[Region, list[Sample]]], pool: NetworkPool, *, wrap: Wrap
) -> Iterator[Loss]:
    """A loss for each region that has pixels on both sides."""
    for region, samples in parts:
        if region.has_pixels(layer) and any(sample.mass > 0 for sample in samples):
            yield kind.measure(layer, samples, pool.kernels, region, wrap=wrap)


def _measure_content(
    level: Level, options: LossOptions, pool: NetworkPool, plan_of: Callable[[tuple[int, int]], Plan]
) -> Iterator[Loss]:
    """The losses whose targets are the content's."""
    maps = options.content_maps
    if level.content is None or not maps:
        return
    content = pool.kernels.upload(level.content)
    size = level.size[::-1]
    plan = plan_of(size)
    if plan.side is None:
        with pool.whole(size, maps, padding=options.output_padding, pooling=options.pooling) as network:
            network.forward(content)
            shown = network.features
    else:
        with pool.tiled(
            size,
            plan.side,
            dict.fromkeys(maps, 0),
            padding=options.output_padding,
            pooling=options.pooling,
            gradient=False,
        ) as tiled:
            shown = tiled.maps(content)
    for kind in KINDS.values():
        if kind.source == "content":
            for layer in options.used(kind.kind):
                parts = [(EVERYWHERE, [Sample(shown[layer])])]
                yield from _losses_of(kind, layer, parts, pool, wrap=level.wrap)


def _lease(options: LossOptions, pool: NetworkPool, plan_of: Callable[[tuple[int, int]], Plan]) -> Lease:
    @contextmanager
    def lease(size: tuple[int, int], losses: Sequence[Loss], watches: Watches) -> Iterator[Evaluator]:
        plan = plan_of(size)
        if plan.side is None:
            with pool.whole(
                size, plan.demand.maps, padding=options.output_padding, pooling=options.pooling, gradient=True
            ) as network:
                yield WholeEvaluator(network, losses, pool.kernels, watches)
        else:
            with pool.tiled(
                size,
                plan.side,
                plan.demand.reaches,
                padding=options.output_padding,
                pooling=options.pooling,
                channels=plan.channels,
            ) as tiled:
                yield TiledEvaluator(tiled, losses, pool.kernels, watches)

    return lease
