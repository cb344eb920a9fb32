"""Images in tiles: the same value, gradient and picture as the whole image at once."""

from itertools import product

import numpy as np
import pytest
from conftest import relative_error, sessions_of
from test_objective import diagonal, example

from pyengine import Engine, PyengineError
from pyengine import memory as memory_module
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses.options import LossOptions
from pyengine.memory import Demand, Plan
from pyengine.network.modelfile import load
from pyengine.network.network import Network
from pyengine.network.tiles import TiledNetwork, Tiling, margins, receptive_radius
from pyengine.network.vgg import vgg
from pyengine.optimizers import lbfgs

VGG = vgg("vgg16")
LAYERS = ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2"]
DEEP = {"relu4_1": 0}


@pytest.fixture(scope="module")
def engine():
    with Engine(threads=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def sessions():
    return sessions_of(load("vgg16"))


@pytest.fixture
def in_tiles(monkeypatch):
    """Have every objective made and evaluated from now on in tiles of so many pixels."""

    def divide(side: int, channels: int = 24) -> None:
        monkeypatch.setattr(Engine, "_plan", lambda *_: Plan(side, channels))

    return divide


def evaluated(objective, image):
    return *objective(image), objective.terms(image)


def check_against_whole(engine, in_tiles, image, options, side, channels=24):
    image = np.ascontiguousarray(image)
    value, gradient, terms = evaluated(engine.objective(**options), image)
    in_tiles(side, channels)
    tiled = engine.objective(**options)
    found_value, found_gradient, found_terms = evaluated(tiled, image)
    assert found_value == pytest.approx(value, rel=1e-6)
    assert relative_error(found_gradient, gradient) < 1e-5
    assert list(found_terms) == list(terms)
    for name, term in terms.items():
        assert found_terms[name] == pytest.approx(term, rel=1e-5, abs=1e-12), name
    return found_gradient


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(
    ("size", "padding", "side"),
    [
        ((64, 96), "wrap", 32),
        ((64, 96), "wrap", 50),  # a tile and a part, rounded down to 48
        ((128, 72), "wrap", 64),
        ((64, 96), "wrap", 1024),  # one tile, without a halo
        ((64, 96), "wrap", 64),  # one row of tiles
        ((61, 101), "zeros", 32),
        ((125, 77), "zeros", 64),
        ((47, 33), "zeros", 24),
        # Winograd's, from 128 x 128 pixels on
        ((160, 128), "wrap", 64),
        ((352, 64), "wrap", 32),  # so long that no region covers it
        ((352, 101), "zeros", 96),
    ],
)
def test_tiles_are_exact(engine, in_tiles, other, size, padding, side, pooling):
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    options = {"exemplar": other, "padding": padding, "pooling": pooling, "weights": {"variation": 1.0}}
    check_against_whole(engine, in_tiles, image, options, side)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["gram", "histogram"])
def test_each_layer_alone(engine, in_tiles, natural, other, kind, layer):
    weights = {k: float(k == kind) for k in ("gram", "histogram")}
    options = {"exemplar": other, "weights": weights, f"{kind}_layers": (layer,)}
    check_against_whole(engine, in_tiles, natural[:64], options, 32)


