"""Materials, made as a whole: what comes of every map, however it is asked for."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from conftest import cut_budget
from materials import as_files, heights, lean, material
from PIL import Image

from pyengine import Engine, PyengineError, Recipe
from pyengine.images.encoding import Data
from pyengine.images.reading import load_with_encoding, read_metadata
from pyengine.images.writing import to_uint8

SET = {**material(), "metalness": (heights(64, 48) > 0.6).astype(np.float32), "opacity": np.full((48, 64), 0.3)}
QUICK = {"iterations": 3, "levels": 2}
SOFT = np.dstack([SET["albedo"], (1.4 * SET["height"]).clip(0.1, 1)]).astype(np.float32)
CUT = np.dstack([SET["albedo"], SET["metalness"]])


@pytest.fixture(scope="module")
def engine():
    with Engine(threads=1) as engine:
        yield engine


def assert_same(first, second):
    assert [*first.maps] == [*second.maps]
    for name, values in first.maps.items():
        np.testing.assert_array_equal(values, second.maps[name], err_msg=name)


def check_values(maps, given=SET):
    """Values are those that the exemplar's maps may have."""
    assert [*maps] == [name for name in ("albedo", "normal", "height", "roughness", "metalness", "opacity")]
    for name, values in maps.items():
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        assert values.ndim == np.ndim(given[name])
        assert (values.min(), values.max()) >= (0, 0)
    np.testing.assert_allclose(np.linalg.norm(2 * maps["normal"] - 1, axis=2), 1, rtol=1e-5)
    assert {*maps["metalness"].ravel()} == {0, 1}
    np.testing.assert_array_equal(maps["opacity"], np.full_like(maps["opacity"], 0.3))
    for name in ("height", "roughness"):
        assert given[name].min() <= maps[name].min() < maps[name].max() <= given[name].max()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": "noise"},
        {"size": (80, 50)},
        {"seamless": "x"},
        {"seamless": "xy", "start": "noise"},
        {"weights": "thresholds"},
        {"method": "gatys"},
        {"structure": True, "weights": {"variation": 1.0}},
        {"wrap": "none", "padding": "zeros"},
        {"style_scale": 0.8},
        {"fit": "size"},
        {"flatten_light": True},
        {"augment": ["flips", "turns"]},
        {"init": {**SET, "opacity": SET["height"]}},
        {"sample_mask": np.arange(64)[None].repeat(48, axis=0) < 40},
        {"iterations": 0},
    ],
    ids=str,
)
def test_maps_have_values_that_they_may_have(engine, options):
    seen = []
    result = engine.synthesize(SET, callback=seen.append, **{**QUICK, **options})
    size = result.recipe.size
    check_values(result.maps)
    assert all(values.shape[:2] == size[::-1] for values in result.maps.values())
    assert result.pixels is result.maps["albedo"]
    assert result.image.shape == (*size[::-1], 3)
    for progress in seen:
        level = result.recipe.sizes[progress.state.level]
        assert progress.pixels.shape == (*level[::-1], 10)
        np.testing.assert_array_equal(progress.image, to_uint8(progress.pixels[:, :, :3]))
        assert {term.partition("/")[0] for term in progress.state.terms} >= {"gram", "joint"}


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("augment", [None, ["flips"], ["flips", "turns"]])
def test_normals_stay_those_of_the_heights(engine, augment, down):
    """Also of a start whose patches are flipped and turned: the wrong way, they would go with what they do not."""
    made = engine.synthesize(material(down=down), size=64, augment=augment, iterations=8, levels=2).maps
    assert min(lean(made, down=down)) > 0.6


def test_noise_becomes_normals_of_the_heights(engine):
    """What only the joint loss brings about."""
    options = {"exemplar": {name: material()[name] for name in ("normal", "height")}, "start": "noise"}
    options |= {"levels": 1, "iterations": 40, "gram_layers": ["relu1_1", "relu2_1"], "histogram_layers": []}
    made, apart = (engine.synthesize(**options, weights=weights).maps for weights in ({}, {"joint": 0}))
    assert min(lean(made)) > 0.5
    assert max(lean(apart)) < 0.3


def test_what_is_kept_of_all_maps_stays_the_same_to_the_last_bit(engine):
    hole = np.zeros((48, 64), bool)
    hole[10:30, :20] = hole[40, 50] = True
    other = {**material(48, 40, 3), "metalness": SET["metalness"][:40, :48], "opacity": SET["opacity"][:40, :48]}
    for options in ({}, {"start": "noise"}, {"init": SET, "exemplar": other}):
        seen = []
        result = engine.synthesize(**{"exemplar": SET, "fill": hole, **QUICK, **options}, callback=seen.append)
        for name, given in SET.items():
            np.testing.assert_array_equal(result.maps[name][~hole], given.astype(np.float32)[~hole])
            if name not in ("metalness", "opacity"):
                assert (result.maps[name][hole] != given[hole]).any()
        np.testing.assert_allclose(seen[-1].pixels[~hole], np.dstack([*SET.values()])[~hole], atol=1e-6)


