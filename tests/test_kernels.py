"""The compiled kernels against the float64 reference."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from conftest import WRAPS, coverage, covering, features

from pyengine import _core
from pyengine.kernels.cpu import CpuKernels
from pyengine.wrap import BOTH, NEITHER

SHAPES = [(1, 1), (1, 7), (2, 3), (3, 5000), (5, 63), (7, 1025), (64, 4099), (97, 530), (200, 515)]
CONTENTS = ["relu", "normal", "zeros", "equal", "integers"]
COVERAGES = ["none", "random", "sparse", "one"]


def assert_close(actual, expected, tolerance=2e-6):
    """Compare with a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * (np.abs(expected).max() + 1e-30))


# --------------------------------------------------------------------- Gram


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gram(shape, kind):
    F, w = features(shape, "normal"), covering(shape[1], kind)
    G = _core.gram(F, w, threads=2)
    assert G.dtype == np.float64
    assert_close(G, reference.gram(F, w))
    np.testing.assert_array_equal(G, G.T)


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_mix(shape, kind):
    F, w = features(shape, "normal"), covering(shape[1], kind)
    D = np.random.default_rng(1).normal(size=(shape[0], shape[0]))
    expected = 0.3 * D @ (F.astype(float) * (1 if w is None else w))
    out = np.full_like(F, np.nan)
    _core.mix(F, D, 0.3, out, w, threads=2)
    assert_close(out, expected)
    _core.mix(F, D.astype(np.float32), 0.3, out, w, accumulate=True, threads=2)
    assert_close(out, 2 * expected)


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("pixels", [1, 63, 515])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (1, 64), (8, 128), (13, 7), (33, 3), (128, 8), (0, 5)])
def test_mix_to_more_or_fewer_channels(rows, channels, pixels, kind):
    F, w = features((channels, pixels), "normal"), covering(pixels, kind)
    M = np.random.default_rng(1).normal(size=(rows, channels))
    expected = 0.3 * M @ (F.astype(float) * (1 if w is None else w))
    around = np.full((rows + 2, pixels), np.nan, np.float32)
    out = around[1:-1]
    _core.mix(F, M, 0.3, out, w, threads=2)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6 * max(np.abs(expected).max(initial=0), 1))
    _core.mix(F, M.astype(np.float32), 0.3, out, w, accumulate=True, threads=2)
    np.testing.assert_allclose(out, 2 * expected, rtol=0, atol=4e-6 * max(np.abs(expected).max(initial=0), 1))
    assert np.isnan(around[[0, -1]]).all()


def test_mix_is_that_of_the_loss():
    F, w = features((6, 200), "normal"), covering(200)
    target = reference.gram(features((6, 150), "normal", 1))
    _, expected = reference.gram_loss(F, target, w)
    out = np.empty_like(F)
    difference = _core.gram(F, w) - target
    _core.mix(F, difference, 4 / (6 * 6 * w.sum(dtype=float)), out, w)
    assert_close(out, expected, 1e-5)


def test_gram_without_mass_is_zero():
    F = features((3, 40))
    np.testing.assert_array_equal(_core.gram(F, np.zeros(40, np.float32)), np.zeros((3, 3)))
    np.testing.assert_array_equal(_core.cross_gram(F, F + 1, np.zeros(40, np.float32)), np.zeros((3, 3)))


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_gram(shape, kind):
    A, B, w = features(shape, "normal"), features(shape, "normal", 1), covering(shape[1], kind)
    G = _core.cross_gram(A, B, w, threads=2)
    assert G.dtype == np.float64
    assert_close(G, reference.cross_gram(A, B, w))
    assert_close(_core.cross_gram(B, A, w), G.T)


def test_cross_gram_of_a_map_with_itself_is_its_gram():
    F, w = features((100, 3000), "normal"), covering(3000)
    for v in (None, w):
        np.testing.assert_array_equal(_core.cross_gram(F, F, v), _core.gram(F, v))
    np.testing.assert_array_equal(_core.cross_gram(F, F.copy()), _core.gram(F))
    assert_close(_core.cross_gram(F, F.copy(), w), _core.gram(F, w))


@pytest.mark.parametrize("kind", ["none", "random"])
def test_gradients_of_a_translated_gram(kind):
    """The matrix is not symmetric: a pair's first member gets D times the second, that one D^T times the first."""
    (height, width), shift, w = (9, 14), (2, -3), covering(126, kind)
    F = features((5, height, width), "normal")
    target = reference.translated_gram(features((5, 8, 8), "normal", 1), shift)
    value, expected = reference.structure_loss(F, {shift: target}, w)

    pairs = None if w is None else w * np.roll(w.reshape(height, width), (-2, 3), (0, 1)).ravel()
    first, second = F.reshape(5, -1), np.roll(F, (-2, 3), (1, 2)).reshape(5, -1)
    difference = _core.cross_gram(first, second, pairs) - target
    assert (difference**2).sum() / 25 == pytest.approx(value, rel=1e-5)
    scale = 2 / (25 * (126 if pairs is None else pairs.sum(dtype=float)))
    at_first, at_second = np.empty_like(first), np.empty_like(first)
    _core.mix(second, difference, scale, at_first, pairs)
    _core.mix(first, np.ascontiguousarray(difference.T), scale, at_second, pairs)
    assert_close(at_first.reshape(F.shape) + np.roll(at_second.reshape(F.shape), shift, (1, 2)), expected, 1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_gram_propagates_what_is_not_finite(value, kind):
    F, w = features((5, 700), "normal"), covering(700, kind)
    F[2, 650] = value
    G, out = _core.gram(F, w), np.empty_like(F)
    finite = np.isfinite(G)
    assert not finite[2].any()
    assert not finite[:, 2].any()
    assert finite.sum() == 16
    _core.mix(F, np.ones((5, 5)), 1.0, out, w)
    assert not np.isfinite(out[:, 650]).any()
    assert np.isfinite(np.delete(out, 650, 1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_cross_gram_propagates_what_is_not_finite(value, kind):
    A, B, w = features((5, 700), "normal"), features((5, 700), "normal", 1), covering(700, kind)
    A[2, 650] = value
    assert np.array_equal(np.isfinite(_core.cross_gram(A, B, w)), np.tile(np.arange(5) != 2, (5, 1)).T)
    assert np.array_equal(np.isfinite(_core.cross_gram(B, A, w)), np.tile(np.arange(5) != 2, (5, 1)))


# ------------------------------------------------------------------ content


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3), (5, 63), (7, 1025), (64, 1), (3, 40001)])
def test_content_loss(shape, content, kind):
    X, T, w = features(shape, content), features(shape, content, 1), covering(shape[1], kind)
    value, expected = reference.content_loss(X, T, w)
    gradient = np.full_like(X, np.nan)
    for out in (gradient, None):
        assert _core.content_loss(X, T, out, 0.7, w, threads=2) == pytest.approx(value, rel=1e-6)
    assert_close(gradient, 0.7 * expected, 5e-7)
    assert _core.content_loss(X, T, gradient, 0.7, w, accumulate=True) == pytest.approx(value, rel=1e-6)
    assert_close(gradient, 1.4 * expected, 5e-7)
    if w is not None:
        np.testing.assert_array_equal(gradient[:, w == 0], 0)


def test_content_loss_at_its_target_is_zero():
    T, gradient = features((4, 333), "normal"), np.full((4, 333), np.nan, np.float32)
    for X in (T, T.copy()):
        assert _core.content_loss(X, T, gradient) == 0
        np.testing.assert_array_equal(gradient, 0)


def test_content_loss_without_mass_is_zero():
    X, T, none = features((3, 50)), features((3, 50), seed=1), np.zeros(50, np.float32)
    gradient = np.ones_like(X)
    assert _core.content_loss(X, T, gradient, coverage=none, accumulate=True) == 0
    np.testing.assert_array_equal(gradient, 1)
    assert _core.content_loss(X, T, gradient, coverage=none) == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["none", "random"])
