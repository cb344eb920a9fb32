"""The objective against the float64 reference, and its behaviour as a function."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import reference
from conftest import relative_error

from pyengine import Engine, PyengineError
from pyengine.kernels import PixelWeights
from pyengine.kernels.cpu import CpuKernels
from pyengine.level import Exemplar, Level
from pyengine.losses.options import LossOptions
from pyengine.network.vgg import vgg
from pyengine.recipe import Recipe
from pyengine.tuning import THRESHOLDS, threshold_weights

KERNELS = CpuKernels(threads=1)
VGG = vgg("vgg16")
TERMS = ["histogram/relu1_1", "histogram/relu4_1", *(f"gram/relu{b}_1" for b in (1, 2, 3, 4))]


@pytest.fixture(scope="module")
def expected_vgg():
    return reference.load(str(files("pyengine.models") / "vgg16.onnx"))


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


def test_automatic_weights_do_not_depend_on_the_exemplars_contrast(engine, natural):
    """Relative to the exemplar's own feature maps, a term of a plain image is of the order of its layer's share."""
    for contrast in (1.0, 0.1):
        terms = engine.objective(contrast * natural, weights="auto").terms(np.zeros_like(natural))
        assert all(0 < value < 20 for value in terms.values())


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


def test_the_losses_do_not_depend_on_the_number_of_threads(natural):
    results = []
    for threads in (1, 2, 3):
        with Engine(threads=threads) as engine:
            results.append(engine.objective(natural)(np.flip(natural, 0).copy()))
    assert all(value == pytest.approx(results[0][0], rel=1e-6) for value, _ in results)


def test_evaluating_on_a_network_is_calling(engine, natural, other):
    """In the order of the names; the gradient is the network's own, that of a call is the caller's."""
    objective = engine.objective(other, weights={"variation": 2.0, "gram": 3.0})
    assert objective.names == (*TERMS, "variation")
    images = [np.ascontiguousarray(picture) for picture in (natural[:32, :40], natural[32:64, 40:80])]
    values, gradients = zip(*map(objective, images), strict=True)
    with objective.network((32, 40)) as network:
        found = [objective.evaluate(image, network) for image in images]
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


def test_seconds_are_kept_by_stage(engine, natural):
    objective = engine.objective(natural, weights={"variation": 1.0})
    assert objective.stopwatch.seconds == {}
    objective(natural)
    first = dict(objective.stopwatch.seconds)
    assert first.keys() == {"forward", "losses", "backward"}
    assert all(seconds > 0 for seconds in first.values())
    objective(natural)
    assert all(seconds > first[stage] for stage, seconds in objective.stopwatch.seconds.items())


# ------------------------------------- regions, holes, content, several exemplars

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
    padding: str = "wrap"
    content: np.ndarray | None = None
    everything: dict[str, Any] = field(init=False)

    def __post_init__(self):
        self.image = np.ascontiguousarray(self.image)
        kinds = ["gram", "histogram", "structure", "variation", *(["content"] if self.content is not None else [])]
        self.everything = {
            "structure": True,
            "padding": self.padding,
            "weights": dict.fromkeys(kinds, 1.0),
            **({} if self.content is None else {"content": self.content}),
            **self.options,
        }


def diagonal(height: int, width: int) -> np.ndarray:
    """An index image of the regions 1, in two parts, and 3, which numbers leave room between."""
    y, x = np.mgrid[:height, :width]
    return np.where((x + 2 * y) % (width + height) < 0.4 * (width + height), 3, 1).astype(np.uint8)


def ramps(height: int, width: int) -> list[np.ndarray]:
    """Two soft masks that overlap, and of which each is 0 in some part."""
    ramp = np.broadcast_to(np.linspace(-0.5, 1.5, width, dtype=np.float32), (height, width)).clip(0, 1)
    return [ramp.copy(), (1 - ramp) * np.linspace(1, 0.2, height, dtype=np.float32)[:, None]]


def plain(weights: PixelWeights | None) -> np.ndarray | None:
    """As the reference takes them."""
    if weights is None:
        return None
    assert weights.total == pytest.approx(weights.values.sum(dtype=np.float64))
    return weights.values


def split(indices: np.ndarray, *numbers: int) -> np.ndarray:
    return np.stack([(indices == number).astype(np.float32) for number in numbers])


def holed(height: int, width: int) -> np.ndarray:
    """A hole across the border and one inside."""
    hole = np.zeros((height, width), bool)
    hole[10:27, width - 9 :] = hole[30:35, 12:33] = True
    return hole


def example(kind: str, natural: np.ndarray, other: np.ndarray) -> Example:
    if kind == "index images":
        layout = diagonal(64, 64)
        options = {"exemplar": other, "exemplar_regions": layout.T.copy(), "output_regions": layout}
        masks, content = split(layout, 1, 3), natural[32:, 32:]
        return Example(natural[16:80, 16:80], options, ("1", "3"), masks, padding="zeros", content=content)
    if kind == "soft masks and alpha":
        alpha = np.ones((64, 40), np.float32)
        alpha[20:45, 5:20] = 0
        exemplar = np.dstack([other[:, :40], alpha])
        layout = ramps(47, 61)
        options = {"exemplar": exemplar, "exemplar_regions": ramps(64, 40)[::-1], "output_regions": layout}
        return Example(natural[:47, :61], options, ("1", "2"), np.stack(layout), content=natural[40:87, 30:91])
    if kind in ("hole", "hole under zeros"):
        hole, padding = holed(47, 61), "wrap" if kind == "hole" else "zeros"
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
    return Example(natural[40:87, 30:91], options, ("1", "2"), split(layout, 1, 2), padding="zeros")


EXAMPLES = [
    "index images",
    "soft masks and alpha",
    "hole",
    "hole under zeros",
    "hole and regions",
    "exemplars",
    "exemplars as regions",
]


def on(layer: str, mask: np.ndarray) -> np.ndarray:
    """A mask as the pools before a layer would halve it, (N,)."""
    for _ in range(VGG.pools(layer)):
        mask = reference.pool(mask[None].astype(np.float64), "average")[0]
    return mask.ravel()


def expected_terms(network, e: Example, objective) -> dict[str, tuple[str, float, float, np.ndarray]]:
    """Layer, share of the output, loss and its gradient with respect to the layer's map, of each term."""
    # What counts of an exemplar, and of what is kept, tests of its own say.
    exemplars = Recipe.create(**e.everything).level.exemplars
    near = {loss.name: plain(loss.region.weights.get(loss.layer)) for loss in objective.losses}
    maps = reference.forward(network, e.image, e.padding, upto="relu4_1")
    exemplar_maps = [reference.forward(network, x.image, e.padding, upto="relu4_1") for x in exemplars]
    everywhere = np.ones(e.image.shape[:2])
    made = everywhere if e.made is None else e.made
    terms = {}
    for kind, layers in (
        ("histogram", ("relu1_1", "relu4_1")),
        ("gram", ("relu1_1", "relu2_1", "relu3_1", "relu4_1")),
        ("structure", ("relu3_1",)),
    ):
        for layer in layers:
            F = maps[layer]
            S = np.hstack([reference.flat(m[layer]) for m in exemplar_maps])
            for k, region in enumerate(e.regions):
                name = "/".join(filter(None, (kind, layer, region)))
                mask = everywhere if e.masks is None else e.masks[k]
                w = on(layer, mask) if e.made is None else near[name]
                ws = []
                for x, m in zip(exemplars, exemplar_maps, strict=True):
                    pixels = m[layer][0].size
                    ws.append(
                        reference.weights(plain(x.sample(k, m[layer], VGG.pools(layer), KERNELS).weights), pixels)
                    )
                w_s = np.concatenate([factor * w for factor, w in zip(e.factors, ws, strict=False)])
                if kind == "gram":
                    value, gradient = reference.gram_loss(reference.flat(F), reference.gram(S, w_s), w)
                elif kind == "histogram":
                    value, gradient = reference.histogram_loss(reference.flat(F), S, w, w_s)
                else:
                    targets = structure_targets([m[layer] for m in exemplar_maps], ws, e.factors)
                    value, gradient = reference.structure_loss(F, targets, w, e.padding == "wrap")
                terms[name] = layer, (mask * made).mean(), value, gradient.reshape(F.shape)
    if e.content is not None:
        target = reference.forward(network, e.content, e.padding, upto="relu4_1")["relu4_1"]
        value, gradient = reference.content_loss(reference.flat(maps["relu4_1"]), reference.flat(target))
        terms["content/relu4_1"] = "relu4_1", 1.0, value, gradient.reshape(target.shape)
    terms["variation"] = "", 1.0, *reference.variation(e.image, e.padding == "wrap")
    return terms


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
            pairs = factor * reference.pair_weights(*F.shape[1:], shift, w, False).sum()
            total, mass = total + pairs * reference.translated_gram(F, shift, w, False), mass + pairs
        if mass:
            targets[shift] = total / mass
    return targets


