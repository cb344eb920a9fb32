"""The table of formats: a row is all that a format needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import invoke
from pictures import noise
from PIL import Image

from pyengine import PyengineError
from pyengine.images import formats
from pyengine.images.reading import load
from pyengine.images.writing import check_output, save


def test_every_suffix_names_one_format() -> None:
    suffixes = [suffix for row in formats.FORMATS for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(formats.format_of(f"out{suffix}").suffixes.count(suffix) == 1 for suffix in suffixes)


@pytest.mark.parametrize("row", formats.FORMATS, ids=lambda row: row.name)
def test_every_row_is_written_and_read(row: formats.Format, tmp_path: Path) -> None:
    for suffix in row.suffixes:
        save(noise(32, 32), tmp_path / f"out{suffix}")
        if 8 in row.depths:
            with Image.open(tmp_path / f"out{suffix}") as image:
                assert image.format == row.name
        assert load(tmp_path / f"out{suffix}").shape == (32, 32, 3)


def test_a_row_is_all_that_a_format_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by the API, named by errors; help is made when the command is."""
    row = formats.Format("BMP", (".bmp", ".dib"), "not compressed", longest_side=100)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))
    check_output(tmp_path / "out.dib")
    save(noise(), tmp_path / "out.BMP")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.BMP")), noise())
    with pytest.raises(PyengineError, match=r"101x1 exceeds BMP's 100 pixels a side: use \.png"):
        save(np.zeros((1, 101, 3), np.uint8), tmp_path / "out.bmp")
    with pytest.raises(PyengineError, match=r"end the name in \.png, .*, \.avif, \.bmp, \.dib$"):
        check_output(tmp_path / "out.gif")
    assert formats.choices().endswith(", .avif (nearly lossless) or .bmp (not compressed)")


def test_help_names_all_formats() -> None:
    text = " ".join(invoke("synthesize", "--help").stdout.split())
    assert f"Its suffix says the format: {formats.choices()}; - is a PNG on standard output." in text


def test_a_pillow_that_was_built_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF")
    with pytest.raises(PyengineError, match=r"out\.avif: this Pillow does not write AVIF: end the name in \.png"):
        check_output(tmp_path / "out.avif")