@pytest.mark.parametrize("channels", [4, 24, 64])
def test_channels_of_the_first_map_at_a_time(engine, in_tiles, natural, other, channels):
    weights = {"gram": 0, "histogram": 1.0}
    check_against_whole(engine, in_tiles, natural, {"exemplar": other, "weights": weights}, 48, channels)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(["index images"], ["gram", "histogram", "structure", "content", "all"]),
        *product(["hole under zeros", "exemplars as regions"], ["structure", "all"]),
    ],
)
def test_what_has_a_place_where_the_image_ends(engine, in_tiles, natural, other, name, kind):
    """Each kind alone, since the largest hides the others."""
    e = example(name, natural, other)
    weights = {k: float(kind in (k, "all")) for k in e.everything["weights"]}
    weights["gram"] = weights["gram"] or 1e-9  # nothing is matched without one of these
    check_against_whole(engine, in_tiles, e.image, {**e.everything, "weights": weights}, 32)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(["soft masks"], ["gram", "histogram", "structure", "content", "all"]),
        *product(["hole", "hole and regions"], ["histogram", "structure", "all"]),
    ],
)
def test_what_has_a_place_where_the_image_wraps_round(engine, in_tiles, natural, other, name, kind):
    weights = {k: float(kind in (k, "all")) for k in ("gram", "histogram", "structure")}
    weights["gram"] = weights["gram"] or 1e-9
    options = {"exemplar": other, "structure": True, "weights": weights}
    ramp = np.broadcast_to(np.linspace(-0.5, 1.5, 96, dtype=np.float32), (64, 96)).clip(0, 1)
    hole = np.zeros((64, 96), bool)
    hole[10:27, 87:] = hole[30:35, 12:33] = True
    if name == "soft masks":
        content = {"content": natural[32:]}
        weights["content"] = float(kind in ("content", "all"))
        regions = {"exemplar_regions": [np.eye(64), 1 - np.eye(64)], "output_regions": [ramp, 0.7 * (1 - ramp) + 0.1]}
        options |= content | regions
    else:
        options |= {"init": natural[:64], "fill": hole}
    if name == "hole and regions":
        options |= {"exemplar_regions": diagonal(64, 64).T.copy(), "output_regions": diagonal(64, 96)}
    check_against_whole(engine, in_tiles, natural[20:84], options, 32)


@pytest.mark.parametrize(("size", "padding"), [((64, 144), "wrap"), ((61, 150), "zeros")])
def test_the_halo_covers_what_is_compared_at_a_distance(engine, in_tiles, natural, size, padding):
    """An exemplar large enough for the largest translation; no deeper layer, whose halo would do."""
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    weights = {"gram": 1e-9, "histogram": 0, "structure": 1.0}
    options = {"exemplar": natural, "structure": True, "gram_layers": ("relu1_1",), "weights": weights}
    check_against_whole(engine, in_tiles, image, {**options, "padding": padding}, 32)


def test_the_baseline(engine, in_tiles, natural, other):
    check_against_whole(engine, in_tiles, natural[:61, :75], {"exemplar": other, "method": "gatys"}, 32)


