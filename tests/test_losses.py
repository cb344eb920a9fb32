"""Each loss alone, on small maps, against the float64 reference."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import reference
from conftest import KERNELS, WRAPS, coverage, relative_error
from maps import (
    LAYER,
    SETTINGS,
    evaluate,
    feature_map,
    make,
    plain,
    soft,
    structure_targets,
    target_of,
    union,
)

from pyengine.losses.base import Region, Sample
from pyengine.losses.content import ContentLoss
from pyengine.wrap import BOTH, Wrap

SETUPS = [("gram", BOTH), ("histogram", BOTH), *product(["correlation", "structure"], WRAPS), ("content", BOTH)]
OF_EXEMPLARS = ["gram", "histogram", "correlation", "structure"]


def expected(
    loss: Any, kind: str, features: np.ndarray, samples: list[Sample], wrap: Wrap = BOTH
) -> tuple[float, np.ndarray]:
    region = loss.region
    w = plain(region.coverage.get(LAYER))
    flat = reference.flat(features)
    if kind == "gram":
        value, gradient = reference.gram_loss(flat, reference.gram(*union(samples)), w)
    elif kind == "histogram":
        S, w_s = union(samples)
        value, gradient = reference.histogram_loss(flat, S, w, w_s)
    elif kind == "content":
        value, gradient = reference.content_loss(flat, reference.flat(feature_map(1)), w)
    elif kind == "structure":
        value, gradient = reference.structure_loss(features, structure_targets(samples), w, wrap)
    else:
        target, counts = target_of(loss, samples)
        assert counts.any()
        value, gradient = reference.correlation_loss(features, loss.axes, loss.origin, target, counts, w, wrap)
    return value, gradient.reshape(features.shape)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("kind", "wrap"), SETUPS)
def test_value_and_gradient(kind, wrap, setting):
    samples, region = SETTINGS[setting].samples, SETTINGS[setting].region
    features = feature_map(0)
    loss = make(kind, samples, region, wrap)
    value, gradient = expected(loss, kind, features, samples, wrap)
    assert evaluate(loss, features) == pytest.approx(value, rel=1e-5)
    found = np.full_like(features, np.nan)  # to be overwritten
    assert evaluate(loss, features, weight=3.0, gradient=found) == pytest.approx(value, rel=1e-5)
    assert relative_error(found, 3 * gradient) < 1e-5
    before = feature_map(9)
    found = before.copy()
    evaluate(loss, features, weight=100.0, gradient=found, accumulate=True)
    assert relative_error(found - before, 100 * gradient) < 1e-5


@pytest.mark.parametrize("kind", [*OF_EXEMPLARS, "content"])
def test_names(kind):
    samples = [Sample(feature_map(1))]
    name = f"{kind}/{LAYER}"
    assert make(kind, samples, Region()).name == name
    assert make(kind, samples, Region("#ff0000")).name == f"{name}/#ff0000"
    assert make(kind, samples, Region("2")).layer == LAYER


@pytest.mark.parametrize("setting", SETTINGS)
def test_magnitudes_are_mean_squares_of_what_is_measured(setting):
    samples, region = SETTINGS[setting].samples, SETTINGS[setting].region
    S, w_s = union(samples)
    targets = structure_targets(samples)
    magnitudes = {
        "gram": (reference.gram(S, w_s) ** 2).mean(),
        "histogram": (w_s * S**2).sum() / (len(S) * w_s.sum()),
        "structure": np.mean([(target**2).mean() for target in targets.values()]),
        "content": (feature_map(1).astype(np.float64) ** 2).mean(),
    }
    correlation = make("correlation", samples, region)
    target, _ = target_of(correlation, samples)
    magnitudes["correlation"] = (target[:, target.shape[1] // 2, target.shape[2] // 2] ** 2).mean()
    for kind, magnitude in magnitudes.items():
        assert make(kind, samples, region).magnitude == pytest.approx(magnitude, rel=1e-5), kind


@pytest.mark.parametrize("kind", OF_EXEMPLARS)
def test_only_the_proportions_of_factors_count(kind):
    one, two = feature_map(1), feature_map(4, 6, 11)
    features = feature_map(0)
    values = [
        evaluate(make(kind, [Sample(one, None, 2 * scale), Sample(two, None, scale)], Region()), features)
        for scale in (1, 1e-4, 1e4)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("kind", OF_EXEMPLARS)
@pytest.mark.parametrize("empty", [Sample(feature_map(4), None, 0.0), Sample(feature_map(4), coverage(np.zeros(63)))])
def test_a_sample_that_counts_nothing_changes_nothing(kind, empty):
    features = feature_map(0)
    alone = make(kind, [Sample(feature_map(1))], Region())
    both = make(kind, [empty, Sample(feature_map(1))], Region())
    assert evaluate(both, features) == pytest.approx(evaluate(alone, features), rel=1e-6)
    assert both.magnitude == pytest.approx(alone.magnitude, rel=1e-6)
    assert empty.mass == 0


@pytest.mark.parametrize(("kind", "wrap"), SETUPS)
def test_what_lies_outside_a_region_changes_nothing(kind, wrap):
    """Neither of the exemplar nor of the output."""
    w, w_s = soft(3, 63).values, soft(2, 63).values
    w[:9] = w_s[:9] = 0
    features, changed = feature_map(0), feature_map(0)
    target, changed_target = feature_map(1), feature_map(1)
    changed[:, 0] = 77
    changed_target[:, 0] = 99
    region = Region("1", 0.5, {LAYER: coverage(w)})
    values = []
    for output, exemplar in ((features, target), (changed, target), (features, changed_target)):
        gradient = np.full_like(features, np.nan)
        values.append(evaluate(make(kind, [Sample(exemplar, coverage(w_s))], region, wrap), output, gradient=gradient))
        assert not gradient[:, 0].any()
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


@pytest.mark.parametrize(("kind", "wrap"), SETUPS)
def test_only_the_proportions_of_a_coverage_count(kind, wrap):
    """Of the exemplar's and of the output's: a mask that is grey all over leaves out nothing."""
    features, values, gradients = feature_map(0), [], []
    for w, w_s in ((1, 1), (0.05, 1), (1, 0.05)):
        region = Region("1", 0.5, {LAYER: coverage(np.full(63, w))})
        gradients.append(np.empty_like(features))
        loss = make(kind, [Sample(feature_map(1), coverage(np.full(63, w_s)))], region, wrap)
        values.append(evaluate(loss, features, gradient=gradients[-1]))
    assert values[0] > 0
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)
    for gradient in gradients[1:]:
        assert relative_error(gradient, gradients[0]) < 1e-5


def test_whether_a_region_has_pixels():
    region = Region("1", 0.5, {"relu1_1": coverage([0, 0.1]), "relu4_1": coverage([0, 0])})
    assert region.has_pixels("relu1_1")
    assert not region.has_pixels("relu4_1")
    assert region.has_pixels("relu2_1")  # no coverage: every pixel counts


def test_content_keeps_a_copy_of_its_target():
    """A network writes its maps where they were."""
    features = feature_map(1)
    loss = ContentLoss.measure(LAYER, [Sample(features)], KERNELS)
    features += 1
    assert evaluate(loss, features) == pytest.approx(1, rel=1e-5)
