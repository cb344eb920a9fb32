"""The correlation loss beyond what all losses do: order, lags, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from conftest import KERNELS, WRAPS, coverage, relative_error
from maps import LAYER, evaluate, plain, target_of

from pyengine.losses.base import Region, Sample
from pyengine.losses.correlation import COMPONENTS, SHORT_RANGE, CorrelationLoss
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, Wrap

PERIOD = 4, 6


def lattice(height: int, width: int, channels: int = 5, noise: float = 0.0) -> np.ndarray:
    """A pattern that repeats itself every 4 rows and 6 columns."""
    pattern = np.random.default_rng(0).random((channels, *PERIOD))
    whole = np.tile(pattern, (1, -(-height // PERIOD[0]), -(-width // PERIOD[1])))[:, :height, :width]
    return (whole + noise * np.random.default_rng(1).normal(size=whole.shape)).astype(np.float32)


def disorder(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((5, height, width)).astype(np.float32)


def measured(*samples: np.ndarray | Sample, region: Region | None = None, wrap: Wrap = BOTH) -> Any:
    given = [sample if isinstance(sample, Sample) else Sample(sample) for sample in samples]
    return CorrelationLoss.measure(LAYER, given, KERNELS, region or Region(), wrap=wrap)


def check(samples: list[Sample], features: np.ndarray, region: Region | None = None, wrap: Wrap = BOTH) -> float:
    """Compare value and gradient with the reference; returns the value."""
    loss = measured(*samples, region=region, wrap=wrap)
    before, gradient = features.copy(), np.full_like(features, np.nan)
    value = evaluate(loss, features, gradient=gradient)
    target, counts = target_of(loss, samples)
    w = None if region is None else plain(region.coverage.get(LAYER))
    expected, slope = reference.correlation_loss(features, loss.axes, loss.origin, target, counts, w, wrap)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-9 * loss.magnitude)
    assert np.abs(gradient - slope).max() <= 2e-5 * np.abs(slope).max()
    np.testing.assert_array_equal(features, before)
    return value


# ------------------------------------------------------------------- order


def test_an_exemplar_without_order_has_nothing_to_be_matched():
    loss = measured(disorder(40, 40))
    assert not loss.weights.any()
    assert loss.magnitude == 0
    assert loss.auto_weight(1) == 0
    for features in (disorder(24, 30, 2), lattice(24, 30)):
        gradient = np.full_like(features, np.nan)
        assert evaluate(loss, features, gradient=gradient) == 0
        assert not gradient.any()
        evaluate(loss, features, gradient=gradient, accumulate=True)
        assert not gradient.any()


def test_nor_is_it_in_tiles():
    tile = measured(disorder(40, 40)).within(
        Window((24, 30), (16, 30), ((0, 12), (0, 30)), ((0, 12), (0, 30))), KERNELS
    )
    features, value = disorder(16, 30, 2), np.full((), np.nan)
    sums = tile.statistic(features, KERNELS, tile.statistic(features, KERNELS))
    assert sums.size == 0
    gradient = np.ones_like(features)
    tile.add_gradient(features, tile.residual(sums, features.shape, KERNELS, value), KERNELS, gradient, weight=1.0)
    assert value == 0
    assert (gradient == 1).all()


def test_what_counts_is_where_the_lattice_repeats_itself_and_not_nearby():
    loss = measured(lattice(40, 42, noise=0.1))
    rows, columns = np.mgrid[-20:21, -21:22]
    far = np.hypot(rows, columns) >= SHORT_RANGE * 40
    repeats = (rows % PERIOD[0] == 0) & (columns % PERIOD[1] == 0)
    assert (loss.weights[repeats & far] == 1).all()
    assert not loss.weights[~far].any()
    assert loss.weights[far].mean() < 0.5
    assert loss.auto_weight(1) * loss.magnitude == pytest.approx(3)


def test_a_lattice_may_be_anywhere_but_not_broken():
    loss, whole = measured(lattice(40, 42)), lattice(32, 48)
    sheared = np.stack([np.roll(whole[:, y], y // 3, 1) for y in range(32)], 1)
    halves = np.concatenate([whole[:, :16], np.roll(whole[:, :16], 3, 2)], 1)
    faded = 0.5 * lattice(32, 48, noise=0.3)
    shuffled = np.random.default_rng(0).permutation(whole.reshape(5, -1), axis=1).reshape(whole.shape)
    in_place = evaluate(loss, whole)
    assert in_place < 1e-4 * loss.magnitude
    assert evaluate(loss, np.roll(whole, (3, 5), (1, 2))) == pytest.approx(in_place, rel=1e-3, abs=1e-9)
    for broken in (sheared, halves, faded, shuffled):
        assert evaluate(loss, np.ascontiguousarray(broken)) > 100 * in_place + 1e-3 * loss.magnitude
    period = np.random.default_rng(0).random((5, 5, 6)).astype(np.float32)
    assert evaluate(loss, np.tile(period, (1, 6, 8))) > 1e-3 * loss.magnitude  # a lattice, but of another period


def test_its_gradient_leads_to_order():
    """Downhill from a broken lattice, with nothing else to hold it."""
    loss, features = measured(lattice(24, 24)), lattice(24, 24, noise=0.3)
    gradient = np.empty_like(features)
    values = []
    for _ in range(20):
        values.append(evaluate(loss, features, gradient=gradient))
        features -= 0.5 * values[-1] / (gradient.astype(np.float64) ** 2).sum().astype(np.float32) * gradient
    assert values[-1] < 0.05 * values[0]


# ------------------------------------------------------------------- sizes


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("output", [(16, 24), (17, 13), (7, 40), (1, 9), (9, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("exemplar", [(20, 24), (13, 19), (1, 24)])
def test_sizes(exemplar, output, wrap):
    """Smaller and larger than the exemplar, odd ones, lines and single pixels."""
    value = check([Sample(lattice(*exemplar, noise=0.1))], disorder(*output), wrap=wrap)
    assert value > 0 or min(output) <= 2


def test_one_loss_is_for_outputs_of_any_size():
    loss = measured(lattice(20, 24, noise=0.1))
    sizes = [(16, 24), (17, 13), (16, 24), (40, 30)]
    values = [evaluate(loss, disorder(*size)) for size in sizes]
    assert values == [evaluate(measured(lattice(20, 24, noise=0.1)), disorder(*size)) for size in sizes]
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_an_exemplar_too_small_for_lags_gives_finite_numbers(size):
    for exemplar in (lattice(*size), np.zeros((5, *size), np.float32)):
        loss = measured(exemplar)
        features = disorder(8, 8)
        gradient = np.full_like(features, np.nan)
        assert np.isfinite(evaluate(loss, features, gradient=gradient))
        assert np.isfinite(gradient).all()
        assert np.isfinite(loss.auto_weight(1))


@pytest.mark.parametrize("channels", [1, 3, COMPONENTS, COMPONENTS + 4])
def test_channels(channels):
    exemplar = lattice(20, 24, channels, noise=0.1)
    loss = measured(exemplar)
    assert loss.axes.shape == (min(channels, COMPONENTS), channels)
    np.testing.assert_allclose(loss.axes @ loss.axes.T, np.eye(len(loss.axes)), atol=1e-12)
    features = np.random.default_rng(3).random((channels, 16, 18)).astype(np.float32)
    assert check([Sample(exemplar)], features) > 0


def test_the_axes_have_most_of_the_variance():
    """Nearly as much as any, wherever the mean is and of what counts only."""
    flat = np.random.default_rng(0).normal(size=(20, 400)) * np.linspace(1, 3, 20)[:, None]
    mixed = (np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0] @ flat + 5).astype(np.float32)
    counted = mixed.reshape(20, 20, 20).copy()
    w = np.ones(400, np.float32)
    w[:100] = 0
    counted[:, :5] = 1e3 * disorder(5, 20)[:1]
    loss = measured(Sample(counted, coverage(w)))
    covariance = np.cov(mixed[:, 100:], bias=True)
    best = np.linalg.eigvalsh(covariance)[-COMPONENTS:].sum()
    assert np.trace(loss.axes @ covariance @ loss.axes.T) > 0.97 * best
    np.testing.assert_allclose(loss.origin.ravel(), loss.axes @ mixed[:, 100:].mean(1), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_flat_output(value):
    assert check([Sample(lattice(20, 24))], np.full((5, 16, 18), value, np.float32)) > 0


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_flat_exemplar_has_no_order(value):
    """Not even what rounding leaves of it, which is everywhere the same."""
    loss = measured(np.full((5, 20, 24), value, np.float32))
    assert loss.magnitude == 0
    assert evaluate(loss, disorder(16, 18)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_value(value):
    loss, features = measured(lattice(20, 24)), disorder(16, 18)
    features[2, 3, 4] = value
    with np.errstate(invalid="ignore"):
        assert np.isnan(evaluate(loss, features, gradient=np.empty_like(features)))
    assert np.isfinite(evaluate(loss, disorder(16, 18)))  # and stays out of what comes next


# ------------------------------------------------------------------- several exemplars, and masks


def test_several_exemplars():
    samples = [Sample(lattice(20, 24, noise=0.1), None, 3.0), Sample(lattice(13, 30, noise=0.2), None, 0.5)]
    assert check(samples, disorder(16, 18)) > 0
    assert measured(*samples).target.shape == (5, 2 * 6 + 1, 2 * 12 + 1)  # half of the smallest sides


def test_a_small_exemplar_that_counts_nothing_shortens_no_lags():
    one = lattice(20, 24, noise=0.1)
    both = measured(Sample(lattice(4, 4), None, 0.0), Sample(one), Sample(lattice(4, 4), coverage(np.zeros(16))))
    assert both.target.shape == measured(one).target.shape
    assert evaluate(both, disorder(16, 18)) == pytest.approx(evaluate(measured(one), disorder(16, 18)), rel=1e-6)


def holed(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A mask with soft holes."""
    w = np.ones((height, width), np.float32)
    w[3:9, 5:12], w[11:, 2:5] = 0, 0.5
    w[np.random.default_rng(seed).random((height, width)) < 0.1] = 0
    return w


