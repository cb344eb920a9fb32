"""Each loss alone, on small maps, against the float64 reference; which losses are used, and what they count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reference
from conftest import pixel_weights, relative_error

from pyengine import PyengineError
from pyengine.kernels import PixelWeights
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses import Region, Sample
from pyengine.losses.content import ContentLoss
from pyengine.losses.gram import GramLoss
from pyengine.losses.histogram import HistogramLoss
from pyengine.losses.options import LossOptions
from pyengine.losses.structure import SHIFTS, StructureLoss
from pyengine.losses.variation import VariationLoss
from pyengine.tuning import THRESHOLDS, auto_weight, threshold_weights

KERNELS = CpuKernels(threads=1)
LAYER = "relu3_1"
KINDS = ["gram", "histogram", "structure", "structure within", "content"]
MEASURE = {"gram": GramLoss.measure, "histogram": HistogramLoss.measure, "structure": StructureLoss.measure}


def feature_map(seed: int, height: int = 7, width: int = 9) -> np.ndarray:
    """Five channels behind a ReLU: many zeros, and neighbours that go together."""
    noise = np.random.default_rng(seed).normal(size=(5, height, width))
    return np.maximum(noise + np.roll(noise, 1, 2) + 0.2, 0).astype(np.float32)


def soft(seed: int, pixels: int) -> PixelWeights:
    """A third of them 0."""
    random = np.random.default_rng(seed)
    return pixel_weights(random.random(pixels) * (random.random(pixels) < 0.67))


def plain(weights: PixelWeights | None) -> np.ndarray | None:
    """As the reference takes them."""
    return None if weights is None else weights.values


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


def make(kind: str, samples: list[Sample], region: Region) -> Any:
    kind, _, within = kind.partition(" ")
    if kind == "content":
        return ContentLoss.measure(LAYER, feature_map(1), KERNELS, region)
    options = {"wrap": False} if within else {}
    return MEASURE[kind](LAYER, samples, KERNELS, region, **options)


def union(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """All samples as one map (C, N) with one weight a pixel."""
    maps = [reference.flat(sample.features) for sample in samples]
    counts = [s.factor * reference.weights(plain(s.weights), m.shape[1]) for s, m in zip(samples, maps, strict=True)]
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
                *sample.features.shape[1:], shift, plain(sample.weights), False
            )
            total = reference.translated_gram(sample.features, shift, plain(sample.weights), False) * pairs.sum()
            sums = sums[0] + total, sums[1] + pairs.sum()
        targets[shift] = sums[0] / sums[1]
    return targets


def expected(kind: str, features: np.ndarray, samples: list[Sample], region: Region) -> tuple[float, np.ndarray]:
    w = plain(region.weights.get(LAYER))
    flat = reference.flat(features)
    if kind == "gram":
        value, gradient = reference.gram_loss(flat, reference.gram(*union(samples)), w)
    elif kind == "histogram":
        S, w_s = union(samples)
        value, gradient = reference.histogram_loss(flat, S, w, w_s)
    elif kind == "content":
        value, gradient = reference.content_loss(flat, reference.flat(feature_map(1)), w)
    else:
        value, gradient = reference.structure_loss(features, structure_targets(samples), w, kind == "structure")
    return value, gradient.reshape(features.shape)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient(kind, setting):
    samples, region = SETTINGS[setting].samples, SETTINGS[setting].region
    features = feature_map(0)
    loss = make(kind, samples, region)
    value, gradient = expected(kind, features, samples, region)
    assert evaluate(loss, features) == pytest.approx(value, rel=1e-5)
    found = np.full_like(features, np.nan)  # to be overwritten
    assert evaluate(loss, features, weight=3.0, gradient=found) == pytest.approx(value, rel=1e-5)
    assert relative_error(found, 3 * gradient) < 1e-5
    before = feature_map(9)
    found = before.copy()
    evaluate(loss, features, weight=100.0, gradient=found, accumulate=True)
    assert relative_error(found - before, 100 * gradient) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_names(kind):
    samples = [Sample(feature_map(1))]
    name = f"{kind.partition(' ')[0]}/{LAYER}"
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
    for kind, magnitude in magnitudes.items():
        assert make(kind, samples, region).magnitude == pytest.approx(magnitude, rel=1e-5), kind


@pytest.mark.parametrize("kind", ["gram", "histogram", "structure"])
def test_only_the_proportions_of_factors_count(kind):
    one, two = feature_map(1), feature_map(4, 6, 11)
    features = feature_map(0)
    values = [
        evaluate(make(kind, [Sample(one, None, 2 * scale), Sample(two, None, scale)], Region()), features)
        for scale in (1, 1e-4, 1e4)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("kind", ["gram", "histogram", "structure"])
@pytest.mark.parametrize(
    "empty", [Sample(feature_map(4), None, 0.0), Sample(feature_map(4), pixel_weights(np.zeros(63)))]
)
def test_a_sample_that_counts_nothing_changes_nothing(kind, empty):
    features = feature_map(0)
    alone = make(kind, [Sample(feature_map(1))], Region())
    both = make(kind, [empty, Sample(feature_map(1))], Region())
    assert evaluate(both, features) == pytest.approx(evaluate(alone, features), rel=1e-6)
    assert both.magnitude == pytest.approx(alone.magnitude, rel=1e-6)
    assert empty.mass == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_a_region_changes_nothing(kind):
    """Neither of the exemplar nor of the output."""
    w, w_s = soft(3, 63).values, soft(2, 63).values
    w[:9] = w_s[:9] = 0
    features, changed = feature_map(0), feature_map(0)
    target, changed_target = feature_map(1), feature_map(1)
    changed[:, 0] = 77
    changed_target[:, 0] = 99
    region = Region("1", 0.5, {LAYER: pixel_weights(w)})
    values = []
    for output, exemplar in ((features, target), (changed, target), (features, changed_target)):
        gradient = np.full_like(features, np.nan)
        values.append(evaluate(make(kind, [Sample(exemplar, pixel_weights(w_s))], region), output, gradient=gradient))
        assert not gradient[:, 0].any()
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_whether_a_region_has_pixels():
    region = Region("1", 0.5, {"relu1_1": pixel_weights([0, 0.1]), "relu4_1": pixel_weights([0, 0])})
    assert region.has_pixels("relu1_1")
    assert not region.has_pixels("relu4_1")
    assert region.has_pixels("relu2_1")  # no weights: every pixel counts


def test_content_keeps_a_copy_of_its_target():
    """A network writes its maps where they were."""
    features = feature_map(1)
    loss = ContentLoss.measure(LAYER, features, KERNELS)
    features += 1
    assert evaluate(loss, features) == pytest.approx(1, rel=1e-5)


# ---------------------------------------------------------------- structure


def test_translations_of_half_a_sample_are_left_out():
    shifts = set(StructureLoss.measure(LAYER, [Sample(feature_map(1, 9, 40))], KERNELS).targets)
    assert shifts == {(0, 1), (1, 0), (0, 2), (2, 0), (0, 4), (4, 0), (0, 8)}
    samples = [Sample(feature_map(1, 9, 40)), Sample(feature_map(1, 20, 8))]  # by the smallest side of any
    assert set(StructureLoss.measure(LAYER, samples, KERNELS).targets) == {(0, 1), (1, 0), (0, 2), (2, 0), (4, 0)}


def test_a_sample_without_pairs_has_no_structure():
    loss = StructureLoss.measure(LAYER, [Sample(feature_map(1, 2, 2))], KERNELS)
    gradient = np.full((5, 7, 9), np.nan, np.float32)
    assert loss.magnitude == 0
    assert evaluate(loss, feature_map(0), gradient=gradient) == 0
    assert not gradient.any()


def test_an_output_without_pairs_has_no_structure():
    """A region of one pixel, which no translation leads back into."""
    w = np.zeros(63, np.float32)
    w[30] = 1
    loss = make("structure", [Sample(feature_map(1))], Region("1", 0.1, {LAYER: pixel_weights(w)}))
    gradient = np.full((5, 7, 9), np.nan, np.float32)
    assert evaluate(loss, feature_map(0), gradient=gradient) == 0
    assert not gradient.any()


@pytest.mark.parametrize("wrap", [True, False])
def test_structure_of_an_output_smaller_than_a_translation(wrap):
    """Where it does not wrap it has no such pairs; the exemplar's side is 20, so that all translations are used."""
    samples, features = [Sample(feature_map(1, 20, 20))], feature_map(0, 6, 5)
    loss = make("structure" if wrap else "structure within", samples, Region())
    gradient = np.empty_like(features)
    value = evaluate(loss, features, gradient=gradient)
    wanted = reference.structure_loss(features, structure_targets(samples), wrap=wrap)
    assert value == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1]) < 1e-5


