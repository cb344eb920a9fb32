"""Pictures as they were given: of one map, or of all that a material has, from files and from memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from materials import as_files, heights, material, normals
from PIL import Image

from pyengine import PyengineError
from pyengine.images.encoding import Data, Display
from pyengine.images.writing import save
from pyengine.inputs import alike
from pyengine.maps import Map
from pyengine.pictures import limits_of, load_picture
from pyengine.recipe import Recipe

SET = material(32, 24)
CUT = np.dstack([SET["albedo"], (SET["height"] > 0.4).astype(np.float32)])
GREY = np.repeat(SET["height"][:, :, None], 3, axis=2)
VECTORS = 2 * SET["normal"] - 1


def read(source):
    return load_picture(source, "exemplar")


def refused(message: str, source, **options) -> None:
    with pytest.raises(PyengineError) as error:
        Recipe.create(source, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------- of maps


def test_maps_become_channels_the_albedo_first():
    shuffled = {"Rough": SET["roughness"], "disp": SET["height"][:, :, None], "normal": SET["normal"]}
    picture = read(shuffled | {"albedo": SET["albedo"], "orm": SET["albedo"], "metallic": GREY})
    assert picture.maps == (
        Map("albedo", "color", 0, 3),
        Map("normal", "normal", 3, 3),
        Map("height", "data", 6, 1),
        Map("roughness", "data", 7, 1),
        Map("metalness", "data", 8, 1),
        Map("orm", "packed", 9, 3),
    )
    wanted = [SET[name] for name in ("albedo", "normal", "height", "roughness", "height", "albedo")]
    np.testing.assert_array_equal(picture.image, np.dstack(wanted))
    assert picture.image.dtype == np.float32
    assert (picture.opaque, picture.alpha) == (None, None)
    np.testing.assert_array_equal(picture.guide, SET["albedo"])
    assert [type(encoding.curve) for encoding in picture.encodings] == [Display, *[Data] * 5]


def test_maps_from_files(tmp_path):
    paths = as_files(tmp_path, SET)
    picture = read(paths)
    assert picture.suffixes == (".png",) * 4
    assert [encoding.grey for encoding in picture.encodings] == [False, False, True, True]
    np.testing.assert_allclose(picture.image, np.dstack([*SET.values()]), atol=0.6 / 255)
    save(SET["height"], tmp_path / "rock_height.EXR", depth="half")
    mixed = read({**paths, "height": tmp_path / "rock_height.EXR", "roughness": SET["roughness"]})
    assert mixed.suffixes == (".png", ".png", ".exr", None)
    assert [encoding.depth for encoding in mixed.encodings] == [8, 8, "half", 8]
    names = {name: path.read_bytes() for name, path in paths.items()}
    np.testing.assert_array_equal(read(names).image, picture.image)


def test_a_grey_albedo_has_one_channel():
    picture = read({"albedo": GREY, "height": SET["height"]})
    assert [one.count for one in picture.maps] == [1, 1]
    np.testing.assert_array_equal(picture.guide, GREY)
    np.testing.assert_array_equal(read({"albedo": GREY}).guide, GREY)


@pytest.mark.parametrize("quality", [60, 95])
def test_a_map_of_one_channel_that_was_a_jpeg_in_colour(quality):
    """Its chroma is rounded: it is as grey as before, but not to the last bit."""
    file = io.BytesIO()
    Image.fromarray((255 * GREY).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    tinted = np.asarray(Image.open(io.BytesIO(file.getvalue()))).astype(np.float32) / 255
    tinted[5, 5] += np.float32([2, 0, -2]) / 255
    picture = read({"height": tinted.clip(0, 1)})
    assert picture.maps == (Map("height", "data", 0, 1),)
    np.testing.assert_allclose(picture.image[:, :, 0], tinted.clip(0, 1).mean(2), atol=1e-6)
    assert picture.encoding.grey
    refused("exemplar['height']: it is in colour, and height is one channel", {"height": SET["albedo"]})


@pytest.mark.parametrize("factor", [1.0, 0.2, 5.0])
def test_normals_are_vectors_of_unit_length(tmp_path, factor):
    """As programs compute with them, of whatever length; 0 is in the middle, wherever their values lie."""
    save(np.zeros((24, 32, 3), np.float32), tmp_path / "made.exr")
    for vectors in (VECTORS, VECTORS * np.float32([1, -1, 1]), np.abs(VECTORS) * [1, -1, 1]):
        picture = read({"normal": factor * vectors})
        assert picture.encoding.curve == Data(-1, 1)
        np.testing.assert_allclose(2 * picture.image - 1, vectors, atol=2e-6)


def test_normals_in_a_file_of_floats(tmp_path):
    picture = read({"normal": VECTORS})
    save(picture.image, tmp_path / "rock_normal.exr", picture.encoding, depth="float")
    again = read({"normal": tmp_path / "rock_normal.exr"})
    np.testing.assert_allclose(again.image, SET["normal"], atol=2e-6)
    assert again.encoding.curve == Data(-1, 1)


def test_normals_as_they_are_stored_in_integers():
    """What has no unit length there is measured as it is."""
    stored = (255 * SET["normal"]).round().astype(np.uint8)
    picture = read({"normal": stored})
    np.testing.assert_array_equal(picture.image, stored / np.float32(255))
    assert picture.encoding.curve == Data()


def test_the_first_maps_alpha_is_the_materials():
    picture = read({"albedo": CUT, "height": SET["height"]})
    np.testing.assert_array_equal(picture.alpha, CUT[:, :, 3])
    np.testing.assert_array_equal(picture.opaque, CUT[:, :, 3] > 0.5)
    made = picture.with_alpha()
    assert made.maps[-1] == Map("alpha", "data", 4, 1)
    assert (made.alpha, made.opaque, len(made.encodings), len(made.suffixes)) == (None, None, 3, 3)
    np.testing.assert_array_equal(made.image[:, :, 4], CUT[:, :, 3])
    np.testing.assert_array_equal(made.image[:, :, :4], picture.image)


@pytest.mark.parametrize(("name", "values"), [("emissive", CUT), ("height", np.dstack([GREY, CUT[:, :, 3]]))])
def test_another_maps_alpha_is_left_out_and_that_is_told(name, values):
    with pytest.warns(UserWarning, match=rf"^exemplar\['{name}'\]: its alpha channel is left out"):
        picture = read({"albedo": SET["albedo"], name: values})
    assert (picture.alpha, picture.opaque) == (None, None)


def test_alpha_of_pictures_alone():
    assert read(SET["albedo"]).with_alpha().maps == (Map("", "color", 0, 3), Map("alpha", "data", 3, 1))
    assert (read(SET["albedo"]).with_alpha().image[:, :, 3] == 1).all()
    grey = read(np.dstack([GREY, CUT[:, :, 3]])).with_alpha()
    assert grey.maps == (Map("", "color", 0, 1), Map("alpha", "data", 1, 1))
    assert grey.in_color({""}).maps == (Map("", "color", 0, 3), Map("alpha", "data", 3, 1))
    np.testing.assert_array_equal(grey.in_color({""}).image[:, :, [0, 1, 3]], grey.image[:, :, [0, 0, 1]])
    assert grey.in_color({"albedo"}) is grey


def test_light_is_the_colours_alone():
    lit = SET["albedo"] * np.linspace(0.5, 1, 32, dtype=np.float32)[:, None]
    picture = read({**SET, "albedo": lit})
    made = picture.flattened()
    np.testing.assert_array_equal(made.image[:, :, 3:], picture.image[:, :, 3:])
    assert np.ptp(made.image[:, :, :3].mean((0, 2))) < 0.7 * np.ptp(lit.mean((0, 2)))
    grey = read({"albedo": lit[:, :, 0], "height": SET["height"]})
    np.testing.assert_array_equal(grey.flattened().image[:, :, 1], SET["height"])
    np.testing.assert_allclose(grey.flattened().image[:, :, 0], read(lit[:, :, 0]).flattened().image[:, :, 0])
    assert grey.light == pytest.approx(read(lit[:, :, 0]).light)


def test_limits_are_of_what_counts():
    picture = read({"albedo": CUT, "height": SET["height"], "metalness": (SET["height"] > 0.5).astype(np.float32)})
    limits = limits_of([picture])
    where = CUT[:, :, 3] > 0.5
    low, high = SET["height"][where].min(), SET["height"][where].max()
    assert [(one.low, one.high, one.two) for one in limits[3:]] == [(low, high, False), (0, 1, True)]
    assert low > SET["height"].min()
    other = read({"albedo": SET["albedo"], "height": SET["height"], "metalness": SET["height"]})
    both = limits_of([picture, other])[3:]
    assert [(one.low, one.high, one.two) for one in both] == [(0, 1, False)] * 2


# -------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("message", "source"),
    [
        ("exemplar: an empty dictionary: give maps by name, such as 'albedo' and 'normal'", {}),
        ("exemplar: there is no map 'hight': did you mean 'height'?", {"hight": GREY}),
        ("exemplar: there is no map 1: choose albedo, ", {1: GREY}),
        ("exemplar: the map 'height' is there twice: leave one out", {"height": GREY, "DISP": GREY}),
        ("exemplar['height'] of 20x24 pixels: 'albedo' has 32x24: make", {**SET, "height": SET["height"][:, :20]}),
        ("exemplar['normal']: it is grey, and a normal has three parts: give a height map as", {"normal": GREY}),
        ("exemplar['normal']: shape (24, 32, 2) is not an image's", {"normal": VECTORS[:, :, :2]}),
        ("exemplar['height'] of 4x4 pixels: both sides must be at least 16; enlarge it", {"height": GREY[:4, :4]}),
        ("exemplar['albedo'] of 4x4 pixels: both sides must be at least 16; enlarge it", {"albedo": GREY[:4, :4]}),
        ("exemplar['albedo']: pass a path, a PIL image, an array, bytes or a list, not dict", {"albedo": SET}),
        ("exemplar['height']: pass a path, a PIL image, an array, bytes or a list, not dict", {"height": SET}),
        ("exemplar['height']: pass a path, a PIL image, an array, bytes or a list, not NoneType", {"height": None}),
        ("exemplar['albedo']: fully transparent: remove its alpha", {"albedo": np.zeros((24, 32, 4))}),
        ("exemplar['height'] no.png: no such file: check the path", {"height": "no.png"}),
        ("exemplar['height']: 768 values are NaN or infinite", {"height": np.full((24, 32), np.nan)}),
    ],
)
def test_sets_that_are_none(message, source):
    refused(message, source)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("content, a dictionary: a style transfer shows one picture: give that", {"content": SET}),
        ("content with a material's maps: a style is one picture's: give the albedo alone", {"content": GREY}),
        ("exemplars of 'albedo' and 'normal' and 'height' and 'roughness' beside a picture of colou", {"init": GREY}),
        ("beside a picture of 'height': give all of them the same maps", {"init": {"height": GREY}}),
        ("init: there is no map 'hight': did you mean 'height'?", {"init": {"hight": GREY}}),
        ("keep: pass a path, a PIL image, an array, bytes or a list, not dict", {"keep": SET}),
        ("fill: pass a path, a PIL image, an array, bytes or a list, not dict", {"fill": {"height": GREY}}),
        ("sample_mask: pass a path, a PIL image, an array, bytes or a list, not dict", {"sample_mask": SET}),
        ("output_regions: pass a path, a PIL image, an array, bytes or a list, not dict", {"output_regions": SET}),
    ],
)
def test_what_does_not_go_with_a_set(message, options):
    refused(message, SET, **options)


@pytest.mark.parametrize(
    ("message", "sources"),
    [
        ("beside a picture of 'albedo': give all of them the same maps", [SET, {"albedo": GREY}]),
        ("beside a picture of colours alone: give all of them the same maps", [SET, GREY]),
        ("of 'albedo' and 'alpha' beside a picture of colours and 'alpha': give", [{"albedo": CUT}, CUT]),
        ("exemplars[1]['height'] of 16x16 pixels: 'albedo' has 32x24", [SET, {**SET, "height": GREY[:16, :16]}]),
        ("exemplars, a dict: give a list of at least one picture", SET),
    ],
)
def test_exemplars_that_do_not_go_together(message, sources):
    refused(message, None, exemplars=sources)


# ------------------------------------------------------------------- of several


def test_exemplars_are_brought_to_the_same_channels():
    """What is grey in one of them, and in colour in another."""
    for first, second in ((SET, {**SET, "albedo": GREY}), ({**SET, "albedo": GREY}, SET)):
        level = Recipe.create(exemplars=[first, second]).level
        assert [one.count for one in level.maps] == [3, 3, 1, 1]
        for exemplar, given in zip(level.exemplars, (first, second), strict=True):
            np.testing.assert_array_equal(exemplar.image, np.dstack([*given.values()]))
        begun = Recipe.create(first, init=second).level
        assert [one.count for one in begun.maps] == [3, 3, 1, 1]
        np.testing.assert_array_equal(begun.init, np.dstack([*second.values()]))
    mixed = Recipe.create(exemplars=[np.dstack([GREY, CUT[:, :, 3]]), SET["albedo"]]).level
    own = read(np.dstack([GREY, CUT[:, :, 3]]))
    np.testing.assert_array_equal(mixed.exemplars[0].image, np.dstack([own.image, CUT[:, :, 3]]))
    np.testing.assert_array_equal(mixed.exemplars[1].image, np.dstack([SET["albedo"], np.ones((24, 32))]))


def test_equal_heights_are_equal_and_normals_are_the_same_vectors(tmp_path):
    """Heights of files have a range in common; normals are vectors, whatever their file's values are."""
    vectors = {**SET, "normal": VECTORS, "height": 8 * SET["height"] - 2}
    pictures, _, _, encodings = alike([read(SET), read(vectors)], None, None, has_hole=False)
    assert encodings[1].curve == Data()
    assert encodings[2].curve == Data(-2, 6)
    for picture, given in zip(pictures, (SET, vectors), strict=True):
        np.testing.assert_allclose(picture.image[:, :, 3:6], SET["normal"], atol=1e-6)
        np.testing.assert_allclose(8 * picture.image[:, :, 6] - 2, given["height"], atol=1e-5)
    assert alike([read(vectors), read(SET)], None, None, has_hole=False)[3][1].curve == Data(-1, 1)