@pytest.mark.parametrize("kind", EXAMPLES)
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
            gradient = reference.backward(expected_vgg, e.image, {layer: gradient}, e.padding)
        objective.weights = dict.fromkeys(expected, 0.0) | {name: share}
        with objective.network(e.image.shape[:2]) as network:
            terms, found = objective.evaluate(e.image, network)
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


@pytest.mark.parametrize("kind", ["index images", "hole"])
def test_sizes_of_gradients_and_weights_by_them(engine, expected_vgg, natural, other, kind):
    e = example(kind, natural, other)
    objective = engine.objective(**e.everything)
    with objective.network(e.image.shape[:2]) as network:
        sizes = objective.gradient_sizes(e.image, network)
    expected = expected_terms(expected_vgg, e, objective)
    assert sizes == pytest.approx(
        {name: np.sqrt(g.size * (g**2).sum()) for name, (*_, g) in expected.items()}, rel=1e-4
    )
    weights = threshold_weights(sizes, objective.factors)
    limits = {name: THRESHOLDS[name.partition("/")[0]] for name in sizes}
    assert all(weights[name] * size <= limits[name] for name, size in sizes.items())
    assert any(weights[name] < objective.factors[name] for name in sizes)


@pytest.mark.parametrize("wrap", [True, False])
def test_what_is_kept_counts_only_where_it_meets_what_is_made(wrap):
    hole = np.zeros((47, 61), bool)
    hole[12:30, 52:] = True
    level = Recipe.create(np.zeros((47, 61, 3), np.uint8), fill=hole).level
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    (region,) = level.loss_regions({layer: VGG.pools(layer) for layer in layers}, KERNELS, wrap=wrap)
    assert region.share == pytest.approx(hole.mean())
    for layer in layers:
        made = on(layer, hole).reshape([-(-side // 2 ** VGG.pools(layer)) for side in hole.shape])
        w = region.weights[layer].values.reshape(made.shape)
        assert w[made > 0].all()
        height, width = made.shape
        assert not w[:, width // 3 : width // 2].any()
        assert not w[-height // 6 :].any()
    w = region.weights["relu1_1"].values.reshape(hole.shape)
    assert w[12:30, 51].all()
    assert w[12:30, 0].any() == wrap  # next to the hole, across the border


@pytest.mark.parametrize("kind", ["alpha", "index image", "soft masks", "index image and alpha"])
def test_what_counts_of_an_exemplar(other, kind):
    """All that lies well inside a region; nothing outside, and never more than its mask; somewhere at all depths."""
    alpha = np.ones((64, 64), np.float32)
    options = {}
    if "alpha" in kind:
        alpha[20:45, 5:40] = 0.4
    masks = [alpha > 0.5]
    if "index" in kind:
        indices = diagonal(64, 64)
        options = {"exemplar_regions": indices, "output_regions": indices}
        masks = list(split(indices, 1, 3) * (alpha > 0.5))
    elif "soft" in kind:
        masks = ramps(64, 64)
        options = {"exemplar_regions": masks, "output_regions": masks}
    (exemplar,) = Recipe.create(np.dstack([other, alpha]), **options).level.exemplars
    assert np.array_equal(exemplar.image[alpha == 1], other[alpha == 1])
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1"):
        for region, mask in enumerate(masks):
            most = on(layer, mask)
            counts = exemplar.sample(region, np.zeros((1, 1, most.size)), VGG.pools(layer), KERNELS).weights.values
            assert counts.any()
            assert (counts <= most + 1e-6).all()
            side = 64 // 2 ** VGG.pools(layer)
            around = np.pad(most.reshape(side, side), 2, mode="edge")
            lowest = [
                np.min([around[y : y + side, x : x + side] for y in near for x in near], axis=0).ravel()
                for near in (range(5), range(1, 4))
            ]
            assert (counts[lowest[0] == 1] == 1).all()
            if layer == "relu1_1" and "soft" not in kind:  # there is enough of every region without its border
                assert not counts[lowest[1] == 0].any()


@pytest.mark.parametrize("number", [1, 2])
def test_all_of_a_region_counts_where_there_is_little_of_it(other, number):
    """Lines one pixel wide, which have no inside, and what lies between."""
    indices = np.ones((64, 64), np.uint8)
    indices[::4] = 2
    (exemplar,) = Recipe.create(other, exemplar_regions=indices, output_regions=indices).level.exemplars
    for layer in ("relu1_1", "relu3_1"):
        mask = on(layer, indices == number)
        counts = exemplar.sample(number - 1, np.zeros((1, 1, mask.size)), VGG.pools(layer), KERNELS).weights.values
        if number == 2 or layer == "relu3_1":
            assert np.allclose(counts, mask)


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
    layout = diagonal(64, 64)
    alone = engine.objective(natural, weights="auto").weights
    both = engine.objective(
        natural, exemplar_regions=[np.ones((96, 96))] * 3, output_regions=layout, weights="auto"
    ).weights
    assert len(both) == 2 * len(alone)
    for name, weight in alone.items():
        assert both[f"{name}/1"] == pytest.approx(weight * (layout == 1).mean(), rel=1e-4)
        assert both[f"{name}/1"] + both[f"{name}/3"] == pytest.approx(weight, rel=1e-4)


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
    value, gradient = engine._objective(nothing, LossOptions(), "wrap")(image)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("padding", ["wrap", "zeros"])
def test_variation_wraps_where_the_output_does(engine, padding):
    """Halves that differ: the step across the border is as large as the one inside."""
    image = np.zeros((16, 20, 3), np.float32)
    image[8:] = 1
    objective = engine.objective(image, weights={"variation": 1.0}, padding=padding)
    steps = {"wrap": 2 * 20 / (2 * 16 * 20), "zeros": 20 / (15 * 20 + 16 * 19)}
    assert objective.terms(image)["variation"] == pytest.approx(steps[padding])


@pytest.mark.parametrize("kind", ["content", "regions", "hole"])
def test_images_of_another_size_are_refused_where_only_one_will_do(engine, natural, kind):
    options = {
        "content": {"content": natural[:32, :40]},
        "regions": {"output_regions": np.ones((32, 40), np.uint8)},
        "hole": {"init": natural[:32, :40], "tile": True},
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
    for options in ({}, {"structure": True, "init": natural[:32, :32]}, {"exemplar": np.dstack([natural, alpha])}):
        objective = engine.objective(**{"exemplar": natural, **options})
        assert objective.size is None
        assert all(np.isfinite(objective(natural[:side, :40])[0]) for side in (32, 47))


def test_the_gatys_method_has_no_histograms(engine, natural):
    assert list(engine.objective(natural, method="gatys").weights) == TERMS[2:]


def test_content_may_have_no_weight(engine, natural):
    """As what is started from only."""
    exemplar, content = natural[32:64, 32:64], natural[:32, :32]  # of one size: the exemplar is not reduced
    options = {"weights": {"content": 0}}
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
        ({"weights": {"colour": 1}}, r"there is no term 'colour': choose gram, histogram, "),
        ({"weights": {"gram/relu1_2": 1}}, r"there is no term 'gram/relu1_2'"),
        ({"weights": {"content": 1}}, r"content=1: there is no layer for it"),
        ({"weights": 3}, r"weights=3: give 'auto', 'thresholds', or numbers by term"),
        ({"gram_layers": ("relu9_9",)}, r"layer 'relu9_9': model 'vgg16' has relu1_1"),
        ({"gram_layers": "relu1_1"}, r"give a sequence"),
        ({"gram_layers": ()}, r"gram=1.0: there is no layer for it"),
        ({"padding": "mirror"}, r"padding='mirror': choose 'wrap' or 'zeros'"),
        ({"pooling": "median"}, r"pooling='median'"),
    ],
)
def test_bad_options(engine, natural, options, message):
    with pytest.raises(PyengineError, match=message):
        engine.objective(natural, **options)


def test_an_objective_has_weights_that_stay(engine, natural):
    with pytest.raises(PyengineError, match="weights='thresholds' change while"):
        engine.objective(natural, weights="thresholds")


def test_the_unit_of_the_variation_is_that_of_the_exemplars_that_count(engine, natural):
    black = np.zeros_like(natural)
    weights = {"weights": {"variation": "auto"}}
    alone = engine.objective(natural, **weights).weights["variation"]
    both = engine.objective(exemplars=[natural, black], exemplar_weights=[1, 0], **weights).weights["variation"]
    assert both == pytest.approx(alone)
