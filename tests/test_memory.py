"""What levels take of memory, how they are made to fit, and what is refused."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import LAYERS, VGG16, WRAPS

from pyengine import Engine, PyengineError, Recipe
from pyengine import memory as memory_module
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses.base import Sample
from pyengine.losses.correlation import CorrelationLoss
from pyengine.losses.options import LossOptions
from pyengine.memory import Budget, Demand, Plan, level_demand
from pyengine.network.tiles import TiledNetwork, Window
from pyengine.optimizers import lbfgs
from pyengine.wrap import BOTH, NEITHER, Wrap

LOSSES = LossOptions().on(VGG16)


def budget_of(limit: float, *, on_cpu: bool = True) -> Budget:
    """For images so large that Winograd's convolutions are used."""
    return Budget(limit, VGG16, lambda size: 4, on_cpu)


# ------------------------------------------------------------------- plans


def test_more_layers_and_pictures_need_more():
    many = LossOptions(layers={"gram": LAYERS}).on(VGG16)
    plans = [
        budget_of(2.16e9).plan((1024, 1024), Demand.of(losses, VGG16, 256 * 256, pictures=pictures), losses)
        for losses, pictures in ((LOSSES, 0), (many, 0), (LOSSES, 3))
    ]
    assert [plan.side is None for plan in plans] == [True, False, False]


def test_plans_use_the_memory_there_is():
    """With more of it, no file; larger tiles; the image whole."""
    demand = Demand.of(LOSSES, VGG16, 256 * 256, 0)

    def plan(limit: float, **options: bool) -> Plan:
        return budget_of(limit, **options).plan((2048, 2048), demand, LOSSES)

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


def test_a_level_is_planned_once_by_its_own_exemplars(monkeypatch):
    """Half as large as at the finest level, these leave room for the image whole and for all that is optimised.

    The optimiser's matrix once went by the exemplars at full scale, and into a file that nobody needed.
    """
    files = []
    monkeypatch.setattr(lbfgs, "TemporaryFile", lambda *_, **__: files.append(1))
    exemplars = [np.random.default_rng(seed).random((768, 768, 3), np.float32) for seed in (0, 1)]
    recipe = Recipe.create(exemplars=exemplars, size=1024, levels=2, iterations=[1, 1])
    with Engine("cpu", threads=1, memory_limit=1_210_000_000) as engine:
        half, full = engine.plans(recipe)
        assert (half.side, half.spill) == (None, False)
        assert full.side is not None
        assert full.spill
        result = engine.run(recipe, lambda progress: progress.stop())
    assert [state.level for state in result.history] == [0]
    assert files == []


PICTURE = np.random.default_rng(0).random((64, 64, 3), np.float32)
HALF = np.arange(64 * 64).reshape(64, 64) < 64 * 32


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 0),
        ({"init": PICTURE}, 12),
        ({"content": PICTURE}, 12 + 12 + 32),  # what is started from, the content, and its map at relu4_1
        ({"content": PICTURE, "init": "noise"}, 12 + 32),
        ({"exemplar_regions": HALF + 1, "output_regions": HALF + 1}, 2 * 12),
        ({"fill": HALF}, 12 + 12 + 12),  # the picture, where it is made, and what counts of the one region
    ],
)
def test_what_a_level_keeps_of_each_pixel(options, kept):
    recipe = Recipe.create(PICTURE, weights={"correlation": 0}, **options)
    demand = level_demand(recipe.level, recipe.losses.on(VGG16), VGG16, 1000)
    assert demand.pixel_bytes == kept
    assert demand.measured_bytes == 1000 * (256 + 32)  # relu1_1 and relu4_1, sorted
    assert demand.whole_map_bytes == 32
    assert demand.reaches["relu1_1"] == 0  # a Gram loss looks at it too
    histogram = LossOptions({"gram": 0}).on(VGG16)
    assert list(Demand.of(histogram, VGG16, 0).reaches) == ["relu4_1"]


def correlations(wrap: Wrap, regions: int = 0) -> np.ndarray:
    """What they take of each pixel of the exemplars, and of the output, all the time and for a moment."""
    demands = [
        Demand.of(LossOptions({"correlation": weight}, wrap=wrap).on(VGG16), VGG16, 1, regions)
        for weight in ("auto", 0)
    ]
    more, plain = ((d.measured_bytes, d.pixel_bytes, d.whole_map_bytes) for d in demands)
    return np.subtract(more, plain)


def test_what_is_spread_over_the_whole_image_counts():
    """Eight channels at half of the size, in each region."""
    assert correlations(BOTH).tolist() == [8 * 2, 8 * 1.5, 8 * 5]
    assert correlations(NEITHER).tolist() == [8 * 2, 8 * 1.5, 8 * 10]
    assert correlations(BOTH, 3).tolist() == [3 * 8 * 2, 3 * 8 * 1.5, 8 * (5 + 2)]


