"""The losses that are measured on regions, holes, contents and several exemplars, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conftest import VGG16, ZEROS, border_options, cut_budget, relative_error
from layouts import LAYOUTS, example, expected_terms, holed

from pyengine import Engine
from pyengine.level import Exemplar, Level
from pyengine.losses.options import LossOptions
from pyengine.measuring import measure
from pyengine.memory import Plan, level_demand
from pyengine.network.graphs import WRAPPED, Padding
from pyengine.network.network import Network


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_term_and_their_sum(engine, expected_vgg, natural, other, kind):
    """Each term alone, by its value and gradient; then all, weighted so that none hides the others.

    A value is less exact than it might be where rounding breaks up, or makes, a mass of equal features.
    """
    e = example(kind, natural, other)
    objective = engine.objective(**e.everything)
    expected = expected_terms(expected_vgg, e, objective)
    shares = {name: share for name, (_, share, _, _) in expected.items()}
    assert list(objective.weights) == list(expected)
    assert objective.weights == pytest.approx(shares)
    assert objective.factors == pytest.approx(shares)

    total, weights = np.zeros(e.image.shape), {}
    for name, (layer, share, value, gradient) in expected.items():
        if layer:
            gradient = reference.backward(expected_vgg, e.image, {layer: gradient}, e.padding, e.pooling)
        objective.weights = dict.fromkeys(expected, 0.0) | {name: share}
        with objective.evaluator(e.image.shape[:2]) as evaluator:
            terms, found = objective.evaluate(e.image, evaluator)
            assert terms.sum() == dict(zip(objective.names, terms, strict=True))[name]
            assert terms.sum() == pytest.approx(share * value, rel=1e-4), name
            assert relative_error(found, share * gradient) < 1e-4, name
        weights[name] = 1 / np.linalg.norm(gradient)
        total += weights[name] * gradient
    objective.weights = weights
    value, gradient = objective(e.image)
    assert value == pytest.approx(sum(weights[name] * expected[name][2] for name in expected), rel=1e-4)
    assert relative_error(gradient, total) < 1e-4
    assert sum(objective.terms(e.image).values()) == pytest.approx(value)


@pytest.mark.parametrize("kind", ["alpha", "hole"])
def test_what_is_unknown_changes_nothing(engine, natural, other, kind):
    unknown = holed(64, 64)
    changed = other.copy()
    changed[unknown] = natural[:64, :64][unknown]
    objectives = []
    for picture in (other, changed):
        options = {
            "alpha": {"exemplar": np.dstack([picture, ~unknown])},
            "hole": {"exemplar": picture, "fill": unknown},
        }
        objectives.append(engine.objective(**options[kind], structure=True, weights={"variation": "auto"}))
    assert objectives[0].weights == objectives[1].weights
    assert objectives[0].terms(natural[:64, :64]) == objectives[1].terms(natural[:64, :64])


def test_exemplars_of_weight_0_count_nothing(engine, natural, other):
    image = natural[:47, :61]
    options = {"structure": True, "weights": {"variation": "auto", "gram/relu2_1": "auto"}}
    first = engine.objective(other, **options)
    both = engine.objective(exemplars=[other, natural], exemplar_weights=[1, 0], **options)
    assert both.terms(image).keys() == first.terms(image).keys()
    for name, value in first.terms(image).items():
        if name != "variation":  # its unit is the mean of all exemplars'
            assert both.terms(image)[name] == pytest.approx(value, rel=1e-5), name


def test_only_the_proportions_of_exemplar_weights_count(engine, natural, other):
    image = natural[:47, :61]
    terms = [
        engine.objective(exemplars=[other, natural], exemplar_weights=weights).terms(image)
        for weights in ([2, 1], [200.0, 100.0], np.array([2, 1]) * 1e-3, (2, np.float32(1)))
    ]
    assert all(t == pytest.approx(terms[0], rel=1e-5) for t in terms)
    assert engine.objective(exemplars=[other, natural], exemplar_weights=[1, 2]).terms(image) != pytest.approx(terms[0])


def test_equal_exemplar_weights_are_not_pooling(engine, natural, other):
    """Pooled, the larger exemplar counts more; of one size, there is no difference."""
    image, small = natural[:32, :32], natural[:24, :24]
    for exemplars, same in (([other, small], False), ([other, natural[:64, :64]], True)):
        pooled = engine.objective(exemplars=exemplars).terms(image)
        alike = engine.objective(exemplars=exemplars, exemplar_weights=[1, 1]).terms(image)
        assert (pooled == pytest.approx(alike, rel=1e-6)) == same


def test_exemplar_weights_count_what_is_opaque(engine, natural, other):
    """A Gram matrix is interpolated: halfway between two, the gradients are so too, up to the target's square."""
    alpha = np.ones((64, 64, 1), np.float32)
    alpha[:, 32:] = 0
    torn = np.concatenate([natural[:64, :64], alpha], axis=2)
    layers = {"gram_layers": ["relu1_1"], "weights": {"histogram": 0}}
    targets = [
        engine.objective(**options, **layers).losses[0].target
        for options in (
            {"exemplar": other},
            {"exemplar": torn},
            {"exemplars": [other, torn], "exemplar_weights": [1, 1]},
        )
    ]
    assert relative_error(targets[2], (targets[0] + targets[1]) / 2) < 5e-3  # a column at the border is left out