@pytest.mark.parametrize("at", [0, 650, 699])  # the last one is not in a whole vector
def test_content_loss_of_what_is_not_finite(at, kind, value):
    X, T, w = features((3, 700)), features((3, 700), seed=1), covering(700, kind)
    gradient = np.empty_like(X)
    X[1, at] = value
    for a, b in ((X, T), (T, X)):
        loss = _core.content_loss(a, b, gradient, coverage=w)
        assert np.isnan(loss) if np.isnan(value) else loss == np.inf
        assert np.argwhere(~np.isfinite(gradient)).tolist() == [[1, at]]
    assert np.isnan(_core.content_loss(X, X)) == (not np.isfinite(value))


# ---------------------------------------------------------------- variation

IMAGES = [
    (1, 1, 1),
    (1, 1, 3),
    (1, 7, 3),
    (7, 1, 3),
    (2, 2, 3),
    (2, 1, 1),
    (3, 2, 4),
    (5, 3, 1),
    (16, 16, 3),
    (33, 70, 3),
]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("shape", IMAGES)
def test_variation(shape, content, wrap):
    x = features(shape, content)
    value, expected = reference.variation(x, wrap)
    gradient = np.full_like(x, np.nan)
    for out in (gradient, None):
        assert _core.variation(x, out, 0.7, wrap, threads=2) == pytest.approx(value, rel=1e-6)
    assert_close(gradient, 0.7 * expected, 1e-6)
    assert _core.variation(x, gradient, 0.7, wrap, accumulate=True) == pytest.approx(value, rel=1e-6)
    assert_close(gradient, 1.4 * expected, 1e-6)


def test_variation_wraps_unless_told_otherwise():
    x = features((4, 5, 3))
    assert _core.variation(x) == _core.variation(x, wrap=BOTH) != _core.variation(x, wrap=NEITHER)
    rolled = np.roll(x, (1, 2), (0, 1))
    assert _core.variation(rolled) == pytest.approx(_core.variation(x))
    assert _core.variation(np.ascontiguousarray(x.transpose(1, 0, 2))) == pytest.approx(_core.variation(x))


@pytest.mark.parametrize("wrap", WRAPS)
def test_variation_of_one_pixel_is_zero(wrap):
    x, gradient = features((1, 1, 3), "normal"), np.ones((1, 1, 3), np.float32)
    assert _core.variation(x, gradient, wrap=wrap, accumulate=True) == 0
    np.testing.assert_array_equal(gradient, 1)
    assert _core.variation(x, gradient, wrap=wrap) == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("at", [(0, 0), (2, 3), (4, 5)])
def test_variation_of_nan(at, wrap):
    x, gradient = features((5, 6, 3)), np.empty((5, 6, 3), np.float32)
    x[(*at, 1)] = np.nan
    assert np.isnan(_core.variation(x, gradient, wrap=wrap))
    touched = {at}
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, u = at[0] + dy, at[1] + dx
        if (wrap.y or 0 <= y < 5) and (wrap.x or 0 <= u < 6):
            touched.add((y % 5, u % 6))
    assert set(map(tuple, np.argwhere(np.isnan(gradient)).tolist())) == {(*p, 1) for p in touched}


# ---------------------------------------------------------------- histogram


def distance_from_match(histogram, X, w=None, threads=1):
    """O - R(O), which the gradient is but for its factor; 0 where a pixel does not count."""
    gradient, scale = np.full_like(X, np.nan), 0.5 * len(X) * (X.shape[1] if w is None else w.sum(dtype=float))
    histogram.loss(X, gradient, scale, w, threads=threads)
    return gradient if w is None else gradient / np.where(w == 0, 1, w.astype(float))