@pytest.mark.parametrize("wrap", WRAPS)
def test_correlations_take_no_more_than_that(wrap):
    """And not much less."""
    kernels, (height, width), each = CpuKernels(threads=1), (96, 128), correlations(wrap)
    kernels.rfft2(np.zeros((1, 2, 2), np.float32), (2, 2))  # imports what it needs
    exemplar = np.tile(np.random.default_rng(0).random((16, 4, 8), np.float32), (1, height // 4, width // 8))
    tile = np.random.default_rng(1).random((16, 24, width), np.float32)
    windows = [
        Window((height, width), (24, width), ((y, y + 24), (0, width)), ((0, 24), (0, width)))
        for y in range(0, height, 24)
    ]
    tracemalloc.start()
    loss = CorrelationLoss.measure("relu2_1", [Sample(exemplar)], kernels, wrap=wrap)
    measured = tracemalloc.get_traced_memory()[0]
    parts = [loss.within(window, kernels) for window in windows]
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    sums = None
    for part in parts:
        sums = part.statistic(tile, kernels, sums)
    parts[0].residual(sums, tile.shape, kernels, np.empty(()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = np.array([measured, kept - measured, peak - kept]) / (4 * height * width)  # pixels of the image
    assert (found <= each).all()
    assert (found >= each / 2).all()


@pytest.mark.parametrize("more", [{"measured_bytes": 10**9}, {"pixel_bytes": 250.0}, {"whole_map_bytes": 600.0}])
def test_all_that_is_kept_leaves_less_for_tiles(more):
    demand = Demand.of(LOSSES, VGG16, 0)
    less, plain = (budget_of(4e9).plan((2048, 2048), d, LOSSES) for d in (replace(demand, **more), demand))
    assert (less.spill, -less.side) > (plain.spill, -plain.side)


def test_one_tile_needs_no_halo():
    """Just before the image fits whole, all of it is one tile, where only histograms want the first map."""
    losses = LossOptions(layers={"gram": ("relu2_1", "relu3_1")}).on(VGG16)
    demand = Demand.of(losses, VGG16, 0)
    plans = [budget_of(limit).plan((1024, 1024), demand, losses) for limit in np.linspace(1.2e9, 2.5e9, 131)]
    sides = [plan.side for plan in plans]
    assert None in sides
    assert sides[sides.index(None) - 1] == 1024


# ------------------------------------------------------------- little memory


class CheapTiles(Budget):
    """A budget in which an evaluation in tiles costs next to nothing."""

    def evaluation_bytes(self, size: tuple[int, int], maps: Collection[str]) -> float:
        return 100 if isinstance(maps, Mapping) else super().evaluation_bytes(size, maps)  # tiles have reaches


@pytest.fixture
def tight_engine(monkeypatch):
    """Make an engine of little memory, whose plans are for images that nobody would cut."""
    constants: dict[str, Any] = {"BASE_BYTES": 0, "ROWS_BYTES": 0, "SMALLEST_TILE": 32, "COMFORTABLE_TILE": 32}
    for name, number in {**constants, "MEASURING_BYTES": {1: 0, 4: 0}}.items():
        monkeypatch.setattr(memory_module, name, number)

    def make(limit: int) -> Engine:
        engine = Engine("cpu", threads=1, memory_limit=limit)
        budget = engine.budget
        engine.budget = CheapTiles(budget.limit, budget.architecture, budget.alignment, budget.on_cpu)
        return engine

    return make


@pytest.mark.parametrize("spill", [False, True])
def test_a_synthesis_in_little_memory(monkeypatch, engine, tight_engine, other, spill):
    options = {"size": (128, 96), "levels": 2, "iterations": [1, 2], "seed": 1}
    expected = engine.synthesize(other, **options)
    pixels = 128 * 96
    demand = Demand.of(LOSSES, VGG16, other[..., 0].size, 0)
    limit = int(pixels * (1900 if not spill else 300) + demand.measured_bytes + 1e6)
    with tight_engine(limit) as tight:
        plans = tight.plans(Recipe.create(other, **options))
        plan = plans[-1]
        assert plan.side is not None
        assert plan.spill == spill
        upsample, kept = CpuKernels.upsample, []

        def enlarge(*arguments, **options):  # the moment with the most images in memory
            kept.append([type(network) for network in tight.pool.idle])
            return upsample(*arguments, **options)

        files, temporary_file = [], lbfgs.TemporaryFile
        monkeypatch.setattr(lbfgs, "TemporaryFile", lambda *_, **__: files.append(1) or temporary_file())
        monkeypatch.setattr(CpuKernels, "upsample", enlarge)
        found = tight.synthesize(other, **options)
    assert len(files) == sum(plan.spill for plan in plans)
    assert len(kept) == 1
    assert TiledNetwork not in kept[0]
    assert np.abs(found.image.astype(int) - expected.image.astype(int)).max() <= 1
    assert [state.iteration for state in found.history] == [state.iteration for state in expected.history]
    assert found.history[-1].value == pytest.approx(expected.history[-1].value, rel=1e-4)
    assert found.timings.keys() == expected.timings.keys()


@pytest.mark.parametrize(
    ("wrap", "fitting"), [("xy", (128, 104)), ("x", (128, 100)), ("y", (125, 104)), ("none", (125, 100))]
)
def test_sizes_that_only_wrap_round_as_a_whole(tight_engine, other, wrap, fitting):
    options = {"size": (125, 100), "levels": 1, "iterations": 1, "wrap": wrap}
    with tight_engine(128 * 100 * 1500) as engine:
        if fitting == (125, 100):
            assert engine.synthesize(other, **options).image.shape == (100, 125, 3)
            return
        width, height = fitting
        message = rf"size 125x100: .* multiples of 8: make it {width}x{height}, or give"
        with pytest.raises(PyengineError, match=message) as error:
            engine.synthesize(other, **options)
        assert "\n" not in str(error.value)
        objective = engine.objective(other, wrap=wrap)
        with pytest.raises(PyengineError, match=r"size 125x100: .* multiples of 8"):
            objective(np.zeros((100, 125, 3), np.float32))
        assert objective(np.zeros((height, width, 3), np.float32))[0] > 0


def test_thresholds_need_the_whole_image(tight_engine, other):
    message = r"weights='thresholds' .* GB \(\d+ bytes\): give 'auto', or more memory_limit"
    with tight_engine(128 * 96 * 1500) as engine, pytest.raises(PyengineError, match=message):
        engine.synthesize(other, size=(128, 96), levels=1, iterations=1, weights="thresholds")


# ------------------------------------------------------------------ refused


def test_an_output_beyond_memory_is_refused_before_it_starts(natural):
    message = r"16000x16000 pixels needs about .* GB"
    with Engine(threads=1, memory_limit=4 * 10**9) as engine, pytest.raises(PyengineError, match=message):
        engine.synthesize(natural, size=16000)


def test_a_refusal_says_how_much_memory_is_needed(natural):
    """In bytes, too: of a small GPU's gigabytes there are few."""
    message = (
        r"size 640x480 pixels needs about 0.[78] GB \((\d+) bytes\) .* 0.5 GB \(500000000 bytes\) may be used: make"
    )
    with Engine(threads=1, memory_limit=500_000_000) as engine, pytest.raises(PyengineError, match=message) as error:
        engine.synthesize(natural, size=(640, 480))
    needed = int(str(error.value).split("(")[1].split()[0])
    for limit, fits in ((needed - 1, False), (needed + 1, True)):
        engine = Engine(threads=1, memory_limit=limit)
        with nullcontext() if fits else pytest.raises(PyengineError, match="640x480"):
            engine.plans(Recipe.create(natural, size=(640, 480)))


def test_an_exemplar_beyond_memory_is_refused_before_it_starts(natural):
    with Engine(threads=1, memory_limit=480_000_000) as engine:
        with pytest.raises(
            PyengineError, match=r"exemplar of 96x96 pixels needs .*: at most 8\d pixels on a side fit, or"
        ):
            engine.synthesize(natural, size=32)
        with pytest.raises(PyengineError, match=r"exemplar of 96x96 pixels needs about"):
            engine.objective(natural, size=32)


@pytest.mark.parametrize(
    "options",
    [
        {"size": (640, 480)},
        {"size": 32},
        {"size": (640, 480), "start": "patches"},
        {"size": (640, 480), "weights": "thresholds"},
        {"size": (250, 300)},
        {"size": (4096, 4096), "levels": 1, "start": "patches"},
    ],
)
def test_with_the_memory_that_a_refusal_names_all_fits(natural, options):
    """Whatever else might have been refused, next."""
    recipe = Recipe.create(natural, **options)
    with Engine("cpu", threads=1, memory_limit=400_000_000) as engine, pytest.raises(PyengineError) as error:
        engine.plans(recipe)
    needed = max(int(number) for number in re.findall(r"\d{6,}", str(error.value)))
    with Engine("cpu", threads=1, memory_limit=needed) as engine:
        engine.plans(recipe)
    with Engine("cpu", threads=1, memory_limit=needed - 1) as engine, pytest.raises(PyengineError):
        engine.plans(recipe)


def test_a_layout_beyond_memory_is_refused_before_it_starts(natural):
    """It is what the coarsest level takes; that level alone may be too large for it where losses do with tiles."""
    wide = {"size": (4096, 4096), "levels": 1, "iterations": 0}
    message = r"start='patches' at 4096x4096 pixels needs about 3\.8 GB \(\d+ bytes\).*give more levels, more memory"
    with Engine(threads=1, device="cpu", memory_limit=3_500_000_000) as engine:
        with pytest.raises(PyengineError, match=message):
            engine.plans(Recipe.create(natural, start="patches", **wide))
        assert engine.plans(Recipe.create(natural, start="noise", **wide))[0].side is not None
        assert engine.plans(Recipe.create(natural, start="patches", **{**wide, "levels": 3}))
