"""Measuring what an output is made from: the losses of a level, with their targets and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from pyengine.arrays import Float32
from pyengine.evaluation import Evaluator
from pyengine.evaluation.tiled import TiledEvaluator
from pyengine.evaluation.views import ViewsEvaluator
from pyengine.evaluation.whole import WholeEvaluator
from pyengine.level import Level
from pyengine.losses import KINDS, GramLoss
from pyengine.losses.base import EVERYWHERE, IMAGE, Loss, Region, Sample
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import term_factors, term_weights
from pyengine.maps import View, views_of
from pyengine.memory import Plan
from pyengine.network.architecture import Architecture
from pyengine.network.graphs import Padding
from pyengine.network.pool import NetworkPool
from pyengine.objective import Lease, Objective
from pyengine.stopwatch import Watches

JOINT = 2
"""How many of the layers of Gram losses, from the first on, maps are held together on."""

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
    exemplar_padding : {"wrap", "zeros", "reflect"}
        What the network sees beyond the exemplars' borders.
    """
    kernels, architecture = pool.kernels, pool.architecture
    views, used = [], []
    for view in views_of(level.maps):
        if kinds := _used(view, options, architecture):
            views.append(view)
            used.append(kinds)
    regions = level.loss_regions(options.style_maps, architecture, kernels)
    measured = [
        [*_measure_exemplars(level, view, kinds, regions, options, pool, exemplar_padding)]
        for view, kinds in zip(views, used, strict=True)
    ]
    measured[0] += _measure_content(level, options, pool, plan_of)
    for losses in measured:
        losses.sort(key=lambda loss: list(KINDS).index(loss.kind))
    losses = [loss for own in measured for loss in own]
    pool.release()  # gives back what the level before needed, and the measuring
    return Objective(
        _lease(options, pool, plan_of, [*zip(views, map(len, measured), strict=True)]),
        losses,
        term_weights(losses, options, architecture),
        term_factors(losses, options),
        kernels,
        level.size if level.fixes_size else None,
        level.channels,
    )


def _used(view: View, options: LossOptions, architecture: Architecture) -> list[tuple[type[Loss], str]]:
    """The kinds of losses and the layers that a view is measured by."""
    kinds = [kind for kind in KINDS.values() if kind.source == "exemplars"]
    used = [(kind, layer) for kind in kinds for layer in options.used(kind.kind)]
    shallow = architecture.blocks[:JOINT]
    return [(k, layer) for k, layer in used if k is GramLoss and layer in shallow] if view.joint else used


def _measure_exemplars(
    level: Level,
    view: View,
    used: Sequence[tuple[type[Loss], str]],
    regions: Sequence[Region],
    options: LossOptions,
    pool: NetworkPool,
    padding: Padding,
) -> Iterator[Loss]:
    """The losses of a view whose targets are the exemplars'."""
    kernels = pool.kernels
    maps = tuple(dict.fromkeys(layer for _, layer in used if layer != IMAGE))
    pictures: list[Maps] = []  # the arrays outlive their networks
    for exemplar in level.exemplars:
        image = kernels.upload(np.ascontiguousarray(view.of(exemplar.image)))
        size = exemplar.image.shape[0], exemplar.image.shape[1]
        with pool.whole(size, maps, padding=padding, pooling=options.pooling) as network:
            network.forward(image)
            pictures.append({**network.features, IMAGE: image})

    def samples(layer: str, region: int) -> list[Sample]:
        halvings = pool.architecture.pools(layer)
        return [
            exemplar.sample(region, maps[layer], halvings, kernels)
            for exemplar, maps in zip(level.exemplars, pictures, strict=True)
        ]

    for kind, layer in used:
        if kind.by_region:
            parts = [(_seen_in(region, view), samples(layer, k)) for k, region in enumerate(regions)]
        else:
            whole = [Sample(m[layer], None, e.factor) for e, m in zip(level.exemplars, pictures, strict=True)]
            parts = [(_seen_in(EVERYWHERE, view), whole)]
        yield from _losses_of(kind, layer, parts, pool, wrap=level.wrap)


def _seen_in(region: Region, view: View) -> Region:
    """A region under a name that says of what view it is."""
    return region if view.whole else replace(region, name="/".join(filter(None, (region.name, view.name))))


def _losses_of(
    kind: type[Loss], layer: str, parts: Sequence[tuple[Region, list[Sample]]], pool: NetworkPool, *, wrap: bool
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
        with pool.whole(size, maps, padding=options.padding, pooling=options.pooling) as network:
            network.forward(content)
            shown = network.features
    else:
        with pool.tiled(
            size,
            plan.side,
            dict.fromkeys(maps, 0),
            padding=options.padding,
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
    options: LossOptions,
    pool: NetworkPool,
    plan_of: Callable[[tuple[int, int]], Plan],
    views: Sequence[tuple[View, int]],
) -> Lease:
    """Lend evaluators of views, each of which has so many of the losses."""

    @contextmanager
    def network(
        size: tuple[int, int], plan: Plan, maps: tuple[str, ...], watches: Watches
    ) -> Iterator[Callable[[Sequence[Loss]], Evaluator]]:
        """A network, with which any losses on its maps can be evaluated."""
        if plan.side is None:
            with pool.whole(size, maps, padding=options.padding, pooling=options.pooling, gradient=True) as whole:
                yield lambda losses: WholeEvaluator(whole, losses, pool.kernels, watches)
        else:
            reaches = {layer: reach for layer, reach in plan.demand.reaches.items() if layer in maps}
            with pool.tiled(
                size,
                plan.side,
                reaches,
                padding=options.padding,
                pooling=options.pooling,
                channels=plan.channels,
            ) as tiled:
                yield lambda losses: TiledEvaluator(tiled, losses, pool.kernels, watches)

    @contextmanager
    def lease(size: tuple[int, int], losses: Sequence[Loss], watches: Watches) -> Iterator[Evaluator]:
        plan = plan_of(size)
        networks: dict[tuple[str, ...], Callable[[Sequence[Loss]], Evaluator]] = {}
        parts, begin = [], 0
        with ExitStack() as stack:
            for view, count in views:
                where = slice(begin, begin + count)
                begin += count
                shallow = tuple(dict.fromkeys(loss.layer for loss in losses[where]))
                maps = shallow if view.joint else plan.demand.maps
                if maps not in networks:
                    networks[maps] = stack.enter_context(network(size, plan, maps, watches))
                parts.append((view, networks[maps](losses[where]), where))
            one = len(parts) == 1 and parts[0][0].whole
            yield parts[0][1] if one else ViewsEvaluator(parts, pool.kernels)

    return lease
