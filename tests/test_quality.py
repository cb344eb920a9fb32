"""The quality figures measure what they say."""

import numpy as np
import pytest
from conftest import EXAMPLES
from PIL import Image

from pyengine.errors import PyengineError
from pyengine.images.reading import load
from pyengine.images.resampling import resize
from pyengine.quality.measures import Comparison, compare, drift, layout_similarity, patch_distance, seam_ratio


@pytest.fixture(scope="module")
def gravel() -> np.ndarray:
    return load(EXAMPLES / "gravel.png")


def test_patch_distance_orders_pictures_by_likeness(gravel):
    blurred = (gravel + np.roll(gravel, 1, 0) + np.roll(gravel, 1, 1)) / 3
    noise = np.random.default_rng(0).random(gravel.shape, np.float32)
    images = [gravel, np.roll(gravel, (37, 91), (0, 1)), blurred, noise]
    distances = [patch_distance(gravel, image) for image in images]
    assert distances == sorted(distances)
    assert distances[0] == 0


def test_patch_distance_of_small_images():
    assert patch_distance(np.zeros((14, 14, 3), np.float32), np.zeros((14, 20, 3), np.float32)) == 0


def test_drift_sees_a_shade_and_a_loss_of_contrast(gravel):
    assert drift(gravel, gravel) == (0, 0)
    shade = np.linspace(-0.1, 0.1, 256, dtype=np.float32)[:, None, None]
    assert drift(gravel, gravel + shade)[0] > 8
    brightness, contrast = drift(gravel, gravel.mean() + 0.5 * (gravel - gravel.mean()))
    assert contrast > 5 * brightness


def test_seam_ratio(gravel):
    tiling = np.concatenate([gravel, gravel[::-1]])
    tiling = np.concatenate([tiling, tiling[:, ::-1]], axis=1)
    assert seam_ratio(tiling) < 0.1  # mirrored: the border meets itself
    assert 0.5 < seam_ratio(np.random.default_rng(0).random((64, 64, 3), np.float32)) < 1.2
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (64, 64, 3))
    assert seam_ratio(ramp) == pytest.approx(63, rel=1e-3)


@pytest.mark.parametrize("shape", [(13, 64, 3), (64, 13, 3), (1, 1, 3)])
def test_images_too_small_to_measure(gravel, shape):
    small, size = np.zeros(shape, np.float32), f"{shape[1]}x{shape[0]} pixels: .* at least 14$"
    for figure in (patch_distance, drift):
        with pytest.raises(PyengineError, match=f"^image of {size}"):
            figure(gravel, small)
        with pytest.raises(PyengineError, match=f"^exemplar of {size}"):
            figure(small, gravel)
    with pytest.raises(PyengineError, match=f"^image of {size}"):
        seam_ratio(small)


@pytest.mark.filterwarnings("error")
def test_smallest_images(gravel):
    small = gravel[:14, :14]
    assert patch_distance(small, small) == 0
    assert drift(small, small, block=32) == (0, 0)
    assert np.isfinite([patch_distance(gravel, small), *drift(gravel, small), seam_ratio(small)]).all()


def test_compare_has_every_figure(gravel):
    exemplar, image = gravel[:64, :64], gravel[64:128, :48] * np.float32(0.9)
    brightness, contrast = drift(exemplar, image)
    assert min(brightness, contrast) > 0
    expected = Comparison(patch_distance(exemplar, image), brightness, contrast, seam_ratio(image))
    assert compare(exemplar, image) == expected


def test_compare_loads_what_the_engine_loads(gravel, tmp_path):
    levels = (255 * gravel).round().astype(np.uint8)
    exemplar, image = tmp_path / "exemplar.png", tmp_path / "image.png"
    Image.fromarray(levels[:64, :48]).save(exemplar)
    Image.fromarray(levels[64:128, :64]).save(image)
    found = compare(exemplar, image)
    assert found == compare(str(exemplar), Image.open(image)) == compare(gravel[:64, :48], levels[64:128, :64])


def test_compare_says_which_image_is_at_fault(gravel, tmp_path):
    with pytest.raises(PyengineError, match=r"^exemplar .*a\.png: no such file"):
        compare(tmp_path / "a.png", gravel)
    with pytest.raises(PyengineError, match=r"^image .*b\.png: no such file"):
        compare(gravel, tmp_path / "b.png")
    with pytest.raises(PyengineError, match=r"^image of 13x20 pixels"):
        compare(gravel, np.zeros((20, 13), np.uint8))


def test_compare_leaves_its_arguments_alone(gravel):
    exemplar = gravel[:32, :32]
    before = exemplar.copy()
    compare(exemplar, exemplar)
    np.testing.assert_array_equal(exemplar, before)


def test_layout_similarity_sees_outlines_not_colours(gravel):
    blurred = resize(resize(gravel, (64, 64)), (256, 256))
    inverted = 1 - gravel
    assert layout_similarity(gravel, gravel) == pytest.approx(1)
    assert layout_similarity(gravel, inverted) == pytest.approx(1, abs=1e-3)
    assert 0.5 < layout_similarity(gravel, blurred) < 1
    assert abs(layout_similarity(gravel, np.roll(gravel, (100, 77), (0, 1)))) < 0.2
    assert layout_similarity(gravel, np.full_like(gravel, 0.5)) == 0
