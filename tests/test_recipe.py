"""What a synthesis is to do: defaults, what goes before what, and everything that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import VGG16
from pictures import CONTENT, EXEMPLAR, RED, REGIONS, SOFT, TWO, halves, mask, picture

from pyengine import PyengineError
from pyengine.images.color import luminance, match_colors, match_luminance
from pyengine.images.resampling import resize
from pyengine.inputs import LARGEST_SIDE
from pyengine.network.graphs import WRAPPED
from pyengine.recipe import Recipe
from pyengine.wrap import BOTH, Wrap

# ----------------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (64, 48)),
        ({"size": 20}, (20, 20)),
        ({"size": (20, 30)}, (20, 30)),
        ({"size": [np.int64(20), 30]}, (20, 30)),
        ({"init": picture(30, 40)}, (30, 40)),
        ({"init": picture(30, 40), "size": 48}, (48, 48)),
        ({"output_regions": np.ones((18, 22), int)}, (22, 18)),
        ({"output_regions": np.ones((18, 22), int), "init": picture(30, 40)}, (22, 18)),
        ({"content": picture(33, 27)}, (33, 27)),
        ({"content": picture(33, 27), "size": (40, 20)}, (40, 20)),
        ({"content": picture(33, 27), "init": picture(30, 40)}, (33, 27)),
        ({"content": picture(33, 27), "output_regions": np.ones((27, 33), int)}, (33, 27)),
        ({"content": picture(33, 27), "output_regions": np.ones((20, 40), int), "size": (40, 20)}, (40, 20)),
        ({"fill": mask(64, 48)}, (64, 48)),
        ({"seamless": "xy"}, (64, 48)),
        ({"seamless": "xy", "size": (64, 48)}, (64, 48)),
        ({"init": picture(30, 40), "keep": mask(30, 40)}, (30, 40)),
        ({"init": picture(30, 40), "seamless": "xy", "output_regions": np.ones((40, 30), int)}, (30, 40)),
    ],
)
def test_size_of_the_output(options, size):
    recipe = Recipe.create(EXEMPLAR, **options)
    assert recipe.sizes[-1] == recipe.level.size == size


def test_size_of_the_first_of_several_exemplars():
    assert Recipe.create(exemplars=[picture(20, 30), EXEMPLAR]).sizes[-1] == (20, 30)


def test_content_and_init_are_scaled_to_the_output():
    content, init = picture(80, 80, 1), picture(50, 20, 2)
    level = Recipe.create(EXEMPLAR, content=content, init=init, size=(40, 32)).level
    assert np.array_equal(level.content, resize(content.astype(np.float32) / 255, (40, 32)))
    assert np.array_equal(level.init, resize(init.astype(np.float32) / 255, (40, 32)))


# ------------------------------------------------------------ wrap and padding


@pytest.mark.parametrize(
    ("options", "wrap"),
    [
        ({}, "xy"),
        ({"init": EXEMPLAR}, "xy"),
        (CONTENT, "none"),
        ({"fill": mask(64, 48)}, "none"),
        ({"keep": mask(64, 48)}, "none"),
        ({"output_regions": np.ones((18, 22), int)}, "none"),
        ({"seamless": "xy"}, "xy"),
        ({"seamless": "x"}, "x"),
        ({"seamless": "y", "fill": mask(64, 48)}, "y"),
        ({"seamless": "x", "wrap": "xy"}, "xy"),  # it tiles in the other axis as it is
        ({"method": "gatys"}, "none"),
        ({"method": "gatys", **CONTENT}, "none"),
        ({"method": "gatys", "seamless": "x"}, "x"),
        ({"wrap": "xy", **CONTENT}, "xy"),
        ({"wrap": "y"}, "y"),
    ],
)
def test_what_need_not_tile_does_not_wrap_round(options, wrap):
    recipe = Recipe.create(EXEMPLAR, **options)
    assert recipe.losses.wrap == recipe.level.wrap == Wrap.of(wrap)


@pytest.mark.parametrize(
    ("options", "output", "exemplars"),
    [
        ({}, ("wrap", "wrap"), "reflect"),
        ({"wrap": "x"}, ("reflect", "wrap"), "reflect"),
        ({"wrap": "none"}, ("reflect", "reflect"), "reflect"),
        ({"wrap": "none", "padding": "zeros"}, ("zeros", "zeros"), "zeros"),
        ({"wrap": "y", "padding": "zeros"}, ("wrap", "zeros"), "zeros"),
        ({"padding": "zeros"}, ("wrap", "wrap"), "zeros"),
        ({"method": "gatys"}, ("zeros", "zeros"), "zeros"),
        ({"method": "gatys", "padding": "reflect", "wrap": "x"}, ("reflect", "wrap"), "reflect"),
    ],
)
def test_what_the_network_sees_beyond_the_borders(options, output, exemplars):
    """Of exemplars, never the opposite side."""
    losses = Recipe.create(EXEMPLAR, **options).losses
    assert losses.output_padding == output
    assert losses.exemplar_padding == (exemplars, exemplars)


# -------------------------------------------------- levels, methods, defaults


@pytest.mark.parametrize(
    ("options", "sizes", "iterations"),
    [
        ({}, [(64, 48)], (40,)),
        ({"size": 128}, [(128, 128)], (40,)),  # the exemplar would be too small at a second
        ({"iterations": 5}, [(64, 48)], (5,)),
        ({"exemplar": picture(128, 70), "size": 128}, [(64, 64), (128, 128)], (0, 40)),
        ({"exemplar": picture(128, 70), "size": 128, "levels": 1}, [(128, 128)], (40,)),
        ({"exemplar": picture(128, 70), "size": 128, "levels": 3}, [(32, 32), (64, 64), (128, 128)], (0, 40, 25)),
        ({"exemplar": picture(128, 128), "size": 512}, [(256, 256), (512, 512)], (0, 40)),
        ({"exemplar": picture(128, 128), "size": 2048}, [(1024, 1024), (2048, 2048)], (0, 40)),
        ({"exemplar": picture(128, 128), "size": 2049}, [(512, 512), (1024, 1024), (2049, 2049)], (0, 40, 25)),
        ({"size": 64, "levels": 2, "iterations": 5}, [(32, 32), (64, 64)], (0, 5)),
        ({"size": 64, "levels": 2, "iterations": np.array([3, 0])}, [(32, 32), (64, 64)], (3, 0)),
        ({"start": "noise"}, [(64, 48)], (60,)),
        ({"start": "noise", "size": 128}, [(128, 128)], (60,)),
        ({"start": "noise", "exemplar": picture(128, 70), "size": 128}, [(64, 64), (128, 128)], (100, 60)),
        ({"start": "noise", "exemplar": picture(128, 70), "size": 128, "levels": 1}, [(128, 128)], (60,)),
        (
            {"start": "noise", "exemplar": picture(128, 128), "size": 512},
            [(128, 128), (256, 256), (512, 512)],
            (100, 100, 60),
        ),
        ({"start": "noise", "size": (65, 33), "levels": 2}, [(32, 16), (65, 33)], (100, 60)),
        ({"start": "noise", "size": 64, "levels": 2, "iterations": 5}, [(32, 32), (64, 64)], (5, 5)),
        ({"start": "noise", "size": 64, "levels": 2, "iterations": [3, 0]}, [(32, 32), (64, 64)], (3, 0)),
        ({"start": "noise", "exemplar": picture(128, 128), "style_scale": 0.5}, [(64, 64), (128, 128)], (100, 60)),
        ({"start": "noise", "exemplar": picture(128, 128), "style_scale": 0.4}, [(128, 128)], (60,)),
        ({"init": picture(128, 70), "exemplar": picture(128, 70)}, [(64, 35), (128, 70)], (100, 60)),
        ({"method": "gatys"}, [(64, 48)], (500,)),
        ({"method": "gatys", "exemplar": picture(128, 128)}, [(128, 128)], (500,)),
        ({"method": "gatys", "levels": 2}, [(32, 24), (64, 48)], (500, 500)),
        ({"method": "gatys", "iterations": 7}, [(64, 48)], (7,)),
        ({"method": "gatys", "start": "patches", "levels": 2}, [(32, 24), (64, 48)], (0, 500)),
    ],
)
def test_levels_and_iterations(options, sizes, iterations):
    recipe = Recipe.create(**{"exemplar": EXEMPLAR, **options})
    assert list(recipe.sizes) == sizes
    assert recipe.iterations == iterations
    assert len(recipe.exemplar_sizes(0)) == 1


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, "patches"),
        (TWO, "patches"),
        (REGIONS, "patches"),
        ({"seamless": "xy"}, "patches"),
        ({"fill": mask(64, 48)}, "patches"),
        ({"init": picture(40, 32), "fill": mask(40, 32)}, "patches"),  # it is what is kept
        ({"init": "noise", "seamless": "xy"}, "patches"),
        ({"start": "noise"}, "noise"),
        ({"start": "noise", "seamless": "xy"}, "noise"),
        (CONTENT, "noise"),
        ({"init": picture(64, 48)}, "noise"),
        ({"init": "noise"}, "noise"),
        ({"method": "gatys"}, "noise"),
        ({"method": "gatys", "start": "patches"}, "patches"),
    ],
)
def test_what_there_is_to_start_from(options, start):
    assert Recipe.create(**{"exemplar": EXEMPLAR, **options}).start == start


def test_the_smallest_exemplar_limits_the_levels():
    assert len(Recipe.create(exemplars=[picture(128, 128), picture(64, 64)], size=128).sizes) == 2
    assert len(Recipe.create(exemplars=[picture(128, 128), picture(63, 64)], size=128).sizes) == 1
    with pytest.raises(PyengineError, match=r"levels=3: give 1 to 2;"):
        Recipe.create(exemplars=[picture(128, 128), picture(40, 40)], size=128, levels=3)


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({}, True),
        ({"start": "patches"}, True),
        ({"start": "patches", "weights": {"gram": 2.0}}, True),
        ({"start": "patches", "weights": {"correlation": 0}}, False),
        ({"start": "noise"}, False),
        ({"start": "noise", "weights": {"correlation": "auto"}}, True),
        ({"init": EXEMPLAR}, False),
        ({"content": EXEMPLAR}, False),
        ({"method": "gatys"}, False),
    ],
)
def test_correlations_come_with_patches_or_by_their_name(options, used):
    losses = Recipe.create(EXEMPLAR, **options).losses.on(VGG16)
    assert losses.used("correlation") == (("relu2_1",) if used else ())
    assert losses.weight("correlation") == ("auto" if used else 0)


def test_defaults():
    losses = Recipe.create(EXEMPLAR).losses
    assert losses.weights == "auto"
    assert losses.on(VGG16).used("gram") == ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    assert losses.on(VGG16).used("histogram") == ("relu1_1", "relu4_1")
    assert not any(losses.on(VGG16).used(kind) for kind in ("structure", "content", "variation"))
    assert (losses.wrap, losses.padding, losses.pooling) == (BOTH, "reflect", "average")
    recipe = Recipe.create(EXEMPLAR, structure=True, content=EXEMPLAR)
    assert recipe.losses.on(VGG16).used("structure") == ("relu3_1",)
    assert recipe.losses.on(VGG16).used("content") == ("relu4_1",)
    assert recipe.seed == 0
    assert recipe.colors is None
    assert Recipe.create(EXEMPLAR, weights={}).losses.weights == "auto"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, {"gram": 1.0, "histogram": 0.0}),
        ({}, {"gram": 1.0, "histogram": 0.0}),
        ({"gram": 3}, {"gram": 3, "histogram": 0.0}),
        ({"gram/relu1_1": 0, "histogram": "auto"}, {"gram": 1.0, "histogram": "auto", "gram/relu1_1": 0}),
        ("auto", "auto"),
        ("thresholds", "thresholds"),
    ],
)
def test_weights_of_the_gatys_method(weights, expected):
    losses = Recipe.create(EXEMPLAR, method="gatys", weights=weights).losses
    assert losses.weights == expected
    assert (losses.on(VGG16).used("histogram") == ()) == (isinstance(expected, dict) and expected["histogram"] == 0)


def test_what_the_gatys_method_sets_gives_way():
    assert Recipe.create(EXEMPLAR, method="gatys").losses.padding == "zeros"
    assert Recipe.create(EXEMPLAR, method="gatys", padding="reflect", wrap="xy").losses.output_padding == WRAPPED
    assert Recipe.create(EXEMPLAR, method="gatys", gram_layers=["relu2_1"]).losses.on(VGG16).maps == ("relu2_1",)
    assert Recipe.create(EXEMPLAR, method="gatys", seamless="xy").level.free.any()


# --------------------------------------------------------- colour and content


def test_preserving_luminance():
    content, init = picture(40, 32, 1) / np.float32(255), picture(40, 32, 2) / np.float32(255)
    layout = halves(40, 32, 0, 1)
    recipe = Recipe.create(
        EXEMPLAR, content=content, init=init, output_regions=layout, preserve_color="luminance", size=(40, 32)
    )
    (exemplar,) = recipe.level.exemplars
    assert np.array_equal(recipe.colors, content)
    for grey in (exemplar.image, recipe.level.content, recipe.level.init, recipe.level.picture):
        assert np.array_equal(grey[..., 0], grey[..., 1])
        assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.array_equal(recipe.level.content, luminance(content))
    assert np.array_equal(recipe.level.picture, luminance(content))
    assert np.array_equal(recipe.level.init, luminance(init))
    own = match_luminance(EXEMPLAR / np.float32(255), content)
    assert np.allclose(exemplar.image, resize(own, exemplar.size), atol=1e-6)


def test_matching_colours():
    content = picture(64, 64, 1) // 2 / np.float32(255)
    recipe = Recipe.create(EXEMPLAR, content=content, preserve_color="match")
    np.testing.assert_array_equal(recipe.colors, recipe.level.content)
    assert np.array_equal(recipe.level.content, content)
    assert np.allclose(recipe.level.exemplars[0].image, match_colors(EXEMPLAR / np.float32(255), content), atol=1e-6)


def test_content_stays_where_no_region_is_painted():
    content, layout = picture(40, 32, 1), halves(40, 32, 0, 1)
    level = Recipe.create(EXEMPLAR, content=content, output_regions=layout).level
    assert np.array_equal(level.free, layout > 0)
    assert np.array_equal(level.picture, content / np.float32(255))
    whole = Recipe.create(EXEMPLAR, content=content, output_regions=np.ones((32, 40), int)).level
    assert whole.free is None


# -------------------------------------------------------------------- refused


REFUSED: list[tuple[dict[str, Any], str]] = [
    # content and init
    ({"content": picture(40, 12)}, r"content of 40x12 pixels: both sides must be at least 16"),
    ({"content": "missing.png"}, r"content missing.png: no such file"),
    ({"content": np.zeros((40, 40, 4))}, r"content: fully transparent"),
    ({"init": "content"}, r"init='content' without content: give the picture"),
    ({"init": "nothing"}, r"init nothing: no such file"),
    ({"init": picture(12, 40)}, r"init of 12x40 pixels: both sides must be at least 16"),
    ({"content_layers": ["relu4_1"]}, r"content_layers without content: give the picture"),
    ({**CONTENT, "content_layers": "relu4_1"}, r"content_layers='relu4_1': give a sequence of names"),
    ({**CONTENT, "content_strength": 0}, r"content_strength=0: give a number above 0"),
    ({**CONTENT, "content_strength": float("nan")}, r"content_strength=nan"),
    ({**CONTENT, "content_strength": "strong"}, r"content_strength='strong'"),
    ({"preserve_color": "match"}, r"preserve_color without content: give the picture"),
    ({"preserve_color": "luminance", "init": picture(40, 40)}, r"preserve_color without content"),
    ({**CONTENT, "preserve_color": "hue"}, r"preserve_color='hue': choose 'luminance' or 'match'"),
    ({**CONTENT, "preserve_color": True}, r"preserve_color=True: choose"),
    ({"start": "squares"}, r"start='squares': choose 'noise' or 'patches'"),
    ({"augment": ["flip"]}, r"augment=\['flip'\]: give a list of 'flips' and 'turns', or of one of them"),
    ({"augment": "flips"}, r"augment='flips': give a list"),
    (
        {"start": "patches", **CONTENT},
        r"start='patches' with content, which is a start of its own: leave one of them out",
    ),
    ({"fit": "width"}, r"fit='width': choose 'size' or 'scale'"),
    ({"fit": "size", **CONTENT}, r"fit='size' with content: periods fit a texture .* leave one of them out"),
    ({"fit": "scale", "fill": mask(64, 48)}, r"fit='scale' with fill: periods fit a texture"),
    ({"fit": "scale", "seamless": "xy"}, r"fit='scale' with seamless: periods fit a texture"),
    ({"fit": "size", **REGIONS}, r"fit='size' with exemplar_regions: periods fit a texture"),
    ({"fit": "size", "wrap": "none"}, r"fit='size' with wrap='none': nothing has to tile: leave one of them out"),
    ({"start": "patches", "init": "noise"}, r"start='patches' with init, which is a start of its own"),
    # regions
    ({"exemplar_regions": halves(64, 48)}, r"exemplar_regions without output_regions: give the layout"),
    ({"output_regions": np.zeros((48, 64), int)}, r"output_regions: nothing but 0, which is no region"),
    ({"output_regions": np.zeros((48, 64, 3), np.uint8)}, r"output_regions: nothing but 0"),
    ({"output_regions": [np.zeros((48, 64))]}, r"output_regions: nothing but 0"),
    ({"output_regions": []}, r"output_regions: an empty list: give an index image, or a mask"),
    ({**REGIONS, "exemplar_regions": []}, r"exemplar_regions: an empty list"),
    ({"output_regions": halves(64, 48)}, r"output_regions: no exemplar has region 2: there are 1"),
    ({**REGIONS, "output_regions": halves(64, 48, 7, 3)}, r"no exemplar has region 3, 7: there are 1, 2"),
    ({**REGIONS, "output_regions": RED}, r"no exemplar has region #c80000: there are 1, 2"),
    ({**REGIONS, "exemplar_regions": np.zeros((48, 64), int)}, r"no exemplar has region 1, 2: there are none"),
    (
        {**REGIONS, "exemplar_regions": [np.ones((48, 64)), np.zeros((48, 64))]},
        r"no exemplar has region 2: there are 1",
    ),
    ({**REGIONS, "exemplar_regions": halves(48, 64)}, r"exemplar_regions of 48x64 pixels: the exemplar has 64x48"),
    ({**REGIONS, "size": 64}, r"output_regions of 64x48 pixels: the output has 64x64: draw them at that size"),
    ({**REGIONS, **CONTENT}, r"output_regions of 64x48 pixels: the output has 40x32"),
    (
        {**REGIONS, "exemplar_regions": [SOFT[0], np.ones((48, 60))]},
        r"exemplar_regions: masks of different sizes, 64x48,",
    ),
    (
        {**REGIONS, "output_regions": [SOFT[0], np.ones((40, 64))]},
        r"output_regions: masks of different sizes, 64x48, 64x40",
    ),
    ({**REGIONS, "output_regions": [RED, RED]}, r"output_regions\[0\]: a mask is grey"),
    ({**REGIONS, "output_regions": np.full((48, 64), 0.5)}, r"output_regions: .* whole numbers from 0, not 0.5"),
    ({**REGIONS, "output_regions": -halves(64, 48)}, r"output_regions: .* whole numbers from 0, not -1"),
    (
        {**REGIONS, "output_regions": picture(64, 48)},
        r"output_regions: \d+ distinct values, and it is not clear",
    ),
    ({**REGIONS, "output_regions": halves(64, 48, 0, 1)}, r"output_regions: part of it is 0, no region, and nothing"),
    ({**REGIONS, "output_regions": [halves(64, 48, 0, 1) / 1.0]}, r"output_regions: part of it is 0"),
    ({"output_regions": np.ones((15, 40), int)}, r"size 40x15: both sides must be 16"),
    ({**REGIONS, **TWO}, r"exemplar_regions: give a list of 2, one for each exemplar"),
    ({**REGIONS, **TWO, "exemplar_regions": [halves(64, 48)]}, r"exemplar_regions: give a list of 2"),
    ({**REGIONS, **TWO, "exemplar_regions": [halves(64, 48)] * 2}, r"exemplar_regions\[1\] of 64x48 .* has 20x30"),
    # method, losses, plan
    ({"method": "histograms"}, r"method='histograms': choose 'histogram' or 'gatys'"),
    ({"method": None}, r"method=None: choose"),
    ({"weights": {"gram": -1}}, r"weights: gram=-1: give a number that is not negative"),
    ({"weights": {"colour": 1}}, r"weights: there is no term 'colour': choose histogram"),
    ({"weights": {"content": 1}}, r"content=1: there is no content"),
    ({"weights": {"gram": 0, "histogram": 0}}, r"nothing is left to match"),
    ({"weights": {"gram": 0}, "method": "gatys"}, r"nothing is left to match"),
    ({**CONTENT, "weights": {"gram": 0, "histogram": 0, "content": 1}}, r"nothing is left to match"),
    ({"weights": "threshold"}, r"weights='threshold': give 'auto', 'thresholds', or numbers"),
    ({"padding": "wrap"}, r"padding='wrap': choose 'reflect' or 'zeros'"),
    ({"wrap": "yx"}, r"wrap='yx': choose 'x' or 'y' or 'xy' or 'none'"),
    ({"levels": True}, r"levels=True: give 1 to 2"),
    ({"levels": 3}, r"levels=3: give 1 to 2; the coarsest level's sides must be at least 16"),
    ({"iterations": ()}, r"iterations=\(\): give one number, or 1 of them"),
    ({"iterations": [True]}, r"iterations=\[True\]"),
    ({"structure": "no"}, r"structure='no': give True or False"),
    ({"seamless": True}, r"seamless=True: choose 'x' or 'y' or 'xy'"),
    ({"seed": 2**128}, r"seed=3402823\d+: give a whole number from 0"),
    ({"weights": {"gram": 10**400}}, r"weights: gram=1000.*: give a number that is not negative"),
    ({"seed": -1}, r"seed=-1: give a whole number from 0"),
    ({"seed": "now"}, r"seed='now'"),
    ({"size": (LARGEST_SIDE + 1, 16)}, r"size 16384x16: both sides must be 16 to 16383 pixels"),
]


@pytest.mark.parametrize(
    ("options", "message"), REFUSED, ids=[f"{k}-{'-'.join(options)}" for k, (options, _) in enumerate(REFUSED)]
)
def test_refused(options, message):
    with pytest.raises(PyengineError, match=message) as error:
        Recipe.create(**{"exemplar": EXEMPLAR, **options})
    assert "\n" not in str(error.value)


def test_a_region_of_an_exemplar_without_weight_is_refused_as_such():
    exemplars = [EXEMPLAR, picture(20, 30)]
    with pytest.raises(PyengineError, match=r"region 2.*exemplar_weights|exemplar_weights.*region 2"):
        Recipe.create(exemplars=exemplars, exemplar_weights=[1, 0], output_regions=halves(64, 48))


def test_a_strength_without_content_is_refused():
    with pytest.raises(PyengineError, match="content_strength without content"):
        Recipe.create(EXEMPLAR, content_strength=2.0)


# ----------------------------------------------------------- periods that fit

BOARD = np.kron(np.indices((8, 8)).sum(0) % 2, np.full((9, 9), 200)).astype(np.uint8)  # a period of 18 pixels
TALL = np.kron(np.indices((8, 8)).sum(0) % 2, np.full((12, 9), 200)).astype(np.uint8)


@pytest.mark.parametrize(
    ("options", "output", "measured"),
    [
        ({"exemplar": BOARD, "size": 79, "fit": "size"}, (72, 72), [(72, 72)]),
        ({"exemplar": BOARD, "size": 79, "fit": "scale"}, (79, 79), [(79, 79)]),
        ({"exemplar": BOARD, "size": (84, 103), "fit": "scale"}, (84, 103), [(67, 69)]),
        ({"exemplar": TALL, "size": 110, "fit": "size"}, (108, 120), [(72, 96)]),
        ({"exemplar": BOARD[:64, :64], "fit": "size"}, (72, 72), [(64, 64)]),
        ({"exemplar": BOARD, "size": 79, "fit": "size", "style_scale": 1.5}, (81, 81), [(108, 108)]),
        ({"exemplar": BOARD, "size": 79, "fit": "scale", "style_scale": 1.5}, (79, 79), [(105, 105)]),
        ({"exemplar": EXEMPLAR, "size": 79, "fit": "size"}, (79, 79), [(64, 48)]),
        ({"exemplars": [EXEMPLAR, BOARD, TALL], "size": 79, "fit": "size"}, (72, 72), [(64, 48), (72, 72), (72, 96)]),
        ({"exemplars": [EXEMPLAR, BOARD], "size": 79, "fit": "scale"}, (79, 79), [(70, 53), (79, 79)]),
        ({"exemplar": BOARD, "size": 79, "fit": "size", "wrap": "x"}, (72, 79), [(72, 72)]),
        ({"exemplar": BOARD, "size": 79, "fit": "scale", "wrap": "y"}, (79, 79), [(72, 79)]),
    ],
)
def test_periods_fit(options, output, measured):
    recipe = Recipe.create(**{"exemplar": None, **options})
    assert recipe.sizes[-1] == recipe.level.size == output
    assert [exemplar.size for exemplar in recipe.level.exemplars] == measured
    assert recipe.arguments["fit"] == options["fit"]


def test_exemplars_are_scaled_by_a_tenth_at_most():
    message = (
        r"^fit='scale': for whole periods in 28x72, the exemplar would be scaled by 0.78 in width and 1.00 in height, "
        r"and a tenth is the most: give fit='size', which makes it 36x72, or another size$"
    )
    with pytest.raises(PyengineError, match=message):
        Recipe.create(BOARD, size=(28, 72), fit="scale")
    assert Recipe.create(BOARD, size=(36, 72), fit="scale").sizes[-1] == (36, 72)


@pytest.mark.parametrize(
    ("augment", "count"), [(None, 1), ([], 1), (["flips"], 4), (["turns"], 4), (["flips", "turns"], 8)]
)
def test_flips_and_turns_are_exemplars_that_share_its_weight(augment, count):
    image = picture(30, 20)
    labels = np.repeat([1, 2], [12, 18])[None].repeat(20, axis=0)
    recipe = Recipe.create(image, augment=augment, exemplar_regions=labels, output_regions=labels)
    exemplars = recipe.level.exemplars
    assert len({exemplar.image.tobytes() for exemplar in exemplars}) == len(exemplars) == count
    assert sum(exemplar.factor for exemplar in exemplars) == pytest.approx(1)
    sizes = {exemplar.size for exemplar in exemplars}
    assert sizes == ({(30, 20), (20, 30)} if augment and "turns" in augment else {(30, 20)})
    first = exemplars[0]
    for other in exemplars:
        assert other.image[other.masks[0] == 1].sum() == pytest.approx(first.image[first.masks[0] == 1].sum())
    assert sorted(recipe.exemplar_sizes(0)) == sorted(e.size for e in recipe.at(0).exemplars)
    if augment == ["flips"]:
        for flipped in (first.image[::-1], first.image[:, ::-1], first.image[::-1, ::-1]):
            assert any(np.array_equal(flipped, other.image) for other in exemplars)