def test_a_small_hole_in_a_large_material(engine):
    large = material(400, 330)
    hole = np.zeros((330, 400), bool)
    hole[300:310, 20:30] = True
    result = engine.synthesize(large, fill=hole, iterations=2, levels=1)
    assert result.recipe.frame is not None
    for name, given in large.items():
        np.testing.assert_array_equal(result.maps[name][~hole], given[~hole])
        assert (result.maps[name][hole] != given[hole]).any()


@pytest.mark.parametrize("start", ["noise", "patches"])
def test_layouts(engine, start):
    """Each region has what its region of the exemplar has, in all maps."""
    own, layout = np.ones((48, 64), np.uint8), np.ones((48, 64), np.uint8)
    own[:, 32:], layout[24:] = 2, 2
    halves = np.where(own == 1, 0.2, 0.8).astype(np.float32)
    maps = {"albedo": SET["albedo"] * halves[:, :, None], "height": 0.2 * SET["height"] + halves - 0.2}
    maps["roughness"] = 1 - halves
    made = engine.synthesize(maps, exemplar_regions=own, output_regions=layout, start=start, **QUICK).maps
    for name in maps:
        first, second = (np.mean(maps[name][own == k]) for k in (1, 2))
        assert made[name][:20].mean() == pytest.approx(first, abs=0.1)
        assert made[name][28:].mean() == pytest.approx(second, abs=0.1)


def test_several_materials(engine):
    """Of which each is one that weights leave out, too."""
    other = {**material(40, 44, 9), "metalness": np.zeros((44, 40)), "opacity": np.full((44, 40), 0.3)}
    check_values(engine.synthesize(exemplars=[SET, other], **QUICK).maps)
    check_values(engine.synthesize(exemplars=[other, SET], exemplar_weights=[0, 1], **QUICK).maps)


# ---------------------------------------------------------------------- alpha


@pytest.mark.parametrize("options", [{}, {"start": "noise"}])
def test_alpha_is_made_with_the_colours(engine, options):
    for given in (SOFT, CUT):
        result = engine.synthesize(given, **QUICK, **options)
        assert [*result.maps] == [""]
        assert result.pixels.shape == (48, 64, 4)
        alpha = result.pixels[:, :, 3]
        assert given[:, :, 3].min() <= alpha.min() < alpha.max() <= given[:, :, 3].max()
        assert alpha.mean() == pytest.approx(given[:, :, 3].mean(), abs=0.1)
        assert len(np.unique(alpha)) == 2 or given is SOFT
        assert (result.pil.mode, result.pil.size) == ("RGBA", (64, 48))
        masked = engine.synthesize(given, alpha="mask", **QUICK, **options)
        assert masked.pixels.shape == (48, 64, 3)


def test_alpha_of_a_material_is_its_first_maps(engine, tmp_path):
    given = {"albedo": CUT, "height": SET["height"]}
    result = engine.synthesize(given, **QUICK)
    assert {name: values.shape for name, values in result.maps.items()} == {"albedo": (48, 64, 4), "height": (48, 64)}
    assert {*result.maps["albedo"][:, :, 3].ravel()} == {0, 1}
    result.save(tmp_path / "rock.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rock.png", "rock_height.png"]
    with Image.open(tmp_path / "rock.png") as image:
        assert image.mode == "RGBA"


def test_alpha_of_a_grey_picture(engine, tmp_path):
    grey = np.dstack([np.repeat(SET["height"][:, :, None], 3, axis=2), CUT[:, :, 3]])
    result = engine.synthesize(grey, **QUICK)
    assert result.pixels.shape == (48, 64, 4)
    assert np.ptp(result.pixels[:, :, :3], axis=2).max() == 0
    result.save(tmp_path / "grey.png")
    image, alpha, _ = load_with_encoding(tmp_path / "grey.png")
    np.testing.assert_array_equal(alpha, result.pixels[:, :, 3])
    np.testing.assert_allclose(image[alpha == 1], result.pixels[:, :, :3][alpha == 1], atol=0.6 / 255)


# --------------------------------------------------------------------- results