def test_structure_sees_what_a_gram_matrix_does_not():
    stripes = np.tile(np.float32([0, 0, 1, 1]), (1, 16, 4))
    shuffled = np.random.default_rng(0).permutation(stripes.ravel()).reshape(stripes.shape)
    losses = [GramLoss.measure, StructureLoss.measure]
    gram, structure = (evaluate(measure(LAYER, [Sample(stripes)], KERNELS), shuffled) for measure in losses)
    assert gram == 0
    assert structure > 0.04


# ---------------------------------------------------------------- variation


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("size", [(7, 9), (1, 5), (2, 2)])
def test_variation(wrap, size):
    image = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    loss = VariationLoss(1.0, wrap)
    value, gradient = reference.variation(image, wrap)
    assert evaluate(loss, image) == pytest.approx(value, rel=1e-5)
    found = np.ones_like(image)  # to be added to
    assert evaluate(loss, image, weight=2.0, gradient=found) == pytest.approx(value, rel=1e-5)
    assert relative_error(found - 1, 2 * gradient) < 1e-5


# ------------------------------------------------------------------ options


def test_a_weight_of_a_layer_goes_before_that_of_its_kind():
    options = LossOptions({"gram": 2, "gram/relu1_1": 0, "gram/relu3_1": "auto", "histogram": 0, "variation": 3})
    assert [options.weight("gram", f"relu{b}_1") for b in (1, 2, 3, 4)] == [0, 2, "auto", 2]
    assert options.used("gram") == ("relu2_1", "relu3_1", "relu4_1")
    assert options.used("histogram") == ()
    assert options.layers == options.style_layers == ("relu2_1", "relu3_1", "relu4_1")
    assert options.weight("variation") == 3


