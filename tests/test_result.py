"""What a synthesis gives back."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest
from deep_pictures import BRIGHT, HEIGHTS, LEVELS, WIDE, profile_attribute, raw, stored
from PIL import Image

from pyengine import PyengineError
from pyengine.images.encoding import Data, Log
from pyengine.images.reading import load_with_encoding
from pyengine.recipe import Recipe

HOLE = np.zeros((70, 40), bool)
HOLE[20:40, 10:30] = True


def test_saving(engine, natural, tmp_path):
    result = engine.synthesize(natural[:32, :32], iterations=1, levels=1)
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


# ------------------------------------------------------------ depth


def test_pixels_are_what_the_image_is_rounded_from(engine, natural):
    result = engine.synthesize(natural[:32, :32], iterations=1, levels=1)
    assert result.pixels.dtype == np.float32
    assert (result.pixels.min(), result.pixels.max()) >= (0, 0)
    assert result.pixels.max() <= 1
    np.testing.assert_array_equal(result.image, np.floor(result.pixels * 255 + 0.5).astype(np.uint8))
    assert len(np.unique(result.pixels)) > 256


@pytest.mark.parametrize(
    ("name", "values", "dtype"),
    [
        ("in.png", LEVELS[:, :, :3], "uint16"),
        ("in.tif", LEVELS[:, :, :3], "uint16"),
        ("in.tif", LEVELS[:, :, :3].astype(np.float32) / 65535, "float32"),
        ("in.exr", BRIGHT.astype(np.float16), "float16"),
    ],
)
def test_what_is_kept_is_kept_to_the_last_bit(engine, tmp_path, name, values, dtype):
    """At any depth."""
    path = stored(tmp_path / name, values)
    result = engine.synthesize(path, fill=HOLE, iterations=1, levels=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.save(tmp_path / f"out{path.suffix}")
    found = raw(tmp_path / f"out{path.suffix}")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[~HOLE], values[~HOLE])
    assert (found[HOLE] != values[HOLE]).any()


def test_brightness_is_the_exemplars(engine, tmp_path):
    path = stored(tmp_path / "in.exr", BRIGHT)
    result = engine.synthesize(path, iterations=5, size=64)
    result.save(tmp_path / "out.exr")
    found = raw(tmp_path / "out.exr")
    edges = [-np.inf, 0.01, 0.1, 1, 10, np.inf]
    shares = [np.histogram(values, edges)[0] / values.size for values in (BRIGHT, found)]
    np.testing.assert_allclose(*shares, atol=0.05)
    with (
        pytest.warns(UserWarning, match="PNG does not hold float, which the picture has: written in 16 bits"),
        pytest.warns(
            UserWarning, match=r"values from 0 to 1: those from 0\.\d* to 49\.\d* are written as a logarithm of them"
        ),
    ):
        result.save(tmp_path / "out.png")


def test_a_height_map_stays_one(engine, tmp_path):
    for path in (stored(tmp_path / "in.png", LEVELS[:, :, :1]), stored(tmp_path / "in.exr", HEIGHTS)):
        result = engine.synthesize(path, iterations=1, levels=1)
        assert result.recipe.grey
        result.save(tmp_path / f"out{path.suffix}")
        found, given = raw(tmp_path / f"out{path.suffix}"), raw(path)
        assert (found.dtype, found.shape) == (given.dtype, given.shape)
        np.testing.assert_allclose(found.mean(), given.mean(), rtol=0.1)
        np.testing.assert_allclose(found.std(), given.std(), rtol=0.1)


def test_the_deepest_exemplar_says_how(engine, tmp_path):
    deep = stored(tmp_path / "in.png", LEVELS[:, :, :3])
    shallow = LEVELS[:, :, :3].astype(np.uint8)
    assert Recipe.create(exemplars=[shallow, deep]).encoding.depth == 16
    assert Recipe.create(shallow, content=deep).encoding.depth == 16
    assert Recipe.create(deep, content=shallow).encoding.depth == 8
    assert Recipe.create(deep, init=shallow, fill=HOLE).encoding.depth == 8
    assert Recipe.create(deep, init=shallow).encoding.depth == 16
    assert Recipe.create(shallow / np.float32(255)).encoding.depth == 8  # arrays of floats say nothing of files


def test_exemplars_of_several_ranges(tmp_path):
    """Equal values of files are equal."""
    low, high = stored(tmp_path / "low.exr", HEIGHTS), stored(tmp_path / "high.exr", HEIGHTS * 2 + 100)
    recipe = Recipe.create(exemplars=[low, high])
    assert recipe.encoding.curve == Data(float(HEIGHTS.min()), float((HEIGHTS * 2 + 100).max()))
    first, second = (recipe.encoding.curve.decode(e.image[:, :, :1]) for e in recipe.level.exemplars)
    np.testing.assert_allclose(first * 2 + 100, second, atol=1e-4)
    bright, content = stored(tmp_path / "bright.exr", BRIGHT), LEVELS[:, :, :3].astype(np.uint8)
    recipe = Recipe.create(exemplars=[content, bright])
    assert isinstance(recipe.encoding.curve, Log)
    light = recipe.encoding.curve.decode(recipe.level.exemplars[0].image)
    np.testing.assert_allclose(light, load_with_encoding(content)[0] ** 2.2, atol=0.02)
    recipe = Recipe.create(bright, content=content)  # what it is to look like is shown as a display shows it
    np.testing.assert_array_equal(recipe.level.content, load_with_encoding(content)[0])


# ------------------------------------------------------------ opacity


def test_the_contents_opacity_is_the_results(engine, tmp_path):
    content = LEVELS.astype(np.uint8)
    result = engine.synthesize(LEVELS[:, :, :3], content=content, iterations=1, levels=1)
    assert result.pixels.shape == result.image.shape == (70, 40, 4)
    np.testing.assert_array_equal(result.image[:, :, 3], content[:, :, 3])
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image), result.image)
    with pytest.warns(UserWarning, match=r"out\.jpg: JPEG has no opacity: \.png keeps it"):
        result.save(tmp_path / "out.jpg")
    assert engine.synthesize(LEVELS[:, :, :3], content=content, size=32, iterations=0).pixels.shape == (32, 32, 4)
    assert engine.synthesize(content, content=LEVELS[:, :, :3], iterations=0).pixels.shape == (70, 40, 3)


def test_a_grey_content_with_opacity_is_written_in_colours(engine, tmp_path):
    content = LEVELS[:, :, [0, 0, 0, 3]].astype(np.uint8)
    engine.synthesize(LEVELS[:, :, 0], content=content, iterations=0).save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:, :, 3], content[:, :, 3])


def test_opacity_around_a_hole(engine):
    """A sprite keeps its outline, soft as it is, and what is filled is opaque; filled by its opacity, it all is."""
    sprite = LEVELS.astype(np.uint8)
    sprite[:8, :, 3] = np.arange(8)[:, None] * 32
    sprite[8:, :, 3] = 255
    sprite[25, 25, 3] = 0
    result = engine.synthesize(sprite, fill=HOLE, iterations=1, levels=1)
    np.testing.assert_array_equal(result.image[~HOLE, 3], sprite[~HOLE, 3])
    assert (result.image[HOLE, 3] == 255).all()
    np.testing.assert_array_equal(result.image, engine.synthesize(sprite, keep=~HOLE, iterations=1, levels=1).image)
    assert engine.synthesize(sprite, fill="alpha", iterations=0).image.shape == (70, 40, 3)


def test_opacity_around_a_small_hole(engine):
    """Of which only the surroundings are run."""
    sprite = np.full((300, 400, 4), 255, np.uint8)
    sprite[:, :100, 3] = 200
    hole = np.zeros((300, 400), bool)
    hole[140:150, 50:60] = True
    result = engine.synthesize(sprite, fill=hole, iterations=0)
    np.testing.assert_array_equal(result.image[:, :, 3], np.where(hole, 255, sprite[:, :, 3]))


# ------------------------------------------------------------ what is said besides


def test_a_wide_gamut_is_said_to_be_left_or_kept(engine, tmp_path):
    path = stored(tmp_path / "in.png", LEVELS[:, :, :3], ICCProfile=profile_attribute(WIDE))
    with pytest.warns(UserWarning, match=r"exemplar: .*% of its pixels are outside sRGB, .*: profile='keep'"):
        Recipe.create(path)
    result = engine.synthesize(path, fill=HOLE, profile="keep", iterations=1, levels=1)
    result.save(tmp_path / "out.png")
    np.testing.assert_array_equal(raw(tmp_path / "out.png")[~HOLE], LEVELS[:, :, :3][~HOLE])
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == WIDE
        again = Recipe.from_json(image.info["pyengine"], tmp_path, fill=HOLE)
    assert again.encoding.profile == WIDE
    with pytest.raises(PyengineError, match="profile='keep': the pictures have different colour profiles: convert"):
        Recipe.create(path, content=LEVELS[:, :, :3], profile="keep")
    with pytest.raises(PyengineError, match="profile='p3': choose 'srgb' or 'keep'"):
        Recipe.create(path, profile="p3")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_who_and_where_is_not_written(engine, tmp_path, suffix):
    exif = Image.Exif()
    exif[0x013B], exif[0x010F], exif[0x9003], exif[0xA431] = "Jane Doe", "Maker", "2026:01:02 03:04:05", "serial 12345"
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x0112] = 6
    Image.fromarray(LEVELS[:, :, :3].astype(np.uint8)).save(
        tmp_path / "in.jpg", exif=exif, comment=b"seen by Jane Doe", dpi=(300, 300)
    )
    result = engine.synthesize(tmp_path / "in.jpg", iterations=0)
    assert result.image.shape == (40, 70, 3)  # upright
    result.save(tmp_path / f"out{suffix}")
    content = (tmp_path / f"out{suffix}").read_bytes()
    for word in (b"Jane", b"Maker", b"serial", b"2026", b"Exif"):
        assert word not in content
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert not image.getexif().get_ifd(0x8825)
        assert suffix == ".webp" or round(image.info["dpi"][0]) == 300


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
