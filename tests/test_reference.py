"""The reference against finite differences and against what its definitions imply."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference
from onnx import TensorProto, helper, numpy_helper
from reference import PADDINGS, WRAPS, Array, Network, Padding, Pooling, Wrap

NONE = False, False
NETWORK = Network.random(((4, 4), (6,), (5, 5), (7,)), seed=1)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SIZES = [(8, 8), (7, 9), (5, 6), (2, 3)]  # at relu4_1: 1x1, 1x2, 1x1, 1x1


def image(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((height, width, 3))


def check_gradient(function, at: Array, gradient: Array, directions: int = 6, step: float = 1e-6) -> None:
    rng = np.random.default_rng(5)
    scale = np.linalg.norm(gradient)
    assert scale > 0
    for _ in range(directions):
        d = rng.normal(size=at.shape)
        d /= np.linalg.norm(d)
        slope = (function(at + step * d) - function(at - step * d)) / (2 * step)
        assert slope == pytest.approx((gradient * d).sum(), rel=1e-6, abs=2e-7 * scale)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", SIZES)
def test_backward(size: tuple[int, int], padding: Padding, pooling: Pooling) -> None:
    rng = np.random.default_rng(2)
    at = image(*size)
    maps = reference.forward(NETWORK, at, padding, pooling)
    gradients = {name: rng.normal(size=maps[name].shape) for name in ("relu1_2", "relu2_1", "relu4_1")}

    def function(x: Array) -> float:
        maps = reference.forward(NETWORK, x, padding, pooling)
        return sum(float((g * maps[name]).sum()) for name, g in gradients.items())

    check_gradient(function, at, reference.backward(NETWORK, at, gradients, padding, pooling))


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(16, 16), (9, 13)])
def test_objective(size: tuple[int, int], padding: Padding, pooling: Pooling) -> None:
    exemplar = image(11, 10, seed=3) ** 2

    def evaluate(x: Array):
        return reference.objective(NETWORK, x, exemplar, gram=0.7, histogram=1.9, padding=padding, pooling=pooling)

    at = image(*size)
    value, gradient, terms = evaluate(at)
    assert gradient.shape == at.shape
    assert list(terms) == [f"gram/{n}" for n in LAYERS] + ["histogram/relu1_1", "histogram/relu4_1"]
    weights = {"gram": 0.7, "histogram": 1.9}
    assert value == pytest.approx(sum(weights[k.split("/")[0]] * v for k, (v, _) in terms.items()))
    check_gradient(lambda x: evaluate(x)[0], at, gradient)


def test_objective_is_zero_at_the_exemplar() -> None:
    exemplar = image(9, 8)
    value, gradient, _ = reference.objective(NETWORK, exemplar, exemplar)
    assert value < 1e-25
    assert abs(gradient).max() < 1e-12


@pytest.mark.parametrize("padding", PADDINGS)
def test_objective_with_masks_and_content(padding: Padding) -> None:
    at, exemplar, content = image(9, 13), image(11, 10, seed=3) ** 2, image(9, 13, seed=4)
    sizes = {
        name: [m[0].size for m in (reference.forward(NETWORK, x)[name] for x in (at, exemplar))] for name in LAYERS
    }
    masks = {name: mass(n) for name, (n, _) in sizes.items() if name != "relu3_1"}
    exemplar_masks = {name: mass(n, 8) for name, (_, n) in sizes.items()}

    def evaluate(x: Array, **options):
        return reference.objective(NETWORK, x, exemplar, padding=padding, **options)

    options = {
        "masks": masks,
        "exemplar_masks": exemplar_masks,
        "content": content,
        "content_weight": 0.4,
        "content_layers": ("relu1_2", "relu2_1"),
    }
    value, gradient, terms = evaluate(at, **options)
    assert list(terms)[-2:] == ["content/relu1_2", "content/relu2_1"]
    weights = {"gram": 1.0, "histogram": 1.0, "content": 0.4}
    assert value == pytest.approx(sum(weights[k.split("/")[0]] * v for k, (v, _) in terms.items()))
    check_gradient(lambda x: evaluate(x, **options)[0], at, gradient)

    plain = evaluate(at)[2]
    assert all(terms[name][0] != pytest.approx(value) for name, (value, _) in plain.items())
    assert evaluate(content, content=content)[2]["content/relu4_1"][0] == 0
    maps, targets = (reference.forward(NETWORK, x, padding) for x in (at, content))
    difference = maps["relu2_1"] - targets["relu2_1"]
    assert terms["content/relu2_1"][0] == pytest.approx((difference**2).mean())  # everywhere, whatever the masks


def test_objective_of_ones_as_masks_is_that_of_none() -> None:
    at, exemplar = image(9, 8), image(7, 9)
    ones = [{n: np.ones(m[0].size) for n, m in reference.forward(NETWORK, x).items()} for x in (at, exemplar)]
    value, gradient, _ = reference.objective(NETWORK, at, exemplar, masks=ones[0], exemplar_masks=ones[1])
    expected, expected_gradient, _ = reference.objective(NETWORK, at, exemplar)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


def test_convolution_by_hand() -> None:
    """Cross-correlation: kernel element (dy, dx) reads the pixel at (y + dy - 1, x + dx - 1)."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 2, 3, 3)), rng.normal(size=5)
    for padding in [padding for padding in PADDINGS if "reflect" not in padding]:
        expected = np.zeros((5, 3, 4))
        for o, y, c in np.ndindex(5, 3, 4):
            total = bias[o]
            for i, dy, dx in np.ndindex(2, 3, 3):
                v, u = y + dy - 1, c + dx - 1
                if (padding[0] == "wrap" or 0 <= v < 3) and (padding[1] == "wrap" or 0 <= u < 4):
                    total += weight[o, i, dy, dx] * x[i, v % 3, u % 4]
            expected[o, y, c] = total
        np.testing.assert_allclose(reference.convolve(x, weight, bias, padding), expected, rtol=1e-12)


