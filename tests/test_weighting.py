"""The weights of terms: as given, automatic, and by thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import KERNELS, VGG16
from layouts import diagonal
from maps import LAYER, feature_map

from pyengine.losses import KINDS
from pyengine.losses.base import IMAGE, Region, Sample
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import term_weights, threshold_weights


def of_kind(kind: str, layer: str, region: str = "", factor: float = 1.0) -> Any:
    """A loss of a kind whose values are so many times larger."""
    samples = [Sample(np.float32(factor) * feature_map(1))]
    if layer == IMAGE:
        samples = [Sample(np.float32(factor) * np.random.default_rng(0).random((4, 4, 3), np.float32))]
    return KINDS[kind].measure(layer, samples, KERNELS, Region(region))


def test_weights_by_thresholds_limit_gradients_and_enlarge_none():
    losses = [of_kind(kind, IMAGE if kind == "variation" else LAYER, f"{k}") for kind in KINDS for k in range(4)]
    numbers = (1e-9, 0.5, 7, 1e6)
    sizes = {loss.name: numbers[int(loss.region.name)] for loss in losses} | {losses[0].name: 0.0}
    shares = {name: 0.25 if name.endswith("2") else 1.0 for name in sizes}
    weights = threshold_weights(losses, sizes, shares)
    assert list(weights) == list(sizes)
    for loss in losses:
        name, limit = loss.name, loss.threshold
        assert weights[name] * sizes[name] <= shares[name] * limit * (1 + 1e-12)
        assert weights[name] == shares[name] or weights[name] * sizes[name] == pytest.approx(shares[name] * limit)
        assert (weights[name] == shares[name]) == (sizes[name] <= limit)


@pytest.mark.parametrize("kind", ["gram", "histogram", "correlation", "structure", "content"])
def test_an_automatic_weight_is_in_units_of_the_magnitude(kind):
    one, ten = of_kind(kind, "relu3_1"), of_kind(kind, "relu3_1", factor=10)
    assert one.auto_weight(2) * one.magnitude == pytest.approx(ten.auto_weight(2) * ten.magnitude)
    assert one.auto_weight(0) > one.auto_weight(2) > one.auto_weight(4) == one.auto_weight(9) > 0
    assert of_kind(kind, "relu3_1", factor=0).auto_weight(2) == 0


def test_weights_are_as_given_or_automatic_times_the_share():
    losses = [of_kind("gram", "relu3_1"), of_kind("gram", "relu1_1"), of_kind("variation", IMAGE)]
    options = LossOptions({"gram/relu1_1": 3.0, "variation": "auto"}).on(VGG16)
    weights = term_weights(losses, options, VGG16)
    assert weights["gram/relu3_1"] == losses[0].auto_weight(2)
    assert weights["gram/relu1_1"] == 3
    assert weights["variation"] == pytest.approx(1 / losses[2].magnitude)


def test_automatic_weights_do_not_depend_on_the_exemplars_contrast(engine, natural):
    """Relative to the exemplar's own feature maps, a term of a plain image is of the order of its layer's share."""
    for contrast in (1.0, 0.1):
        terms = engine.objective(contrast * natural, weights="auto", start="noise").terms(np.zeros_like(natural))
        assert all(0 < value < 20 for value in terms.values())


def test_weights_go_to_the_terms_they_name(engine, natural, other):
    """By kind, by layer, in every region, times the share of the output."""
    layout = diagonal(32, 32)
    weights = {"gram": 2, "gram/relu1_1": 3, "histogram/relu4_1": 0, "content": 5, "structure": 7, "variation": 11}
    objective = engine.objective(
        other, exemplar_regions=diagonal(64, 64), output_regions=layout, content=natural[:32, :32], structure=True,
        weights=weights,
    )  # fmt: skip
    given = {"histogram/relu1_1": 1, "gram/relu1_1": 3, "gram/relu2_1": 2, "gram/relu3_1": 2, "gram/relu4_1": 2}
    given["structure/relu3_1"] = 7
    shares = {number: (layout == number).mean() for number in (1, 3)}
    expected = {f"{term}/{number}": w * share for term, w in given.items() for number, share in shares.items()}
    assert objective.weights == pytest.approx(expected | {"content/relu4_1": 5, "variation": 11})


def test_automatic_weights_of_regions_are_their_shares(engine, natural):
    """Two regions with the same exemplar: all in all they count what one counts."""
    layout, options = diagonal(64, 64), {"weights": "auto", "wrap": "xy"}
    alone = engine.objective(natural, **options).weights
    both = engine.objective(natural, exemplar_regions=[np.ones((96, 96))] * 3, output_regions=layout, **options).weights
    assert len(both) == 2 * len(alone)
    for name, weight in alone.items():
        assert both[f"{name}/1"] == pytest.approx(weight * (layout == 1).mean(), rel=1e-4)
        assert both[f"{name}/1"] + both[f"{name}/3"] == pytest.approx(weight, rel=1e-4)


def test_content_strength_is_a_factor_of_the_content_terms(engine, natural, other):
    weights = [
        engine.objective(other, content=natural, content_strength=strength, weights="auto").weights
        for strength in (1, 2.5)
    ]
    for name, weight in weights[0].items():
        assert weights[1][name] == pytest.approx(weight * (2.5 if name.startswith("content") else 1))