def test_the_same_bits_in_every_run(engine, in_tiles, natural, other):
    in_tiles(32)
    first, second = (engine.objective(other)(natural) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("alignment", [1, 4])
def test_tiles_partition_the_image(alignment):
    for size, side, wrap in product([(64, 96), (61, 101), (200, 17)], [16, 40, 128], [False, True]):
        if wrap and size != (64, 96):
            continue
        unit = 8 * alignment
        tiling = Tiling(size, side, VGG, DEEP, wrap=wrap, alignment=alignment)
        covered, whole = np.zeros(size, int), np.zeros((*size, 1), np.float32)
        for tile in tiling.tiles:
            (top, bottom), (left, right) = tile.core
            covered[top:bottom, left:right] += 1
            assert top % unit == left % unit == 0
            assert max(bottom - top, right - left) <= max(side, unit)
            assert all(start % unit == 0 for start in tile.start)
            tiling.add(np.ones((*tiling.region, 1), np.float32), tile, whole)
            cut = np.empty((*tiling.region, 1), np.float32)
            y, x = np.indices(size)
            tiling.cut((y * 1000.0 + x)[..., None], tile, cut)
            window = tiling.window(tile, "relu1_1")
            (a, b), (c, d) = window.here
            assert np.array_equal(cut[a:b, c:d, 0], (y * 1000.0 + x)[top:bottom, left:right])
        assert (covered == 1).all()
        assert whole.sum() == len(tiling.tiles) * tiling.region[0] * tiling.region[1]


@pytest.mark.parametrize("winograd", [False, True])
def test_the_receptive_radius_is_the_networks(sessions, winograd):
    """By what changes, to the last bit, where a pixel of the image does."""
    network = Network(sessions, (160, 160), ("relu3_1",), padding="zeros", gradient=False, winograd=winograd)
    image = np.random.default_rng(0).random((160, 160, 3), np.float32)
    alignment = 4 if winograd else 1
    unit, halo = margins(VGG, {"relu3_1": 0}, alignment)
    exact, radius = (receptive_radius(VGG, "relu3_1", alignment=a) for a in (1, alignment))
    network.forward(image)
    before = network.features["relu3_1"].copy()
    reached = exact if alignment == 1 else exact + 2  # by rounding alone
    for beyond, changes in ((reached, True), (radius + 1, False), (halo + 1, False)):
        changed = image.copy()
        changed[unit * (80 // unit) - beyond] += 10  # a row above the one where the map's pixels are looked at
        network.forward(changed)
        row = unit * (80 // unit) // 4
        assert np.array_equal(network.features["relu3_1"][:, row], before[:, row]) != changes, beyond


def test_maps_in_tiles_are_the_same_bits(sessions):
    size, layers = (416, 224), tuple(LAYERS[:8])
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    whole = Network(sessions, size, layers, gradient=False)
    whole.forward(image)
    tiled = TiledNetwork(sessions, size, 64, dict.fromkeys(layers, 0), gradient=False, channels=24)
    assert tiled.tiling.region[0] < size[0]
    for layer, found in tiled.maps(image).items():
        assert np.array_equal(found, whole.features[layer]), layer
    for first, group in tiled.channel_groups():
        assert np.array_equal(group.maps(image)["relu1_1"], whole.features["relu1_1"][first : first + 24])


def small(monkeypatch, tile: int = 32) -> None:
    """Let plans be made for images that nobody would cut: tiles cost next to nothing."""
    for name, number in {
        "BASE_BYTES": 0,
        "ROWS_BYTES": 0,
        "SMALLEST_TILE": tile,
        "COMFORTABLE_TILE": tile,
        "MEASURING_BYTES": {1: 0, 4: 0},
    }.items():
        monkeypatch.setattr(memory_module, name, number)
    exact = memory_module.evaluation_bytes

    def cheap(architecture, wanted, grain):
        return 100 if isinstance(wanted, dict) else exact(architecture, wanted, grain)  # tiles have reaches

    monkeypatch.setattr(memory_module, "evaluation_bytes", cheap)


@pytest.mark.parametrize("spill", [False, True])
def test_a_synthesis_in_little_memory(monkeypatch, engine, other, spill):
    options = {"size": (128, 96), "levels": 2, "iterations": [1, 2], "seed": 1}
    expected = engine.synthesize(other, **options)
    small(monkeypatch)
    pixels = 128 * 96
    demand = Demand.of(LossOptions(), VGG, other[..., 0].size, 0)
    limit = int(pixels * (1900 if not spill else 300) + demand.bytes + 1e6)
    with Engine(threads=2, memory_limit=limit) as tight:
        plan = tight._plan((96, 128), demand)
        assert plan.side is not None
        assert plan.spill == spill
        upsample, kept = CpuKernels.upsample, []

        def enlarge(*arguments):  # the moment with the most images in memory
            kept.append([type(network) for _, network in tight._idle])
            return upsample(*arguments)

        monkeypatch.setattr(CpuKernels, "upsample", enlarge)
        found = tight.synthesize(other, **options)
    assert len(kept) == 1
    assert TiledNetwork not in kept[0]
    assert np.abs(found.image.astype(int) - expected.image.astype(int)).max() <= 1
    assert [state.iteration for state in found.history] == [state.iteration for state in expected.history]
    assert found.history[-1].value == pytest.approx(expected.history[-1].value, rel=1e-4)
    assert found.timings.keys() == expected.timings.keys()


def test_a_matrix_in_a_file_changes_no_bit(monkeypatch):
    monkeypatch.setattr(lbfgs, "BLOCK", 8192)  # three blocks, the last one shorter
    size = 2 * 8192 + 1000
    target = np.random.default_rng(0).random(size, np.float32)
    slope = np.linspace(1, 30, size, dtype=np.float32)
    kernels = CpuKernels(threads=2)

    def function(x):
        return np.array([0.5 * ((x - target) ** 2) @ slope], np.float64), slope * (x - target)

    found = [lbfgs.minimize(function, np.zeros(size, np.float32), 12, kernels, spill=spill) for spill in (False, True)]
    assert np.abs(found[0] - target).max() < 0.2
    assert np.array_equal(*found)
    monkeypatch.setattr(lbfgs, "BLOCK", 2**20)
    assert np.allclose(lbfgs.minimize(function, np.zeros(size, np.float32), 12, kernels), found[0], atol=1e-4)


def test_a_full_disk_is_an_error_of_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(PyengineError, match=r"has no room for 1120 bytes \(No space.*\): set TMPDIR") as error:
        lbfgs.minimize(lambda x: (np.zeros(1), x), np.ones(10, np.float32), 1, CpuKernels(threads=1), spill=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("padding", ["wrap", "zeros"])
def test_sizes_that_only_wrap_round_as_a_whole(monkeypatch, other, padding):
    small(monkeypatch)
    options = {"size": (125, 100), "levels": 1, "iterations": 1, "padding": padding}
    with Engine(threads=2, memory_limit=128 * 100 * 1500) as engine:
        if padding == "zeros":
            assert engine.synthesize(other, **options).image.shape == (100, 125, 3)
            return
        with pytest.raises(PyengineError, match=r"size 125x100: .* multiples of 8: make it 128x104, or") as error:
            engine.synthesize(other, **options)
        assert "\n" not in str(error.value)
        objective = engine.objective(other)
        with pytest.raises(PyengineError, match=r"size 125x100: .* multiples of 8"):
            objective(np.zeros((100, 125, 3), np.float32))
        assert objective(np.zeros((104, 128, 3), np.float32))[0] > 0


def test_thresholds_need_the_whole_image(monkeypatch, other):
    small(monkeypatch)
    message = r"weights='thresholds' .*: give 'auto', or more memory_limit"
    with Engine(threads=2, memory_limit=128 * 96 * 1500) as engine, pytest.raises(PyengineError, match=message):
        engine.synthesize(other, size=(128, 96), levels=1, iterations=1, weights="thresholds")


@pytest.mark.parametrize("grain", [1, 4])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("layers", [("relu4_1",), ("relu1_1", "relu3_1"), ("relu2_2", "relu1_2", "relu2_1"), LAYERS])
def test_what_networks_take_of_memory_is_known_beforehand(sessions, layers, gradient, grain):
    """But for the borders on the way back."""
    expected = 128 * 160 * memory_module.network_bytes(VGG, tuple(layers), grain, gradient=gradient)
    network = Network(sessions, (128, 160), tuple(layers), gradient=gradient, winograd=grain > 1)
    assert expected <= network.nbytes <= (1.02 if gradient else 1) * expected + 4


def test_more_layers_and_pictures_need_more():
    few = Demand.of(LossOptions(), VGG, 256 * 256)
    many = Demand.of(LossOptions(gram_layers=LAYERS), VGG, 256 * 256)
    kept = Demand.of(LossOptions(), VGG, 256 * 256, pictures=3)
    plans = [d.plan((1024, 1024), VGG, 2.16e9, lbfgs.STATE, grain=4, on_cpu=True).side for d in (few, many, kept)]
    assert [side is None for side in plans] == [True, False, False]


def test_plans_use_the_memory_there_is():
    """With more of it, no file; larger tiles; the image whole."""
    demand = Demand.of(LossOptions(), VGG, 256 * 256, 0)

    def plan(limit: float, **options: bool) -> Plan:
        return demand.plan((2048, 2048), VGG, limit, lbfgs.STATE, **{"grain": 4, "on_cpu": True, **options})

    plans = [plan(limit) for limit in (1.4e9, 2e9, 3e9, 5e9, 6.5e9, 30e9)]
    assert [p.spill for p in plans] == sorted([p.spill for p in plans], reverse=True)
    assert plans[0].spill
    assert plans[-1].side is None
    sides = [p.side for p in plans[:-1] if not p.spill]
    assert sides == sorted(sides)
    assert len(set(sides)) > 1
    assert not plan(2.6e9, on_cpu=False).spill
    message = r"size 2048x2048 pixels needs about 1.\d GB \(\d+ bytes\) even in tiles, and 0.5 GB"
    with pytest.raises(PyengineError, match=message):
        plan(0.5e9)