@pytest.mark.parametrize("wrap", WRAPS)
def test_masks_with_holes(wrap):
    exemplar, features = lattice(20, 24, noise=0.1), disorder(16, 18)
    region = Region("1", 0.5, {LAYER: coverage(holed(16, 18, 1))})
    sample = Sample(exemplar, coverage(holed(20, 24)))
    assert check([sample], features, region, wrap) > 0
    assert check([sample], features, None, wrap) > 0
    assert check([Sample(exemplar)], features, region, wrap) > 0


def test_holes_do_not_hide_a_lattice():
    exemplar = lattice(20, 24)
    w = holed(20, 24)
    torn = np.where(w > 0, exemplar, 7).astype(np.float32)
    whole, masked = measured(exemplar), measured(Sample(torn, coverage(w)))
    features = disorder(16, 18)
    region = Region("1", 0.5, {LAYER: coverage(holed(16, 18))})
    assert evaluate(masked, features) == pytest.approx(evaluate(whole, features), rel=0.25)
    filled = measured(Sample(torn, coverage(w)), region=region)
    outside = np.where(region.coverage[LAYER].values.reshape(16, 18) > 0, lattice(16, 18), 9).astype(np.float32)
    assert evaluate(filled, outside) < 0.02 * evaluate(filled, features)


