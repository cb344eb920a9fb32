"""The objective against the float64 reference, and its behaviour as a function."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from conftest import relative_error

from pyengine import Engine, PyengineError

TERMS = ["histogram/relu1_1", "histogram/relu4_1", *(f"gram/relu{b}_1" for b in (1, 2, 3, 4))]


def picture(kind: str, size: tuple[int, int], natural: np.ndarray, seed: int = 0) -> np.ndarray:
    if kind == "natural":
        return natural[: size[0], : size[1]].copy()
    return np.random.default_rng(seed).random((*size, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [(47, 61), (64, 64)])
@pytest.mark.parametrize("kind", ["random", "natural"])
def test_value_and_gradient_of_the_papers_sum(engine, expected_vgg, natural, other, size, kind):
    image, exemplar = picture(kind, size, natural), other
    objective = engine.objective(exemplar)
    value, gradient = objective(image)
    expected_value, expected_gradient, expected_terms = reference.objective(expected_vgg, image, exemplar)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert gradient.shape == image.shape
    assert gradient.dtype == np.float32
    assert relative_error(gradient, expected_gradient) < 1e-4
    terms = objective.terms(image)
    assert list(terms) == TERMS
    for name, found in terms.items():
        assert found == pytest.approx(expected_terms[name][0], rel=1e-5), name


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("size", [(47, 61), (64, 64)])
@pytest.mark.parametrize("kind", ["random", "natural"])
def test_gradient_of_each_term_alone(engine, expected_vgg, natural, other, name, size, kind):
    """In the sum the largest term hides the others.

    The largest error is the histogram loss's at relu1_1, where rounding swaps the ranks of nearly equal values.
    """
    loss, layer = name.split("/")
    weights = {k: float(k == loss) for k in ("gram", "histogram")}
    image, exemplar = picture(kind, size, natural), other
    _, gradient = engine.objective(exemplar, weights=weights, **{f"{loss}_layers": (layer,)})(image)
    _, expected, _ = reference.objective(expected_vgg, image, exemplar, **weights, **{f"{loss}_layers": (layer,)})
    assert relative_error(gradient, expected) < 1e-4


def test_weights_scale_the_terms(engine, natural):
    image = natural[:32, :32]
    one = engine.objective(natural[:40, :40]).terms(image)
    scaled = engine.objective(natural[:40, :40], weights={"gram": 3.0, "histogram": 0.5}).terms(image)
    for name, value in one.items():
        assert scaled[name] == pytest.approx(value * (3.0 if name.startswith("gram") else 0.5))


def test_gradients_add_up_where_losses_share_a_layer(engine, natural, other):
    """Weighted so that neither kind hides the other."""
    image = natural[:48, :32]
    weights = {"gram": 1e-6, "histogram": 1.0}
    alone = [
        engine.objective(other, weights={"gram": 0, "histogram": 0, kind: w})(image)[1] for kind, w in weights.items()
    ]
    together = engine.objective(other, weights=weights)(image)[1]
    assert all(relative_error(together, gradient) > 1e-2 for gradient in alone)
    assert relative_error(together, alone[0] + alone[1]) < 1e-5


def test_a_term_left_out_is_not_computed(engine, natural):
    assert list(engine.objective(natural, weights={"histogram": 0}).terms(natural)) == TERMS[2:]
    assert list(engine.objective(natural, weights={"gram": 0}).terms(natural)) == TERMS[:2]


def test_the_exemplar_itself_is_a_minimum(engine, natural):
    value, gradient = engine.objective(natural)(natural)
    assert value == 0
    assert not gradient.any()


def test_a_flat_exemplar_and_a_flat_image(engine):
    flat = np.full((16, 16, 3), 0.5, np.float32)
    value, gradient = engine.objective(flat, weights="auto")(np.zeros_like(flat))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_several_threads_get_what_one_gets(engine, natural, rng):
    images = [rng.random((size, 40, 3)).astype(np.float32) for size in (32, 48, 32, 33, 48, 32)]
    objective = engine.objective(natural)
    alone = [objective(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(objective, images))
    for (value, gradient), (value2, gradient2) in zip(alone, together, strict=True):
        assert value == value2
        assert np.array_equal(gradient, gradient2)


def test_the_losses_do_not_depend_on_the_number_of_threads(natural, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    results = []
    for threads in (1, 2, 3):
        with Engine(threads=threads) as engine:
            results.append(engine.objective(natural)(np.flip(natural, 0).copy()))
    assert all(value == pytest.approx(results[0][0], rel=1e-6) for value, _ in results)


def test_evaluating_with_an_evaluator_is_calling(engine, natural, other):
    """In the order of the names; the gradient is the evaluator's own, that of a call is the caller's."""
    objective = engine.objective(other, weights={"variation": 2.0, "gram": 3.0})
    assert objective.names == (*TERMS, "variation")
    images = [np.ascontiguousarray(picture) for picture in (natural[:32, :40], natural[32:64, 40:80])]
    values, gradients = zip(*map(objective, images), strict=True)
    with objective.evaluator((32, 40)) as evaluator:
        found = [objective.evaluate(image, evaluator) for image in images]
        for image, value, (terms, _) in zip(images, values, found, strict=True):
            assert dict(zip(objective.names, terms, strict=True)) == objective.terms(image)
            assert sum(terms) == value
        assert np.shares_memory(found[0][1], found[1][1])
        assert np.array_equal(found[1][1], gradients[1])
    assert not np.array_equal(*gradients)


def test_new_weights_count_at_once(engine, natural, other):
    objective = engine.objective(other)
    image = np.ascontiguousarray(natural[:32, :40])
    terms = objective.terms(image)
    objective.weights = {name: 2.0 + k for k, name in enumerate(TERMS)}
    assert objective.weights["gram/relu1_1"] == 4
    for k, (name, value) in enumerate(objective.terms(image).items()):
        assert value == pytest.approx((2 + k) * terms[name])
    value, gradient = objective(image)
    assert value == pytest.approx(sum(objective.terms(image).values()))
    objective.weights = dict.fromkeys(TERMS, 0.0)
    assert gradient.any()
    assert objective(image)[0] == 0
    assert not objective(image)[1].any()


@pytest.mark.parametrize("kind", ["content", "regions", "hole"])
def test_images_of_another_size_are_refused_where_only_one_will_do(engine, natural, kind):
    options = {
        "content": {"content": natural[:32, :40]},
        "regions": {"output_regions": np.ones((32, 40), np.uint8)},
        "hole": {"init": natural[:32, :40], "seamless": "xy"},
    }
    objective = engine.objective(natural, **options[kind])
    assert objective.size == (40, 32)
    assert objective(natural[:32, :40])[0] >= 0
    with pytest.raises(PyengineError, match=r"image of 32x40 pixels: .*40x32") as error:
        objective(natural[:40, :32])
    assert "\n" not in str(error.value)


def test_images_of_any_size_where_nothing_has_a_place(engine, natural):
    alpha = np.ones((96, 96, 1), np.float32)
    alpha[:20] = 0
    masked = {"exemplar": np.dstack([natural, alpha]), "alpha": "mask"}
    for options in ({}, {"structure": True, "init": natural[:32, :32]}, masked):
        objective = engine.objective(**{"exemplar": natural, **options})
        assert objective.size is None
        assert all(np.isfinite(objective(natural[:side, :40])[0]) for side in (32, 47))


def test_correlations_are_no_part_of_the_papers_sum(engine, natural):
    for options in ({"start": "patches"}, {"weights": {"correlation": 1.0}}):
        assert set(engine.objective(natural, **options).weights) == {*TERMS, "correlation/relu2_1"}
    for options in ({}, {"start": None}, {"start": "noise"}):
        assert set(engine.objective(natural, **options).weights) == set(TERMS)


def test_the_gatys_method_has_no_histograms(engine, natural):
    assert list(engine.objective(natural, method="gatys").weights) == TERMS[2:]


def test_content_may_have_no_weight(engine, natural):
    """As what is started from only."""
    exemplar, content = natural[32:64, 32:64], natural[:32, :32]  # of one size: the exemplar is not reduced
    options = {"weights": {"content": 0}, "wrap": "none", "pooling": "max"}
    with_content = engine.objective(exemplar, content=content, **options)
    assert with_content.terms(content) == engine.objective(exemplar, **options).terms(content)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32), np.float32), r"expected a float array \(height, width, 3\)"),
        (np.zeros((32, 32, 4), np.float32), r"expected a float array"),
        (np.zeros((32, 32, 3), np.uint8), r"expected a float array"),
        (np.full((32, 32, 3), np.nan, np.float32), r"NaN or infinite"),
        (np.zeros((32, 15, 3), np.float32), r"at least 16"),
    ],
)
def test_bad_images(engine, natural, image, message):
    with pytest.raises(PyengineError, match=message):
        engine.objective(natural)(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"gram": -1}}, r"weights: gram=-1: give a number that is not negative"),
        ({"weights": {"histogram": float("nan")}}, r"histogram=nan"),
        ({"weights": {"gram": 0, "histogram": 0}}, r"nothing is left to match"),
        ({"weights": {"colour": 1}}, r"there is no term 'colour': choose histogram, gram, "),
        ({"weights": {"gram/relu1_2": 1}}, r"there is no term 'gram/relu1_2'"),
        ({"weights": {"content": 1}}, r"content=1: there is no content"),
        ({"weights": 3}, r"weights=3: give 'auto', 'thresholds', or numbers by term"),
        ({"gram_layers": ("relu9_9",)}, r"layer 'relu9_9': model 'vgg16' has relu1_1"),
        ({"gram_layers": "relu1_1"}, r"give a sequence"),
        ({"gram_layers": (), "weights": {"gram": 1.0}}, r"gram=1.0: there is no layer for it"),
        ({"padding": "mirror"}, r"padding='mirror': choose 'reflect' or 'zeros'"),
        ({"pooling": "median"}, r"pooling='median'"),
    ],
)
def test_bad_options(engine, natural, options, message):
    with pytest.raises(PyengineError, match=message):
        engine.objective(natural, **options)


def test_an_objective_has_weights_that_stay(engine, natural):
    with pytest.raises(PyengineError, match="weights='thresholds' change while"):
        engine.objective(natural, weights="thresholds")
