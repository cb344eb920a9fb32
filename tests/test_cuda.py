"""The GPU's kernels against the float64 reference: emulated on a CPU, and on a GPU where there is one."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import emulation
import numpy as np
import onnx
import pytest
import reference
from conftest import WRAPS, covering, cut_budget, features, relative_error
from layouts import woven

import pyengine
from pyengine import Engine, PyengineError, devices
from pyengine.images.resampling import upsample
from pyengine.kernels import Coverage, cuda
from pyengine.kernels.cpu import CpuKernels
from pyengine.kernels.cuda import CudaKernels
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.model import Convolution, Model, Preprocessing
from pyengine.network.modelfile import model_file
from pyengine.network.sessions import Provider
from pyengine.wrap import BOTH, NEITHER

EITHER = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]
ORDERS = ["ascending", "descending", "shuffled", "warps"]

SHAPES = [(1, 1), (1, 7), (5, 63), (33, 300), (2, 4097)]
CONTENTS = ["relu", "normal", "zeros", "equal", "integers"]
WEIGHTS = ["none", "random", "sparse", "one"]

CPU = CpuKernels(threads=1)


@cache
def without_gpu() -> str:
    """Why there is no GPU to run kernels on; empty if there is."""
    try:
        import cupy
    except ImportError:
        return "no GPU: CuPy is not installed"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU: {error}"
    return "" if count else "no GPU: CUDA finds none"


def provide(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import cupy` find the GPU's, or the emulation; or skip."""
    reason = without_gpu() if kind == "gpu" else emulation.unavailable()
    if reason:
        pytest.skip(reason)
    if kind == "emulated":
        emulation.install(monkeypatch)


@pytest.fixture(params=EITHER)
def kernels(request, monkeypatch):
    provide(request.param, monkeypatch)
    kernels = CudaKernels(0, tf32=False)
    with kernels.active():
        yield kernels


@pytest.fixture
def emulated(monkeypatch):
    provide("emulated", monkeypatch)
    kernels = CudaKernels(0, tf32=False)
    with kernels.active():
        yield kernels


def assert_close(actual, expected, tolerance=2e-6):
    """Compare with a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * (np.abs(expected).max() + 1e-30))


def covered(kernels: Any, w: np.ndarray | None) -> Coverage | None:
    return None if w is None else kernels.cover(w)


class Loss:
    """One of the losses on some kernels, with everything uploaded; gives value and gradient as the host's."""

    def __init__(self, kernels: Any, name: str, *target: Any) -> None:
        self.kernels = kernels
        self.name = name
        self.target = [kernels.upload(t) if isinstance(t, np.ndarray) else t for t in target]

    def __call__(self, x, w=None, scale=1.0, into=None, gradient=True, **options):
        """`into` is what the gradient's array holds before."""
        kernels = self.kernels
        out = None
        if gradient:
            out = kernels.upload(np.full_like(x, np.nan) if into is None else into.copy())
        value = kernels.upload(np.full(3, -7.0))
        x = kernels.upload(x)
        if self.name != "variation":
            options["coverage"] = covered(kernels, w)
        getattr(kernels, self.name)(*self.target, x, scale, out, value[1, ...], **options)
        around = kernels.fetch([value])
        assert around[0] == around[2] == -7  # nothing is written beside it
        return around[1], None if out is None else kernels.download(out)


def check_loss(loss, x, w, expected, tolerance=1e-5):
    """Value and gradient, written, added, and left out."""
    value, slope = expected
    scale = 0.7
    found, gradient = loss(x, w, scale)
    assert found == pytest.approx(value, rel=1e-5, abs=1e-12)
    assert_close(gradient, scale * slope, tolerance)
    before = features(x.shape, "normal", 9)
    again, added = loss(x, w, scale, into=before, accumulate=True)
    assert again == found
    assert_close(added - before, scale * slope, tolerance + 1e-6 / (np.abs(scale * slope).max() + 1e-30))
    assert loss(x, w, scale, gradient=False) == (found, None)


# --------------------------------------------------------------------- Gram


@pytest.mark.parametrize("kind", [*WEIGHTS, "nothing"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 8200)])
def test_gram(kernels, shape, kind):
    F, w = features(shape, "normal"), covering(shape[1], kind)
    G = kernels.gram(kernels.upload(F), covered(kernels, w))
    assert G.dtype == np.float64
    assert_close(kernels.download(G), reference.gram(F, w), 1e-5)
    assert_close(kernels.download(G), CPU.gram(F, covered(CPU, w)), 1e-5)


@pytest.mark.parametrize("kind", [*WEIGHTS, "nothing"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 8200)])
def test_cross_gram(kernels, shape, kind):
    A, B, w = features(shape, "normal"), features(shape, "normal", 1), covering(shape[1], kind)
    G = kernels.cross_gram(kernels.upload(A), kernels.upload(B), covered(kernels, w))
    assert G.dtype == np.float64
    assert_close(kernels.download(G), reference.cross_gram(A, B, w), 1e-5)


@pytest.mark.parametrize("kind", [*WEIGHTS, "nothing"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gram_loss(kernels, shape, kind):
    x, w = features(shape, "normal"), covering(shape[1], kind)
    target = reference.gram(features(shape, "normal", 1))
    value, slope = reference.gram_loss(x, target, w)
    if kind == "nothing":  # the value is of no interest, but the gradient
        value = (target**2).mean()
    check_loss(Loss(kernels, "gram_loss", target), x, w, (value, slope))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_mix(kernels, shape, kind):
    """The matrix need not be symmetric."""
    F, w = features(shape, "normal"), covering(shape[1], kind)
    D = np.random.default_rng(1).normal(size=(shape[0], shape[0]))
    expected = 0.3 * D @ (F.astype(float) * (1 if w is None else w))
    out = kernels.upload(np.full_like(F, np.nan))
    arguments = kernels.upload(F), kernels.upload(D), 0.3, out
    kernels.mix(*arguments, coverage=covered(kernels, w))
    assert_close(kernels.download(out), expected)
    kernels.mix(*arguments, coverage=covered(kernels, w), accumulate=True)
    assert_close(kernels.download(out), 2 * expected)


@pytest.mark.parametrize("kind", ["none", "random"])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (1, 7), (8, 20), (13, 3)])
def test_mix_to_more_or_fewer_channels(kernels, rows, channels, kind):
    F, w = features((channels, 63), "normal"), covering(63, kind)
    M = np.random.default_rng(1).normal(size=(rows, channels))
    expected = 0.3 * M @ (F.astype(float) * (1 if w is None else w))
    around = kernels.upload(np.full((rows + 2, 63), -7, np.float32))
    arguments = kernels.upload(F), kernels.upload(M), 0.3, around[1:-1]
    kernels.mix(*arguments, coverage=covered(kernels, w))
    assert_close(kernels.download(around)[1:-1], expected)
    kernels.mix(*arguments, coverage=covered(kernels, w), accumulate=True)
    assert_close(kernels.download(around)[1:-1], 2 * expected)
    assert (kernels.download(around)[[0, -1]] == -7).all()


