"""The objective of an image of several maps: each map's own, and that of all together; whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conftest import cut_budget, relative_error
from materials import material
from test_joint import units

from pyengine import Engine, PyengineError
from pyengine.losses.base import Sample
from pyengine.losses.weighting import threshold_weights

SET = material(48, 40)
IMAGE = np.dstack([*material(44, 36, 5).values()])
ALONE = {"gram": 1.0, "histogram": 1.0}
OF_MAPS = {"albedo": [0, 1, 2], "normal": [3, 4, 5], "height": [6, 6, 6], "roughness": [7, 7, 7]}
LAYERS = {"gram_layers": ["relu1_1", "relu2_1"], "histogram_layers": ["relu1_1", "relu2_1"]}


@pytest.fixture(scope="module")
def engine():
    with Engine(threads=1) as engine:
        yield engine


def seen(image: np.ndarray, channels: list[int]) -> np.ndarray:
    return np.ascontiguousarray(image[:, :, channels])


@pytest.mark.parametrize("wrap", ["xy", "x", "none"])
def test_each_map_by_itself_and_all_together(engine, wrap):
    options = {"wrap": wrap, **LAYERS}
    together = engine.objective(SET, **options)
    assert together.channels == 8
    value, gradient = together(IMAGE)
    terms, expected = together.terms(IMAGE), np.zeros(IMAGE.shape)
    assert value == pytest.approx(sum(terms.values()))
    for name, channels in OF_MAPS.items():
        alone = engine.objective(SET[name], **options)
        own = seen(IMAGE, channels)
        slope = alone(own)[1]
        for k, channel in enumerate(channels):
            expected[:, :, channel] += slope[:, :, k]
        named = {f"{term}/{name}": number for term, number in alone.terms(own).items()}
        assert {term: terms.pop(term) for term in named} == pytest.approx(named, rel=1e-5)
    mean, scale, target, _ = units([Sample(np.dstack([*SET.values()]))])
    axes = wrap in ("xy", "y"), wrap in ("xy", "x")
    joint, slope = reference.joint_loss(IMAGE, mean, scale, target, None, axes)
    assert terms == pytest.approx({"joint": joint}, rel=1e-4)
    without = engine.objective(SET, weights={"joint": 0}, **options)
    assert "joint" not in without.names
    assert relative_error(without(IMAGE)[1], expected) < 1e-5
    assert relative_error(gradient, expected + slope) < 1e-5
    much = engine.objective(SET, weights={**dict.fromkeys(ALONE, 1e-18), "joint": 1.0}, **options)
    assert relative_error(much(IMAGE)[1], slope) < 1e-3


def test_every_map_is_in_the_objective(engine):
    """Each term is of a map, by its name, in the order of the kinds."""
    names = engine.objective(SET, **LAYERS).names
    own = [f"{kind}/{layer}" for kind in ("histogram", "gram") for layer in ("relu1_1", "relu2_1")]
    assert list(names) == [f"{term}/{name}" for name in OF_MAPS for term in own] + ["joint"]
    single = engine.objective({"height": SET["height"]}, **LAYERS)
    assert (list(single.names), single.channels) == ([f"{term}/height" for term in own], 1)
    assert single(IMAGE[:, :, 6:7])[1].shape == (36, 44, 1)


def test_terms_of_regions_and_maps(engine):
    layout = np.ones((40, 48), np.uint8)
    layout[:, 20:] = 2
    options = {"exemplar_regions": layout, "output_regions": layout, **LAYERS}
    objective = engine.objective({name: SET[name] for name in ("albedo", "height")}, **options)
    assert {"gram/relu1_1/1/height", "gram/relu1_1/2/albedo", "joint/1", "joint/2"} < {*objective.names}
    image = np.dstack([SET["albedo"], SET["height"]])
    moved = np.dstack([SET["albedo"], SET["height"]])
    moved[:, 22:, 3] = np.roll(moved[:, 22:, 3], 5, axis=0)
    at, elsewhere = objective.terms(image), objective.terms(moved)
    assert elsewhere["joint/1"] == pytest.approx(at["joint/1"], rel=0.01, abs=1e-9)
    assert elsewhere["joint/2"] > 10 * at["joint/2"]


@pytest.mark.parametrize("kind", ["plain", "alpha", "regions", "hole"])
def test_tiles_are_the_whole(engine, monkeypatch, kind):
    maps, image, options = SET, np.dstack([*material(80, 64, 5).values()]), {}
    if kind == "alpha":
        maps = np.dstack([SET["albedo"], SET["height"]])
        image = image[:, :, [0, 1, 2, 6]].copy()
        options = {"alpha": "synthesize"}
    elif kind == "regions":
        layout = 1 + (np.mgrid[:64, :80][1] > 30).astype(np.uint8)
        options = {"exemplar_regions": layout[:40, :48], "output_regions": layout}
    elif kind == "hole":
        hole = np.zeros((64, 80), bool)
        hole[20:40, 20:50] = True
        options = {"init": material(80, 64, 5), "fill": hole}
    objective = engine.objective(maps, **options)
    value, gradient = objective(image)
    terms = objective.terms(image)
    monkeypatch.setattr(engine, "budget", cut_budget(engine, 32))
    tiled = engine.objective(maps, **options)
    found, slope = tiled(image)
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(slope, gradient) < 1e-5
    assert tiled.terms(image) == pytest.approx(terms, rel=1e-5, abs=1e-9)


def test_weights_by_thresholds(engine):
    objective = engine.objective(SET, **LAYERS)
    with objective.evaluator(IMAGE.shape[:2]) as evaluator:
        sizes = objective.gradient_sizes(IMAGE, evaluator)
    assert [*sizes] == [*objective.names]
    alone = engine.objective(SET["height"], **LAYERS)
    with alone.evaluator(IMAGE.shape[:2]) as evaluator:
        own = alone.gradient_sizes(seen(IMAGE, OF_MAPS["height"]), evaluator)
    assert {name: sizes[f"{name}/height"] for name in own} == pytest.approx(own, rel=1e-4)
    mean, scale, target, _ = units([Sample(np.dstack([*SET.values()]))])
    slope = reference.joint_loss(IMAGE, mean, scale, target, None, (True, True))[1]
    assert sizes["joint"] == pytest.approx(np.sqrt(slope.size * (slope**2).sum()), rel=1e-3)
    weights = threshold_weights(objective.losses, sizes, objective.factors)
    assert all(weights[name] * sizes[name] <= 1 + 1e-6 for name in sizes)


def test_images_of_other_channels_are_refused(engine):
    objective = engine.objective(SET, **LAYERS)
    with pytest.raises(PyengineError, match=r"image: expected a float array \(height, width, 8\)"):
        objective(IMAGE[:, :, :3])


def test_the_joint_loss_of_a_picture_alone(engine):
    """Its channels are held together, where somebody wants that: as any loss on the image."""
    picture = SET["albedo"]
    objective = engine.objective(picture, weights={"joint": 1.0}, **LAYERS)
    mean, scale, target, _ = units([Sample(picture)])
    joint, _ = reference.joint_loss(IMAGE[:, :, :3], mean, scale, target, None, (True, True))
    assert objective.terms(IMAGE[:, :, :3].copy())["joint"] == pytest.approx(joint, rel=1e-4)
