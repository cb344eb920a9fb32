"""Images with regions, holes and contents: what an engine is given, and what that means in the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference
from conftest import KERNELS, VGG16, ZEROS, border_options

from pyengine.kernels import Coverage
from pyengine.network.graphs import WRAPPED, Padding
from pyengine.recipe import Recipe

HOLES = {
    "hole": WRAPPED,
    "hole under zeros": ZEROS,
    "hole that wraps in x": Padding("reflect", "wrap"),
    "hole that wraps in y": Padding("wrap", "reflect"),
}
TRANSLATIONS = [(dy * step, dx * step) for step in (1, 2, 4, 8) for dy, dx in ((0, 1), (1, 0))]


@dataclass
class Example:
    """An image and what `Engine.objective` is given; and what that means, one weight a pixel."""

    image: np.ndarray
    options: dict[str, Any]
    regions: tuple[str, ...] = ("",)
    masks: np.ndarray | None = None  # (R, H, W)
    made: np.ndarray | None = None  # (H, W)
    factors: tuple[float, ...] = (1, 1)  # of the exemplars' pixels
    padding: Padding = WRAPPED
    content: np.ndarray | None = None
    everything: dict[str, Any] = field(init=False)

    @property
    def pooling(self) -> str:
        return "average" if self.content is None else "max"

    def __post_init__(self):
        self.image = np.ascontiguousarray(self.image)
        kinds = [
            "gram",
            "histogram",
            "correlation",
            "structure",
            "variation",
            *(["content"] if self.content is not None else []),
        ]
        self.everything = {
            "structure": True,
            **border_options(self.padding),
            "weights": dict.fromkeys(kinds, 1.0),
            **({} if self.content is None else {"content": self.content}),
            **self.options,
        }


def diagonal(height: int, width: int) -> np.ndarray:
    """An index image of the regions 1, in two parts, and 3, which numbers leave room between."""
    y, x = np.mgrid[:height, :width]
    return np.where((x + 2 * y) % (width + height) < 0.4 * (width + height), 3, 1).astype(np.uint8)


def woven(image: np.ndarray) -> np.ndarray:
    """A picture with a lattice over it, of 8 pixels, or 4 of relu2_1: what correlations are about."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return image * np.where((y // 4 + x // 4) % 2, 1, 0.3).astype(np.float32)[:, :, None]


def ramps(height: int, width: int) -> list[np.ndarray]:
    """Two soft masks that overlap, and of which each is 0 in some part."""
    ramp = np.broadcast_to(np.linspace(-0.5, 1.5, width, dtype=np.float32), (height, width)).clip(0, 1)
    return [ramp.copy(), (1 - ramp) * np.linspace(1, 0.2, height, dtype=np.float32)[:, None]]


def plain(coverage: Coverage | None) -> np.ndarray | None:
    """As the reference takes it."""
    if coverage is None:
        return None
    assert coverage.total == pytest.approx(coverage.values.sum(dtype=np.float64))
    return coverage.values


def split(indices: np.ndarray, *numbers: int) -> np.ndarray:
    return np.stack([(indices == number).astype(np.float32) for number in numbers])


def holed(height: int, width: int) -> np.ndarray:
    """A hole across the border and one inside."""
    hole = np.zeros((height, width), bool)
    hole[10:27, width - 9 :] = hole[30:35, 12:33] = True
    return hole


def example(kind: str, natural: np.ndarray, other: np.ndarray) -> Example:
    natural, other = woven(natural), woven(other)
    if kind == "index images":
        layout = diagonal(64, 64)
        options = {"exemplar": other, "exemplar_regions": layout.T.copy(), "output_regions": layout}
        masks, content = split(layout, 1, 3), natural[32:, 32:]
        return Example(natural[16:80, 16:80], options, ("1", "3"), masks, padding=ZEROS, content=content)
    if kind == "soft masks and alpha":
        alpha = np.ones((64, 40), np.float32)
        alpha[20:45, 5:20] = 0
        exemplar = np.dstack([other[:, :40], alpha])
        layout = ramps(47, 61)
        options = {"exemplar": exemplar, "exemplar_regions": ramps(64, 40)[::-1], "output_regions": layout}
        return Example(natural[:47, :61], options, ("1", "2"), np.stack(layout), content=natural[40:87, 30:91])
    if kind in HOLES:
        hole, padding = holed(47, 61), HOLES[kind]
        options = {"exemplar": natural[:47, :61], "fill": hole}
        return Example(natural[40:87, 30:91], options, made=hole, padding=padding)
    if kind == "hole and regions":
        hole, own, layout = holed(64, 64), diagonal(64, 64).T.copy(), diagonal(64, 64)[::-1].copy()
        options = {"exemplar": other, "init": natural[:64, :64], "keep": ~hole}
        options |= {"exemplar_regions": own, "output_regions": layout}
        return Example(natural[30:94, 30:94], options, ("1", "3"), split(layout, 1, 3), hole)
    if kind == "exemplars":
        options = {"exemplars": [other, natural[:40, :57]], "exemplar_weights": [3, 1]}
        factors = (3 / 64**2, 1 / (40 * 57))  # each counts as much as its weight says, however many pixels it has
        return Example(natural[40:87, 30:91], options, factors=factors)
    assert kind == "exemplars as regions"
    layout = np.minimum(diagonal(47, 61), 2)
    options = {"exemplars": [other[:48], natural[:40, :57]], "output_regions": layout}
    return Example(natural[40:87, 30:91], options, ("1", "2"), split(layout, 1, 2), padding=ZEROS)


