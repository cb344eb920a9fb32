"""Whole and in tiles: the same value, gradient and terms, and the sizes of gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conftest import LAYERS, REFLECTED, ZEROS, border_options, cut_budget, relative_error
from layouts import diagonal, example, expected_terms, woven

from pyengine import Engine
from pyengine.losses.base import Loss, Region
from pyengine.losses.weighting import threshold_weights
from pyengine.network.graphs import WRAPPED, Padding

REFLECTED_ABOVE, REFLECTED_BESIDE = Padding("reflect", "wrap"), Padding("wrap", "reflect")
ZEROS_BESIDE = Padding("wrap", "zeros")


@pytest.fixture(scope="module")
def engine():
    with Engine(threads=2) as engine:
        yield engine


@pytest.fixture
def in_tiles(engine, monkeypatch):
    """Have every objective evaluated from now on in tiles of so many pixels."""

    def cut(side: int, channels: int = 24) -> None:
        monkeypatch.setattr(engine, "budget", cut_budget(engine, side, channels))

    return cut


def evaluated(objective, image):
    return *objective(image), objective.terms(image)


def check_against_whole(engine, in_tiles, image, options, side, channels=24):
    image = np.ascontiguousarray(image)
    value, gradient, terms = evaluated(engine.objective(**options), image)
    in_tiles(side, channels)
    tiled = engine.objective(**options)
    found_value, found_gradient, found_terms = evaluated(tiled, image)
    assert [network.channels for network in engine.pool.idle] == [channels]
    assert found_value == pytest.approx(value, rel=1e-6)
    assert relative_error(found_gradient, gradient) < 1e-5
    assert list(found_terms) == list(terms)
    for kind in {name.partition("/")[0] for name in terms}:  # a region may have none of it, but not all regions
        assert any(term > 0 for name, term in terms.items() if name.startswith(kind)), kind
    for name, term in terms.items():
        assert found_terms[name] == pytest.approx(term, rel=1e-5, abs=1e-12), name
    return found_gradient


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(
    ("size", "padding", "side"),
    [
        ((64, 96), WRAPPED, 32),
        ((64, 96), WRAPPED, 50),  # a tile and a part, rounded down to 48
        ((128, 72), WRAPPED, 64),
        ((61, 101), REFLECTED, 24),
        ((160, 128), REFLECTED, 64),
        ((64, 96), WRAPPED, 1024),  # one tile, without a halo
        ((64, 96), WRAPPED, 64),  # one row of tiles
        ((61, 101), ZEROS, 32),
        ((125, 77), ZEROS, 64),
        ((47, 33), ZEROS, 24),
        # Winograd's, from 128 x 128 pixels on
        ((160, 128), WRAPPED, 64),
        ((352, 64), WRAPPED, 32),  # so long that no region covers it
        ((352, 101), ZEROS, 96),
        # one axis only; the other's side may be any
        ((61, 96), REFLECTED_ABOVE, 24),
        ((96, 61), REFLECTED_BESIDE, 24),
        ((64, 37), ZEROS_BESIDE, 32),
        ((131, 160), REFLECTED_ABOVE, 64),
        ((128, 147), REFLECTED_BESIDE, 64),
    ],
)
def test_tiles_are_exact(engine, in_tiles, other, size, padding, side, pooling):
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    options = {"exemplar": other, **border_options(padding), "pooling": pooling, "weights": {"variation": 1.0}}
    check_against_whole(engine, in_tiles, image, options, side)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["gram", "histogram"])
def test_each_layer_alone(engine, in_tiles, natural, other, kind, layer):
    weights = {k: float(k == kind) for k in ("gram", "histogram")}
    options = {"exemplar": other, "weights": weights, f"{kind}_layers": (layer,)}
    check_against_whole(engine, in_tiles, natural[:64], options, 32)


@pytest.mark.parametrize("channels", [4, 24, 64])
def test_channels_of_the_first_map_at_a_time(engine, in_tiles, natural, other, channels):
    weights = {"gram": 0, "histogram": 1.0}
    check_against_whole(engine, in_tiles, natural, {"exemplar": other, "weights": weights}, 48, channels)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(["index images"], ["gram", "histogram", "correlation", "structure", "content", "all"]),
        *product(["hole under zeros", "exemplars as regions"], ["correlation", "structure", "all"]),
    ],
)
def test_what_has_a_place_where_the_image_ends(engine, in_tiles, natural, other, name, kind):
    """Each kind alone, since the largest hides the others."""
    e = example(name, natural, other)
    weights = {k: float(kind in (k, "all")) for k in e.everything["weights"]}
    weights["gram"] = weights["gram"] or 1e-9  # nothing is matched without one of these
    check_against_whole(engine, in_tiles, e.image, {**e.everything, "weights": weights}, 32)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(["soft masks"], ["gram", "histogram", "correlation", "structure", "content", "all"]),
        *product(["hole", "hole and regions"], ["histogram", "correlation", "structure", "all"]),
    ],
)
def test_what_has_a_place_where_the_image_wraps_round(engine, in_tiles, natural, other, name, kind):
    natural, other = woven(natural), woven(other)
    weights = {k: float(kind in (k, "all")) for k in ("gram", "histogram", "correlation", "structure")}
    weights["gram"] = weights["gram"] or 1e-9
    options = {"exemplar": other, "structure": True, "weights": weights}
    ramp = np.broadcast_to(np.linspace(-0.5, 1.5, 96, dtype=np.float32), (64, 96)).clip(0, 1)
    hole = np.zeros((64, 96), bool)
    hole[10:27, 87:] = hole[30:35, 12:33] = True
    if name == "soft masks":
        content = {"content": natural[32:]}
        weights["content"] = float(kind in ("content", "all"))
        regions = {"exemplar_regions": [np.eye(64), 1 - np.eye(64)], "output_regions": [ramp, 0.7 * (1 - ramp) + 0.1]}
        options |= content | regions
    else:
        options |= {"init": natural[:64], "fill": hole}
    if name == "hole and regions":
        options |= {"exemplar_regions": diagonal(64, 64).T.copy(), "output_regions": diagonal(64, 96)}
    check_against_whole(engine, in_tiles, natural[20:84], options, 32)


@pytest.mark.parametrize(
    ("size", "padding"),
    [((64, 144), WRAPPED), ((61, 150), ZEROS), ((61, 144), REFLECTED_ABOVE), ((64, 150), REFLECTED_BESIDE)],
)
def test_the_halo_covers_what_is_compared_at_a_distance(engine, in_tiles, natural, size, padding):
    """An exemplar large enough for the largest translation; no deeper layer, whose halo would do."""
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    weights = {"gram": 1e-9, "histogram": 0, "structure": 1.0}
    options = {"exemplar": natural, "structure": True, "gram_layers": ("relu1_1",), "weights": weights}
    check_against_whole(engine, in_tiles, image, {**options, **border_options(padding)}, 32)


@pytest.mark.parametrize(
    ("size", "padding", "side"),
    [
        ((64, 96), WRAPPED, 32),
        ((61, 101), ZEROS, 24),
        ((61, 96), REFLECTED_ABOVE, 24),
        ((64, 101), REFLECTED_BESIDE, 32),
    ],
)
def test_order_is_the_whole_images(engine, in_tiles, natural, size, padding, side):
    """Over distances that no tile has, of a lattice that was broken."""
    image = woven(natural)
    options = {
        "exemplar": image,
        **border_options(padding),
        "weights": {"gram": 1e-9, "histogram": 0, "correlation": 1.0},
    }
    whole = np.tile(np.roll(image, 3, 1), (1, 2, 1))[: size[0], : size[1]]
    whole[40:] = np.roll(whole[40:], 3, 1)
    assert engine.objective(**options).terms(np.ascontiguousarray(whole))["correlation/relu2_1"] > 0
    check_against_whole(engine, in_tiles, whole, options, side)


def test_the_baseline(engine, in_tiles, natural, other):
    check_against_whole(engine, in_tiles, natural[:61, :75], {"exemplar": other, "method": "gatys"}, 32)


def test_the_same_bits_in_every_run(engine, in_tiles, natural, other):
    in_tiles(32)
    first, second = (engine.objective(other)(natural) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("kind", ["index images", "hole"])
def test_sizes_of_gradients_and_weights_by_them(engine, expected_vgg, natural, other, kind):
    e = example(kind, natural, other)
    objective = engine.objective(**e.everything)
    with objective.evaluator(e.image.shape[:2]) as evaluator:
        sizes = objective.gradient_sizes(e.image, evaluator)
    expected = expected_terms(expected_vgg, e, objective)
    assert sizes == pytest.approx(
        {name: np.sqrt(g.size * (g**2).sum()) for name, (*_, g) in expected.items()}, rel=1e-4
    )
    weights = threshold_weights(objective.losses, sizes, objective.factors)
    assert all(weights[loss.name] * sizes[loss.name] <= loss.threshold for loss in objective.losses)
    assert any(weights[name] < objective.factors[name] for name in sizes)


def test_a_loss_that_tiles_know_nothing_of_is_an_error(engine, in_tiles, other, monkeypatch):
    """Not a term that is silently 0."""

    class Plain(Loss):
        kind = "plain"
        layer, region, magnitude = "relu1_1", Region(), 1.0
        default_layers = measure = evaluate = None

    in_tiles(32)
    objective = engine.objective(other)
    monkeypatch.setattr(objective, "losses", (*objective.losses, Plain()))
    with pytest.raises(TypeError, match="plain/relu1_1: a loss on a feature map is an AdditiveLoss or a ChannelLoss"):
        objective.terms(other)