def test_each_map_is_as_deep_as_the_deepest(tmp_path):
    deep = {**SET, "height": (65535 * SET["height"]).astype(np.uint16)}
    depths = [
        [encoding.depth for encoding in Recipe.create(**options).encodings]
        for options in ({"exemplars": [SET, deep]}, {"exemplar": SET, "init": deep})
    ]
    assert depths == [[8, 8, 16, 8], [8, 8, 8, 8]]
    hole = np.zeros((24, 32), bool)
    hole[4:9, 4:9] = True
    assert [e.depth for e in Recipe.create(SET, init=deep, fill=hole).encodings] == [8, 8, 16, 8]


# ---------------------------------------------------------------------- alpha


def test_alpha_is_made_in_textures_and_masks_all_else():
    hole = np.zeros((24, 32), bool)
    hole[4:9, 4:9] = True
    assert [one.name for one in Recipe.create(CUT).level.maps] == ["", "alpha"]
    assert [one.name for one in Recipe.create(CUT, alpha="synthesize").level.maps] == ["", "alpha"]
    regions = {"exemplar_regions": 1 + hole, "output_regions": 1 + hole}
    for options in (
        {"alpha": "mask"},
        {"content": GREY},
        {"init": GREY},
        {"fill": hole},
        {"keep": hole},
        {"fill": "alpha"},
        {"seamless": "x"},
        regions,
    ):
        level = Recipe.create(CUT, **options).level
        assert [one.name for one in level.maps] == [""], options
        if "content" not in options:  # whose size is the style's, too
            assert level.exemplars[0].masks.max() == 1
            assert not level.exemplars[0].masks[:, CUT[:, :, 3] == 0].any()
    refused("alpha='synthesize' with content: opacity is made in textures", CUT, alpha="synthesize", content=GREY)
    refused("alpha='x': choose 'synthesize' or 'mask'", CUT, alpha="x")
    assert Recipe.create(SET["albedo"], alpha="synthesize").level.channels == 3
    assert Recipe.create({**SET, "albedo": CUT}).level.maps[-1].name == "alpha"
    assert Recipe.create({**SET, "albedo": CUT}, alpha="mask").level.channels == 8