LAYOUTS = [
    "index images",
    "soft masks and alpha",
    *HOLES,
    "hole and regions",
    "exemplars",
    "exemplars as regions",
]


def on(layer: str, mask: np.ndarray) -> np.ndarray:
    """A mask as the pools before a layer would halve it, (N,)."""
    for _ in range(VGG16.pools(layer)):
        mask = reference.pool(mask[None].astype(np.float64), "average")[0]
    return mask.ravel()


def expected_terms(network, e: Example, objective) -> dict[str, tuple[str, float, float, np.ndarray]]:
    """Layer, share of the output, loss and its gradient with respect to the layer's map, of each term."""
    # What counts of an exemplar, and of the output, tests of its own say.
    exemplars = Recipe.create(**e.everything).level.exemplars
    losses = {loss.name: loss for loss in objective.losses}
    near = {loss.name: plain(loss.region.coverage.get(loss.layer)) for loss in objective.losses}
    maps = reference.forward(network, e.image, e.padding, e.pooling, upto="relu4_1")
    exemplar_maps = [reference.forward(network, x.image, e.padding, e.pooling, upto="relu4_1") for x in exemplars]
    everywhere = np.ones(e.image.shape[:2])
    made = everywhere if e.made is None else e.made
    terms = {}
    for kind, layers in (
        ("histogram", ("relu1_1", "relu4_1")),
        ("gram", ("relu1_1", "relu2_1", "relu3_1", "relu4_1")),
        ("correlation", ("relu2_1",)),
        ("structure", ("relu3_1",)),
    ):
        for layer in layers:
            F = maps[layer]
            S = np.hstack([reference.flat(m[layer]) for m in exemplar_maps])
            for k, region in enumerate(e.regions):
                name = "/".join(filter(None, (kind, layer, region)))
                mask = everywhere if e.masks is None else e.masks[k]
                w = on(layer, everywhere) if near[name] is None else near[name]
                ws = []
                for x, m in zip(exemplars, exemplar_maps, strict=True):
                    pixels = m[layer][0].size
                    ws.append(
                        reference.weights(plain(x.sample(k, m[layer], VGG16.pools(layer), KERNELS).coverage), pixels)
                    )
                w_s = np.concatenate([factor * w for factor, w in zip(e.factors, ws, strict=False)])
                if kind == "gram":
                    value, gradient = reference.gram_loss(reference.flat(F), reference.gram(S, w_s), w)
                elif kind == "histogram":
                    value, gradient = reference.histogram_loss(reference.flat(F), S, w, w_s)
                elif kind == "correlation":
                    axes, origin = losses[name].axes, losses[name].origin
                    target, counts = correlation_target(axes, origin, [m[layer] for m in exemplar_maps], ws, e.factors)
                    assert counts.any()
                    value, gradient = reference.correlation_loss(F, axes, origin, target, counts, w, e.padding.wrap)
                else:
                    targets = structure_targets([m[layer] for m in exemplar_maps], ws, e.factors)
                    value, gradient = reference.structure_loss(F, targets, w, e.padding.wrap)
                terms[name] = layer, (mask * made).mean(), value, gradient.reshape(F.shape)
    if e.content is not None:
        target = reference.forward(network, e.content, e.padding, e.pooling, upto="relu4_1")["relu4_1"]
        value, gradient = reference.content_loss(reference.flat(maps["relu4_1"]), reference.flat(target))
        terms["content/relu4_1"] = "relu4_1", 1.0, value, gradient.reshape(target.shape)
    terms["variation"] = "", 1.0, *reference.variation(e.image, e.padding.wrap)
    return terms


def correlation_target(
    axes: np.ndarray,
    origin: np.ndarray,
    maps: list[np.ndarray],
    weights: list[np.ndarray],
    factors: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Autocorrelations over the pairs inside the exemplars, all together, up to half of any side; how lags count.

    An exemplar of which nothing counts is none.
    """
    used = [item for item in zip(maps, weights, factors, strict=False) if item[1].any()]
    sides = min(F.shape[1] for F, *_ in used), min(F.shape[2] for F, *_ in used)
    total, mass = np.zeros(()), np.zeros(())
    for F, w, factor in used:
        u = np.tensordot(axes, F, 1) - origin
        sums, pairs = reference.sums_of_pairs(u, (sides[0] // 2, sides[1] // 2), w, (False, False))
        total, mass = total + factor * sums, mass + factor * pairs
    target, _ = reference.autocorrelation(total, mass)
    return target, reference.lag_weights(target, sides)


def structure_targets(
    maps: list[np.ndarray], weights: list[np.ndarray], factors: tuple[float, ...]
) -> dict[tuple[int, int], np.ndarray]:
    """Of the pairs inside the exemplars, all together, by translations of less than half of any side."""
    targets = {}
    for shift in TRANSLATIONS:
        if any(2 * shift[axis] >= F.shape[1 + axis] for F in maps for axis in (0, 1)):
            continue
        total, mass = np.zeros((len(maps[0]),) * 2), 0.0
        for F, w, factor in zip(maps, weights, factors, strict=False):
            pairs = factor * reference.pair_weights(*F.shape[1:], shift, w, (False, False)).sum()
            total, mass = total + pairs * reference.translated_gram(F, shift, w, (False, False)), mass + pairs
        if mass:
            targets[shift] = total / mass
    return targets