def test_files_of_a_material(engine, tmp_path):
    """Each is in the format that it was in; what was in no file is in the first one's."""
    paths = as_files(tmp_path, {name: SET[name] for name in ("albedo", "roughness")}, suffix=".tif")
    made = engine.synthesize({**paths, "height": 5 * SET["height"] - 1, "normal": 2 * SET["normal"] - 1}, **QUICK)
    folder = tmp_path / "made.v2"
    folder.mkdir()
    places = made.files(folder / "out.v1_albedo.exr")
    names = [f"out.v1_{name}" for name in ("albedo.exr", "normal.exr", "height.exr", "roughness.tif")]
    assert [path.name for path in places.values()] == names
    made.save(folder / "out.v1_albedo.exr", depth=None)
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    heights_, _, encoding = load_with_encoding(places["height"], data=True)
    assert isinstance(encoding.curve, Data)
    own = encoding.curve.decode(heights_)[:, :, 0]
    np.testing.assert_allclose(own, 6 * made.maps["height"] * 5 / 6 - 1, atol=5e-3)
    vectors, _, encoding = load_with_encoding(places["normal"], data=True)
    lengths = np.linalg.norm(encoding.curve.decode(vectors), axis=2)
    np.testing.assert_allclose(lengths, 1, atol=5e-3)


@pytest.mark.parametrize("depth", [8, 16])
def test_the_depth_is_all_maps(engine, tmp_path, depth):
    made = engine.synthesize(material(), **QUICK)
    made.save(tmp_path / "rock.png", depth=depth)
    for name, path in made.files(tmp_path / "rock.png").items():
        image, _, encoding = load_with_encoding(path, data=True)
        assert encoding.depth == depth
        values = made.maps[name] if made.maps[name].ndim == 3 else made.maps[name][:, :, None].repeat(3, axis=2)
        np.testing.assert_allclose(image, values, atol=0.6 / (2**depth - 1))
        assert encoding.grey == (made.maps[name].ndim == 2)
        assert json.loads(read_metadata(path))["recipe"]["iterations"] == 3


def test_what_a_notebook_shows_is_the_first_map(engine):
    made = engine.synthesize({"height": SET["height"], "normal": SET["normal"]}, **QUICK)
    assert [*made.maps] == ["normal", "height"]
    np.testing.assert_array_equal(np.asarray(made.pil), to_uint8(made.maps["normal"]))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made._repr_png_()))), np.asarray(made.pil))
    alone = engine.synthesize({"height": SET["height"]}, **QUICK)
    assert alone.pil.mode == "L"
    assert alone.pixels.shape == (48, 64, 3)
    np.testing.assert_array_equal(np.asarray(alone.pil), to_uint8(alone.maps["height"]))
    assert made.encode(".png")[:4] == b"\x89PNG"
    report = made.report()
    assert report["recipe"]["exemplar"]["height"] == {"in_memory": "an array of float32, (48, 64)"}
    assert {"joint", "gram/relu1_1/normal"} < {*report["levels"][-1]["terms"]}


def test_a_recipe_of_files_makes_the_same_again(engine, tmp_path):
    recipe = Recipe.create(as_files(tmp_path, material()), seed=7, **QUICK)
    first = engine.run(recipe)
    assert_same(first, engine.run(Recipe.from_json(recipe.to_json())))
    first.save(tmp_path / "made.png")
    text = read_metadata(tmp_path / "made_normal.png")
    assert_same(first, engine.run(Recipe.from_json(text, tmp_path)))
    other = engine.run(Recipe.from_json(recipe.to_json(), seed=8))
    assert not np.array_equal(first.maps["height"], other.maps["height"])


@pytest.mark.parametrize("options", [{}, {"start": "noise", "weights": "thresholds"}])
@pytest.mark.parametrize("given", [SET, CUT], ids=["set", "alpha"])
def test_a_run_that_goes_on_makes_the_same(engine, tmp_path, given, options):
    whole = engine.synthesize(given, **QUICK, **options)
    path = tmp_path / "run"
    stopped = engine.synthesize(given, **QUICK, **options, checkpoint=path, callback=lambda p: p.stop())
    assert stopped.stopped
    resumed = engine.synthesize(given, **QUICK, **options, checkpoint=path)
    assert_same(whole, resumed)
    assert [i.terms for i in whole.history] == [i.terms for i in resumed.history]
    changed = {**SET, "height": 1 - SET["height"]} if given is SET else 1 - CUT
    with pytest.raises(PyengineError, match="of a run with"):
        engine.synthesize(changed, **QUICK, **options, checkpoint=path)


def test_a_look_at_a_run_is_what_it_gives_if_it_is_stopped(engine):
    looks = []

    def callback(progress):
        looks.append(progress.result())
        if len(looks) == 2:
            progress.stop()

    result = engine.synthesize(SET, start="noise", callback=callback, **QUICK)
    assert_same(looks[-1], result)
    for look in looks:
        check_values(look.maps)


@pytest.mark.parametrize("kind", ["set", "alpha"])
def test_tiles_make_what_the_whole_makes(engine, monkeypatch, kind):
    given = {"set": material(), "alpha": SOFT}[kind]
    whole = engine.synthesize(given, iterations=2, levels=1, start="noise")
    monkeypatch.setattr(engine, "budget", cut_budget(engine, 32))
    tiled = engine.synthesize(given, iterations=2, levels=1, start="noise")
    for name, values in whole.maps.items():
        np.testing.assert_allclose(tiled.maps[name], values, atol=2e-3)