def test_preprocessing() -> None:
    p = reference.Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 2.0, 4.0))
    x = p.apply([[[1.0, 0.5, 0.0]]])
    np.testing.assert_allclose(x[:, 0, 0], [-103.939, (127.5 - 116.779) / 2, (255 - 123.68) / 4])
    np.testing.assert_allclose(p.backward(np.array([[[1.0]], [[1.0]], [[1.0]]]))[0, 0], [63.75, 127.5, 255])


def test_zero_padding_is_of_the_preprocessed_image() -> None:
    """Zeros are the mean colour: a picture of that colour has flat maps, one of black has not."""
    p = NETWORK.preprocessing
    mean = np.array(p.mean)[::-1] / p.scale
    flat = reference.forward(NETWORK, np.tile(mean, (6, 6, 1)), ("zeros", "zeros"))["relu1_1"]
    black = reference.forward(NETWORK, np.zeros((6, 6, 3)), ("zeros", "zeros"))["relu1_1"]
    assert np.ptp(flat, axis=(1, 2)).max() < 1e-12
    assert np.ptp(black, axis=(1, 2)).max() > 0.1


def test_wrap_commutes_with_roll() -> None:
    at = image(16, 8)
    rolled = reference.forward(NETWORK, np.roll(at, (8, -8), (0, 1)))
    for name, value in reference.forward(NETWORK, at).items():
        shift = 8 * value.shape[1] // 16
        np.testing.assert_allclose(rolled[name], np.roll(value, (shift, -shift), (1, 2)), atol=1e-12)


def test_forward_stops() -> None:
    assert list(reference.forward(NETWORK, image(8, 8), upto="relu2_1")) == ["relu1_1", "relu1_2", "relu2_1"]