@pytest.mark.parametrize(("size", "shape"), [((6, 8), (6, 8)), ((5, 7), (5, 7)), ((5, 7), (10, 14)), ((1, 1), (2, 1))])
def test_transforms(kernels, size, shape):
    X = features((3, *size), "normal")
    there = kernels.upload(X)
    spectra = kernels.rfft2(there, shape)
    assert spectra.dtype == np.complex64
    assert_close(kernels.download(spectra), CPU.rfft2(X, shape))
    np.testing.assert_array_equal(kernels.download(there), X)
    back = kernels.irfft2(spectra, shape)
    assert back.dtype == np.float32
    expected = np.zeros((3, *shape))
    expected[:, : size[0], : size[1]] = X
    assert_close(kernels.download(back), expected)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("kind", ["none", "random"])
def test_correlation(kernels, kind, wrap):
    """Value and gradient of the loss that all of that is for."""
    from maps import target_of

    from pyengine.losses.base import Region, Sample
    from pyengine.losses.correlation import CorrelationLoss

    x = features((5, 9, 14), "normal")
    exemplar = np.tile(features((5, 4, 6), "normal", 1), (1, 3, 2))
    w, w_s = covering(126, kind), covering(144, kind)
    region = Region() if w is None else Region(coverage={"relu1_1": kernels.cover(w)})
    sample = Sample(kernels.upload(exemplar), covered(kernels, w_s))
    loss = CorrelationLoss.measure("relu1_1", [sample], kernels, region, wrap=wrap)
    axes, origin = kernels.download(loss.axes), kernels.download(loss.origin)
    target, counts = target_of(replace(loss, axes=axes, origin=origin), [Sample(exemplar, covered(CPU, w_s))])
    assert counts.any()
    expected, slope = reference.correlation_loss(x, axes, origin, target, counts, w, wrap)
    value, gradient = kernels.xp.empty((), np.float64), kernels.upload(np.full_like(x, np.nan))
    for _ in range(2):  # the second time with what the first has kept
        loss.evaluate(kernels.upload(x), kernels, value, weight=0.5, gradient=gradient)
        assert kernels.fetch([value]) == [pytest.approx(expected, rel=1e-5)]
        assert_close(kernels.download(gradient), 0.5 * slope, 1e-5)


@pytest.mark.parametrize("kind", ["none", "random"])
def test_structure(kernels, kind):
    """Maps of three axes, through the loss that translates them."""
    from pyengine.losses.base import Region, Sample
    from pyengine.losses.structure import StructureLoss

    x, exemplar = features((5, 9, 14), "normal"), features((5, 8, 8), "normal", 1)
    w = covering(126, kind)
    region = Region() if w is None else Region(coverage={"relu1_1": kernels.cover(w)})
    loss = StructureLoss.measure("relu1_1", [Sample(kernels.upload(exemplar))], kernels, region)
    assert list(loss.targets) == [(0, 1), (1, 0), (0, 2), (2, 0)]
    target = {shift: reference.translated_gram(exemplar, shift, wrap=NEITHER) for shift in loss.targets}
    expected, slope = reference.structure_loss(x, target, w)
    value, gradient = kernels.xp.empty((), np.float64), kernels.upload(np.full_like(x, np.nan))
    loss.evaluate(kernels.upload(x), kernels, value, weight=0.5, gradient=gradient)
    assert kernels.fetch([value]) == [pytest.approx(expected, rel=1e-5)]
    assert_close(kernels.download(gradient), 0.5 * slope, 1e-5)


def test_tf32_is_for_the_products_of_its_kernels_alone(monkeypatch):
    provide("emulated", monkeypatch)
    kernels, exact = CudaKernels(0, tf32=True), CudaKernels(0, tf32=False)
    cublas, handle = kernels.xp.cuda.cublas, kernels.xp.cuda.device.get_cublas_handle()
    with kernels.active():
        assert cublas.getMathMode(handle) == 3
        with exact.active():
            assert cublas.getMathMode(handle) == 0
        with kernels.active():
            assert cublas.getMathMode(handle) == 3
        assert cublas.getMathMode(handle) == 3
    assert cublas.getMathMode(handle) == 0


# ---------------------------------------------------------------- histogram

# One pixel, fewer samples than a warp, whole groups, several blocks of the match, and one more sample than a tile.
PAIRS = [((1, 1), (1, 1)), ((1, 7), (1, 1)), ((2, 5), (2, 128)), ((5, 320), (5, 96)), ((3, 70), (3, 491))]
LARGE = [((2, 4097), (2, 1370)), ((1, 586), (1, 4100))]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("exemplar_kind", WEIGHTS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("shape", "other"), PAIRS)
def test_histogram_loss(kernels, shape, other, content, exemplar_kind, kind):
    x, exemplar = features(shape, content), features(other, content, 1)
    w, w_s = covering(shape[1], kind), covering(other[1], exemplar_kind, 1)
    target = kernels.histogram(kernels.upload(exemplar), covered(kernels, w_s))
    assert target.channels == shape[0]
    expected = reference.histogram_loss(x, exemplar, w, w_s)
    loss = Loss(kernels, "histogram_loss", target)
    value, gradient = loss(x, w, 0.7)
    assert value == pytest.approx(expected[0], rel=1e-5, abs=1e-12)
    assert_close(gradient, 0.7 * expected[1], 2e-6)
    counts = np.ones(shape[1]) if w is None else w  # the gradient is 2 counts (O - R) over their sum and the channels
    pull = gradient * shape[0] * counts.sum(dtype=float) / (2 * 0.7 * np.where(counts > 0, counts, 1))
    assert_close(x - pull, reference.match(x, exemplar, w, w_s))
    mine = Loss(CPU, "histogram_loss", CPU.histogram(exemplar, covered(CPU, w_s)))(x, w, 0.7)
    assert value == pytest.approx(mine[0], rel=1e-5, abs=1e-12)
    assert_close(gradient, mine[1], 1e-5)


@pytest.mark.parametrize("kind", ["none", "random", "sparse"])
@pytest.mark.parametrize("content", ["relu", "integers"])
@pytest.mark.parametrize(("shape", "other"), LARGE)
def test_histogram_loss_of_several_tiles(kernels, shape, other, content, kind):
    x, exemplar = features(shape, content), features(other, content, 1)
    w, w_s = covering(shape[1], kind), covering(other[1], kind, 1)
    target = kernels.histogram(kernels.upload(exemplar), covered(kernels, w_s))
    check_loss(Loss(kernels, "histogram_loss", target), x, w, reference.histogram_loss(x, exemplar, w, w_s))


@pytest.mark.parametrize("kind", ["none", "sparse"])
def test_histogram_gradient_is_written_or_added(kernels, kind):
    x, exemplar, w = features((3, 70)), features((3, 50), seed=1), covering(70, kind)
    target = kernels.histogram(kernels.upload(exemplar))
    check_loss(Loss(kernels, "histogram_loss", target), x, w, reference.histogram_loss(x, exemplar, w))