def test_an_objective_without_pixels_has_no_gradient(engine, natural):
    """As at a coarse level where nothing is made; not that of who had the network before."""
    image = np.ascontiguousarray(natural[:32, :32])
    assert engine.objective(natural)(image)[1].any()
    nothing = Level((32, 32), (Exemplar(natural),), picture=image, free=np.zeros((32, 32), bool))
    losses = LossOptions().on(VGG16)
    demand = level_demand(nothing, losses, VGG16, natural[..., 0].size)
    value, gradient = measure(nothing, losses, engine.pool, lambda _: Plan(demand), WRAPPED)(image)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize(("wrap", "steps", "pairs"), [("xy", 2, 640), ("y", 2, 624), ("x", 1, 620), ("none", 1, 604)])
def test_variation_wraps_where_the_output_does(engine, wrap, steps, pairs):
    """Halves that differ: the step across the border is as large as the one inside."""
    image = np.zeros((16, 20, 3), np.float32)
    image[8:] = 1
    objective = engine.objective(image, weights={"variation": 1.0}, wrap=wrap)
    assert objective.terms(image)["variation"] == pytest.approx(steps * 20 / pairs)


def test_the_unit_of_the_variation_is_that_of_the_exemplars_that_count(engine, natural):
    black = np.zeros_like(natural)
    weights = {"weights": {"variation": "auto"}}
    alone = engine.objective(natural, **weights).weights["variation"]
    both = engine.objective(exemplars=[natural, black], exemplar_weights=[1, 0], **weights).weights["variation"]
    assert both == pytest.approx(alone)


def test_a_region_in_which_nothing_is_made_has_no_losses(engine, natural):
    made = np.zeros((64, 64), bool)
    made[10:20, 10:20] = True
    layout = np.where(np.arange(64) < 40, 1, 2)[:, None].repeat(64, axis=1)
    objective = engine.objective(natural[:64, :64], fill=made, exemplar_regions=layout, output_regions=layout)
    assert {name.rpartition("/")[2] for name in objective.names} == {"1"}


def test_a_content_is_measured_as_the_output_is_evaluated(monkeypatch, natural, other):
    """In tiles, where there is no memory for more; exemplars are measured whole."""
    sizes = []

    def network(sessions, size, *arguments, **options):
        sizes.append(size)
        return Network(sessions, size, *arguments, **options)

    monkeypatch.setattr("pyengine.network.pool.Network", network)
    with Engine("cpu", threads=1) as engine:
        whole = engine.objective(other, content=natural).terms(natural[::-1])
        assert sizes == [(64, 64), (96, 96), (96, 96)]
        sizes.clear()
        engine.budget = cut_budget(engine, 32)
        assert engine.objective(other, content=natural).terms(natural[::-1]) == pytest.approx(whole, rel=1e-5)
        assert sizes == [(64, 64)]


@pytest.mark.parametrize("padding", [WRAPPED, Padding("reflect", "wrap"), ZEROS, Padding("wrap", "zeros")])
def test_an_exemplar_is_reflected_where_the_output_is_wrapped(monkeypatch, natural, padding):
    used = {}

    def network(*args, gradient, **options):
        used[gradient] = options["padding"]
        return Network(*args, gradient=gradient, **options)

    monkeypatch.setattr("pyengine.network.pool.Network", network)
    options = border_options(padding)
    with Engine(threads=1) as engine:
        engine.synthesize(natural[:32, :32], iterations=1, **options)
        assert used == {True: padding, False: (options["padding"],) * 2}
        engine.objective(natural[:32, :32], **options)  # as given: people compare it with the paper's sum
        assert used[False] == padding
