"""What a synthesis gives back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pyengine import PyengineError


def test_saving(engine, natural, tmp_path):
    result = engine.synthesize(natural[:32, :32], iterations=1)
    result.save(tmp_path / "texture.png")
    with Image.open(tmp_path / "texture.png") as image:
        assert np.array_equal(np.asarray(image), result.image)
    with pytest.raises(PyengineError, match=r"bmp"):
        result.save(tmp_path / "texture.bmp")


def test_a_report_tells_how_each_level_ended(engine, natural):
    result = engine.synthesize(natural[:64, :64], levels=3, size=64, iterations=[2, 0, 3], seed=5)
    report = result.report()
    last = {state.level: state for state in result.history}
    assert [level["size"] for level in report["levels"]] == [(16, 16), (32, 32), (64, 64)]
    assert [level["iterations"] for level in report["levels"]] == [2, 0, 3]
    for k, level in enumerate(report["levels"]):
        expected = (last[k].value, last[k].terms, last[k].weights) if k in last else (None, {}, {})
        assert (level["value"], level["terms"], level["weights"]) == expected
    assert (report["size"], report["seed"], report["stopped"]) == ((64, 64), 5, False)
    assert report["timings"] == result.timings
    assert report["engine"] == result.made_with
    assert report["engine"]["device"] == "cpu"
