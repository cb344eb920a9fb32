"""Painting by numbers: which regions there are, what they are called, and regions too small for some feature maps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import KERNELS, VGG16
from pictures import picture
from PIL import Image

from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.images.regions import load_regions
from pyengine.level import Exemplar, Level
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import Recipe


def index(rows: list[list[int]], times: int = 1) -> np.ndarray:
    return np.kron(np.array(rows), np.ones((times, times), int))


# ---------------------------------------------------------------- reading


def test_regions_are_those_of_the_output_in_the_order_of_their_numbers():
    """Numbers leave room between; what only the exemplar has is not needed."""
    painting = load_regions([(4, 1)], index([[5, 2, 9, 0]]), index([[9, 2], [2, 9]]))
    assert painting.names == ("2", "9")
    assert painting.size == (2, 2)
    assert np.array_equal(painting.output, [[[0, 1], [1, 0]], [[1, 0], [0, 1]]])
    (exemplar,) = painting.exemplars
    assert np.array_equal(exemplar, [[[0, 1, 0, 0]], [[0, 0, 1, 0]]])
    assert exemplar.dtype == painting.output.dtype == np.float32


def test_names_of_flat_colours():
    """Black is no region, and a grey is a number."""
    layout = np.zeros((1, 5, 3), np.uint8)
    layout[0, 1:] = [[255, 0, 0], [0, 128, 9], [7, 7, 7], [255, 0, 0]]
    painting = load_regions([(5, 1)], layout, Image.fromarray(layout))
    assert painting.names == ("7", "#008009", "#ff0000")
    assert np.array_equal(painting.output[2, 0], [0, 1, 0, 0, 1])
    assert np.array_equal(painting.exemplars[0], painting.output)


def test_indices_of_a_palette_are_the_numbers():
    image = Image.fromarray(np.array([[1, 0, 3]], np.uint8), mode="P")
    image.putpalette([0, 0, 0] + [200, 10, 10] * 3)
    assert load_regions([(3, 1)], image, image).names == ("1", "3")


def test_each_exemplar_is_a_region_of_its_own():
    painting = load_regions([(2, 1), (3, 1), (1, 1)], None, index([[3, 1, 3]]))
    assert painting.names == ("1", "3")
    assert [e[:, 0].tolist() for e in painting.exemplars] == [[[1, 1], [0, 0]], [[0, 0, 0]] * 2, [[0], [1]]]


def test_several_exemplars_share_regions():
    painting = load_regions([(2, 1), (3, 1)], [index([[1, 2]]), index([[2, 2, 0]])], index([[1, 2]]))
    assert [e[:, 0].tolist() for e in painting.exemplars] == [[[1, 0], [0, 1]], [[0, 0, 0], [1, 1, 0]]]


def test_soft_masks_are_numbered_from_1_and_mix_with_indices():
    masks = [np.float32([[0.25, 0.5]]), np.zeros((1, 2)), np.uint8([[255, 51]])]
    painting = load_regions([(3, 1)], index([[3, 1, 0]]), masks)
    assert painting.names == ("1", "3")  # the second is nowhere
    assert np.allclose(painting.output[:, 0], [[0.25, 0.5], [1, 0.2]])
    assert np.array_equal(painting.exemplars[0][:, 0], [[0, 1, 0], [1, 0, 0]])
    painting = load_regions([(2, 1)], masks, index([[3, 3, 1]]))
    assert np.allclose(painting.exemplars[0][:, 0], [[0.25, 0.5], [1, 0.2]])


def test_black_is_a_region_where_nothing_else_says_what_is_there():
    image = index([[0, 0, 2, 2]], 16)
    with pytest.warns(UserWarning, match=r"^output_regions: 0, black, is a region: exemplars have it"):
        recipe = Recipe.create(picture(32, 16), exemplar_regions=index([[2, 0], [2, 0]], 16)[:16], output_regions=image)
    assert recipe.level.regions == ("0", "2")
    assert np.array_equal(recipe.level.masks[0], image == 0)
    assert np.array_equal(recipe.level.exemplars[0].masks[0], index([[0, 1]], 16))
    assert recipe.level.free is None


def test_black_is_no_region_where_something_else_is_there():
    """A content, or what is kept of a picture; or where no exemplar has it, which is refused."""
    layout, image = index([[0, 0, 2, 2]], 8), picture(32, 16)
    layout = np.vstack([layout, layout])
    options = {"exemplar_regions": layout, "output_regions": layout}
    assert Recipe.create(picture(32, 16), content=image, **options).level.regions == ("2",)
    recipe = Recipe.create(image, fill=layout == 2, **options | {"exemplar_regions": index([[2, 0]], 16)})
    assert recipe.level.regions == ("2",)
    with pytest.raises(PyengineError, match="part of it is 0, no region"):
        Recipe.create(image, **options | {"exemplar_regions": np.full((16, 32), 2)})


def test_maps_from_jpeg_name_regions_as_one_another(tmp_path):
    """Red is 254 in a JPEG of one quality, and 255 elsewhere."""
    layout = np.zeros((96, 128, 3), np.uint8)
    layout[:, 60:] = (250, 10, 10)
    layout[40:80, 20:100] = (20, 30, 240)
    for quality, name in ((60, "a.jpg"), (80, "b.jpg")):
        Image.fromarray(layout).save(tmp_path / name, quality=quality)
    Image.fromarray(layout).save(tmp_path / "c.png")
    for one, other in (("a.jpg", "b.jpg"), ("a.jpg", "c.png"), ("c.png", "b.jpg")):
        with pytest.warns(UserWarning, match="are snapped to the 3 main ones, 0, #") as told:
            painting = load_regions([(128, 96)], tmp_path / one, tmp_path / other)
        texts = [str(warning.message) for warning in told]
        assert len(texts) == sum(name.endswith(".jpg") for name in (one, other))
        assert len(painting.names) == 2
        assert painting.output.mean(axis=(1, 2)) == pytest.approx(painting.exemplars[0].mean(axis=(1, 2)), abs=0.02)


@pytest.mark.parametrize("count", [0, 65, 2.5, "2", True])
def test_refused_counts_of_regions(count):
    with pytest.raises(PyengineError, match=r"^regions=.*: give a whole number from 1 to 64$"):
        load_regions([(4, 4)], None, index([[1, 1]]), count)
    with pytest.raises(PyengineError, match=r"^regions without output_regions: give the layout"):
        load_regions([(4, 4)], None, None, 3)


def test_no_regions_are_none():
    assert load_regions([(4, 4)], None, None) is None


# --------------------------------------------------------- losses and noise


def test_noise_has_the_colours_of_its_region():
    colours = np.zeros((8, 8, 3), np.float32)
    colours[:, 4:, 0] = 1
    colours[:, :, 1] = np.linspace(0.2, 0.8, 64).reshape(8, 8)
    rows = np.repeat([1, 2], [4, 4])
    exemplar = np.stack([rows == 1, rows == 2]).astype(np.float32)[:, :, None].repeat(8, axis=2)
    layout = np.stack([np.tri(20, 30), 1 - np.tri(20, 30)]).astype(np.float32)
    level = Level((30, 20), (Exemplar(colours, exemplar),), ("1", "2"), layout)
    noise = white_noise(level, np.random.default_rng(0))
    for region, part in ((0, colours[:4]), (1, colours[4:])):
        found = {tuple(c) for c in noise[layout[region] == 1]}
        assert found <= {tuple(c) for c in part.reshape(-1, 3)}
        assert len(found) > 16  # of 32


def test_noise_where_masks_overlap_is_of_the_larger():
    reds = np.zeros((8, 8, 3), np.float32)
    reds[..., 0] = np.linspace(0, 1, 8)
    halves = np.zeros((2, 8, 8), np.float32)
    halves[0, :, :4] = halves[1, :, 4:] = 1
    layout = np.stack([np.full((20, 20), 0.4), np.linspace(0, 1, 20)[None].repeat(20, axis=0)]).astype(np.float32)
    noise = white_noise(Level((20, 20), (Exemplar(reds, halves),), ("1", "2"), layout), np.random.default_rng(0))
    assert np.array_equal(noise[..., 0] > 0.5, layout[1] > layout[0])


def test_colours_are_drawn_as_often_as_they_count():
    """By masks, but for the row at a region's border, and by the exemplars' factors."""
    dark, light = np.zeros((4, 4, 3), np.float32), np.ones((8, 4, 3), np.float32)
    mask = np.zeros((1, 8, 4), np.float32)
    mask[:, :4] = 0.5
    level = Level((64, 64), (Exemplar(dark), Exemplar(light, mask, 6.0)))
    assert white_noise(level, np.random.default_rng(0)).mean() == pytest.approx(36 / 52, abs=0.03)


def test_detail_is_that_of_the_region(rng):
    image = np.full((64, 64, 3), 0.5, np.float32)
    image[:, 32:] += 0.2 * rng.standard_normal((64, 32, 1)).astype(np.float32)
    masks = np.zeros((2, 64, 64), np.float32)
    masks[0, :, :28] = masks[1, :, 36:] = 1
    layout = np.stack([np.tri(32), 1 - np.tri(32)]).astype(np.float32)
    grey = np.full((32, 32, 3), 0.5, np.float32)
    level = Level((32, 32), (Exemplar(image.clip(0, 1), masks),), ("1", "2"), layout)
    detailed = add_detail(grey, level, rng)
    assert np.allclose(detailed[layout[0] == 1], 0.5, atol=4e-3)
    assert detailed[layout[1] == 1].std() > 0.02


# ------------------------------------------------------------ tiny regions


def one_pixel(side: int) -> np.ndarray:
    """Region 2 is a pixel."""
    indices = np.ones((side, side), int)
    indices[side // 2 + 3, side // 3] = 2
    return indices


def halves(side: int) -> np.ndarray:
    return np.where(np.arange(side) < side // 2, 1, 2)[None].repeat(side, axis=0)


@pytest.mark.parametrize("weights", ["auto", "thresholds"])
@pytest.mark.parametrize("tiny", ["exemplar", "output", "both"])
def test_a_region_of_one_pixel(engine: Engine, natural, tiny, weights):
    """At two levels, on feature maps down to 4x4."""
    own = one_pixel(64) if tiny != "output" else halves(64)
    layout = one_pixel(64) if tiny != "exemplar" else halves(64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = engine.synthesize(
            natural[:64, :64], exemplar_regions=own, output_regions=layout, levels=2, iterations=[2, 2], structure=True,
            weights=weights, start="patches" if weights == "auto" else "noise",
        )  # fmt: skip
    assert [i.level for i in result.history] == [0, 0, 1, 1]
    for iteration in result.history:
        assert np.isfinite([iteration.value, *iteration.terms.values(), *iteration.weights.values()]).all()
        assert any(name.endswith("/2") for name in iteration.terms)


def test_a_region_that_is_nowhere_at_a_coarse_level(engine: Engine, natural):
    """A soft mask of next to nothing, which rounds to 0: its terms are left out there."""
    faint = [np.ones((64, 64), np.float32), np.zeros((64, 64), np.float32)]
    faint[1][40, 20] = 1e-45
    result = engine.synthesize(
        natural[:64, :64], exemplar_regions=[np.ones((64, 64))] * 2, output_regions=faint, levels=2, iterations=[1, 1]
    )
    assert np.isfinite([i.value for i in result.history]).all()
    assert not any(name.endswith("/2") for name in result.history[0].terms)


def test_exemplars_of_which_one_lacks_a_region(engine: Engine, natural, other):
    own = [halves(64), np.ones((64, 64), int)]
    result = engine.synthesize(
        exemplars=[natural[:64, :64], other],
        exemplar_regions=own,
        output_regions=halves(32),
        iterations=2,
        structure=True,
    )
    assert result.image.shape == (32, 32, 3)
    assert {name.split("/")[-1] for name in result.history[0].terms} == {"1", "2"}


def test_a_region_at_every_depth_of_a_pyramid():
    """Masks are reduced with the output; their sum stays 1 everywhere."""
    layout = one_pixel(64)
    recipe = Recipe.create(np.zeros((64, 64, 3)), exemplar_regions=layout, output_regions=layout, levels=3)
    for k, side in enumerate((16, 32, 64)):
        level = recipe.at(k)
        assert level.masks.shape == level.exemplars[0].masks.shape == (2, side, side)
        assert np.allclose(level.masks.sum(axis=0), 1, atol=1e-6)
        assert level.masks[1].mean() == pytest.approx(1 / 64**2, rel=0.05)
        for region in level.loss_regions(("relu1_1", "relu4_1"), VGG16, KERNELS):
            assert all(region.has_pixels(layer) for layer in ("relu1_1", "relu4_1"))