@pytest.mark.parametrize("pixels", [0, 1])
def test_an_output_without_pairs_has_no_order(pixels):
    w = np.zeros(16 * 18, np.float32)
    w[30 : 30 + pixels] = 1
    loss = measured(lattice(20, 24), region=Region("1", 0.1, {LAYER: coverage(w)}))
    gradient = np.full((5, 16, 18), np.nan, np.float32)
    assert loss.magnitude > 0
    assert evaluate(loss, disorder(16, 18), gradient=gradient) == 0
    assert not gradient.any()


# ------------------------------------------------------------------- tiles


@pytest.mark.parametrize("covered", [False, True])
def test_tiles_make_what_the_whole_makes(covered):
    """Each reads and writes only what is its own; what lies around it is anything."""
    features = disorder(16, 18)
    w = holed(16, 18) if covered else None
    region = Region("1", 0.5, {LAYER: coverage(w)} if covered else {})
    loss, whole = (measured(lattice(20, 24), region=region) for _ in range(2))  # neither knows what the other keeps
    expected = np.empty_like(features)
    value = evaluate(whole, features, gradient=expected, weight=2.0)
    windows = [Window((16, 18), (12, 18), ((b, b + 8), (0, 18)), ((2, 10), (0, 18))) for b in (0, 8)]
    parts = [(window, loss.within(window, KERNELS)) for window in windows]
    maps, sums = [], None
    for window, part in parts:
        region_map = np.full((5, 12, 18), 77, np.float32)
        region_map[:, 2:10] = features[:, slice(*window.there[0])]
        maps.append(region_map)
        sums = part.statistic(region_map, KERNELS, sums)
    found, gradient = np.full((), np.nan), np.zeros_like(features)
    residual = parts[0][1].residual(sums, (5, 12, 18), KERNELS, found)
    for (window, part), region_map in zip(parts, maps, strict=True):
        own = np.zeros_like(region_map)
        part.add_gradient(region_map, residual, KERNELS, own, weight=2.0)
        assert not own[:, :2].any()
        assert not own[:, 10:].any()
        gradient[:, slice(*window.there[0])] = own[:, 2:10]
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(gradient, expected) < 1e-5
