"""Curves between a file's values and the engine's, which have to be there and back again."""

from __future__ import annotations

import numpy as np
import pytest

from pyengine.images.encoding import HELD_BY, Data, Display, Linear, Log, shared, under

RANDOM = np.random.default_rng(0)
BRIGHT = (10 ** RANDOM.uniform(-4, np.log10(50), (70, 40, 3))).astype(np.float32)


@pytest.mark.parametrize(
    ("curve", "values"),
    [
        (Display(), RANDOM.random((70, 40, 3), np.float32)),
        (Data(), RANDOM.random((70, 40, 1), np.float32)),
        (Linear(), RANDOM.random((70, 40, 3), np.float32)),
        (Log.of(BRIGHT), BRIGHT),
    ],
)
def test_there_and_back(curve: Display | Data | Linear | Log, values: np.ndarray) -> None:
    image = curve.encode(values)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1 + 1e-6
    np.testing.assert_allclose(curve.decode(image), values, rtol=2e-6, atol=1e-9)


def test_data_of_any_range() -> None:
    values = RANDOM.normal(100, 30, (70, 40, 1)).astype(np.float32)
    curve = Data(float(values.min()), float(values.max()))
    image = curve.encode(values)
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_allclose(curve.decode(image), values, atol=1e-7 * (curve.high - curve.low) * 2)


def test_linear_is_srgb() -> None:
    """Numbers of IEC 61966-2-1."""
    np.testing.assert_allclose(Linear().encode(np.float32([[0.002, 0.18, 0.5]]))[0], [0.02584, 0.46136, 0.73536], 1e-4)


def test_decades_get_room() -> None:
    steps = np.diff(Log.of(BRIGHT).encode(np.float32([[0.01, 0.1, 1, 10]])))
    assert steps.min() > 0.12
    assert steps.max() < 0.3


def test_the_dark_is_in_proportion() -> None:
    """All but a fiftieth of a picture is above the knee, and what is below has steps of its own."""
    curve = Log.of(BRIGHT)
    np.testing.assert_allclose(curve.knee + curve.low, np.quantile(BRIGHT, 0.02), rtol=0.2)
    steps = np.diff(curve.encode(curve.low + np.float32([[0, 0.02, 0.04]]) * curve.knee))
    np.testing.assert_allclose(steps[0, 0], steps[0, 1], rtol=0.05)


@pytest.mark.parametrize(
    "values",
    [[[0, 0, 0, 50]], [[2, 2, 2]], [[-3, 2, 2]], [[1e-30, 1e-20, 3e38]], [[-1e-3, 0.5, 1.001]], [[1.5]], [[0, 1.5]]],
)
def test_log_of_any_values(values: list[list[float]]) -> None:
    array = np.array(values, np.float32)
    curve = Log.of(array)
    image = curve.encode(array)
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 1 + 1e-6
    np.testing.assert_allclose(curve.decode(image), array, rtol=2e-5, atol=1e-6 * curve.high)


def test_a_depth_is_held_by_what_holds_all_its_values() -> None:
    levels = np.floor(np.float16(np.arange(256) / 255).astype(np.float32) * 255 + 0.5)
    np.testing.assert_array_equal(levels, np.arange(256))
    assert "half" in HELD_BY[8]
    assert "half" not in HELD_BY[16]  # of 65536 levels it has a few thousand
    assert all(held[-1] == "float" and held[0] == depth for depth, held in HELD_BY.items())


def test_shared_ranges() -> None:
    """Equal values are equal, of data among data and of light among light."""
    assert shared([Data(-1, 2), Display(), Data(0, 5)], Data(0, 5)) == Data(-1, 5)
    assert shared([Log(0, 3, 0.1), Log(-1, 50, 0.2), Display()], Log(0, 3, 0.1)) == Log(-1, 50, 0.1)
    assert shared([Log(0, 3, 0.1), Display()], Display()) == Display()
    image = np.float32([[0, 0.5, 1]])
    assert under(image, Display(), Data(0, 5)) is image
    assert under(image, Log(0, 3, 0.1), Display()) is image  # what is made for a display is to show all of it
    log = Log(0, 50, 0.01)
    np.testing.assert_allclose(log.decode(under(image, Display(), log)), Linear().decode(image), atol=1e-6)
    np.testing.assert_allclose(log.decode(under(image, Log(0, 3, 0.1), log)), Log(0, 3, 0.1).decode(image), 1e-5)
