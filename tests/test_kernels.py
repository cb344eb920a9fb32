"""The compiled kernels against the float64 reference."""

import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import reference

from pyengine import _core

SHAPES = [(1, 1), (1, 7), (2, 3), (3, 5000), (5, 63), (7, 1025), (64, 4099), (97, 530), (200, 515)]
CONTENTS = ["relu", "normal", "zeros", "equal", "integers"]
WEIGHTS = ["none", "random", "sparse", "one"]


def features(shape, content="relu", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.25 + 0.1 * seed, 1, shape)
    if content == "relu":  # about 40 % zeros, as after the first layer
        x = np.maximum(x, 0)
    elif content == "zeros":
        x[:] = 0
    elif content == "equal":
        x[:] = 1.5 + seed
    elif content == "integers":  # ties at every value, negative ones too, and both zeros
        x = np.where(x < -1, -0.0, np.round(2 * x))
    return x.astype(np.float32)


def weights(pixels, kind="random", seed=0):
    rng = np.random.default_rng(100 + seed)
    w = rng.random(pixels).astype(np.float32) + np.float32(0.01)
    if kind == "none":
        return None
    if kind == "sparse":
        w[rng.random(pixels) < 0.5] = 0
        w[0] = 1
    elif kind == "one":
        w[:] = 0
        w[pixels // 2] = 0.25
    return w


def assert_close(actual, expected, tolerance=2e-6):
    """Compare with a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * (np.abs(expected).max() + 1e-30))


# --------------------------------------------------------------------- Gram


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gram(shape, kind):
    F, w = features(shape, "normal"), weights(shape[1], kind)
    G = _core.gram(F, w, threads=2)
    assert G.dtype == np.float64
    assert_close(G, reference.gram(F, w))
    np.testing.assert_array_equal(G, G.T)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gram_gradient(shape, kind):
    F, w = features(shape, "normal"), weights(shape[1], kind)
    D = np.random.default_rng(1).normal(size=(shape[0], shape[0]))
    expected = 0.3 * D @ (F.astype(float) * (1 if w is None else w))
    out = np.full_like(F, np.nan)
    _core.gram_gradient(F, D, 0.3, out, w, threads=2)
    assert_close(out, expected)
    _core.gram_gradient(F, D.astype(np.float32), 0.3, out, w, accumulate=True, threads=2)
    assert_close(out, 2 * expected)


def test_gram_gradient_is_that_of_the_loss():
    F, w = features((6, 200), "normal"), weights(200)
    target = reference.gram(features((6, 150), "normal", 1))
    _, expected = reference.gram_loss(F, target, w)
    out = np.empty_like(F)
    difference = _core.gram(F, w) - target
    _core.gram_gradient(F, difference, 4 / (6 * 6 * w.sum(dtype=float)), out, w)
    assert_close(out, expected, 1e-5)


def test_gram_without_mass_is_zero():
    F = features((3, 40))
    np.testing.assert_array_equal(_core.gram(F, np.zeros(40, np.float32)), np.zeros((3, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_gram_propagates_what_is_not_finite(value, kind):
    F, w = features((5, 700), "normal"), weights(700, kind)
    F[2, 650] = value
    G, out = _core.gram(F, w), np.empty_like(F)
    finite = np.isfinite(G)
    assert not finite[2].any()
    assert not finite[:, 2].any()
    assert finite.sum() == 16
    _core.gram_gradient(F, np.ones((5, 5)), 1.0, out, w)
    assert not np.isfinite(out[:, 650]).any()
    assert np.isfinite(np.delete(out, 650, 1)).all()


# ---------------------------------------------------------------- histogram


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("pixels", [(1, 1), (1, 9), (9, 1), (700, 700), (700, 331), (331, 700), (3000, 4001)])
def test_match(pixels, content):
    X, S = features((3, pixels[0]), content), features((3, pixels[1]), "relu", 1)
    for map_, exemplar in ((X, S), (S, X)):
        matched = _core.Histogram(exemplar, threads=2).match(map_, threads=2)
        assert matched.dtype == np.float32
        assert_close(matched, reference.match(map_, exemplar), 2e-7)


@pytest.mark.parametrize("kind_s", WEIGHTS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("content", ["relu", "integers", "zeros"])
def test_match_weighted(content, kind, kind_s):
    X, S = features((2, 700), content), features((2, 900), "normal", 1)
    w, w_s = weights(700, kind), weights(900, kind_s, 1)
    for map_, exemplar, v, v_s in ((X, S, w, w_s), (S, X, w_s, w)):
        matched = _core.Histogram(exemplar, v_s).match(map_, v)
        # The reference rounds cumulative masses differently: a sample may go to the neighbouring step.
        assert_close(matched, reference.match(map_, exemplar, v, v_s), 1e-6)


def test_equal_sizes_give_the_sorted_exemplar_exactly():
    S = features((4, 5003), "normal", 1)
    ranks = np.random.default_rng(2).permuted(np.tile(np.arange(5003), (4, 1)), axis=1)
    X = (ranks - 2000.5).astype(np.float32)  # no ties
    expected = np.take_along_axis(np.sort(S, axis=1), ranks, 1)
    np.testing.assert_array_equal(_core.Histogram(S).match(X), expected)


def test_zeros_are_one_atom():
    X = np.array([[0, 0, 2, -0.0, 1]], np.float32)
    S = np.array([[5, 1, 3, 2, 4]], np.float32)
    np.testing.assert_array_equal(_core.Histogram(S).match(X), [[2, 2, 5, 2, 4]])


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("pixels", [(1, 1), (1200, 1200), (1200, 701)])
def test_loss(pixels, content, kind):
    X, S = features((5, pixels[0]), content), features((5, pixels[1]), "relu", 1)
    w, w_s = weights(pixels[0], kind), weights(pixels[1], kind, 1)
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
    w, step = weights(40, kind), 2.0**-12
    histogram, gradient = _core.Histogram(S), np.empty_like(X)
    histogram.loss(X, gradient, weights=w)
    for at in [(0, 3), (0, 17), (1, 0), (1, 39)]:
        moved = []
        for sign in (1, -1):
            P = X.copy()
            P[at] += np.float32(sign * step)
            np.testing.assert_array_equal(P.argsort(), X.argsort())
            moved.append(histogram.loss(P, weights=w))
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(gradient[at], rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("side", ["map", "exemplar"])
def test_no_mass(side):
    X, S, none = features((3, 50)), features((3, 50), seed=1), np.zeros(50, np.float32)
    w, w_s = (none, None) if side == "map" else (None, none)
    histogram, gradient = _core.Histogram(S, w_s), np.ones_like(X)
    np.testing.assert_array_equal(histogram.match(X, w), X)
    assert histogram.loss(X, gradient, weights=w, accumulate=True) == 0
    np.testing.assert_array_equal(gradient, 1)
    assert histogram.loss(X, gradient, weights=w) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_negative_exemplar_has_no_step_for_zeros():
    X, w = features((1, 256), "normal"), np.ones(256, np.float32)
    S = -np.abs(features((1, 255), "normal")) - 1
    w[X[0].argmax()] = 1e-38  # its interval begins, as rounded, at the very end of the exemplar's mass
    assert _core.Histogram(S, w[:255] * 0 + 1).match(X, w).max() == S.max()


def test_weights_below_rounding_are_harmless():
    X, S = features((2, 300), "normal"), features((2, 300), "normal", 1)
    w = weights(300)
    w[::3] = 1e-38
    assert_close(_core.Histogram(S, w).match(X, w), reference.match(X, S, w, w), 1e-6)


@pytest.mark.parametrize("kind", ["none", "random"])
def test_what_is_not_finite(kind):
    X, S, w = features((3, 600)), features((3, 600), seed=1), weights(600, kind)
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        bad = X.copy()
        bad[1, [5, 77]] = value
        gradient = np.empty_like(X)
        loss = _core.Histogram(S, w).loss(bad, gradient, weights=w)
        assert not np.isfinite(loss)
        assert np.isnan(loss) == np.isnan(value)
        assert np.isfinite(gradient[[0, 2]]).all()
        assert not np.isfinite(_core.Histogram(bad, w).loss(S, weights=w))
        assert np.isfinite(_core.Histogram(S, w).match(bad, w)).all()


def test_nan_of_no_weight_takes_no_part():
    X, S, w = features((2, 60)), features((2, 70), seed=1), weights(60)
    w[5] = 0
    value = _core.Histogram(S).loss(X, weights=w)
    X[:, 5] = np.nan
    assert _core.Histogram(S).loss(X, weights=w) == value


def test_size():
    S = features((3, 1000))
    zeros = np.count_nonzero(S == 0)
    histogram = _core.Histogram(S)
    assert histogram.channels == 3
    assert histogram.nbytes == 4 * (3000 - zeros + 3)
    assert _core.Histogram(S, weights(1000)).nbytes == 12 * (3000 - zeros + 3)


# ------------------------------------------------------------------ threads


def everything(threads, shape=(130, 5000)):
    """Return the bytes of all results."""
    F, S, w = features(shape), features((shape[0], 3001), seed=1), weights(shape[1])
    results = []
    for v in (None, w):
        G = _core.gram(F, v, threads)
        out, gradient = np.empty_like(F), np.empty_like(F)
        _core.gram_gradient(F, G, 0.5, out, v, threads=threads)
        histogram = _core.Histogram(S, None if v is None else w[:3001], threads)
        value = histogram.loss(F, gradient, 1.0, v, threads=threads)
        results += [G, out, gradient, histogram.match(F, v, threads), np.float64(value)]
    return [r.tobytes() for r in results]


def test_threads_change_no_bit():
    one = everything(1)
    for threads in (2, 3, 7, 1000):
        assert everything(threads) == one


def test_concurrent_callers_change_no_bit():
    expected = everything(1, (20, 3001))
    with ThreadPoolExecutor(6) as pool:
        for result in pool.map(lambda i: everything(1 + i % 3, (20, 3001)), range(18)):
            assert result == expected


def test_one_histogram_serves_several_threads():
    X, histogram = features((16, 2000)), _core.Histogram(features((16, 1500), seed=1))
    expected = histogram.match(X)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda i: histogram.match(X, threads=1 + i % 2), range(12)):
            np.testing.assert_array_equal(result, expected)


def test_how_it_was_built():
    assert isinstance(_core.openmp, bool)
    assert _core.simd in {"avx512", "avx2", "baseline"}


@pytest.mark.skipif(sys.platform == "win32" or not _core.openmp, reason="no compiler that takes -fopenmp")
def test_setup_finds_openmp(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "setuptools", MagicMock())  # nothing is to be built
    monkeypatch.setitem(sys.modules, "pybind11.setup_helpers", MagicMock())
    has_openmp = runpy.run_path(str(Path(__file__).parent.parent / "setup.py"))["has_openmp"]
    monkeypatch.setenv("CXX", "env c++")  # as "ccache g++" does, runs one program through another
    if subprocess.run(["env", "c++", "--version"], capture_output=True).returncode == 0:
        assert has_openmp()
    capsys.readouterr()
    monkeypatch.setenv("CXX", "env no-such-compiler")
    assert not has_openmp()
    assert capsys.readouterr().out.startswith("OpenMP is off: env no-such-compiler")


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
    command = [sys.executable, "-c", EXHAUST.format(threads=threads)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "refused\n", "")


# ----------------------------------------------------------------- messages

F = np.ones((3, 8), np.float32)
D = np.ones((3, 3))
W = np.ones(8, np.float32)
OUT = np.empty_like(F)
READONLY = np.empty_like(F)
READONLY.flags.writeable = False


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
            r"^weights: expected shape \(8,\), got float32 of shape \(5,\)$",
        ),
        (lambda: _core.gram(F, W.astype(float)), TypeError, "^weights: expected float32, got float64"),
        (
            lambda: _core.gram(F, -W),
            ValueError,
            r"^weights: expected finite values >= 0, got -1.0* at pixel 0$",
        ),
        (
            lambda: _core.gram(F, W * np.float32(np.nan)),
            ValueError,
            "^weights: expected finite values >= 0, got nan",
        ),
        (
            lambda: _core.gram(F, W * np.float32(np.inf)),
            ValueError,
            "^weights: expected finite values >= 0, got inf",
        ),
        (lambda: _core.gram(F, threads=0), ValueError, "^threads: expected at least 1, got 0$"),
        (
            lambda: _core.gram_gradient(F, D[:2], 1.0, OUT),
            ValueError,
            r"^difference: expected shape \(3, 3\), got",
        ),
        (
            lambda: _core.gram_gradient(F, D.astype(int), 1.0, OUT),
            TypeError,
            "^difference: expected float32 or",
        ),
        (
            lambda: _core.gram_gradient(F, D, 1.0, OUT[:, :4]),
            ValueError,
            r"^out: expected shape \(3, 8\), got",
        ),
        (
            lambda: _core.gram_gradient(F, D, 1.0, F * 1.0 + D[0, 0]),
            TypeError,
            "^out: expected float32, got float64",
        ),
        (lambda: _core.gram_gradient(F, D, 1.0, READONLY), ValueError, "^out: expected a writeable array"),
        (lambda: _core.gram_gradient(F, D, 1.0, F), ValueError, "^out: expected memory of its own"),
        (lambda: _core.Histogram(F, threads=-1), ValueError, "^threads: expected at least 1, got -1$"),
        (
            lambda: _core.Histogram(F).match(F[:2]),
            ValueError,
            "^features: expected 3 channels as in the exemplar, got 2$",
        ),
        (lambda: _core.Histogram(F).loss(F, OUT[:2]), ValueError, r"^gradient: expected shape \(3, 8\), got"),
        (lambda: _core.Histogram(F).loss(F, READONLY), ValueError, "^gradient: expected a writeable array"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
