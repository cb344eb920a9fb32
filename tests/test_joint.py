"""How maps go together, against the float64 reference; and its kernels, emulated and on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import emulation
import numpy as np
import pytest
import reference
from conftest import KERNELS, WRAPS, coverage, covering, relative_error

from pyengine.kernels.cuda import CudaKernels
from pyengine.losses.base import IMAGE, Region, Sample
from pyengine.losses.joint import FLAT, ROWS, JointLoss
from pyengine.wrap import BOTH, NEITHER, Wrap

SIZES = [(7, 9), (1, 5), (5, 1), (1, 1), (2, 2), (ROWS, 3), (ROWS + 1, 3), (2 * ROWS + 5, 4)]


def image(height: int, width: int, count: int = 4, seed: int = 0) -> np.ndarray:
    """Channels of which each looks a little like the one before, as maps of one surface do."""
    noise = np.random.default_rng(seed).random((height, width, count))
    return ((noise + np.roll(noise, 1, 2)) / 2).astype(np.float32)


@pytest.fixture(params=["cpu", "emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def kernels(request, monkeypatch):
    if request.param == "cpu":
        yield KERNELS
        return
    if request.param == "gpu":
        pytest.importorskip("cupy")
    elif emulation.unavailable():
        pytest.skip(emulation.unavailable())
    else:
        emulation.install(monkeypatch)
    kernels = CudaKernels(0, tf32=False)
    with kernels.active():
        yield kernels


def uploaded(sample: Sample, kernels: Any) -> Sample:
    given = None if sample.coverage is None else kernels.cover(sample.coverage.values)
    return Sample(kernels.upload(sample.features), given, sample.factor)


def measure(samples: list[Sample], w: np.ndarray | None = None, wrap: Wrap = NEITHER, kernels: Any = KERNELS) -> Any:
    region = Region() if w is None else Region("2", 0.5, {IMAGE: kernels.cover(w)})
    return JointLoss.measure(IMAGE, [uploaded(s, kernels) for s in samples], kernels, region, wrap=wrap)


def evaluate(loss: Any, x: np.ndarray, kernels: Any = KERNELS, into: np.ndarray | None = None, **options: Any) -> Any:
    """Value and gradient, which is added to an array, or written over NaN."""
    value = kernels.upload(np.full(3, -7.0))
    gradient = kernels.upload(np.full_like(x, np.nan) if into is None else into.copy())
    loss.evaluate(kernels.upload(x), kernels, value[1, ...], gradient=gradient, accumulate=into is not None, **options)
    around = kernels.fetch([value])
    assert around[0] == around[2] == -7
    return around[1], np.array(kernels.download(gradient))


def units(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, factor and target of all samples together, and what varies."""
    found = np.hstack([reference.values_and_slopes(s.features) for s in samples])
    counts = [
        s.factor * (np.ones(s.features[:, :, 0].size) if s.coverage is None else s.coverage.values) for s in samples
    ]
    w = np.concatenate(counts)
    mean, deviation = reference.joint_units(found, w)
    scale = np.where(deviation > FLAT, 1 / np.maximum(deviation, FLAT), 0)
    return mean, scale, reference.gram((found - mean[:, None]) * scale[:, None], w), deviation


SAMPLES = {
    "one": [Sample(image(8, 6, seed=1))],
    "pixel": [Sample(image(1, 2, seed=1))],
    "tall": [Sample(image(ROWS + 3, 2, seed=1))],
    "covered": [Sample(image(8, 6, seed=1), coverage(covering(48, "sparse")))],
    "several": [Sample(image(8, 6, seed=1), coverage(covering(48)), 3.0), Sample(image(5, 9, seed=2), None, 0.25)],
}


def check(x, samples, w, wrap, kernels=KERNELS):
    loss = measure(samples, w, wrap, kernels)
    mean, scale, target, _ = units(samples)
    value, gradient = reference.joint_loss(x, mean, scale, target, w, wrap)
    found, slope = evaluate(loss, x, kernels, weight=3.0)
    assert found == pytest.approx(value, rel=2e-5)
    np.testing.assert_allclose(slope, 3 * gradient, rtol=0, atol=2e-5 * np.abs(3 * gradient).max())
    before = image(*x.shape, seed=9) * np.abs(gradient).max().astype(np.float32)
    again, added = evaluate(loss, x, kernels, before, weight=3.0)
    assert again == found
    np.testing.assert_allclose(added - before, 3 * gradient, rtol=0, atol=2e-5 * np.abs(3 * gradient).max())
    alone = kernels.upload(np.full((), -7.0))
    loss.evaluate(kernels.upload(x), kernels, alone)
    assert kernels.fetch([alone]) == [found]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient(size, wrap):
    check(image(*size), SAMPLES["one"], None, wrap)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_however_many_channels(count):
    check(image(7, 9, count), [Sample(image(8, 6, count, 1))], None, BOTH)