def test_pool_of_odd_sides() -> None:
    x = np.arange(9.0).reshape(1, 3, 3)
    np.testing.assert_array_equal(reference.pool(x, "average")[0], [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(reference.pool(x, "max")[0], [[4, 5], [7, 8]])
    ones = np.ones((1, 2, 2))
    np.testing.assert_array_equal(
        reference.pool_backward(ones, x, "average")[0], np.outer([0.5, 0.5, 1], [0.5, 0.5, 1])
    )


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 1), (1, 4)])
def test_shared_pool_backward_without_ties_is_that_of_the_pool(size: tuple[int, int], pooling: Pooling) -> None:
    x, g = np.random.default_rng(0).normal(size=(3, *size)), np.random.default_rng(1).normal(size=(3, 4, 4))
    g = g[:, : -(-size[0] // 2), : -(-size[1] // 2)]
    shared = reference.shared_pool_backward(g, x, pooling)
    np.testing.assert_allclose(shared, reference.pool_backward(g, x, pooling), rtol=1e-14)


def test_shared_pool_backward_by_hand() -> None:
    x = np.array([[[1.0, 1, 4], [0, 1, 4], [2, 3, 5]]])
    g = np.array([[[6.0, 8], [5, 7]]])
    np.testing.assert_array_equal(reference.shared_pool_backward(g, x, "max"), [[[2, 2, 4], [0, 2, 4], [0, 5, 7]]])


@pytest.mark.parametrize("padding", [padding for padding in PADDINGS if "reflect" not in padding])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_relu_gradients_and_adjoints_make_the_backward_pass(padding: Padding, pooling: Pooling) -> None:
    """The adjoint of a convolution is one with the kernel flipped, of a gradient with the same border."""
    at = image(9, 13)
    maps = reference.forward(NETWORK, at, padding, pooling)
    gradients = {name: np.random.default_rng(2).normal(size=maps[name].shape) for name in ("relu1_2", "relu4_1")}
    above, unpool = np.zeros_like(maps[NETWORK.layers[-1].name]), "none"
    for layer in reversed(NETWORK.layers):
        F = maps[layer.name]
        padded = reference.relu_gradient(
            F, above, gradients.get(layer.name), unpool, (padding[0] == "wrap", padding[1] == "wrap")
        )
        above = sum(
            np.tensordot(layer.weight[:, :, 2 - dy, 2 - dx].T, padded[:, dy : dy + F.shape[1], dx : dx + F.shape[2]], 1)
            for dy, dx in np.ndindex(3, 3)
        )
        unpool = pooling if layer.pooled else "none"
    found = NETWORK.preprocessing.backward(above)
    np.testing.assert_allclose(found, reference.backward(NETWORK, at, gradients, padding, pooling), rtol=1e-9)


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_two_loop_is_the_inverse_hessian_of_bfgs(pairs: int) -> None:
    """The matrix, updated pair by pair (Nocedal & Wright, eq. 6.17)."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(pairs, 7))
    changes = steps * rng.uniform(1, 9, 7)
    gradient, unit = rng.normal(size=7), np.eye(7)
    H = unit * (steps[-1] @ changes[-1] / (changes[-1] @ changes[-1])) if pairs else unit
    for s, y in zip(steps, changes, strict=True):
        rho = 1 / (y @ s)
        V = unit - rho * np.outer(y, s)
        H = V.T @ H @ V + rho * np.outer(s, s)
    np.testing.assert_allclose(reference.two_loop(gradient, steps, changes), H @ gradient, rtol=1e-9)


def test_max_pool_ties_go_to_the_first() -> None:
    x = np.array([[[1.0, 1, 0, 2], [1, 1, 2, 2], [3, 1, 0, 0]]])
    g = reference.pool_backward(np.array([[[1.0, 2], [3, 4]]]), x, "max")
    np.testing.assert_array_equal(g[0], [[1, 0, 0, 2], [0, 0, 0, 0], [3, 0, 4, 0]])


# ------------------------------------------------------------------- losses


def maps(channels: int, samples: int, seed: int, rectified: bool = False) -> Array:
    f = np.random.default_rng(seed).normal(size=(channels, samples))
    return np.maximum(f, 0) if rectified else f


def mass(samples: int, seed: int = 9) -> Array:
    """Soft weights, a third of them zero."""
    return np.maximum(np.random.default_rng(seed).uniform(-0.5, 1, samples), 0)


@pytest.mark.parametrize("w", [None, mass(31)])
def test_gram_loss(w: Array | None) -> None:
    target = reference.gram(maps(4, 20, 1))
    at = maps(4, 31, 2)
    _, gradient = reference.gram_loss(at, target, w)
    check_gradient(lambda f: reference.gram_loss(f, target, w)[0], at, gradient)


def test_gram_weights_count_samples() -> None:
    f, count = maps(3, 6, 0), np.array([0, 1, 2, 0, 3, 1])
    np.testing.assert_allclose(reference.gram(f, count), reference.gram(np.repeat(f, count, axis=1)))
    np.testing.assert_allclose(reference.gram(f)[0, 1], (f[0] * f[1]).mean())


def test_cross_gram() -> None:
    a, b, count = maps(3, 6, 0), maps(3, 6, 1), np.array([0, 1, 2, 0, 3, 1])
    g = reference.cross_gram(a, b)
    assert g[0, 1] == pytest.approx((a[0] * b[1]).mean())
    np.testing.assert_allclose(reference.cross_gram(b, a), g.T)
    np.testing.assert_allclose(reference.cross_gram(a, a, count), reference.gram(a, count))
    repeated = reference.cross_gram(np.repeat(a, count, axis=1), np.repeat(b, count, axis=1))
    np.testing.assert_allclose(reference.cross_gram(a, b, count), repeated)


@pytest.mark.parametrize("w", [None, mass(31)])
def test_content_loss(w: Array | None) -> None:
    target, at = maps(4, 31, 1), maps(4, 31, 2)
    value, gradient = reference.content_loss(at, target, w)
    assert value == pytest.approx(np.average((at - target) ** 2, axis=1, weights=w).mean())
    check_gradient(lambda f: reference.content_loss(f, target, w)[0], at, gradient)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (2, 0), (-1, 3), (1, -4), (3, 1)])
@pytest.mark.parametrize("w", [None, mass(20)])
def test_translated_gram_by_hand(w: Array | None, shift: reference.Shift, wrap: Wrap) -> None:
    f = maps(2, 20, 3).reshape(2, 4, 5)
    grid = np.ones((4, 5)) if w is None else w.reshape(4, 5)
    total, seen = np.zeros((2, 2)), 0.0
    for y, x in np.ndindex(4, 5):
        v, u = y + shift[0], x + shift[1]
        if (wrap[0] or 0 <= v < 4) and (wrap[1] or 0 <= u < 5):
            v, u = v % 4, u % 5
            total += grid[y, x] * grid[v, u] * np.outer(f[:, y, x], f[:, v, u])
            seen += grid[y, x] * grid[v, u]
    assert seen > 0
    np.testing.assert_allclose(reference.translated_gram(f, shift, w, wrap), total / seen, atol=1e-12)


def test_translated_gram_without_a_pair() -> None:
    f = maps(2, 20, 3).reshape(2, 4, 5)
    assert not reference.translated_gram(f, (4, 0), wrap=NONE).any()
    assert not reference.translated_gram(f, (1, 0), np.eye(20)[3]).any()


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("w", [None, mass(35)])
def test_structure_loss(w: Array | None, wrap: Wrap) -> None:
    exemplar, at = maps(3, 48, 1).reshape(3, 8, 6), maps(3, 35, 2).reshape(3, 5, 7)
    target = {s: reference.translated_gram(exemplar, s, wrap=NONE) for s in [(0, 1), (1, 0), (4, -2)]}
    value, gradient = reference.structure_loss(at, target, w, wrap)
    alone = [reference.structure_loss(at, {s: t}, w, wrap)[0] for s, t in target.items()]
    assert value == pytest.approx(np.mean(alone))
    check_gradient(lambda f: reference.structure_loss(f, target, w, wrap)[0], at, gradient)


def test_structure_loss_of_no_shift_is_the_gram_loss() -> None:
    at, target = maps(3, 35, 2), reference.gram(maps(3, 48, 1))
    value, gradient = reference.structure_loss(at.reshape(3, 5, 7), {(0, 0): target})
    expected, expected_gradient = reference.gram_loss(at, target)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(gradient.reshape(3, 35), expected_gradient, atol=1e-12)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("w", [None, mass(35)])
def test_autocorrelation_by_hand(w: Array | None, wrap: Wrap) -> None:
    u = maps(2, 35, 3).reshape(2, 5, 7)
    grid = np.ones((5, 7)) if w is None else w.reshape(5, 7)
    found, masses = reference.autocorrelation(*reference.sums_of_pairs(u, (2, 3), w, wrap))
    for dy, dx in np.ndindex(5, 7):
        total, seen = np.zeros(2), 0.0
        for y, x in np.ndindex(5, 7):
            v, h = y + dy - 2, x + dx - 3
            if (wrap[0] or 0 <= v < 5) and (wrap[1] or 0 <= h < 7):
                total += grid[y, x] * grid[v % 5, h % 7] * u[:, y, x] * u[:, v % 5, h % 7]
                seen += grid[y, x] * grid[v % 5, h % 7]
        enough = seen > (grid**2).sum() / 8
        np.testing.assert_allclose(found[:, dy, dx], total / seen if enough else 0, atol=1e-12)
        assert masses[dy, dx] == pytest.approx(seen if enough else 0)
    np.testing.assert_allclose(found, found[:, ::-1, ::-1])  # each pair is one of the opposite lag too


def test_lags_count_by_the_strength_of_what_repeats_there() -> None:
    columns = np.tile([2.0, -1, -1], (1, 12, 8))
    target, _ = reference.autocorrelation(*reference.sums_of_pairs(columns, (6, 12), wrap=NONE))
    counts = reference.lag_weights(target, (12, 24))
    x = np.arange(-12, 13)
    assert (counts[:, x % 3 == 0] == 1).sum() == 13 * 9 - 3  # but for those within an eighth of the side
    assert counts[6, 12 - 1 : 12 + 2].tolist() == [0, 0, 0]
    assert counts[8, 12] == 1
    half, _ = reference.sums_of_pairs([[[1.0, 0.3, 0, 0] * 6] * 6], (3, 12))
    np.testing.assert_allclose(reference.lag_weights(half, (6, 24))[3, 13], 5 * 0.3 / 1.09 - 1)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("w", [None, mass(35)])
def test_correlation_loss(w: Array | None, wrap: Wrap) -> None:
    """Of an output that is smaller than the exemplar in one direction."""
    rng = np.random.default_rng(0)
    at, axes, origin = maps(3, 35, 2).reshape(3, 5, 7), rng.normal(size=(2, 3)), rng.normal(size=2)
    target, _ = reference.sums_of_pairs(maps(2, 48, 1).reshape(2, 8, 6) / 7, (4, 2), wrap=NONE)
    counts = rng.uniform(size=target.shape[1:])
    counts += counts[::-1, ::-1]

    def evaluate(f: Array):
        return reference.correlation_loss(f, axes, origin, target, counts, w, wrap)

    value, gradient = evaluate(at)
    u = np.tensordot(axes, at, 1) - origin[:, None, None]
    found, masses = reference.autocorrelation(*reference.sums_of_pairs(u, (2, 2), w, wrap))
    wanted = counts[2:7] * (masses > 0) * (found - target[:, 2:7]) ** 2
    assert value == pytest.approx(wanted.mean())
    check_gradient(lambda f: evaluate(f)[0], at, gradient)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("size", [(4, 5), (2, 2), (1, 4), (3, 1), (2, 1)])
def test_variation(size: tuple[int, int], wrap: Wrap) -> None:
    at = image(*size)
    _, gradient = reference.variation(at, wrap)
    check_gradient(lambda x: reference.variation(x, wrap)[0], at, gradient)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(("size", "count"), [((5, 7), 3), ((1, 6), 2), ((6, 1), 2), ((2, 2), 1)])
def test_joint_loss(size: tuple[int, int], count: int, wrap: Wrap) -> None:
    at, exemplar = (np.random.default_rng(seed).random((*shape, count)) for seed, shape in ((1, size), (2, (6, 5))))
    found = reference.values_and_slopes(exemplar)
    mean, deviation = reference.joint_units(found)
    target = reference.gram((found - mean[:, None]) / deviation[:, None])
    np.testing.assert_allclose(np.diag(target), 1)
    w = mass(at[:, :, 0].size)
    _, gradient = reference.joint_loss(at, mean, 1 / deviation, target, w, wrap)
    check_gradient(lambda x: reference.joint_loss(x, mean, 1 / deviation, target, w, wrap)[0], at, gradient)


def test_slopes_by_hand() -> None:
    x = np.array([[1.0, 2, 4, 8]])[:, :, None]
    np.testing.assert_array_equal(reference.values_and_slopes(x), [[1, 2, 4, 8], [0.5, 1.5, 3, 2], [0, 0, 0, 0]])
    np.testing.assert_array_equal(reference.values_and_slopes(x, (False, True))[1], [-3, 1.5, 3, -1.5])
    across = reference.values_and_slopes(x.transpose(1, 0, 2), (True, False))
    np.testing.assert_array_equal(across, [[1, 2, 4, 8], [0, 0, 0, 0], [-3, 1.5, 3, -1.5]])


def test_variation_by_hand() -> None:
    x = np.array([[1.0, 2, 4], [1, 5, 1]])[:, :, None]
    # To the right 1, 4, (9) and 16, 16, (0); below 0, 9, 9, and once more with the way back round.
    assert reference.variation(x, wrap=NONE)[0] == pytest.approx((1 + 4 + 16 + 16 + 18) / 7)
    assert reference.variation(x)[0] == pytest.approx((1 + 4 + 9 + 16 + 16 + 18 + 18) / 12)
    assert reference.variation(x, (False, True))[0] == pytest.approx((1 + 4 + 9 + 16 + 16 + 18) / 9)
    assert reference.variation(x, (True, False))[0] == pytest.approx((1 + 4 + 16 + 16 + 18 + 18) / 10)
    assert reference.variation(np.repeat(x, 2, axis=2))[0] == pytest.approx(reference.variation(x)[0])
    for wrap in WRAPS:
        value, gradient = reference.variation(x[:1, :1], wrap)
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("samples", [20, 31, 93])
@pytest.mark.parametrize("weighted", [False, True])
def test_histogram_loss(samples: int, weighted: bool) -> None:
    s, at = maps(4, samples, 1, rectified=True), maps(4, 31, 2)
    w, w_s = (mass(31), mass(samples, 8)) if weighted else (None, None)
    _, gradient = reference.histogram_loss(at, s, w, w_s)
    check_gradient(lambda f: reference.histogram_loss(f, s, w, w_s)[0], at, gradient)


def test_histogram_gradient_moves_an_atom_as_one() -> None:
    s, at = maps(1, 40, 1), maps(1, 30, 2, rectified=True)
    zero = at == 0
    assert zero.sum() > 5
    _, gradient = reference.histogram_loss(at, s)
    step = 1e-7
    slope = (reference.histogram_loss(at + step * zero, s)[0] - reference.histogram_loss(at - step * zero, s)[0]) / (
        2 * step
    )
    assert slope == pytest.approx(gradient[zero].sum(), rel=1e-6)


def test_histogram_loss_is_wasserstein() -> None:
    """With equal counts it is the mean of the squared differences of the sorted samples."""
    f, s = maps(3, 50, 1), maps(3, 50, 2)
    w2 = ((np.sort(f, axis=1) - np.sort(s, axis=1)) ** 2).mean()
    assert reference.histogram_loss(f, s)[0] == pytest.approx(w2, rel=1e-12)
    np.testing.assert_allclose(np.sort(reference.match(f, s), axis=1), np.sort(s, axis=1), rtol=1e-12)


def test_histogram_loss_is_wasserstein_less_the_spread_within_atoms() -> None:
    """W2^2 = sum m (F - R)^2 + the variance of the exemplar's quantiles that each atom averages."""
    f, s = maps(1, 6, 1, rectified=True), maps(1, 10, 2)
    quantiles = np.repeat(np.sort(s[0]), 3), np.repeat(np.sort(f[0]), 5)  # 30 equal masses each
    w2 = ((quantiles[0] - quantiles[1]) ** 2).mean()
    spread = (s**2).mean() - (reference.match(f, s) ** 2).mean()
    assert reference.histogram_loss(f, s)[0] == pytest.approx(w2 - spread, rel=1e-12)


def test_match_keeps_ranks_and_mean() -> None:
    f, s = maps(2, 37, 1), maps(2, 23, 2)
    r = reference.match(f, s)
    for channel in range(2):
        assert (np.diff(r[channel, np.argsort(f[channel])]) >= 0).all()
    np.testing.assert_allclose(r.mean(1), s.mean(1))


def test_match_takes_zero_as_one_mass() -> None:
    f, s = np.array([[0.0, 5, 0, 0]]), np.array([[4.0, 3, 2, 1]])
    np.testing.assert_array_equal(reference.match(f, s), [[2, 4, 2, 2]])
    # Half of the mass is zero in both, whatever the counts: zero stays zero.
    f, s = np.array([[0.0, 0, 1, 2]]), np.array([[0.0, 0, 0, 7, 8, 9]])
    np.testing.assert_allclose(reference.match(f, s), [[0, 0, 7 + 1 / 3, 8 + 2 / 3]], rtol=1e-12)


def test_match_of_itself() -> None:
    f = maps(3, 40, 1, rectified=True)
    np.testing.assert_allclose(reference.match(f, f), f, rtol=1e-12)


def test_match_weights_count_samples() -> None:
    f, count = maps(2, 6, 0), np.array([1, 0, 2, 1, 3, 0])
    s, count_s = maps(2, 5, 1), np.array([0, 2, 1, 4, 1])
    r = reference.match(f, s, count, count_s)
    # A weight of 2 is one sample with twice the mass; two equal samples are the same atom.
    repeated = reference.match(np.repeat(f, count, axis=1), np.repeat(s, count_s, axis=1))
    np.testing.assert_allclose(np.repeat(r, count, axis=1), repeated, rtol=1e-12)
    np.testing.assert_array_equal(r[:, count == 0], f[:, count == 0])


def test_match_of_a_weight_below_rounding() -> None:
    f, s = np.array([[1.0, 2, 3]]), np.array([[5.0, 6]])
    np.testing.assert_allclose(reference.match(f, s, np.array([1, 1e-30, 1])), [[5, 6, 6]])


def test_no_mass() -> None:
    f, s = maps(2, 4, 0), maps(2, 5, 1)
    for w, w_s in ((np.zeros(4), None), (None, np.zeros(5))):
        np.testing.assert_array_equal(reference.match(f, s, w, w_s), f)
        value, gradient = reference.histogram_loss(f, s, w, w_s)
        assert value == 0
        assert not gradient.any()
    assert not reference.cross_gram(f, f, np.zeros(4)).any()
    for value, gradient in (
        reference.gram_loss(f, np.ones((2, 2)), np.zeros(4)),
        reference.content_loss(f, f + 1, np.zeros(4)),
        reference.structure_loss(f.reshape(2, 2, 2), {(0, 1): np.ones((2, 2))}, np.zeros(4)),
    ):
        assert value == 0
        assert not gradient.any()


# --------------------------------------------------------------------- load


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_load(tmp_path: Path, dtype: type) -> None:
    network = Network.random(((2, 3), (4,)), seed=4)
    p = network.preprocessing
    initializers = []
    nodes, x = [], "image"
    for layer in network.layers:
        initializers += [
            numpy_helper.from_array(layer.weight.astype(dtype), f"{layer.name}.weight"),
            numpy_helper.from_array(layer.bias.astype(dtype), f"{layer.name}.bias"),
        ]
        if layer.pooled:
            nodes.append(helper.make_node("AveragePool", [x], [f"{x}.pooled"], kernel_shape=[2, 2], strides=[2, 2]))
            x = f"{x}.pooled"
        inputs = [x, f"{layer.name}.weight", f"{layer.name}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"{layer.name}.sum"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"{layer.name}.sum"], [layer.name]))
        x = layer.name
    initializers.reverse()  # the order is that of the nodes
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("image", "relu2_1")]
    model = helper.make_model(helper.make_graph(nodes, "net", values[:1], values[1:], initializers))
    helper.set_model_props(model, {"preprocessing": json.dumps(vars(p))})
    onnx.save(model, tmp_path / "net.onnx")

    loaded = reference.load(tmp_path / "net.onnx")
    assert loaded.preprocessing == p
    assert [layer.name for layer in loaded.layers] == ["relu1_1", "relu1_2", "relu2_1"]
    assert [layer.pooled for layer in loaded.layers] == [False, False, True]
    for got, expected in zip(loaded.layers, network.layers, strict=True):
        assert got.weight.dtype == got.bias.dtype == np.float64
        np.testing.assert_array_equal(got.weight, expected.weight.astype(dtype))
        np.testing.assert_array_equal(got.bias, expected.bias.astype(dtype))