@pytest.mark.parametrize("weights", ["auto", "thresholds", {}])
def test_default_weights(weights):
    options = LossOptions(weights, structure_layers=["relu3_1"], content_layers=["relu4_2"])
    assert {options.weight(kind, "relu4_1") for kind in ("gram", "histogram", "structure", "content")} == {"auto"}
    assert options.weight("variation") == 0
    assert options.layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2")
    assert "relu4_2" not in options.style_layers


def test_a_layer_of_several_kinds_is_there_once():
    options = LossOptions(gram_layers=["relu4_1", "relu1_1"], histogram_layers=["relu4_1"], content_layers=["relu4_1"])
    assert options.layers == ("relu4_1", "relu1_1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"structure": 1}}, r"structure=1: there is no layer for it"),
        ({"weights": {"structure": "auto"}}, r"structure='auto': there is no layer for it"),
        ({"weights": {"content/relu4_1": 1}}, r"there is no term 'content/relu4_1'"),
        ({"weights": {"variation/relu1_1": 1}}, r"there is no term 'variation/relu1_1'"),
        ({"weights": {"gram/relu1_1/2": 1}}, r"there is no term 'gram/relu1_1/2'"),
        ({"weights": {"style": 1}}, r"there is no term 'style': choose gram, histogram, structure, content, variation"),
        ({"weights": {3: 1}}, r"there is no term 3"),
        ({"weights": {"gram": True}}, r"gram=True: give a number"),
        ({"weights": {"gram": float("inf")}}, r"gram=inf"),
        ({"weights": {"gram": None}}, r"gram=None"),
        ({"weights": "automatic"}, r"weights='automatic': give 'auto', 'thresholds', or numbers by term"),
        ({"weights": {"gram": 0, "histogram": 0, "content": 1}, "content_layers": ["relu4_1"]}, r"nothing is left"),
        ({"weights": {"gram": 0, "histogram": 0, "variation": 1}}, r"nothing is left to match"),
        ({"weights": {f"gram/relu{b}_1": 0 for b in (1, 2, 3, 4)} | {"histogram": 0}}, r"nothing is left to match"),
        ({"content_layers": "relu4_1"}, r"content_layers='relu4_1': give a sequence of names"),
        ({"structure_layers": [3]}, r"structure_layers=\[3\]: give a sequence of names"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(PyengineError, match=message) as error:
        LossOptions(**options)
    assert "\n" not in str(error.value)


def test_weights_of_no_term_that_is_used_may_be_0():
    """So that one dict serves with and without a content."""
    assert LossOptions({"content": 0, "structure": 0, "variation": 0}).used("content") == ()


# ------------------------------------------------------------------- tuning


def test_weights_by_thresholds_limit_gradients_and_enlarge_none():
    sizes = {f"{kind}/relu1_1/{k}": size for kind in THRESHOLDS for k, size in enumerate((1e-9, 0.5, 7, 1e6))}
    sizes |= {"variation": 1e3, "gram/relu4_1": 0.0}
    shares = {name: 0.25 if name.endswith("2") else 1.0 for name in sizes}
    weights = threshold_weights(sizes, shares)
    assert list(weights) == list(sizes)
    for name, weight in weights.items():
        limit = THRESHOLDS[name.partition("/")[0]]
        assert weight * sizes[name] <= shares[name] * limit * (1 + 1e-12)
        assert weight == shares[name] or weight * sizes[name] == pytest.approx(shares[name] * limit)
        assert (weight == shares[name]) == (sizes[name] <= limit)


def test_an_automatic_weight_is_in_units_of_the_magnitude():
    assert auto_weight("gram/relu3_1", 10.0, 2) == pytest.approx(auto_weight("gram/relu3_1", 1.0, 2) / 10)
    assert auto_weight("gram/relu3_1/7", 10.0, 2) == auto_weight("gram/relu3_1", 10.0, 2)
    assert auto_weight("gram/relu3_1", 0.0, 2) == 0
    assert auto_weight("variation", 0.5, None) > 0
    shares = [auto_weight("gram/deep", 1.0, pools) for pools in range(7)]
    assert shares == sorted(shares, reverse=True)