@pytest.mark.parametrize("wrap", [BOTH, NEITHER])
@pytest.mark.parametrize("kind", ["none", "random", "sparse", "one"])
@pytest.mark.parametrize("samples", SAMPLES)
def test_what_counts(samples, kind, wrap):
    check(image(ROWS + 2, 3), SAMPLES[samples], covering(3 * (ROWS + 2), kind), wrap)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("size", [(7, 9), (1, 1), (ROWS + 2, 3)])
def test_on_all_kernels(kernels, size, wrap):
    check(image(*size), SAMPLES["several"], covering(size[0] * size[1], "sparse"), wrap, kernels)


def test_of_large_numbers_of_pixels_that_hardly_count():
    """What the coverage adds up to is no more than a unit."""
    x, w = image(7, 9), covering(63)
    first, second = (evaluate(measure(SAMPLES["one"], scale * w), x) for scale in (np.float32(1), np.float32(1e-3)))
    assert second[0] == pytest.approx(first[0], rel=1e-5)
    assert relative_error(second[1], first[1]) < 1e-4


def test_it_is_what_it_measured():
    """A picture's correlations are its own, whatever its channels' units are, and of others' they are not."""
    x = image(16, 12)
    loss = measure([Sample(x)])
    assert evaluate(loss, x)[0] < 1e-9
    assert loss.magnitude == pytest.approx((units([Sample(x)])[2] ** 2).mean(), rel=1e-5)
    assert (loss.name, measure([Sample(x)], covering(192)).name) == ("joint", "joint/2")
    shifted = np.dstack([x[:, :, :2], np.roll(x[:, :, 2:], 3, 1)])
    assert evaluate(loss, shifted)[0] > 0.01
    factors = np.float32([1, 0.1, 10, 100])
    scaled = evaluate(measure([Sample(x * factors)]), shifted * factors)[0]
    assert scaled == pytest.approx(evaluate(loss, shifted)[0], rel=1e-3)


def test_it_holds_a_slope_to_its_height():
    """Normals that lean the other way, and nothing else, are seen: what no map's own losses see."""
    height = image(24, 24, 1)[:, :, 0]
    across = np.gradient(height, axis=1)
    surface, turned = (np.dstack([height, 0.5 + sign * across]).astype(np.float32) for sign in (1, -1))
    loss = measure([Sample(surface)])
    assert evaluate(loss, turned)[0] > 100 * evaluate(loss, surface)[0] + 0.01


@pytest.mark.parametrize("count", [1, 3])
def test_flat_channels_ask_for_nothing(count):
    """Nothing goes with them: neither where they are kept flat nor where they are not."""
    flat = np.concatenate([image(8, 6, 2, 1), np.full((8, 6, count), 0.3, np.float32)], axis=2)
    loss = measure([Sample(flat)])
    assert evaluate(loss, flat)[0] < 1e-9
    other = flat.copy()
    other[:, :, 2:] = image(8, 6, count, 7)
    value, gradient = evaluate(loss, other)
    assert value < 1e-9
    assert not gradient[:, :, 2:].any()
    nowhere = measure([Sample(np.zeros((8, 6, 2), np.float32))])
    value, gradient = evaluate(nowhere, np.zeros((5, 5, 2), np.float32))
    assert value == nowhere.magnitude == nowhere.auto_weight(0) == 0
    assert not gradient.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(bad):
    x = image(7, 9)
    x[3, 4, 1] = bad
    with np.errstate(invalid="ignore"):
        value, gradient = evaluate(measure(SAMPLES["one"]), x)
    assert not np.isfinite(value)
    assert not np.isfinite(gradient).all()


def test_nan_where_nothing_counts():
    """An evaluation may hold anything there."""
    x, w = image(7, 9), np.ones((7, 9), np.float32)
    w[:2] = 0
    value, gradient = evaluate(measure(SAMPLES["one"], w.ravel()), x)
    changed = x.copy()
    changed[0] = 77
    found, slope = evaluate(measure(SAMPLES["one"], w.ravel()), changed)
    assert found == pytest.approx(value, rel=1e-6)
    assert not slope[0].any()
    np.testing.assert_allclose(slope[1:], gradient[1:], rtol=0, atol=1e-5 * np.abs(gradient).max())


def test_a_sample_that_counts_nothing_changes_nothing():
    x, one = image(7, 9), SAMPLES["one"][0]
    alone = evaluate(measure([one]), x)
    for empty in (Sample(image(4, 4, seed=5), None, 0.0), Sample(image(4, 4, seed=5), coverage(np.zeros(16)))):
        both = evaluate(measure([empty, one]), x)
        assert both[0] == pytest.approx(alone[0], rel=1e-6)
        assert relative_error(both[1], alone[1]) < 1e-5
