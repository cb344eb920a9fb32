"""What a synthesis gives back."""

from __future__ import annotations

import io
import sys

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


def test_a_result_shows_itself_in_a_notebook(engine, natural):
    for exemplar, mode in ((natural[:32, :32], "RGB"), (natural[:32, :32, 0], "L")):
        result = engine.synthesize(exemplar, iterations=1)
        with Image.open(io.BytesIO(result._repr_png_())) as shown:
            assert (shown.format, shown.mode, shown.size) == ("PNG", mode, result.recipe.size)
            assert np.array_equal(np.asarray(shown.convert("RGB")), result.image)
        assert result.pil.mode == mode
        assert np.array_equal(np.asarray(result.pil), np.asarray(shown))


def test_a_result_plots_its_terms(engine, natural):
    pytest.importorskip("matplotlib")
    result = engine.synthesize(natural[:64, :64], levels=3, iterations=[2, 0, 3], start="noise")
    figure = result.plot()
    first, last = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["level 0, 16x16", "level 2, 64x64"]
    for panel, level in ((first, 0), (last, 2)):
        states = [state for state in result.history if state.level == level]
        lines = {line.get_label(): line.get_ydata() for line in panel.get_lines()}
        assert list(lines["value"]) == [state.value for state in states]
        for name in states[0].terms:
            assert list(lines[name]) == [state.terms[name] for state in states]
    with Image.open(io.BytesIO(figure._repr_png_())) as shown:
        assert shown.format == "PNG"
    assert "matplotlib.pyplot" not in sys.modules  # which would open windows


def test_a_plot_of_nothing(engine):
    pytest.importorskip("matplotlib")
    with pytest.raises(PyengineError, match=r"^plot: there was no iteration"):
        engine.synthesize(np.full((16, 16), 0.5), iterations=0).plot()


def test_a_plot_says_what_is_missing(engine, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = engine.synthesize(np.eye(16), iterations=1)
    with pytest.raises(PyengineError, match=r"^plot: matplotlib is not installed: pip install 'pyengine\[plot\]'$"):
        result.plot()