@pytest.mark.parametrize("kind", ["none", "random", "sparse"])
def test_histogram_is_sorted(kernels, kind):
    x, w = features((3, 4500), "normal"), covering(4500, kind)
    x[:, ::7] = np.round(x[:, ::7])
    histogram = kernels.histogram(kernels.upload(x), covered(kernels, w))
    used = np.ones(4500, bool) if w is None else w > 0
    order = np.argsort(x[:, used], axis=1, kind="stable")
    values = np.take_along_axis(x[:, used], order, 1)
    np.testing.assert_array_equal(kernels.download(histogram.values), values)
    weight = np.ones(values.shape) if w is None else w[used][order].astype(np.float64)
    if w is not None:
        np.testing.assert_array_equal(kernels.download(histogram.coverage), weight)  # stable, so each with its own
        before = np.cumsum(weight, axis=1)[:, 31:-1:32]
        assert_close(kernels.download(histogram.masses)[:, 1:], before[:, : histogram.masses.shape[1] - 1], 1e-13)
    before = np.cumsum(weight * values, axis=1)[:, 31:-1:32]
    assert_close(kernels.download(histogram.moments)[:, 1:], before, 1e-13)
    np.testing.assert_array_equal(kernels.download(histogram.moments)[:, 0], 0)


@pytest.mark.parametrize("kind", ["none", "sparse"])
def test_histogram_of_the_exemplar_itself_is_matched_exactly(kernels, kind):
    x, w = features((4, 333), "normal"), covering(333, kind)
    target = kernels.histogram(kernels.upload(x), covered(kernels, w))
    value, gradient = Loss(kernels, "histogram_loss", target)(x, w)
    assert value < 1e-12
    assert np.abs(gradient).max() < 1e-7


def test_histogram_without_mass(kernels):
    """Either side: nothing is matched to anything."""
    x, exemplar, nothing = features((3, 50)), features((3, 40), seed=1), np.zeros(50, np.float32)
    some = kernels.histogram(kernels.upload(exemplar))
    none = kernels.histogram(kernels.upload(exemplar), kernels.cover(np.zeros(40, np.float32)))
    assert none.channels == 3
    for target, w in ((some, nothing), (none, None), (none, covering(50)), (none, covering(50, "sparse"))):
        loss = Loss(kernels, "histogram_loss", target)
        value, gradient = loss(x, w)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
        value, gradient = loss(x, w, into=x, accumulate=True)
        assert value == 0
        np.testing.assert_array_equal(gradient, x)


def test_histogram_with_coverage_that_names_no_pixels(kernels):
    """As a Coverage of other kernels: those that do not count take part, but for nothing."""
    x, exemplar, w = features((2, 70), "normal"), features((2, 90), "normal", 1), covering(70, "sparse")
    w_s = covering(90, "sparse", 1)
    plain = Coverage(kernels.upload(w), float(w.sum(dtype=float)))
    target = kernels.histogram(kernels.upload(exemplar), Coverage(kernels.upload(w_s), float(w_s.sum(dtype=float))))
    value, out = kernels.xp.empty((), np.float64), kernels.upload(np.full_like(x, np.nan))
    kernels.histogram_loss(target, kernels.upload(x), 1.0, out, value, coverage=plain)
    expected, slope = reference.histogram_loss(x, exemplar, w, w_s)
    assert kernels.fetch([value]) == [pytest.approx(expected, rel=1e-5)]
    assert_close(kernels.download(out), slope)


@pytest.mark.parametrize("kind", ["none", "sparse"])
def test_channels_are_sorted_in_groups(kernels, monkeypatch, kind):
    """So that little memory is enough: the same bits, whatever the group."""
    x, exemplar = features((5, 300)), features((5, 200), seed=1)
    w, w_s = covering(300, kind), covering(200, kind, 1)
    found = []
    for size in (2**28, 16 * 300 * 2, 1):
        monkeypatch.setattr(cuda, "SORTING_BYTES", size)
        target = kernels.histogram(kernels.upload(exemplar), covered(kernels, w_s))
        value, gradient = Loss(kernels, "histogram_loss", target)(x, w)
        found.append((np.float64(value), gradient, *map(kernels.download, (target.values, target.moments))))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_channels_in_groups_hold_less_memory(emulated, monkeypatch):
    x = emulated.upload(features((8, 100)))
    shapes = []
    empty = emulated.xp.empty
    monkeypatch.setattr(emulated.xp, "empty", lambda shape, dtype=float: shapes.append(shape) or empty(shape, dtype))
    monkeypatch.setattr(cuda, "SORTING_BYTES", 16 * 100 * 3)
    emulated.histogram(x)
    assert [shape for shape in shapes if shape[1] == 100] == [(8, 100), *[(3, 100)] * 8, *[(2, 100)] * 4]


@pytest.mark.parametrize("kind", ["none", "random", "sparse"])
@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_a_sample_that_is_no_number(kernels, value, kind):
    """The loss is not, wherever it is; what the gradient is beside it is open."""
    x, exemplar, w = features((3, 70)), features((3, 50), seed=1), covering(70, kind)
    at = 0 if w is None else int(np.flatnonzero(w)[3])
    x[1, at] = np.copysign(np.float32(np.nan), value)
    target = kernels.histogram(kernels.upload(exemplar))
    found, gradient = Loss(kernels, "histogram_loss", target)(x, w)
    assert np.isnan(found)
    assert np.isnan(gradient[1, at])
    assert np.isfinite(gradient[[0, 2]]).all()
    in_exemplar = Loss(kernels, "histogram_loss", kernels.histogram(kernels.upload(x), covered(kernels, w)))
    assert np.isnan(in_exemplar(exemplar)[0])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_samples(kernels, value):
    x, exemplar = features((3, 70)), features((3, 50), seed=1)
    x[1, 5] = value
    found, gradient = Loss(kernels, "histogram_loss", kernels.histogram(kernels.upload(exemplar)))(x)
    assert found == np.inf
    assert np.argwhere(~np.isfinite(gradient)).tolist() == [[1, 5]]


# ------------------------------------------------------- content, variation


@pytest.mark.parametrize("kind", [*WEIGHTS, "nothing"])
@pytest.mark.parametrize("content", ["relu", "equal", "integers"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 8200), (300, 5), (3, 5, 7)])
def test_content_loss(kernels, shape, content, kind):
    x, target, w = features(shape, content), features(shape, content, 1), covering(int(np.prod(shape[1:])), kind)
    value, slope = reference.content_loss(reference.flat(x), reference.flat(target), w)
    check_loss(Loss(kernels, "content_loss", target), x, w, (value, slope.reshape(shape)))


