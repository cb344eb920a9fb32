"""Measuring what an output is made from: the losses of a level, with their targets and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import numpy as np

from pyengine.arrays import Float32
from pyengine.evaluation import Evaluator
from pyengine.evaluation.maps import MapsEvaluator
from pyengine.evaluation.tiled import TiledEvaluator
from pyengine.evaluation.whole import WholeEvaluator
from pyengine.level import Level
from pyengine.losses import KINDS
from pyengine.losses.base import EVERYWHERE, IMAGE, Loss, Region, Sample
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import term_factors, term_weights
from pyengine.maps import PICTURE, Map
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
    kernels, architecture = pool.kernels, pool.architecture
    regions = level.loss_regions((*options.style_maps, IMAGE), architecture, kernels)
    by_map = [[*_measure_exemplars(level, one, regions, options, pool, exemplar_padding)] for one in level.maps]
    by_map[0] += _measure_content(level, options, pool, plan_of)
    for own in by_map:
        own.sort(key=lambda loss: list(KINDS).index(loss.kind))
    counts = [*map(len, by_map)]
    losses = [*chain(*by_map), *_measure_joint(level, regions, options, pool)]
    pool.release()  # gives back what the level before needed, and the measuring
    return Objective(
        _lease(level.maps, counts, options, pool, plan_of),
        losses,
        term_weights(losses, options, architecture),
        term_factors(losses, options),
        kernels,
        level.size if level.fixes_size else None,
        level.channels,
    )


def _measure_exemplars(
    level: Level, one: Map, regions: Sequence[Region], options: LossOptions, pool: NetworkPool, padding: Padding
) -> Iterator[Loss]:
    """The losses of a map whose targets are the exemplars'."""
    kernels = pool.kernels
    pictures: list[Maps] = []  # the arrays outlive their networks
    for exemplar in level.exemplars:
        image = kernels.upload(np.ascontiguousarray(one.of(exemplar.image)))
        size = exemplar.image.shape[0], exemplar.image.shape[1]
        with pool.whole(size, options.style_maps, padding=padding, pooling=options.pooling) as network:
            network.forward(image)
            pictures.append({**network.features, IMAGE: image})
    named = [replace(r, name="/".join(filter(None, (r.name, one.name)))) for r in regions]

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
                parts = [(region, samples(layer, k)) for k, region in enumerate(named)]
            else:
                whole = [Sample(m[layer], None, e.factor) for e, m in zip(level.exemplars, pictures, strict=True)]
                parts = [(Region(one.name), whole)]
            yield from _losses_of(kind, layer, parts, pool, wrap=level.wrap)


def _measure_joint(level: Level, regions: Sequence[Region], options: LossOptions, pool: NetworkPool) -> Iterator[Loss]:
    """The losses of all maps together."""
    kernels = pool.kernels
    used = [(kind, layer) for kind in KINDS.values() if kind.source == "maps" for layer in options.used(kind.kind)]
    if not used:
        return
    images = [kernels.upload(np.ascontiguousarray(exemplar.image)) for exemplar in level.exemplars]
    pairs = [*zip(level.exemplars, images, strict=True)]
    parts = [(region, [e.sample(k, image, 0, kernels) for e, image in pairs]) for k, region in enumerate(regions)]
    for kind, layer in used:
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


def _lease(
    maps: Sequence[Map],
    counts: Sequence[int],
    options: LossOptions,
    pool: NetworkPool,
    plan_of: Callable[[tuple[int, int]], Plan],
) -> Lease:
    """Lend evaluators of an image of some maps, of which each has so many losses; the rest is of all together."""
    padding, pooling = options.output_padding, options.pooling

    @contextmanager
    def network(size: tuple[int, int], watches: Watches) -> Iterator[Callable[[Sequence[Loss]], Evaluator]]:
        """A network, on which any losses can be evaluated."""
        plan = plan_of(size)
        if plan.side is None:
            with pool.whole(size, plan.demand.maps, padding=padding, pooling=pooling, gradient=True) as whole:
                yield lambda losses: WholeEvaluator(whole, losses, pool.kernels, watches)
        else:
            with pool.tiled(
                size, plan.side, plan.demand.reaches, padding=padding, pooling=pooling, channels=plan.channels
            ) as tiled:
                yield lambda losses: TiledEvaluator(tiled, losses, pool.kernels, watches)

    @contextmanager
    def lease(size: tuple[int, int], losses: Sequence[Loss], watches: Watches) -> Iterator[Evaluator]:
        with network(size, watches) as evaluator_of:
            if tuple(maps) == PICTURE:
                yield evaluator_of(losses)
            else:
                yield MapsEvaluator(maps, counts, losses, evaluator_of, pool.kernels, watches)

    return lease
