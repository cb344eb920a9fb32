"""Small feature maps, and losses on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
from conftest import KERNELS, coverage
from layouts import correlation_target

from pyengine.kernels import Coverage
from pyengine.losses import KINDS
from pyengine.losses.base import Region, Sample
from pyengine.losses.structure import SHIFTS
from pyengine.wrap import BOTH, Wrap

LAYER = "relu3_1"


def feature_map(seed: int, height: int = 7, width: int = 9) -> np.ndarray:
    """Five channels behind a ReLU: many zeros, and neighbours that go together."""
    noise = np.random.default_rng(seed).normal(size=(5, height, width))
    return np.maximum(noise + np.roll(noise, 1, 2) + 0.2, 0).astype(np.float32)


def soft(seed: int, pixels: int) -> Coverage:
    """A third of them 0."""
    random = np.random.default_rng(seed)
    return coverage(random.random(pixels) * (random.random(pixels) < 0.67))


def plain(given: Coverage | None) -> np.ndarray | None:
    """As the reference takes it."""
    return None if given is None else given.values


def evaluate(loss: Any, features: np.ndarray, **options: Any) -> float:
    value = np.full((), np.nan)  # to be overwritten
    loss.evaluate(features, KERNELS, value, **options)
    return float(value)


@dataclass
class Setting:
    samples: list[Sample]
    region: Region


SETTINGS = {
    "whole": Setting([Sample(feature_map(1))], Region()),
    "region": Setting([Sample(feature_map(1), soft(2, 63))], Region("2", 0.25, {LAYER: soft(3, 63)})),
    "region of the output": Setting([Sample(feature_map(1))], Region("2", 0.25, {LAYER: soft(3, 63)})),
    "masked exemplar": Setting([Sample(feature_map(1), soft(2, 63))], Region()),
    "pooled": Setting([Sample(feature_map(1)), Sample(feature_map(4, 6, 11))], Region()),
    "pooled by factors and masks": Setting(
        [Sample(feature_map(1), soft(2, 63), 3.0), Sample(feature_map(4, 6, 11), None, 0.25)],
        Region("b", 0.5, {LAYER: soft(3, 63)}),
    ),
}


def make(kind: str, samples: list[Sample], region: Region, wrap: Wrap = BOTH) -> Any:
    if kind == "content":
        samples = [Sample(feature_map(1))]
    return KINDS[kind].measure(LAYER, samples, KERNELS, region, wrap=wrap)


def union(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """All samples as one map (C, N) with one weight a pixel."""
    maps = [reference.flat(sample.features) for sample in samples]
    counts = [s.factor * reference.weights(plain(s.coverage), m.shape[1]) for s, m in zip(samples, maps, strict=True)]
    return np.hstack(maps), np.concatenate(counts)


def structure_targets(samples: list[Sample], shifts=SHIFTS) -> dict[tuple[int, int], np.ndarray]:
    """Of all pairs inside any of the samples; each counts as much as its sample."""
    targets = {}
    for shift in shifts:
        if any(2 * shift[axis] >= s.features.shape[1 + axis] for s in samples for axis in (0, 1)):
            continue
        sums = np.zeros((5, 5)), 0.0
        for sample in samples:
            pairs = sample.factor * reference.pair_weights(
                *sample.features.shape[1:], shift, plain(sample.coverage), (False, False)
            )
            total = (
                reference.translated_gram(sample.features, shift, plain(sample.coverage), (False, False)) * pairs.sum()
            )
            sums = sums[0] + total, sums[1] + pairs.sum()
        targets[shift] = sums[0] / sums[1]
    return targets


def target_of(loss: Any, samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """What a correlation loss is to find: its target, along its axes, and how much each lag counts."""
    maps, factors = [s.features.astype(np.float64) for s in samples], tuple(s.factor for s in samples)
    covers = [reference.weights(plain(s.coverage), s.features[0].size) for s in samples]
    return correlation_target(loss.axes, loss.origin, maps, covers, factors)