IMAGES = [(1, 1, 1), (1, 1, 3), (1, 7, 3), (7, 1, 3), (2, 2, 3), (2, 1, 1), (3, 2, 4), (16, 16, 3), (33, 70, 3)]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("content", ["normal", "integers", "equal"])
@pytest.mark.parametrize("shape", IMAGES)
def test_variation(kernels, shape, content, wrap):
    x = features(shape, content)
    loss = Loss(kernels, "variation")
    value, expected = reference.variation(x, wrap)
    found, gradient = loss(x, scale=0.7, wrap=wrap)
    assert found == pytest.approx(value, rel=1e-5)
    assert_close(gradient, 0.7 * expected)
    before = features(shape, "normal", 9)
    again, added = loss(x, scale=0.7, wrap=wrap, into=before, accumulate=True)
    assert again == found
    assert_close(added, before + 0.7 * expected, 1e-6)
    assert loss(x, scale=0.7, wrap=wrap, gradient=False) == (found, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_what_is_not_finite_spreads_as_on_a_cpu(kernels, value, kind):
    x, target, w = features((3, 70), "normal"), features((3, 70), "normal", 1), covering(70, kind)
    gram = reference.gram(target)
    x[1, 20] = value
    for name, goal in (("gram_loss", gram), ("content_loss", target)):
        found, gradient = Loss(kernels, name, goal)(x, w)
        expected, slope = Loss(CPU, name, goal)(x, w)
        assert not np.isfinite(found)
        assert np.isnan(found) == np.isnan(expected)
        np.testing.assert_array_equal(np.isfinite(gradient), np.isfinite(slope))
    np.testing.assert_array_equal(
        np.isfinite(kernels.download(kernels.gram(kernels.upload(x), covered(kernels, w)))),
        np.isfinite(CPU.gram(x, covered(CPU, w))),
    )
    image = features((5, 6, 3))
    image[2, 3, 1] = value
    found, gradient = Loss(kernels, "variation")(image)
    expected, slope = Loss(CPU, "variation")(image)
    assert np.isnan(found) == np.isnan(expected)
    np.testing.assert_array_equal(np.isfinite(gradient), np.isfinite(slope))


# ------------------------------------------------------ network and pyramid


def before_relu(x, above, loss, unpool, wrap):
    """The same in NumPy, float64."""
    gradient = above.astype(float)
    if unpool != "none":
        windows = reference.windows(x.astype(float))
        if unpool == "average":
            share = np.full(windows.shape, 0.25)
        else:  # all that share the maximum; a pixel that an odd side repeats counts once
            inside = reference.windows(np.arange(1.0, x[0].size + 1).reshape(x[:1].shape))
            first = np.stack([(inside[:k] != inside[k]).all(0) for k in range(4)])
            share = ((windows == windows.max(0)) & first).astype(float)
            share /= share.sum(0)
        gradient = reference.windows_backward(share * above, *x.shape[1:])
    if loss is not None:
        gradient = gradient + loss
    return reference.pad(gradient * (x > 0), ("wrap" if wrap.y else "zeros", "wrap" if wrap.x else "zeros"))


MAPS = [(1, 1, 1), (2, 1, 5), (3, 5, 1), (2, 4, 6), (3, 7, 9), (2, 33, 17)]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("unpool", ["none", "average", "max"])
@pytest.mark.parametrize("shape", MAPS)
def test_relu_gradient(kernels, shape, unpool, own, wrap):
    x = features(shape, "integers")  # so that maxima are shared
    x = np.maximum(x, 0)
    height, width = shape[1:]
    windows = (height, width) if unpool == "none" else (-(-height // 2), -(-width // 2))
    above = features((shape[0], *windows), "normal", 1)
    loss = features(shape, "normal", 2) if own else None
    expected = before_relu(x, above, loss, unpool, wrap)
    on_cpu = np.empty(expected.shape, np.float32)
    CPU.relu_gradient(x, on_cpu, above, loss, unpool=unpool, wrap=wrap)
    for peak in (None, kernels.upload(np.full(3, 100.0, np.float32))):
        padded = kernels.upload(np.full(expected.shape, np.nan, np.float32))
        kernels.relu_gradient(
            kernels.upload(x),
            padded,
            kernels.upload(above),
            None if loss is None else kernels.upload(loss),
            unpool=unpool,
            wrap=wrap,
            peak=None if peak is None else peak[1:2],
        )
        found = kernels.download(padded)
        assert_close(found, expected, 1e-7)
        assert_close(found, on_cpu, 1e-7)
        if peak is not None:
            assert kernels.download(peak).tolist() == [100, np.abs(found).max(), 100]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("unpool", ["none", "average", "max"])
@pytest.mark.parametrize("border", [0, 2, 3, 8])
@pytest.mark.parametrize("shape", MAPS)
def test_relu_gradient_with_any_border(kernels, shape, border, unpool, wrap):
    """One wider than the map wraps round more than once."""
    x = np.maximum(features(shape, "integers"), 0)
    height, width = shape[1:]
    windows = (height, width) if unpool == "none" else (-(-height // 2), -(-width // 2))
    above, loss = features((shape[0], *windows), "normal", 1), features(shape, "normal", 2)
    expected = reference.relu_gradient(x, above, loss, unpool, wrap, border)
    padded, peak = kernels.upload(np.full(expected.shape, np.nan, np.float32)), kernels.upload(np.zeros(1, np.float32))
    arrays = [kernels.upload(array) for array in (x, above, loss)]
    kernels.relu_gradient(arrays[0], padded, *arrays[1:], border=border, unpool=unpool, wrap=wrap, peak=peak)
    assert_close(kernels.download(padded), expected, 1e-6)
    assert kernels.download(peak)[0] == pytest.approx(np.abs(expected).max(), rel=1e-6)


@pytest.mark.parametrize("unpool", ["none", "average", "max"])
def test_relu_gradient_of_nan(kernels, unpool):
    """As on a CPU, in the map and in what comes from above."""
    x = np.maximum(features((2, 4, 6), "normal"), 0)
    above = features((2, 4, 6) if unpool == "none" else (2, 2, 3), "normal", 1)
    for where, at in ((x, (0, 1, 2)), (above, (1, 1, 2))):
        where[at] = np.nan
        found, expected = (np.empty((2, 6, 8), np.float32) for _ in range(2))
        peak, largest = np.zeros(1, np.float32), np.zeros(1, np.float32)
        CPU.relu_gradient(x, expected, above, None, unpool=unpool, peak=peak)
        padded, on_gpu = kernels.upload(found), kernels.upload(largest)
        kernels.relu_gradient(kernels.upload(x), padded, kernels.upload(above), None, unpool=unpool, peak=on_gpu)
        np.testing.assert_allclose(kernels.download(padded), expected, rtol=1e-6)
        assert not kernels.download(on_gpu)[0] < peak[0]  # or it is NaN, which is as good


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (14, 10), (9, 8), (35, 41)])
def test_upsample(kernels, size, wrap):
    for image in (features((5, 7, 3), "normal"), features((1, 1, 3), "normal"), features((3, 2, 3), "normal")):
        if size[1] < image.shape[0] or size[0] < image.shape[1]:
            continue
        found = kernels.upsample(kernels.upload(image), size, wrap=wrap)
        assert found.dtype == np.float32
        assert_close(kernels.download(found), upsample(image, size, wrap=wrap), 1e-5)


# ------------------------------------------------------------------ patches

VECTORS = [(1, 1, 1), (1, 9, 1), (2, 1, 50), (3, 40, 257), (24, 60, 600), (147, 5, 300)]


def find(kernels: Any, *arrays: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    indices, sums = kernels.nearest(*(None if a is None else kernels.upload(a) for a in arrays))
    return kernels.download(indices), kernels.download(sums)


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("content", ["normal", "zeros", "equal", "integers"])
@pytest.mark.parametrize(("dimensions", "asked", "count"), VECTORS)
def test_nearest(kernels, dimensions, asked, count, content, cost):
    q, s = features((dimensions, asked), content), features((dimensions, count), content, 1)
    c = features((1, count), "integers", 2)[0] if cost else None
    expected = reference.distances(q, s, c)
    indices, sums = find(kernels, q, s, c)
    assert (indices.dtype, sums.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(sums, expected[np.arange(asked), indices], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums, expected.min(1), rtol=1e-5, atol=1e-5)
    if content != "normal":  # small integers, of which float32 forgets nothing
        np.testing.assert_array_equal(indices, expected.argmin(1))


def test_of_equally_near_sources_the_first_is_found(kernels):
    s = np.tile(features((6, 25), "integers"), 40)
    np.testing.assert_array_equal(find(kernels, s[:, :25].copy(), s)[0], find(CPU, s[:, :25].copy(), s)[0])


@pytest.mark.parametrize("products", [1, 700, 1400])
def test_nearest_in_slices(kernels, products, monkeypatch):
    q, s, cost = features((5, 31), "normal"), features((5, 700), "normal", 1), features((1, 700))[0]
    expected = find(CPU, q, s, cost)
    monkeypatch.setattr(cuda, "PRODUCTS", products)
    indices, sums = find(kernels, q, s, cost)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_allclose(sums, expected[1], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nearest_of_what_is_not_finite(kernels, value):
    q, s = features((3, 7), "normal"), features((3, 300), "normal", 1)
    q[1, 6], s[2, :5], s[0, 280] = value, value, value
    indices, sums = find(kernels, q, s)
    expected = reference.distances(q[:, :6], s)
    np.testing.assert_array_equal(indices[:6], np.where(np.isfinite(expected), expected, np.inf).argmin(1))
    assert not np.isfinite(sums[6])
    assert 0 <= indices[6] < 300
    assert (find(kernels, q, s, np.full(300, np.inf, np.float32))[0] == 0).all()


def test_nearest_is_no_matter_of_tf32(emulated):
    """Near sources differ in digits that TF32 does not have; what comes after computes in it again."""
    import cupy

    with CudaKernels(0, tf32=True).active():
        modes = []
        handle, cublas = cupy.cuda.device.get_cublas_handle(), cupy.cuda.cublas
        sgemm = cublas.sgemm
        cublas.sgemm = lambda *arguments: (modes.append(cublas.getMathMode(handle)), sgemm(*arguments))
        try:
            find(CudaKernels(0, tf32=True), features((3, 7)), features((3, 9)))
        finally:
            cublas.sgemm = sgemm
        assert modes == [cublas.CUBLAS_DEFAULT_MATH]
        assert cublas.getMathMode(handle) == cuda.TF32_MATH


# ------------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize("picks", [(0,), (2, 4), (4, 1, 2)])
@pytest.mark.parametrize("n", [1, 77, 4096, 4097, 9000])
def test_inner_products(kernels, n, picks):
    rows = features((5, n), "normal")
    products = kernels.upload(np.full((5, 5), 7.0))
    kernels.inner_products(kernels.upload(rows), picks, products)
    expected = rows.astype(float) @ rows.T.astype(float)
    kept = np.ones((5, 5), bool)
    kept[list(picks)] = kept[:, list(picks)] = False
    found = kernels.download(products)
    np.testing.assert_array_equal(found[kept], 7)
    assert_close(np.where(kept, 0, found), np.where(kept, 0, expected), 1e-6)


def test_inner_product_of_one_row(kernels):
    products = kernels.upload(np.zeros((1, 1)))
    kernels.inner_products(kernels.upload(np.arange(4.0, dtype=np.float32)[None]), (0,), products)
    assert kernels.download(products).tolist() == [[14]]


def two_loops(steps, changes, gradient):
    """Nocedal's algorithm as in the textbook: the inverse Hessian times a vector."""
    q = gradient.copy()
    factors = []
    for s, y in reversed(list(zip(steps, changes, strict=True))):
        factors.append(s @ q / (y @ s))
        q -= factors[-1] * y
    if steps:
        q *= steps[-1] @ changes[-1] / (changes[-1] @ changes[-1])
    for s, y, factor in zip(steps, changes, reversed(factors), strict=True):
        q += s * (factor - y @ q / (y @ s))
    return q


@pytest.mark.parametrize("slots", [[], [0], [3, 0, 1], [7, 8, 9, 10, 0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("start", [22, 25])
def test_two_loop(kernels, slots, start):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((26, 40))
    for slot in range(11):  # changes along the steps as a function's that curves upwards
        rows[2 * slot + 1] = rows[2 * slot] * np.geomspace(0.1, 10, 40)
    products = rows @ rows.T
    pairs = [(2 * slot, 2 * slot + 1) for slot in slots]
    found = kernels.two_loop(kernels.upload(products), pairs, start)
    assert found.dtype == np.float32
    assert found.shape == (26,)
    coefficients = kernels.download(found)
    expected = two_loops([rows[s] for s, _ in pairs], [rows[y] for _, y in pairs], rows[start])
    assert_close(coefficients @ rows, expected, 1e-5)
    used = {start, *(row for pair in pairs for row in pair)}
    assert not coefficients[[row for row in range(26) if row not in used]].any()
    assert_close(coefficients, CPU.two_loop(products, pairs, start), 1e-6)


def test_two_loop_does_not_read_what_it_does_not_need(kernels):
    """A step into what is not finite leaves such products behind."""
    rows = np.random.default_rng(0).standard_normal((26, 40))
    products, pairs = rows @ rows.T, [(0, 1), (6, 7)]
    expected = kernels.download(kernels.two_loop(kernels.upload(products), pairs, 23))
    for row in (4, 24):
        products[row] = products[:, row] = np.nan
    found = kernels.download(kernels.two_loop(kernels.upload(products), pairs, 23))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [1, 255, 256, 5000])
def test_combine(kernels, n):
    rows, factors = features((6, n), "normal"), np.float32([0.5, 0, -2, 3, 0, 1e-3])
    rows[1], rows[4] = np.nan, np.inf
    out = kernels.upload(np.full(n + 2, -7, np.float32))
    kernels.combine(kernels.upload(rows), kernels.upload(factors), out[1:-1])
    found = kernels.download(out)
    assert found[0] == found[-1] == -7
    used = factors != 0
    assert_close(found[1:-1], factors[used].astype(float) @ rows[used].astype(float))


@pytest.mark.parametrize("n", [1, 300])
def test_descent_and_advance(kernels, n):
    rng = np.random.default_rng(0)
    x = rng.choice(np.float32([0, 1, 0.25, 0.5]), n)
    slope, direction = (rng.choice(np.float32([-1, 0, 1, 0.125, -0.375]), n) for _ in range(2))
    if n > 1:
        slope[5] = direction[7] = np.nan
        x[5] = x[7] = 0.5
    descent, moved = np.empty(n, np.float32), np.empty(n, np.float32)
    CPU.descent(x, slope, descent)
    CPU.advance(x, descent, direction, 0.75, moved)
    held = ((x == 0) & (slope > 0)) | ((x == 1) & (slope < 0))
    np.testing.assert_array_equal(descent, np.where(held, 0, -slope))
    a, b, c = map(kernels.upload, (x, slope, direction))
    out, there = (kernels.upload(np.full(n, 9, np.float32)) for _ in range(2))
    kernels.descent(a, b, out)
    kernels.advance(a, out, c, 0.75, there)
    np.testing.assert_array_equal(kernels.download(out), descent)
    np.testing.assert_array_equal(kernels.download(there), moved)  # all are sums that float32 holds exactly


# --------------------------------------------------------------- the device


def test_arrays_come_and_go(kernels):
    array = features((3, 4))
    there = kernels.upload(array)
    assert isinstance(there, kernels.xp.ndarray)
    np.testing.assert_array_equal(kernels.download(there), array)
    assert kernels.download(there).dtype == np.float32
    np.testing.assert_array_equal(kernels.download(kernels.download(there)), array)
    assert kernels.upload(np.float64([1])).dtype == np.float64

    made = kernels.allocate({"a": (1, 3, 5), "b": (7,), "c": (1,)})
    assert {name: (a.shape, a.dtype) for name, a in made.items()} == {
        "a": ((1, 3, 5), np.float32),
        "b": ((7,), np.float32),
        "c": ((1,), np.float32),
    }
    for k, a in enumerate(made.values()):
        assert a.data.ptr % 16 == 0
        a.fill(k)
    assert [set(kernels.download(a).ravel().tolist()) for a in made.values()] == [{0}, {1}, {2}]
    assert kernels.stream
    assert kernels.free_bytes() > 0
    kernels.release()
    assert kernels.seconds(kernels.mark(), kernels.mark()) >= 0


def test_fetch_keeps_the_order(kernels):
    table = kernels.upload(np.arange(12.0).reshape(3, 4))
    numbers = kernels.fetch([table[1], table[0, 2], table[2:, 1:3], table[2, 3, ...]])
    assert numbers == [4, 5, 6, 7, 2, 9, 10, 11]
    assert kernels.fetch([]) == []


def test_a_fetch_is_one_transfer(emulated):
    arrays = [emulated.upload(np.arange(3.0)), emulated.xp.zeros(()), emulated.xp.zeros(2)]
    before = emulation.transfers.device_to_host, emulation.transfers.device_to_host_bytes
    emulated.fetch(arrays)
    assert emulation.transfers.device_to_host == before[0] + 1
    assert emulation.transfers.device_to_host_bytes == before[1] + 6 * 8


@pytest.mark.parametrize("kind", ["random", "sparse", "one", "nothing"])
def test_weigh(kernels, kind):
    w = covering(500, kind)
    found = kernels.cover(w)
    assert found.total == w.sum(dtype=np.float64)
    np.testing.assert_array_equal(kernels.download(found.values), w)
    if kind == "random":
        assert found.pixels is None
    else:
        assert found.pixels.dtype == np.uint32
        np.testing.assert_array_equal(kernels.download(found.pixels), np.flatnonzero(w))


def test_one_thread_at_a_time(kernels):
    """Another one waits until the device is free; the same one may enter again."""
    others, entered = CudaKernels(0, tf32=False), threading.Event()

    def enter() -> None:
        with others.active():
            entered.set()

    thread = threading.Thread(target=enter)
    with others.active(), others.active():
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


# ----------------------------------------------------------------- the bits


def everything(kernels) -> list[np.ndarray]:
    """What all kernels compute of something."""
    results = []
    for shape, other, kind in (((3, 300), (3, 120), "none"), ((2, 4500), (2, 300), "sparse")):
        x, exemplar, w = features(shape), features(other, seed=1), covering(shape[1], kind)
        target = kernels.histogram(kernels.upload(exemplar))
        results += [kernels.download(a) for a in (target.values, target.moments)]
        results += Loss(kernels, "histogram_loss", target)(x, w)
        results += Loss(kernels, "gram_loss", reference.gram(exemplar))(x, w)
        results += Loss(kernels, "content_loss", features(shape, seed=2))(x, w)
    results += Loss(kernels, "variation")(features((20, 31, 3)))
    padded, peak = (kernels.upload(np.zeros(shape, np.float32)) for shape in ((3, 11, 9), 1))
    maps = kernels.upload(features((3, 9, 7)))
    kernels.relu_gradient(maps, padded, kernels.upload(features((3, 5, 4), "normal")), maps, unpool="max", peak=peak)
    results += [kernels.download(a) for a in (padded, peak)]
    results.append(kernels.download(kernels.upsample(kernels.upload(features((5, 7, 3))), (9, 11), wrap=BOTH)))
    rows = kernels.upload(features((6, 9000), "normal"))
    products, direction = kernels.upload(np.zeros((6, 6))), kernels.upload(np.zeros(9000, np.float32))
    kernels.inner_products(rows, (0, 1, 2), products)
    kernels.inner_products(rows, (3, 4, 5), products)
    coefficients = kernels.two_loop(products, [(2, 3), (0, 1)], 5)
    kernels.combine(rows, coefficients, direction)
    results += [kernels.download(a) for a in (products, coefficients, direction)]
    results += find(kernels, features((3, 300), "integers"), features((3, 500), "integers", 1))
    return [np.asarray(result) for result in results]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_bits_again(kernels):
    assert_same(everything(kernels), everything(kernels))


def test_the_same_bits_in_whatever_order_threads_run(emulated, monkeypatch):
    """What differs depends on who comes first."""
    found = []
    for order, seed in (*((order, 0) for order in ORDERS), ("shuffled", 1)):
        monkeypatch.setattr(emulation, "order", order)
        monkeypatch.setattr(emulation, "seed", seed)
        found.append(everything(emulated))
    for other in found[1:]:
        assert_same(found[0], other)


# ------------------------------------------------------------- the engine

QUICK = {"start": "noise", "gram_layers": ["relu1_1", "relu2_1"], "histogram_layers": ["relu1_1", "relu2_1"]}


CHANNELS = {"relu1_1": 6, "relu1_2": 6, "relu2_1": 9, "relu2_2": 9, "relu3_1": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A VGG of few channels, which sorts quickly."""
    rng, convolutions, inputs = np.random.default_rng(0), [], 3
    for name, outputs in CHANNELS.items():
        filters = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3)).astype(np.float32)
        layer = Layer(name, f"{name}.convolution", inputs, outputs, 3, pooled=name in ("relu2_1", "relu3_1"))
        convolutions.append(Convolution(layer, filters, rng.normal(0, 0.1, outputs).astype(np.float32)))
        inputs = outputs
    preprocessing = Preprocessing("BGR", 255.0, (110.0, 117.0, 123.0), (1.0, 1.0, 1.0))
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    architecture = Architecture("small", tuple(convolution.layer for convolution in convolutions))
    small = Model("small", architecture, preprocessing, tuple(convolutions), "a test")
    onnx.save(model_file(small, half=False), path)
    return path


@pytest.fixture(scope="module")
def on_cpu(model):
    with Engine("cpu", model, threads=1) as engine:
        yield engine


@pytest.fixture(params=EITHER)
def on_gpu(request, monkeypatch, model):
    """An engine on a GPU, whose network the CPU computes where the GPU is emulated."""
    yield from gpu_engine(request.param, monkeypatch, model)


@pytest.fixture
def on_emulated(monkeypatch, model):
    yield from gpu_engine("emulated", monkeypatch, model)


def gpu_engine(kind, monkeypatch, model):
    provide(kind, monkeypatch)
    if kind == "emulated":
        monkeypatch.setattr(devices, "problem_with", lambda kind, index: "")
        monkeypatch.setattr(devices.Device, "provider", lambda *_: Provider())
    elif devices.problem_with("cuda", 0):
        pytest.skip(devices.problem_with("cuda", 0))
    with Engine("cuda", model, threads=1, precision="float32") as engine:
        assert isinstance(engine.kernels, CudaKernels)
        yield engine


def halves(height, width):
    layout = np.ones((height, width), np.uint8)
    layout[:, width // 3 :] = 2
    return layout


def hole(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -(height // 4), width // 4 : -(width // 4)] = 255
    return mask


def case(name: str, natural: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Arguments of `Engine.objective`, for images of 24x20, by name."""
    exemplar = natural[:33, :28]
    return {
        "default": {"exemplar": exemplar},
        "regions": {
            "exemplars": [exemplar, other[:20, :31]],
            "exemplar_weights": [2, 1],
            "output_regions": halves(20, 24),
        },
        "painted exemplar": {
            "exemplar": exemplar,
            "exemplar_regions": halves(33, 28),
            "output_regions": halves(20, 24)[::-1, ::-1].copy(),
        },
        "content": {"exemplar": exemplar, "content": other[:20, :24], "content_layers": ["relu2_1"]},
        "hole": {"exemplar": other[:20, :24], "fill": hole(20, 24)},
        "correlation": {"exemplar": woven(exemplar), "weights": {"correlation": "auto", "gram": 1e-9}},
        "structure": {"exemplar": exemplar, "structure": True},
        "variation": {"exemplar": exemplar, "weights": {"variation": 1e3}},
        "zeros": {"exemplar": exemplar, "wrap": "none", "padding": "zeros"},
        "max": {"exemplar": exemplar, "pooling": "max"},
        "zeros and max": {"exemplar": exemplar, "wrap": "x", "padding": "zeros", "pooling": "max"},
    }[name] | QUICK


CASES = [
    "default",
    "regions",
    "painted exemplar",
    "content",
    "hole",
    "correlation",
    "structure",
    "variation",
    "zeros",
    "max",
    "zeros and max",
]


@pytest.mark.parametrize("name", CASES)
def test_objective_is_that_of_the_cpu(on_gpu, on_cpu, natural, other, name):
    image = np.random.default_rng(3).random((20, 24, 3)).astype(np.float32)
    arguments = case(name, natural, other)
    ours, theirs = on_gpu.objective(**arguments), on_cpu.objective(**arguments)
    for x in (image, other[20:40, 20:44]):
        value, gradient = ours(x)
        expected, slope = theirs(x)
        assert value == pytest.approx(expected, rel=3e-6)
        assert gradient.shape == x.shape
        assert relative_error(gradient, slope) < 1e-5
        terms = ours.terms(x)
        assert list(terms) == list(theirs.terms(x))
        for term, number in theirs.terms(x).items():
            assert terms[term] == pytest.approx(number, rel=1e-5, abs=1e-9), term
    assert ours.stopwatch.seconds.keys() == {"forward", "losses", "backward"}


@pytest.mark.parametrize("name", CASES)
def test_tiles_are_what_the_cpu_makes_of_the_whole(on_gpu, on_cpu, monkeypatch, natural, other, name):
    arguments = case(name, natural, other)
    objective = on_cpu.objective(**arguments)
    size = (40, 48) if objective.size is None else (20, 24)  # four tiles, or one that overlaps itself
    image = np.random.default_rng(3).random((*size, 3)).astype(np.float32)
    expected, slope = objective(image)
    monkeypatch.setattr(on_gpu, "budget", cut_budget(on_gpu, 24, 4))
    value, gradient = on_gpu.objective(**arguments)(image)
    assert value == pytest.approx(expected, rel=3e-6)
    assert relative_error(gradient, slope) < 1e-5


def test_objective_of_the_whole_method(monkeypatch, natural, other, engine):
    """With the model and the layers that are the default."""
    provide("emulated", monkeypatch)
    monkeypatch.setattr(devices, "problem_with", lambda kind, index: "")
    monkeypatch.setattr(devices.Device, "provider", lambda *_: Provider())
    with Engine("cuda", threads=1) as on_gpu:
        value, gradient = on_gpu.objective(other[:20, :16])(natural[:16, :17])
    expected, slope = engine.objective(other[:20, :16])(natural[:16, :17])
    assert value == pytest.approx(expected, rel=1e-6)
    assert relative_error(gradient, slope) < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"levels": 1},
        {"levels": 2, "size": (37, 32)},
        {"levels": 2, "size": (37, 32), "start": "patches", "weights": {"correlation": 0}},
        {"levels": 1, "weights": "thresholds"},
        {"levels": 1, "weights": {"variation": 10.0}, "structure": True, "wrap": "none", "padding": "zeros"},
    ],
    ids=["one level", "two levels", "patches", "thresholds", "more losses"],
)
def test_synthesis_is_that_of_the_cpu(on_gpu, on_cpu, natural, options):
    images = []
    progress = []

    def callback(p: pyengine.Progress) -> None:
        progress.append(p)
        images.append(p.image)

    arguments = {"iterations": 3, "seed": 5, **QUICK, **options}
    exemplar = natural[:32, :34]
    ours = on_gpu.synthesize(exemplar, callback=callback, **arguments)
    theirs = on_cpu.synthesize(exemplar, **arguments)
    assert ours.image.shape == theirs.image.shape
    assert np.abs(ours.image.astype(int) - theirs.image).max() <= 1
    for a, b in zip(ours.history, theirs.history, strict=True):
        assert (a.level, a.iteration, list(a.terms)) == (b.level, b.iteration, list(b.terms))
        assert a.value == pytest.approx(b.value, rel=1e-5)
    assert [p.state for p in progress] == ours.history
    assert all(isinstance(p.pixels, np.ndarray) for p in progress)
    np.testing.assert_array_equal(images[-1], ours.image)
    assert not np.array_equal(images[0], images[-1])  # each is a picture of its own
    stages = {"measure", "forward", "losses", "backward", "optimizer", "total"}
    assert set(ours.timings) == stages | ({"start"} if ours.recipe.start == "patches" else set())

    again = on_gpu.synthesize(exemplar, **arguments)  # on networks that have been used
    np.testing.assert_array_equal(again.image, ours.image)
    assert [i.terms for i in again.history] == [i.terms for i in ours.history]


@pytest.mark.parametrize("levels", [1, 2])
def test_a_hole_is_filled_and_the_rest_kept(on_gpu, on_cpu, natural, levels):
    picture = (255 * natural[:36, :33]).round().astype(np.uint8)
    arguments = {"fill": hole(36, 33), "iterations": 2, "levels": levels, **QUICK}
    ours, theirs = on_gpu.synthesize(picture, **arguments), on_cpu.synthesize(picture, **arguments)
    kept = hole(36, 33) == 0
    np.testing.assert_array_equal(ours.image[kept], picture[kept])
    assert not np.array_equal(ours.image[~kept], picture[~kept])
    assert np.abs(ours.image.astype(int) - theirs.image).max() <= 1


def test_a_callback_stops_the_run(on_gpu, natural):
    result = on_gpu.synthesize(
        natural[:32, :32], size=(36, 34), levels=2, iterations=3, callback=lambda p: p.stop(), **QUICK
    )
    assert result.stopped
    assert len(result.history) == 1
    assert result.image.shape == (34, 36, 3)


@pytest.mark.parametrize(
    "options",
    [{}, {"structure": True, "weights": {"variation": 1.0}}, {"weights": {"correlation": "auto"}}],
    ids=["default", "more", "correlation"],
)
def test_an_iteration_makes_one_transfer(on_emulated, natural, options):
    def transfers(iterations: int) -> tuple[dict[str, int], int]:
        before = vars(emulation.transfers).copy()
        result = on_emulated.synthesize(
            woven(natural[:24, :24]), levels=1, iterations=iterations, seed=1, **{**QUICK, **options}
        )
        assert len(result.history) == iterations
        after = vars(emulation.transfers)
        return {name: after[name] - before[name] for name in after}, len(result.history[0].terms)

    transfers(1)  # makes what is made once
    start = emulation.launches["inner_products"]
    short, terms = transfers(3)
    middle = emulation.launches["inner_products"]
    long, _ = transfers(5)
    assert emulation.launches["inner_products"] - middle == middle - start + 2  # no step was shortened
    assert {name: long[name] - short[name] for name in long} == {
        "device_to_host": 2,
        "device_to_host_bytes": 2 * 8 * (terms + 3),
        "host_to_device": 0,
        "host_to_device_bytes": 0,
    }


def test_threads_share_an_engine(on_gpu, natural):
    """Each gets what it would get alone."""
    jobs = [{"seed": 1}, {"seed": 2}, {"seed": 1, "size": (20, 18)}]

    def run(job: dict[str, Any]) -> np.ndarray:
        return on_gpu.synthesize(natural[:24, :24], levels=1, iterations=2, **QUICK, **job).image

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, jobs))
    assert_same(alone, together)
    assert not np.array_equal(alone[0], alone[1])


def test_a_size_beyond_the_memory_is_refused_at_once(on_emulated, natural):
    on_emulated.budget = replace(on_emulated.budget, limit=750_000)
    launches = dict(emulation.launches)
    arguments = {"levels": 1, "iterations": 1, **QUICK}
    with pytest.raises(PyengineError, match=r"24x24 pixels needs.*bytes\) even in tiles") as info:
        on_emulated.synthesize(natural[:20, :20], size=24, **arguments)
    assert "\n" not in str(info.value)
    assert emulation.launches == launches
    on_emulated.synthesize(natural[:20, :20], size=20, **arguments)
    with pytest.raises(PyengineError, match="exemplar of 96x96 pixels"):
        on_emulated.synthesize(natural, size=20, **arguments)
    objective = on_emulated.objective(natural[:20, :20], **QUICK)
    with pytest.raises(PyengineError, match=r"96x96 pixels needs.*bytes"):
        objective(natural)


# ---------------------------------------------------------------- compiling

ARCHITECTURES = [75, 80, 86, 89, 90]


@cache
def nvrtc_or_reason() -> Any:
    """The module, or why it does not load."""
    try:
        from cuda.bindings import nvrtc

        error, *_ = nvrtc.nvrtcVersion()
    except Exception as error:  # the binding raises whatever comes of a library that is not there
        return f"NVRTC does not load: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return nvrtc if error == nvrtc.nvrtcResult.NVRTC_SUCCESS else f"NVRTC does not work: {error}"


def compiled(source: str, architecture: int) -> tuple[str, bytes]:
    """Log and machine code, empty where there are errors."""
    nvrtc = nvrtc_or_reason()
    if isinstance(nvrtc, str):
        pytest.skip(nvrtc)

    def checked(answer: tuple[Any, ...]) -> Any:
        assert answer[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS, answer[0]
        return answer[1] if len(answer) > 1 else None

    program = checked(nvrtc.nvrtcCreateProgram(source.encode(), b"kernels.cu", 0, [], []))
    # As CuPy calls it, and with what ptxas has to say about registers and memory.
    options = [*cuda.OPTIONS, "-ftz=true", f"-arch=sm_{architecture}", "--ptxas-options=-v"]
    (failed,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = bytearray(checked(nvrtc.nvrtcGetProgramLogSize(program)))
    checked(nvrtc.nvrtcGetProgramLog(program, log))
    code = bytearray()
    if failed == nvrtc.nvrtcResult.NVRTC_SUCCESS:
        code = bytearray(checked(nvrtc.nvrtcGetCUBINSize(program)))
        checked(nvrtc.nvrtcGetCUBIN(program, code))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return log.decode().rstrip("\0\n"), bytes(code)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(cuda.sources()))
def test_sources_compile(name, architecture):
    log, code = compiled(cuda.sources()[name], architecture)
    assert code.startswith(b"\x7fELF"), log
    assert "error" not in log
    assert "warning" not in log
    # What does not fit into registers, or into the shared memory that every GPU has.
    kernels = re.findall(r"Compiling entry function '(\w+)'", log)
    assert sorted(kernels) == sorted(re.findall(r'extern "C" __global__ void (\w+)', cuda.sources()[name]))
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(spills) >= len(kernels)
    assert {number for pair in spills for number in pair} == {"0"}
    assert all(int(number) <= 48 * 1024 for number in re.findall(r"(\d+) bytes smem", log))


@pytest.mark.parametrize(
    ("source", "message"),
    [("nonsense", "error"), ('extern "C" __global__ void f(int *x) { int unused; x[0] = 1; }', "warning")],
)
def test_errors_and_warnings_would_show(source, message):
    log, code = compiled(source, 75)
    assert message in log
    assert bool(code) == (message == "warning")
