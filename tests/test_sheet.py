"""A sheet shows every picture as it is, in its place."""

import numpy as np
import pytest
from PIL import Image

from pyengine.errors import PyengineError
from pyengine.quality.sheet import GAP, TEXT, sheet


def colour(width: int, height: int, *rgb: int) -> np.ndarray:
    return np.full((height, width, 3), rgb, np.uint8)


RED, GREEN, BLUE = colour(30, 20, 255, 0, 0), colour(16, 40, 0, 255, 0), colour(50, 10, 0, 0, 255)


def test_columns_and_rows_are_as_large_as_needed():
    page = sheet([[RED, GREEN], [BLUE, RED]])
    assert page.dtype == np.uint8
    assert page.shape == (40 + GAP + 20, 50 + GAP + 30, 3)
    for picture, left, top in ((RED, 0, 0), (GREEN, 50 + GAP, 0), (BLUE, 0, 40 + GAP), (RED, 50 + GAP, 40 + GAP)):
        height, width = picture.shape[:2]
        np.testing.assert_array_equal(page[top : top + height, left : left + width], picture)
    pictures = 2 * 30 * 20 + 16 * 40 + 50 * 10
    assert np.count_nonzero((page != 255).any(axis=2)) == pictures  # the rest is white


def test_rows_of_different_lengths():
    page = sheet([[RED], [], [GREEN, BLUE]])
    assert page.shape == (20 + GAP + GAP + 40, 30 + GAP + 50, 3)
    assert (page[:20, 30:] == 255).all()
    np.testing.assert_array_equal(page[20 + 2 * GAP :][:10, 30 + GAP :], BLUE)


def test_one_picture_is_itself(rng):
    levels = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(sheet([[levels]]), levels)
    np.testing.assert_array_equal(sheet(iter([iter([levels / 255])])), levels)
    np.testing.assert_array_equal(sheet([[Image.fromarray(levels)]]), levels)


def test_labels_are_under_their_pictures():
    plain, page = sheet([[RED, GREEN], [BLUE]]), sheet([[RED, GREEN], [BLUE]], [["Ag", ""], ["g"]])
    assert page.shape[1] == plain.shape[1]
    assert page.shape[0] > plain.shape[0]
    np.testing.assert_array_equal(page[:20, :30], RED)
    assert (page[20 : 20 + 2 * TEXT, :30] < 128).all(axis=2).any()  # dark: text
    assert (page[:40, 50 + GAP :][:, :16] == GREEN).all()
    assert (page[40 : 40 + GAP, 50 + GAP :] == 255).all()  # no label
    np.testing.assert_array_equal(page[40 + GAP :][:10, :50], BLUE)
    assert (page[40 + GAP + 10 :, :50] < 128).all(axis=2).any()


def test_a_column_is_as_wide_as_its_label():
    text = "a name far longer than thirty pixels"
    page = sheet([[RED, GREEN]], [[text, ""]])
    assert page.shape[1] > 200
    np.testing.assert_array_equal(page[:40, -16:], GREEN)
    assert (page[:, -16 - GAP : -16] == 255).all()
    twice = sheet([[RED, GREEN]], [[f"{text}\n{text}", ""]])
    assert twice.shape[1] == page.shape[1]
    assert twice.shape[0] >= page.shape[0] + TEXT - 3


def test_pictures_are_left_alone():
    picture = RED.copy()
    sheet([[picture]], [["text"]])
    np.testing.assert_array_equal(picture, RED)


@pytest.mark.parametrize("labels", [[["a"]], [["a", "b"]], [["a", "b"], []], [["a"], ["b"], []]])
def test_labels_that_do_not_fit(labels):
    with pytest.raises(PyengineError, match=r"^labels: rows of .* for rows of \[1, 1\] pictures: give one a picture$"):
        sheet([[RED], [GREEN]], labels)


def test_nothing_to_show():
    for rows in ([], [[]], [[], []]):
        with pytest.raises(PyengineError, match=r"^no pictures for a sheet"):
            sheet(rows)


def test_what_is_no_picture():
    with pytest.raises(PyengineError, match=r"^picture: shape \(3,\) is not an image's"):
        sheet([[np.zeros(3, np.uint8)]])
    with pytest.raises(PyengineError, match=r"^picture: values from 0 to 255 are not in \[0, 1\]"):
        sheet([[RED.astype(float)]])
