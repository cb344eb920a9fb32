"""Images at other sizes: what stays the same, what wraps round."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pyengine.images import resampling
from pyengine.wrap import BOTH, NEITHER


def random(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [(16, 12), (15, 11), (1, 1)])
def test_resize_keeps_a_constant(size: tuple[int, int]) -> None:
    image = resampling.resize(np.full((24, 32, 3), (0.1, 0.5, 1), np.float32), size)
    assert image.dtype == np.float32
    assert image.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(image, np.broadcast_to((0.1, 0.5, 1), image.shape), rtol=1e-6)
    assert image.max() <= 1


def test_resize_keeps_the_mean() -> None:
    """All of an inner pixel's light arrives, wherever it lies between the samples."""
    for x in range(10, 14):
        image = np.zeros((24, 24, 3), np.float32)
        image[11, x] = 1
        np.testing.assert_allclose(resampling.resize(image, (12, 12)).sum((0, 1)), 0.25, rtol=1e-5)


@pytest.mark.parametrize("width", [11, 13, 16, 17])
def test_resize_is_even(width: int) -> None:
    """At ratios other than 2, too, no pixel counts much more than another; with a box it may be 2.5 times."""
    for x in range(6, 18):
        image = np.zeros((1, 24, 3), np.float32)
        image[:, x] = 1
        assert resampling.resize(image, (width, 1)).sum() / 3 * 24 / width == pytest.approx(1, abs=0.2)


def test_resize_does_not_ring() -> None:
    step = np.zeros((4, 32, 3), np.float32)
    step[:, 15:] = 1
    for width in (16, 11, 9):
        row = resampling.resize(step, (width, 4))[0, :, 0]
        assert row.min() == 0
        assert row.max() == 1
        assert (np.diff(row) >= 0).all()


def test_resize_removes_what_would_alias() -> None:
    stripes = np.zeros((4, 64, 3), np.float32)
    stripes[:, ::2] = 1
    assert np.ptp(resampling.resize(stripes, (32, 4))[:, 2:-2]) < 1e-6


def test_resize_by_one_is_the_identity() -> None:
    np.testing.assert_array_equal(resampling.resize(random(5, 7), (7, 5)), random(5, 7))


@pytest.mark.parametrize("size", [(16, 12), (17, 13), (31, 25)])
def test_upsampling_keeps_a_constant(size: tuple[int, int]) -> None:
    image = resampling.upsample(np.full((6, 8, 3), 0.3, np.float32), size, wrap=BOTH)
    assert image.dtype == np.float32
    assert image.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(image, 0.3, rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (1, 3), (1, 1)])
def test_upsampling_commutes_with_rolling(shape: tuple[int, int]) -> None:
    image, size = random(*shape), (2 * shape[1], 2 * shape[0])
    rolled = resampling.upsample(np.roll(image, (1, -1), (0, 1)), size, wrap=BOTH)
    expected = np.roll(resampling.upsample(image, size, wrap=BOTH), (2, -2), (0, 1))
    np.testing.assert_allclose(rolled, expected, atol=1e-6)


def test_upsampling_by_hand() -> None:
    """Output pixel i of 2N lies at (i + 1/2) / 2 - 1/2 of the input: a quarter before or after a pixel."""
    image = random(4, 6)
    for axis in (0, 1):
        size = (6, 8) if axis == 0 else (12, 4)
        expected = np.empty((size[1], size[0], 3))
        along = np.moveaxis(expected, axis, 0)
        along[0::2] = np.moveaxis(0.75 * image + 0.25 * np.roll(image, 1, axis), axis, 0)
        along[1::2] = np.moveaxis(0.75 * image + 0.25 * np.roll(image, -1, axis), axis, 0)
        np.testing.assert_allclose(resampling.upsample(image, size, wrap=BOTH), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 3), (8, 6), (7, 5), (1, 1)])
def test_a_mask_is_resampled_like_a_channel(size: tuple[int, int]) -> None:
    image = random(6, 8)
    smaller = resampling.resize(image[:, :, 1], size)
    assert smaller.dtype == np.float32
    np.testing.assert_array_equal(smaller, resampling.resize(image, size)[:, :, 1])
    larger = resampling.upsample(image[:, :, 1], (8 + size[0], 6 + size[1]), wrap=BOTH)
    assert larger.dtype == np.float32
    np.testing.assert_array_equal(larger, resampling.upsample(image, (8 + size[0], 6 + size[1]), wrap=BOTH)[:, :, 1])


def test_what_does_not_wrap_goes_on_as_it_ends() -> None:
    ramp = np.repeat(np.arange(4, dtype=np.float32)[:, None], 3, axis=1)[None]
    larger = resampling.upsample(ramp, (8, 2), wrap=NEITHER)
    np.testing.assert_allclose(larger[1, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    upright = resampling.upsample(ramp.transpose(1, 0, 2), (2, 8), wrap=NEITHER)
    np.testing.assert_array_equal(upright, larger.transpose(1, 0, 2))


def test_one_pixel_of_a_mask() -> None:
    pixel = np.full((1, 1), 0.3, np.float32)
    np.testing.assert_array_equal(resampling.resize(pixel, (1, 1)), pixel)
    np.testing.assert_allclose(resampling.upsample(pixel, (3, 2), wrap=BOTH), np.full((2, 3), 0.3), rtol=1e-6)


def test_resampling_imports_no_decoder() -> None:
    """The kernels use it, and need no files."""
    code = """if True:
        import sys
        import pyengine.kernels.cpu
        decoders = ("PIL.ImageCms", "PIL.PngImagePlugin", "pyengine.images.reading")
        print([name for name in decoders if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