def test_opacity_is_a_part_of_a_palettes_colours():
    few = np.zeros((24, 32, 4), np.uint8) + np.uint8([200, 30, 10, 255])
    few[:12, :16], few[12:, 16:] = [0, 0, 0, 0], [20, 200, 10, 255]
    recipe = Recipe.create(few, palette="keep")
    assert recipe.level.channels == 4
    assert sorted(recipe.palette.colors[:, 3]) == [0, 1, 1]
    assert len(Recipe.create(few, palette="keep", alpha="mask").palette.colors) == 2


# ------------------------------------------------------------------- documents


def test_a_recipe_of_files(tmp_path: Path, monkeypatch):
    """By its paths; a result tells of the names alone."""
    paths = as_files(tmp_path, SET)
    recipe = Recipe.create(paths, seed=3, init={name: str(path) for name, path in paths.items()})
    again = Recipe.from_json(recipe.to_json())
    assert recipe.files == again.files == (*paths.values(), *paths.values())
    assert again.to_json() == recipe.to_json()
    np.testing.assert_array_equal(again.level.exemplars[0].image, recipe.level.exemplars[0].image)
    monkeypatch.chdir(tmp_path)
    by_name = Recipe.from_json('{"exemplar": {"albedo": "rock_albedo.png", "NRM": "rock_normal.png"}}')
    assert [one.name for one in by_name.level.maps] == ["albedo", "normal"]
    both = Recipe.create(exemplars=[paths, {name: path for name, path in paths.items()}])
    assert Recipe.from_json(both.to_json()).files == both.files
    save(normals(heights(32, 24, 9)), paths["normal"])
    with pytest.raises(PyengineError, match=r"^exemplar\['normal'\] .*rock_normal\.png: another picture than the rec"):
        Recipe.from_json(recipe.to_json())
    paths["normal"].unlink()
    with pytest.raises(PyengineError, match=r"^exemplar\['normal'\] .*rock_normal\.png: no such file"):
        Recipe.from_json(recipe.to_json())


def test_a_recipe_in_memory_is_told_by_its_maps():
    with pytest.raises(PyengineError, match=r"^exemplar\['height'\] is an array of float32, \(24, 32\), in memory"):
        Recipe.create({"height": SET["height"]}).to_json()


@pytest.mark.parametrize("value", [{}, {"albedo": 3}, {"albedo": None}, {"albedo": {"albedo": {}}}])
def test_documents_that_are_none(value, tmp_path):
    import json

    with pytest.raises(PyengineError) as error:
        Recipe.from_json(json.dumps({"exemplar": value}))
    assert "exemplar" in str(error.value)
    assert "\n" not in str(error.value)