def assert_matches(histogram, X, expected, w=None, tolerance=2e-7):
    found = X - distance_from_match(histogram, X, w, threads=2).astype(float)
    counts = np.ones(X.shape[1], bool) if w is None else w > 0
    largest = max(np.abs(X).max(), np.abs(expected).max())  # the distance is rounded relative to both
    np.testing.assert_allclose(found[:, counts], expected[:, counts], rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("pixels", [(1, 1), (1, 9), (9, 1), (700, 700), (700, 331), (331, 700), (3000, 4001)])
def test_match(pixels, content):
    X, S = features((3, pixels[0]), content), features((3, pixels[1]), "relu", 1)
    for map_, exemplar in ((X, S), (S, X)):
        assert_matches(_core.Histogram(exemplar, threads=2), map_, reference.match(map_, exemplar))


@pytest.mark.parametrize("content", CONTENTS)
def test_match_of_more_samples_than_the_cache_holds(content):
    """They are parted before they are sorted; the parts are of very different sizes."""
    map_, exemplar = features((2, 150_001), content), features((2, 90_000), "normal", 1)
    map_[1] *= 1e-3 ** np.linspace(0, 1, map_.shape[1], dtype=np.float32)  # over many powers of two
    assert_matches(_core.Histogram(exemplar), map_, reference.match(map_, exemplar))
    w = covering(map_.shape[1], "sparse")
    assert_matches(_core.Histogram(map_), map_, reference.match(map_, map_, w), w, 1e-6)


@pytest.mark.parametrize("kind_s", COVERAGES)
@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("content", ["relu", "integers", "zeros"])
def test_match_of_what_is_covered(content, kind, kind_s):
    X, S = features((2, 700), content), features((2, 900), "normal", 1)
    w, w_s = covering(700, kind), covering(900, kind_s, 1)
    for map_, exemplar, v, v_s in ((X, S, w, w_s), (S, X, w_s, w)):
        # The reference rounds cumulative masses differently: a sample may go to the neighbouring step.
        assert_matches(_core.Histogram(exemplar, v_s), map_, reference.match(map_, exemplar, v, v_s), v, 1e-6)


def test_equal_sizes_give_the_sorted_exemplar_exactly():
    S = features((4, 4096), "normal", 1)  # of a power of two, so that the gradient's factor is exactly 1
    ranks = np.random.default_rng(2).permuted(np.tile(np.arange(4096), (4, 1)), axis=1)
    X = (ranks - 2000.5).astype(np.float32)  # no ties
    expected = np.take_along_axis(np.sort(S, axis=1), ranks, 1)
    distances = (X - expected.astype(float)).astype(np.float32)
    np.testing.assert_array_equal(distance_from_match(_core.Histogram(S), X), distances)


def test_zeros_are_one_atom():
    X = np.array([[0, 0, 2, -0.0, 1]], np.float32)
    S = np.array([[5, 1, 3, 2, 4]], np.float32)
    np.testing.assert_array_equal(X - distance_from_match(_core.Histogram(S), X), [[2, 2, 5, 2, 4]])


@pytest.mark.parametrize("kind", COVERAGES)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("pixels", [(1, 1), (1200, 1200), (1200, 701)])
def test_loss(pixels, content, kind):
    X, S = features((5, pixels[0]), content), features((5, pixels[1]), "relu", 1)
    w, w_s = covering(pixels[0], kind), covering(pixels[1], kind, 1)
    histogram = _core.Histogram(S, w_s)
    value, expected = reference.histogram_loss(X, S, w, w_s)
    gradient = np.full_like(X, np.nan)
    assert histogram.loss(X, gradient, 0.7, w) == pytest.approx(value, rel=1e-5, abs=1e-12)
    assert_close(gradient, 0.7 * expected, 3e-6)
    assert histogram.loss(X, None, 0.7, w) == pytest.approx(value, rel=1e-5, abs=1e-12)
    histogram.loss(X, gradient, 0.7, w, accumulate=True)
    assert_close(gradient, 1.4 * expected, 3e-6)
    if w is not None:
        np.testing.assert_array_equal(gradient[:, w == 0], 0)


@pytest.mark.parametrize("kind", ["none", "random"])
def test_gradient_by_finite_differences(kind):
    X, S = features((2, 40), "normal"), features((2, 53), "normal", 1)
    w, step = covering(40, kind), 2.0**-12
    histogram, gradient = _core.Histogram(S), np.empty_like(X)
    histogram.loss(X, gradient, coverage=w)
    for at in [(0, 3), (0, 17), (1, 0), (1, 39)]:
        moved = []
        for sign in (1, -1):
            P = X.copy()
            P[at] += np.float32(sign * step)
            np.testing.assert_array_equal(P.argsort(), X.argsort())
            moved.append(histogram.loss(P, coverage=w))
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(gradient[at], rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("side", ["map", "exemplar"])
def test_no_mass(side):
    X, S, none = features((3, 50)), features((3, 50), seed=1), np.zeros(50, np.float32)
    w, w_s = (none, None) if side == "map" else (None, none)
    histogram, gradient = _core.Histogram(S, w_s), np.ones_like(X)
    assert histogram.loss(X, gradient, coverage=w, accumulate=True) == 0
    np.testing.assert_array_equal(gradient, 1)
    assert histogram.loss(X, gradient, coverage=w) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_negative_exemplar_has_no_step_for_zeros():
    X, w = features((1, 256), "normal"), np.ones(256, np.float32)
    S = -np.abs(features((1, 255), "normal")) - 1
    w[X[0].argmax()] = 1e-38  # its interval begins, as rounded, at the very end of the exemplar's mass
    distance = distance_from_match(_core.Histogram(S, w[:255] * 0 + 1), X, w)
    assert (X - distance).max() == pytest.approx(S.max(), rel=1e-6)


def test_a_coverage_below_rounding_is_harmless():
    X, S = features((2, 300), "normal"), features((2, 300), "normal", 1)
    w = covering(300)
    w[::3] = 1e-38
    assert_matches(_core.Histogram(S, w), X, reference.match(X, S, w, w), w, 1e-6)


@pytest.mark.parametrize("kind", ["none", "random"])
def test_what_is_not_finite(kind):
    X, S, w = features((3, 600)), features((3, 600), seed=1), covering(600, kind)
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        bad = X.copy()
        bad[1, [5, 77]] = value
        gradient = np.empty_like(X)
        loss = _core.Histogram(S, w).loss(bad, gradient, coverage=w)
        assert not np.isfinite(loss)
        assert np.isnan(loss) == np.isnan(value)
        assert np.argwhere(~np.isfinite(gradient)).tolist() == [[1, 5], [1, 77]]
        assert not np.isfinite(_core.Histogram(bad, w).loss(S, coverage=w))


def test_nan_that_does_not_count_takes_no_part():
    X, S, w = features((2, 60)), features((2, 70), seed=1), covering(60)
    w[5] = 0
    value = _core.Histogram(S).loss(X, coverage=w)
    X[:, 5] = np.nan
    assert _core.Histogram(S).loss(X, coverage=w) == value


def test_channels():
    assert _core.Histogram(features((3, 1000))).channels == 3


# ------------------------------------------------------------ ReLU gradient

MAPS = [(1, 1, 1), (1, 1, 2), (3, 1, 5), (2, 5, 1), (1, 2, 2), (1, 3, 3), (4, 6, 7), (5, 8, 8), (7, 33, 70)]


def relu_arguments(shape, content, pooling):
    """A map, a gradient with respect to what comes after it, and one with respect to itself."""
    channels, height, width = shape
    pooled = shape if pooling == "none" else (channels, -(-height // 2), -(-width // 2))
    return features(shape, content), features(pooled, "normal", 1), features(shape, "normal", 2)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pooling", ["none", "average", "max"])
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("shape", MAPS)
def test_relu_gradient(shape, content, pooling, wrap):
    F, above, loss = relu_arguments(shape, content, pooling)
    for own in (loss, None):
        expected = reference.relu_gradient(F, above, own, pooling, wrap)
        out = np.full((shape[0], shape[1] + 2, shape[2] + 2), np.nan, np.float32)
        assert _core.relu_gradient(F, out, above, own, pooling, wrap, threads=2) == 0
        assert_close(out, expected, 5e-7)
        peak = _core.relu_gradient(F, out, above, own, pooling, wrap, measure=True)
        assert peak == np.abs(out).max()
        assert_close(out, expected, 5e-7)


def test_relu_gradient_wraps_and_pools_nothing_unless_told_otherwise():
    F, above, loss = relu_arguments((2, 3, 4), "relu", "none")
    outs = np.empty((2, 2, 5, 6), np.float32)
    _core.relu_gradient(F, outs[0], above, loss)
    _core.relu_gradient(F, outs[1], above, loss, "none", BOTH, False, 1)
    np.testing.assert_array_equal(outs[0], outs[1])


def mask_of(F, pooling):
    """What Winograd's convolutions give instead of a map: a word for each 4x4 square, a bit for each pixel."""
    passes = F > 0
    for y, x in np.ndindex(F.shape[1:]) if pooling == "max" else ():
        window = F[:, y // 2 * 2 : y // 2 * 2 + 2, x // 2 * 2 : x // 2 * 2 + 2]
        passes[:, y, x] &= F[:, y, x] == window.max(axis=(1, 2))
    words = np.zeros((len(F), -(-F.shape[1] // 4), -(-F.shape[2] // 4)), np.uint16)
    for channel, y, x in np.argwhere(passes):
        words[channel, y // 4, x // 4] |= 1 << (y % 4 * 4 + x % 4)
    return words


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pooling", ["none", "average", "max"])
@pytest.mark.parametrize("content", ["relu", "equal", "integers"])
@pytest.mark.parametrize("shape", MAPS)
def test_relu_gradient_of_a_mask(shape, content, pooling, wrap):
    F, above, _ = relu_arguments(shape, content, pooling)
    expected, out = np.empty((2, shape[0], shape[1] + 2, shape[2] + 2), np.float32)
    peak = _core.relu_gradient(F, expected, above, None, pooling, wrap, measure=True)
    assert _core.relu_gradient(mask_of(F, pooling), out, above, None, pooling, wrap, measure=True, threads=2) == peak
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pooling", ["none", "average", "max"])
@pytest.mark.parametrize("border", [0, 2, 3, 9])
@pytest.mark.parametrize("shape", MAPS)
def test_relu_gradient_with_any_border(shape, border, pooling, wrap):
    """One wider than the map wraps round more than once; a mask gives the same bits."""
    F, above, loss = relu_arguments(shape, "integers", pooling)
    expected = reference.relu_gradient(F, above, loss, pooling, wrap, border)
    out, plain, masked = (np.full(expected.shape, np.nan, np.float32) for _ in range(3))
    _core.relu_gradient(F, out, above, loss, pooling, wrap, border=border, threads=2)
    assert_close(out, expected, 5e-7)
    peak = _core.relu_gradient(F, plain, above, None, pooling, wrap, measure=True, border=border)
    mask = mask_of(F, pooling)
    assert _core.relu_gradient(mask, masked, above, None, pooling, wrap, measure=True, border=border) == peak
    np.testing.assert_array_equal(masked, plain)


def test_pixels_that_share_a_maximum_share_its_gradient():
    """By hand: two, four, and at an odd edge two and one."""
    F = np.array([[[1, 3, 5, 5, 2], [3, 1, 5, 5, 2], [4, 4, 7, 6, 1]]], np.float32)
    above = np.array([[[12, 20, 8], [6, 9, 5]]], np.float32)
    out = np.empty((1, 5, 7), np.float32)
    _core.relu_gradient(F, out, above, pooling="max", wrap=NEITHER)
    np.testing.assert_array_equal(out[0, 1:-1, 1:-1], [[0, 6, 5, 5, 4], [6, 0, 5, 5, 4], [3, 3, 9, 0, 5]])


@pytest.mark.parametrize("pooling", ["none", "average", "max"])
def test_relu_gradient_of_nan(pooling):
    """A gradient that is none passes where the map is positive, and nowhere else; a pixel that is none has none."""
    F, above, loss = relu_arguments((2, 7, 8), "relu", pooling)
    out, inner = np.empty((2, 9, 10), np.float32), np.s_[:, 1:-1, 1:-1]
    for positive in (True, False):
        at = tuple(np.argwhere((F > 0) == positive)[5])
        bad = loss.copy()
        bad[at] = np.nan
        _core.relu_gradient(F, out, above, bad, pooling)
        assert np.argwhere(np.isnan(out[inner])).tolist() == ([list(map(int, at))] if positive else [])
    above[1, 1, 1] = np.nan
    F[1, 1, 1] = F[1, 2, 3] = 5
    _core.relu_gradient(F, out, above, loss, pooling)
    expected = np.isnan(reference.relu_gradient(F, above, loss, pooling, (True, True)))
    np.testing.assert_array_equal(np.isnan(out), expected)
    assert expected.any()
    F[0, 4, 3] = np.nan
    _core.relu_gradient(F, out, np.abs(above), loss, pooling)
    assert out[0, 5, 4] == 0


# ------------------------------------------------------------------ vectors

ROWS = [(1, 1), (3, 7), (2, 1023), (5, 1024), (26, 1025), (3, 8192), (4, 8193), (26, 50001)]


@pytest.mark.parametrize("shape", ROWS)
def test_inner_products(shape):
    rows = features(shape, "normal")
    exact = rows.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    for picks in ([0], [shape[0] - 1, 0], [0, 0, shape[0] // 2], list(range(shape[0]))):
        found = _core.inner_products(rows, picks, threads=2)
        assert found.dtype == np.float64
        assert found.shape == (len(picks), shape[0])
        assert (np.abs(found - exact[picks] @ exact.T) <= 1e-6 * np.outer(norms[picks], norms)).all()
    np.testing.assert_array_equal(found, found.T)
    assert _core.inner_products(rows, []).shape == (0, shape[0])


def test_inner_products_of_what_is_not_finite():
    rows = features((4, 20000), "normal")
    rows[2, 12345] = np.nan
    found = _core.inner_products(rows, [0, 2], threads=2)
    assert np.isfinite(found).tolist() == [[True, True, False, True], [False] * 4]


@pytest.mark.parametrize("shape", ROWS)
def test_combine(shape):
    rows = features(shape, "normal")
    coefficients = np.random.default_rng(1).normal(size=shape[0]).astype(np.float32)
    out = np.full(shape[1], np.nan, np.float32)
    for _ in range(2):
        exact = coefficients.astype(np.float64)[:, None] * rows
        _core.combine(rows, coefficients, out, threads=2)
        assert (np.abs(out - exact.sum(axis=0)) <= 1e-6 * np.abs(exact).sum(axis=0)).all()
        coefficients[::2] = 0
    _core.combine(rows, np.zeros_like(coefficients), out)
    np.testing.assert_array_equal(out, 0)


def test_combine_reads_no_row_whose_coefficient_is_0():
    rows, out = features((3, 9000), "normal"), np.empty(9000, np.float32)
    rows[1] = np.nan
    _core.combine(rows, np.array([2, 0, -1], np.float32), out)
    np.testing.assert_array_equal(out, 2 * rows[0] - rows[2])
    _core.combine(rows, np.array([0, 1e-30, 0], np.float32), out)
    assert np.isnan(out).all()


# ------------------------------------------------------------------ patches

VECTORS = [(1, 1, 1), (1, 9, 1), (2, 1, 50), (3, 193, 7), (24, 500, 333), (147, 50, 391), (5, 20, 9000), (40000, 3, 20)]


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("content", ["normal", "zeros", "equal", "integers"])
@pytest.mark.parametrize(("dimensions", "asked", "count"), VECTORS)
def test_nearest(dimensions, asked, count, content, cost):
    q, s = features((dimensions, asked), content), features((dimensions, count), content, 1)
    c = features((1, count), "integers", 2)[0] if cost else None
    expected = reference.distances(q, s, c)
    indices, sums = _core.nearest(q, s, c, threads=2)
    assert (indices.dtype, sums.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(sums, expected[np.arange(asked), indices], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums, expected.min(1), rtol=1e-5, atol=1e-5)
    if content != "normal":  # small integers, of which float32 forgets nothing
        np.testing.assert_array_equal(indices, expected.argmin(1))


def test_of_equally_near_sources_the_first_is_found():
    s = np.tile(features((6, 25), "normal"), 40)
    indices, sums = _core.nearest(s[:, 25:400].copy(), s, threads=2)
    np.testing.assert_array_equal(indices, np.arange(375) % 25)
    np.testing.assert_allclose(sums, 0, atol=1e-12)


def test_a_cost_of_its_own_keeps_a_source_out():
    s, cost = features((4, 60), "normal"), np.zeros(60, np.float32)
    cost[:30] = np.inf
    indices, _ = _core.nearest(s, s, cost)
    assert indices.min() >= 30
    np.testing.assert_array_equal(indices[30:], np.arange(30, 60))
    cost[:] = np.inf
    indices, sums = _core.nearest(s, s, cost)
    np.testing.assert_array_equal(indices, 0)
    assert np.isinf(sums).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nearest_of_what_is_not_finite(value):
    q, s = features((3, 70), "normal"), features((3, 90), "normal", 1)
    q[1, 60], s[2, :5], s[0, 80] = value, value, value
    indices, sums = _core.nearest(q, s, threads=2)
    others = np.delete(np.arange(70), 60)
    expected = reference.distances(q[:, others], s)
    np.testing.assert_array_equal(indices[others], np.where(np.isfinite(expected), expected, np.inf).argmin(1))
    assert np.isfinite(sums[others]).all()
    assert not np.isfinite(sums[60])
    assert 0 <= indices[60] < 90


def test_near_vectors_far_from_zero_are_told_apart():
    """The sums are of differences: those of products would have lost every digit."""
    q = (1000 + features((8, 40), "normal")).astype(np.float32)
    indices, sums = _core.nearest(q, q + np.float32(0.25))
    np.testing.assert_allclose(sums, reference.distances(q, q + np.float32(0.25))[np.arange(40), indices], rtol=1e-6)


# ------------------------------------------------------------------ threads


def everything(threads, shape=(130, 5000)):
    """Return the bytes of all results."""
    F, S, w = features(shape), features((shape[0], 3001), seed=1), covering(shape[1])
    results = []
    for v in (None, w):
        G = _core.gram(F, v, threads)
        out, gradient = np.empty_like(F), np.empty_like(F)
        _core.mix(F, G, 0.5, out, v, threads=threads)
        few = np.empty((7, shape[1]), np.float32)
        _core.mix(F, G[:7], 0.5, few, v, threads=threads)
        histogram = _core.Histogram(S, None if v is None else w[:3001], threads)
        value = histogram.loss(F, gradient, 1.0, v, threads=threads)
        results += [G, out, few, gradient, np.float64(value)]
        results.append(_core.cross_gram(F, F[::-1].copy(), v, threads))
        value = _core.content_loss(F, F[::-1].copy(), out, 0.3, v, accumulate=True, threads=threads)
        results += [out, np.float64(value)]
    # Of many orders of magnitude, so that the order of the sums shows.
    magnitudes = 10 ** np.random.default_rng(3).uniform(-5, 5, 1 + F.size // 16384)
    rough = F * np.repeat(magnitudes, 16384)[: F.size].reshape(shape).astype(np.float32)
    long, picture = rough.reshape(2, -1), rough.reshape(-1, shape[0] // 2, 2)
    out, gradient = np.empty_like(long), np.empty_like(picture)
    value = _core.content_loss(long, long[::-1].copy(), out, threads=threads)
    results += [out, np.float64(value), np.float64(_core.variation(picture, gradient, threads=threads)), gradient]
    padded, coefficients = np.empty((shape[0], 52, shape[1] // 50 + 2), np.float32), long[:, 0].copy()
    peak = _core.relu_gradient(
        F.reshape(shape[0], 50, -1), padded, F.reshape(shape[0], 50, -1), measure=True, threads=threads
    )
    out = np.empty(long.shape[1], np.float32)
    _core.combine(long, coefficients, out, threads)
    results += [padded, np.float64(peak), out, _core.inner_products(long, [1, 0], threads)]
    results += _core.nearest(F, S, None, threads)
    return [r.tobytes() for r in results]


def test_threads_change_no_bit():
    one = everything(1)
    for threads in (2, 3, 7, 1000):
        assert everything(threads) == one


def test_concurrent_callers_change_no_bit():
    expected = everything(1, (20, 3050))
    with ThreadPoolExecutor(6) as pool:
        for result in pool.map(lambda i: everything(1 + i % 3, (20, 3050)), range(18)):
            assert result == expected


def test_one_histogram_serves_several_threads():
    X, histogram = features((16, 2000)), _core.Histogram(features((16, 1500), seed=1))
    expected = distance_from_match(histogram, X)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda i: distance_from_match(histogram, X, threads=1 + i % 2), range(12)):
            np.testing.assert_array_equal(result, expected)


def test_many_callers_who_each_want_several_threads():
    """More than there are cores, of work that is long and work that is short; each gets all of its own."""
    F, rows = features((130, 5000)), features((26, 100_000), "normal")
    w = covering(5000)
    calls = [
        lambda threads: _core.gram(F, w, threads).tobytes(),
        lambda threads: _core.inner_products(rows, [0, 25], threads).tobytes(),
        lambda threads: _core.Histogram(F[:3].copy(), w, threads).loss(F[:3].copy(), None, 1.0, w, threads=threads),
        lambda threads: _core.gram(F[:2, :9].copy(), None, threads).tobytes(),
    ]
    expected = [call(1) for call in calls]
    with ThreadPoolExecutor(16) as pool:
        for k, result in enumerate(pool.map(lambda k: calls[k % 4](4), range(160))):
            assert result == expected[k % 4]


def run_script(script):
    """Exit status and all output of a Python of its own."""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


FORK = """
import os, signal
import numpy as np
from pyengine import _core
features = np.random.default_rng(0).random((64, 20000), np.float32)
expected = _core.gram(features, threads=1).tobytes()
assert _core.gram(features, threads=2).tobytes() == expected  # the threads are there, but not in the child
for generation in range(3):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        break
    signal.alarm(20)
    assert _core.gram(features, threads=2).tobytes() == expected
    if os.path.isdir("/proc/self/task"):
        assert len(os.listdir("/proc/self/task")) > 1
assert _core.gram(features, threads=2).tobytes() == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own():
    assert run_script(FORK) == (0, "")


COUNT = """
import os
import numpy as np
from pyengine import _core
features = np.random.default_rng(0).random((64, 20000), np.float32)
counts = [len(os.listdir("/proc/self/task"))]
for threads in (1, 3, 2, 3, 5):
    for _ in range(5):
        _core.gram(features, threads=threads)
    counts.append(len(os.listdir("/proc/self/task")) - counts[0])
print(counts[1:])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_threads_are_started_once_and_no_more_than_asked_for():
    assert run_script(COUNT) == (0, "[0, 2, 2, 2, 4]\n")


EXHAUST = """
import resource, numpy as np
from pyengine import _core
_core.Histogram(np.ones((4, 1000), np.float32), threads={threads})  # starts the threads, which takes memory
features = np.random.default_rng(0).random((16, 1 << 20), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (56 << 20), -1))  # enough to sort in, but not for what comes of it
try:
    _core.Histogram(features, threads={threads})
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and a limit that is heeded")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_memory_inside_a_loop(threads):
    pytest.importorskip("resource")
    assert run_script(EXHAUST.format(threads=threads)) == (0, "refused\n")


# ----------------------------------------------------------- through Kernels


def value_of(call, *args, **options):
    """What a loss writes to the array for its value."""
    value = np.full((), np.nan)
    call(*args, value, **options)
    return float(value)


@pytest.mark.parametrize("kind", ["none", "random"])
def test_maps_may_have_three_axes(kind):
    X, S, w, kernels = features((4, 6, 7)), features((4, 5, 8), seed=1), covering(42, kind), CpuKernels(threads=2)
    flat, flat_s, T = X.reshape(4, -1), S.reshape(4, -1), features((4, 6, 7), seed=2)
    D, v = np.random.default_rng(1).normal(size=(4, 4)), coverage(w)
    np.testing.assert_array_equal(kernels.gram(X, v), _core.gram(flat, w))
    np.testing.assert_array_equal(kernels.gram(flat, v), _core.gram(flat, w))
    np.testing.assert_array_equal(kernels.cross_gram(X, T, v), _core.cross_gram(flat, T.reshape(4, -1), w))

    found, expected = np.empty_like(X), np.empty_like(flat)
    kernels.mix(X, D, 0.3, found, coverage=v)
    _core.mix(flat, D, 0.3, expected, w)
    np.testing.assert_array_equal(found.reshape(4, -1), expected)
    G = reference.gram(flat_s)
    calls = [
        (kernels.content_loss, T, reference.content_loss(flat, T.reshape(4, -1), w)),
        (kernels.histogram_loss, kernels.histogram(S), reference.histogram_loss(flat, flat_s, w)),
        (kernels.gram_loss, G, reference.gram_loss(flat, G, w)),
    ]
    for call, target, (value, gradient) in calls:
        for out in (None, found):
            assert value_of(call, target, X, 0.3, out, coverage=v) == pytest.approx(value, rel=1e-5)
        assert_close(found.reshape(4, -1), 0.3 * gradient, 3e-6)
        value_of(call, target, X, 0.3, found, coverage=v, accumulate=True)
        assert_close(found.reshape(4, -1), 0.6 * gradient, 3e-6)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("size", "shape"), [((6, 8), (6, 8)), ((5, 7), (5, 7)), ((5, 7), (10, 14)), ((1, 1), (2, 1))])
def test_transforms(size, shape, threads):
    """By their definition; there and back, with zeros around where the shape is larger."""
    X, kernels = features((3, *size), "normal"), CpuKernels(threads)
    before = X.copy()
    spectra = kernels.rfft2(X, shape)
    assert spectra.dtype == np.complex64
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in shape)
    expected = rows[:, : size[0]] @ X.astype(float) @ columns[: size[1], : shape[1] // 2 + 1]
    np.testing.assert_allclose(spectra, expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(X, before)
    back = kernels.irfft2(spectra, shape)
    assert back.dtype == np.float32
    padded = np.zeros((3, *shape))
    padded[:, : size[0], : size[1]] = X
    np.testing.assert_allclose(back, padded, atol=1e-6 * np.abs(X).max())


@pytest.mark.parametrize("shape", [(60, 90), (61, 97), (128, 96)])
def test_threads_change_no_bit_of_transforms(shape):
    X = features((5, *shape), "normal")
    results = []
    for threads in (1, 2, 3, 7):
        kernels = CpuKernels(threads)
        spectra = kernels.rfft2(X, shape)
        results.append((spectra.tobytes(), kernels.irfft2(spectra, shape).tobytes()))
    assert results.count(results[0]) == len(results)


def test_options_reach_the_kernels():
    X, T, kernels = features((4, 6, 7)), features((4, 6, 7), seed=1), CpuKernels(threads=2)
    out = np.ones_like(X)
    value_of(kernels.content_loss, T, X, 0.3, out, accumulate=True)
    expected = reference.content_loss(X.reshape(4, -1), T.reshape(4, -1))[1].reshape(X.shape)
    assert_close(out, 1 + 0.3 * expected)
    for wrap in WRAPS:
        out = np.ones_like(X)
        value, expected = reference.variation(X, wrap)
        assert value_of(kernels.variation, X, 0.3, None, wrap=wrap) == pytest.approx(value)
        assert value_of(kernels.variation, X, 0.3, out, wrap=wrap, accumulate=True) == pytest.approx(value)
        assert_close(out, 1 + 0.3 * expected)


def test_values_go_where_they_are_told_to():
    """To one element of many."""
    X, kernels, values = features((4, 6, 7)), CpuKernels(threads=1), np.full(3, 7.0)
    kernels.content_loss(X + 2, X, 1.0, None, values[1, ...])
    assert values == pytest.approx([7, 4, 7])
    kernels.variation(X, 1.0, None, values[2:])
    assert values == pytest.approx([7, 4, reference.variation(X)[0]])
    assert kernels.fetch([values[:2], np.array(5.0), np.eye(2)]) == [*values[:2], 5, 1, 0, 0, 1]


def test_coverage_and_its_sum():
    """The sum is exact where float32 would not be."""
    values = np.full(1 << 20, 0.1, np.float32)
    found = CpuKernels(threads=1).cover(values)
    assert found.total == pytest.approx(float(np.float32(0.1)) * (1 << 20), rel=1e-12)
    np.testing.assert_array_equal(found.values, values)


def test_a_gram_loss_without_mass_has_no_gradient():
    X, kernels = features((3, 40)), CpuKernels(threads=1)
    out = np.full_like(X, np.nan)
    value_of(kernels.gram_loss, np.eye(3), X, 1.0, out, coverage=coverage(np.zeros(40)))
    np.testing.assert_array_equal(out, 0)


def test_arrays_of_one_piece_do_not_overlap():
    shapes = {"a": (3, 5), "b": (1,), "c": (2, 2, 17), "d": (16,)}
    arrays = CpuKernels(threads=1).allocate(shapes)
    assert {name: array.shape for name, array in arrays.items()} == shapes
    for k, array in enumerate(arrays.values()):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.ctypes.data % 64 == 0
        array[...] = k
    assert [np.unique(array).tolist() for array in arrays.values()] == [[0], [1], [2], [3]]


def test_no_map_is_copied():
    """Of a gradient that is not contiguous, a copy would be written."""
    X, kernels = features((4, 6, 7)), CpuKernels(threads=1)
    for gradient in (np.empty((4, 7, 6), np.float32).transpose(0, 2, 1), np.empty((4, 6, 14), np.float32)[:, :, ::2]):
        for call in (
            lambda out: value_of(kernels.content_loss, X, X, 1.0, out),
            lambda out: value_of(kernels.gram_loss, np.eye(4), X, 1.0, out),
            lambda out: kernels.mix(X, np.eye(4), 1.0, out),
            lambda out: value_of(kernels.histogram_loss, kernels.histogram(X), X, 1.0, out),
            lambda out: value_of(kernels.variation, X, 1.0, out),
        ):
            with pytest.raises(ValueError, match=r"(gradient|out): expected"):
                call(gradient)


@pytest.mark.parametrize("unpool", ["none", "average", "max"])
def test_relu_gradient_through_kernels(unpool):
    F, above, loss = relu_arguments((3, 5, 4), "relu", unpool)
    kernels = CpuKernels(threads=2)
    for wrap in WRAPS:
        padded, peak = np.full((3, 7, 6), np.nan, np.float32), np.full(1, np.nan, np.float32)
        expected = reference.relu_gradient(F, above, loss, unpool, wrap)
        kernels.relu_gradient(F, padded, above, loss, unpool=unpool, wrap=wrap, peak=peak)
        assert_close(padded, expected)
        assert peak == pytest.approx([np.abs(expected).max()])
        padded[:] = np.nan
        kernels.relu_gradient(F, padded, above, loss, unpool=unpool, wrap=wrap)
        assert_close(padded, expected)


def test_inner_products_are_renewed_on_both_sides():
    rows = features((6, 300), "normal")
    exact = rows.astype(np.float64) @ rows.T
    products = np.full((6, 6), -1.0)
    CpuKernels(threads=2).inner_products(rows, (4, 1), products)
    renewed = np.zeros((6, 6), bool)
    renewed[[1, 4]] = renewed[:, [1, 4]] = True
    assert_close(products[renewed], exact[renewed])
    np.testing.assert_array_equal(products[~renewed], -1)
    np.testing.assert_array_equal(products, products.T)


@pytest.mark.parametrize("pairs", [[], [(2, 3)], [(4, 5), (0, 1), (2, 3)], [(0, 1), (2, 3), (4, 5), (8, 9)]])
def test_two_loop_is_the_textbooks(pairs):
    """In terms of inner products alone; the oldest pair need not be in the first rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 50))
    curvatures = rng.uniform(1, 9, 50)
    rows[1::2] = rows[::2] * curvatures  # changes of a gradient, whose curvature is positive
    rows[6:8] = rng.normal(size=(2, 50))
    products = rows @ rows.T
    before = products.copy()
    coefficients = CpuKernels(threads=1).two_loop(products, pairs, 7)
    assert coefficients.dtype == np.float32
    np.testing.assert_array_equal(products, before)
    used = {7, *(row for pair in pairs for row in pair)}
    assert not coefficients[[row for row in range(10) if row not in used]].any()
    expected = reference.two_loop(rows[7], [rows[step] for step, _ in pairs], [rows[change] for _, change in pairs])
    assert_close(coefficients @ rows, expected, 1e-5)


def test_descent_does_not_push_over_the_bounds():
    x = np.array([0, 0, 0, 1, 1, 1, 0.5, 0.5, 1e-30, 1 - 2**-24], np.float32)
    gradient = np.array([2, -2, 0, 2, -2, 0, 2, -2, 2, -2], np.float32)
    out = np.full(10, np.nan, np.float32)
    CpuKernels(threads=1).descent(x, gradient, out)
    np.testing.assert_array_equal(out, [0, 2, 0, -2, 0, 0, -2, 2, -2, 2])


def test_advance_stays_within_the_bounds():
    """What is at a bound and held there stays, wherever the direction leads."""
    x = np.array([0, 0, 1, 1, 0.5, 0.5, 0.5, 0.5, 0], np.float32)
    descent = np.array([0, 1, 0, -1, 1, 0, 1, -1, 1], np.float32)
    direction = np.array([1, 1, -1, -1, 0.5, 0.5, 3, -3, -1], np.float32)
    before = [array.copy() for array in (x, descent, direction)]
    out = np.full(9, np.nan, np.float32)
    CpuKernels(threads=1).advance(x, descent, direction, 0.25, out)
    np.testing.assert_array_equal(out, [0, 0.25, 1, 0.75, 0.625, 0.625, 1, 0, 0])
    for array, old in zip((x, descent, direction), before, strict=True):
        np.testing.assert_array_equal(array, old)


# ----------------------------------------------------------------- messages

F = np.ones((3, 8), np.float32)
D = np.ones((3, 3))
W = np.ones(8, np.float32)
OUT = np.zeros_like(F)
SHARED = np.ones(28, np.float32)
IMAGE = np.ones((3, 4, 2), np.float32)
READONLY = np.empty_like(F)
READONLY.flags.writeable = False
CUBE = np.ones((2, 3, 4), np.float32)
PADDED = np.zeros((2, 5, 6), np.float32)
MASK = np.zeros((2, 1, 1), np.uint16)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: _core.gram([1.0]),
            TypeError,
            r"^features: expected a numpy array of shape \(C, N\), got list$",
        ),
        (lambda: _core.gram(D), TypeError, r"^features: expected float32, got float64 of shape \(3, 3\)$"),
        (
            lambda: _core.gram(F[0]),
            ValueError,
            r"^features: expected shape \(C, N\), got float32 of shape \(8,\)$",
        ),
        (
            lambda: _core.gram(F.T),
            ValueError,
            r"^features: expected a C-contiguous array, got strides \(4, 32\)",
        ),
        (lambda: _core.gram(F[:, ::2]), ValueError, "^features: expected a C-contiguous array"),
        (
            lambda: _core.gram(F[:0]),
            ValueError,
            r"^features: expected at least 1 channel .* of shape \(0, 8\)$",
        ),
        (
            lambda: _core.gram(F[:, :0]),
            ValueError,
            r"^features: expected at least 1 channel .* of shape \(3, 0\)$",
        ),
        (
            lambda: _core.gram(F, W[:5]),
            ValueError,
            r"^coverage: expected shape \(8,\), got float32 of shape \(5,\)$",
        ),
        (lambda: _core.gram(F, W.astype(float)), TypeError, "^coverage: expected float32, got float64"),
        (
            lambda: _core.gram(F, -W),
            ValueError,
            r"^coverage: expected finite values >= 0, got -1.0* at pixel 0$",
        ),
        (
            lambda: _core.gram(F, W * np.float32(np.nan)),
            ValueError,
            "^coverage: expected finite values >= 0, got nan",
        ),
        (
            lambda: _core.gram(F, W * np.float32(np.inf)),
            ValueError,
            "^coverage: expected finite values >= 0, got inf",
        ),
        (lambda: _core.gram(F, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (
            lambda: _core.mix(F, D[:, :2], 1.0, OUT),
            ValueError,
            r"^matrix: expected shape \(3, 3\), got float64 of shape \(3, 2\)$",
        ),
        (
            lambda: _core.mix(F, D[:2], 1.0, OUT),
            ValueError,
            r"^out: expected shape \(2, 8\), got float32 of shape \(3, 8\)$",
        ),
        (
            lambda: _core.mix(F, D[0], 1.0, OUT),
            ValueError,
            r"^matrix: expected shape \(R, C\), got float64 of shape \(3,\)$",
        ),
        (
            lambda: _core.mix(F, 1.0, 1.0, OUT),
            TypeError,
            r"^matrix: expected a numpy array of shape \(R, C\), got float$",
        ),
        (
            lambda: _core.mix(F, D.astype(int), 1.0, OUT),
            TypeError,
            "^matrix: expected float32 or",
        ),
        (
            lambda: _core.mix(F, D, 1.0, OUT[:, :4]),
            ValueError,
            r"^out: expected shape \(3, 8\), got",
        ),
        (
            lambda: _core.mix(F, D, 1.0, F * 1.0 + D[0, 0]),
            TypeError,
            "^out: expected float32, got float64",
        ),
        (lambda: _core.mix(F, D, 1.0, READONLY), ValueError, "^out: expected a writeable array"),
        (lambda: _core.mix(F, D, 1.0, F), ValueError, "^out: expected memory of its own"),
        (
            lambda: _core.mix(F, D, 1.0, SHARED[:24].reshape(3, 8), SHARED[20:28]),
            ValueError,
            "^out: expected memory of its own, got memory shared with coverage$",
        ),
        (
            lambda: _core.cross_gram(F, [1.0]),
            TypeError,
            r"^other: expected a numpy array of shape \(C, N\), got list$",
        ),
        (lambda: _core.cross_gram(F, D), TypeError, "^other: expected float32, got float64"),
        (lambda: _core.cross_gram(F, F[:2]), ValueError, r"^other: expected shape \(3, 8\), got"),
        (lambda: _core.cross_gram(F, F[:, :4]), ValueError, r"^other: expected shape \(3, 8\), got"),
        (lambda: _core.cross_gram(F, F.T.copy().T), ValueError, "^other: expected a C-contiguous array"),
        (lambda: _core.cross_gram(F[0], F[0]), ValueError, r"^features: expected shape \(C, N\), got"),
        (lambda: _core.cross_gram(F, F, -W), ValueError, "^coverage: expected finite values >= 0"),
        (lambda: _core.cross_gram(F, F, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (
            lambda: _core.content_loss(F, None),
            TypeError,
            r"^target: expected a numpy array of shape \(C, N\), got NoneType$",
        ),
        (lambda: _core.content_loss(F, F.astype(float)), TypeError, "^target: expected float32, got float64"),
        (lambda: _core.content_loss(F, F[:2]), ValueError, r"^target: expected shape \(3, 8\), got"),
        (lambda: _core.content_loss(F, F.T.copy().T), ValueError, "^target: expected a C-contiguous array"),
        (lambda: _core.content_loss(F, F, OUT[:2]), ValueError, r"^gradient: expected shape \(3, 8\), got"),
        (lambda: _core.content_loss(F, F, OUT.astype(float)), TypeError, "^gradient: expected float32, got float64"),
        (lambda: _core.content_loss(F, F, READONLY), ValueError, "^gradient: expected a writeable array"),
        (
            lambda: _core.content_loss(F, OUT, F),
            ValueError,
            "^gradient: expected memory of its own, got memory shared with features$",
        ),
        (
            lambda: _core.content_loss(F, OUT, OUT),
            ValueError,
            "^gradient: expected memory of its own, got memory shared with target$",
        ),
        (lambda: _core.content_loss(F, F, coverage=W[:5]), ValueError, r"^coverage: expected shape \(8,\), got"),
        (lambda: _core.content_loss(F, F, coverage=-W), ValueError, "^coverage: expected finite values >= 0"),
        (lambda: _core.content_loss(F, F, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (
            lambda: _core.variation([1.0]),
            TypeError,
            r"^image: expected a numpy array of shape \(H, W, C\), got list$",
        ),
        (lambda: _core.variation(IMAGE.astype(float)), TypeError, "^image: expected float32, got float64"),
        (lambda: _core.variation(F), ValueError, r"^image: expected shape \(H, W, C\), got float32 of shape \(3, 8\)$"),
        (lambda: _core.variation(IMAGE[:, ::2]), ValueError, "^image: expected a C-contiguous array"),
        (
            lambda: _core.variation(IMAGE[:, :0]),
            ValueError,
            r"^image: expected at least 1 pixel and 1 channel, got float32 of shape \(3, 0, 2\)$",
        ),
        (lambda: _core.variation(IMAGE[:, :, :0].copy()), ValueError, "^image: expected at least 1 pixel"),
        (lambda: _core.variation(IMAGE, OUT), ValueError, r"^gradient: expected shape \(3, 4, 2\), got"),
        (
            lambda: _core.variation(IMAGE, 3),
            TypeError,
            r"^gradient: expected a numpy array of shape \(H, W, C\), got int$",
        ),
        (
            lambda: _core.variation(IMAGE, READONLY.reshape(3, 4, 2)),
            ValueError,
            "^gradient: expected a writeable array",
        ),
        (
            lambda: _core.variation(IMAGE, IMAGE),
            ValueError,
            "^gradient: expected memory of its own, got memory shared with image$",
        ),
        (lambda: _core.variation(IMAGE, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (lambda: _core.Histogram(F, threads=-1), ValueError, "^threads: expected at least 1, got -1$"),
        (
            lambda: _core.Histogram(F[:2]).loss(F),
            ValueError,
            "^features: expected channels from 0 on of 2, got 3$",
        ),
        (lambda: _core.Histogram(F).loss(F, OUT[:2]), ValueError, r"^gradient: expected shape \(3, 8\), got"),
        (lambda: _core.Histogram(F).loss(F, READONLY), ValueError, "^gradient: expected a writeable array"),
        (
            lambda: _core.relu_gradient(F, PADDED, CUBE),
            ValueError,
            r"^features: expected shape \(C, H, W\) with at least",
        ),
        (
            lambda: _core.relu_gradient(CUBE[:, :0].copy(), PADDED, CUBE),
            ValueError,
            r"at least 1 pixel, got float32 of shape",
        ),
        (
            lambda: _core.relu_gradient(CUBE.astype(float), PADDED, CUBE),
            TypeError,
            "^features: expected float32, got float64",
        ),
        (
            lambda: _core.relu_gradient(CUBE[:, ::2], PADDED, CUBE),
            ValueError,
            "^features: expected a C-contiguous array",
        ),
        (
            lambda: _core.relu_gradient(CUBE, None, CUBE),
            TypeError,
            r"^out: expected a numpy array of shape \(C, H \+ 2, W",
        ),
        (
            lambda: _core.relu_gradient(MASK, None, CUBE),
            TypeError,
            r"^out: expected a numpy array of shape \(C, H \+ 2, W",
        ),
        (
            lambda: _core.relu_gradient(MASK, PADDED[0], CUBE),
            ValueError,
            r"^out: expected shape .* got float32 of shape \(5",
        ),
        (
            lambda: _core.relu_gradient(MASK, np.empty((2, 5, 7), np.float32), CUBE),
            ValueError,
            r"^out: expected shape \(C, H \+ 2, W \+ 2\) for a mask .* uint16 of shape \(2, 1, 1\), got float32",
        ),
        (lambda: _core.relu_gradient(MASK, PADDED, CUBE, CUBE), ValueError, "^loss: expected None for a mask$"),
        (lambda: _core.relu_gradient(MASK, PADDED[:1], CUBE), ValueError, r"^out: expected shape \(2, 5, 6\), got"),
        (
            lambda: _core.relu_gradient(MASK, PADDED, CUBE, border=3),
            ValueError,
            r"^out: expected shape \(C, H \+ 6, W \+ 6\) for a mask",
        ),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, border=2),
            ValueError,
            r"^out: expected shape \(2, 7, 8\), got",
        ),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE, border=2000), ValueError, "^border: expected at most 1024"),
        (lambda: _core.relu_gradient(MASK, PADDED, CUBE[:1]), ValueError, r"^above: expected shape \(2, 3, 4\), got"),
        (
            lambda: _core.relu_gradient(PADDED.view(np.uint16)[:, :1, :1], PADDED, CUBE),
            ValueError,
            "^features: expected a C-contiguous array",
        ),
        (
            lambda: _core.relu_gradient(PADDED.reshape(-1)[:1].view(np.uint16).reshape(2, 1, 1), PADDED, CUBE),
            ValueError,
            "^out: expected memory of its own, got memory shared with features",
        ),
        (lambda: _core.relu_gradient(CUBE, CUBE, CUBE), ValueError, r"^out: expected shape \(2, 5, 6\), got"),
        (
            lambda: _core.relu_gradient(CUBE, PADDED.astype(float), CUBE),
            TypeError,
            "^out: expected float32, got float64",
        ),
        (lambda: _core.relu_gradient(CUBE, PADDED.T.copy().T, CUBE), ValueError, "^out: expected a C-contiguous array"),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE[:1]), ValueError, r"^above: expected shape \(2, 3, 4\), got"),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, pooling="max"),
            ValueError,
            r"^above: expected shape \(2, 2, 2\), got float32 of shape \(2, 3, 4\)$",
        ),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE.astype(int)), TypeError, "^above: expected float32, got int"),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE.T.copy().T), ValueError, "^above: expected a C-contiguous"),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, PADDED),
            ValueError,
            r"^loss: expected shape \(2, 3, 4\), got",
        ),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE, [1.0]), TypeError, "^loss: expected a numpy array"),
        (lambda: _core.relu_gradient(CUBE, PADDED, CUBE, CUBE.T.copy().T), ValueError, "^loss: expected a C-contig"),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, pooling="median"),
            ValueError,
            "^pooling: expected none, average or max, got median$",
        ),
        (
            lambda: _core.relu_gradient(PADDED.ravel()[:24].reshape(2, 3, 4), PADDED, CUBE),
            ValueError,
            "^out: expected memory of its own, got memory shared with features$",
        ),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, PADDED.ravel()[-24:].reshape(2, 3, 4)),
            ValueError,
            "^out: expected memory of its own, got memory shared with above$",
        ),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, PADDED.ravel()[:24].reshape(2, 3, 4)),
            ValueError,
            "^out: expected memory of its own, got memory shared with loss$",
        ),
        (
            lambda: _core.relu_gradient(CUBE, PADDED, CUBE, threads=0),
            ValueError,
            "^threads: expected at least 1, got 0$",
        ),
        (
            lambda: _core.inner_products(W, [0]),
            ValueError,
            r"^rows: expected shape \(R, N\) with at least 1 entry, got",
        ),
        (lambda: _core.inner_products(F[:, :0].copy(), [0]), ValueError, "^rows: expected shape .* at least 1 entry"),
        (lambda: _core.inner_products(D, [0]), TypeError, "^rows: expected float32, got float64"),
        (lambda: _core.nearest(F, F[:2].copy()), ValueError, "^sources: expected the queries' 3 dimensions, got 2$"),
        (lambda: _core.nearest(F[:, :0].copy(), F), ValueError, r"^queries: expected shape \(D, Q\) with 1 to"),
        (lambda: _core.nearest(F, F.T), ValueError, "^sources: expected a C-contiguous array"),
        (lambda: _core.nearest(D, F), TypeError, "^queries: expected float32, got float64"),
        (lambda: _core.nearest(F, F, W[:3]), ValueError, r"^cost: expected shape \(8,\), got float32 of shape"),
        (lambda: _core.nearest(F, F, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (lambda: _core.inner_products(F.T, [0]), ValueError, "^rows: expected a C-contiguous array"),
        (lambda: _core.inner_products(F, [0, 3]), ValueError, "^picks: expected less than 3, got 3$"),
        (lambda: _core.inner_products(F, [-1]), TypeError, "incompatible function arguments"),
        (lambda: _core.inner_products(F, [0], threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (lambda: _core.combine(F, W, W), ValueError, r"^coefficients: expected shape \(3,\), got float32 of shape"),
        (lambda: _core.combine(F, D[0], W), TypeError, "^coefficients: expected float32, got float64"),
        (lambda: _core.combine(F, W[:6:2], W), ValueError, "^coefficients: expected a C-contiguous array"),
        (lambda: _core.combine(F, F[:, 0].copy(), W[:3]), ValueError, r"^out: expected shape \(8,\), got"),
        (lambda: _core.combine(F, W[:3], W.astype(float)), TypeError, "^out: expected float32, got float64"),
        (lambda: _core.combine(F, W[:3], READONLY[0]), ValueError, "^out: expected a writeable array"),
        (
            lambda: _core.combine(F, W[:3], F[1]),
            ValueError,
            "^out: expected memory of its own, got memory shared with rows$",
        ),
        (lambda: _core.combine(F, W[:3], OUT[0], threads=0), ValueError, "^threads: expected at least 1, got 0$"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


def unaligned(array):
    """A copy whose memory begins in the middle of a number."""
    copy = np.frombuffer(bytearray(array.nbytes + 1), array.dtype, offset=1).reshape(array.shape)
    copy[...] = array
    assert copy.flags.c_contiguous
    assert copy.flags.writeable
    assert not copy.flags.aligned
    return copy


WITH_ARRAYS = [
    (_core.gram, {"features": F, "coverage": W}),
    (_core.cross_gram, {"features": F, "other": F, "coverage": W}),
    (_core.mix, {"features": F, "matrix": D, "scale": 1.0, "out": OUT, "coverage": W}),
    (_core.mix, {"features": F, "matrix": D.astype(np.float32), "scale": 1.0, "out": OUT}),
    (_core.Histogram, {"features": F, "coverage": W}),
    (_core.Histogram(F).loss, {"features": F, "gradient": OUT, "coverage": W}),
    (_core.content_loss, {"features": F, "target": F, "gradient": OUT, "coverage": W}),
    (_core.variation, {"image": IMAGE, "gradient": np.empty_like(IMAGE)}),
    (_core.relu_gradient, {"features": CUBE, "out": PADDED, "above": CUBE, "loss": CUBE}),
    (_core.relu_gradient, {"features": MASK, "out": PADDED, "above": CUBE}),
    (_core.nearest, {"queries": F, "sources": F, "cost": W}),
    (_core.inner_products, {"rows": F, "picks": [0]}),
    (_core.combine, {"rows": F, "coefficients": W[:3], "out": OUT[0]}),
]


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        pytest.param(call, arguments, name, id=f"{call.__name__}-{name}-{value.dtype}")
        for call, arguments in WITH_ARRAYS
        for name, value in arguments.items()
        if isinstance(value, np.ndarray)
    ],
)
def test_unaligned_arrays_are_refused(call, arguments, name):
    call(**arguments)
    size = arguments[name].itemsize
    with pytest.raises(ValueError, match=rf"^{name}: expected memory aligned to {size} bytes, .* got unaligned"):
        call(**{**arguments, name: unaligned(arguments[name])})
