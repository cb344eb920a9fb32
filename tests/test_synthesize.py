"""From an exemplar to a texture: the public API."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES
from PIL import Image

import pyengine
from pyengine import Engine, PyengineError
from pyengine.images import to_uint8
from pyengine.level import Exemplar, Level
from pyengine.network import sessions
from pyengine.pyramid import add_detail, default_levels, level_sizes, white_noise
from pyengine.quality import seam_ratio


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_picture(engine, natural):
    first, second, other = (engine.synthesize(natural, iterations=3, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first.image, second.image)
    assert [i.value for i in first.history] == [i.value for i in second.history]
    assert not np.array_equal(first.image, other.image)


def test_sources_of_every_kind_give_the_same_picture(engine, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (32, 40, 3), np.uint8)
    path = tmp_path / "exemplar.png"
    Image.fromarray(pixels).save(path)
    sources = [path, str(path), Image.fromarray(pixels), pixels, pixels / 255, (pixels / 255).astype(np.float32)]
    images = [engine.synthesize(source, iterations=1).image for source in sources]
    assert all(np.array_equal(images[0], image) for image in images)


def test_history_has_every_iteration_and_its_terms(engine, natural):
    result = engine.synthesize(natural, size=(64, 80), iterations=[4, 2])
    assert [(i.level, i.iteration) for i in result.history] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
    for iteration in result.history:
        assert iteration.value == pytest.approx(sum(iteration.terms.values()))
        assert "histogram/relu4_1" in iteration.terms
    values = [i.value for i in result.history if i.level == 0]
    assert values == sorted(values, reverse=True)
    assert result.image.shape == (80, 64, 3)
    assert result.image.dtype == np.uint8
    stages = {"measure", "forward", "losses", "backward", "optimizer"}
    assert set(result.timings) == {*stages, "total"}
    assert sum(result.timings[stage] for stage in stages) <= result.timings["total"]


def test_the_last_value_is_that_of_the_picture(natural):
    """What is recorded belongs to the image that the callback sees."""
    with Engine(threads=1) as engine:
        seen = []
        engine.synthesize(
            natural, levels=1, iterations=3, padding="zeros", callback=lambda p: seen.append((p.state, p.pixels))
        )
        objective = engine.objective(natural, weights="auto", padding="zeros")
        for state, pixels in seen:
            assert objective(pixels)[0] == pytest.approx(state.value, rel=1e-6)


def test_a_callback_can_stop_the_run_and_keep_the_picture(engine, natural):
    seen = []

    def callback(progress: pyengine.Progress) -> None:
        seen.append(progress)
        if progress.state.iteration == 2:
            progress.stop()

    result = engine.synthesize(natural, size=(96, 64), iterations=5, callback=callback)
    assert result.stopped
    assert len(seen) == len(result.history) == 2
    assert result.image.shape == (64, 96, 3)  # enlarged from the level at which it was stopped
    assert seen[0].image.dtype == np.uint8
    assert seen[0].recipe.sizes[-1] == (96, 64)


def test_stop_iteration_in_a_callback_stops_as_well(engine, natural):
    def callback(progress: pyengine.Progress) -> None:
        raise StopIteration

    result = engine.synthesize(natural, size=(96, 64), iterations=5, callback=callback)
    assert result.stopped
    assert len(result.history) == 1


def test_an_exception_in_a_callback_comes_out(engine, natural):
    def callback(progress: pyengine.Progress) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        engine.synthesize(natural, iterations=1, callback=callback)


def test_no_iterations_leave_the_noise(engine, natural):
    result = engine.synthesize(natural, levels=1, iterations=0)
    assert result.history == []
    colours = {tuple(c) for c in to_uint8(natural).reshape(-1, 3)}
    assert {tuple(c) for c in result.image.reshape(-1, 3)} <= colours


def test_threads_share_an_engine(natural):
    """Each gets what it would get alone, also when a size is in use twice."""
    jobs = [{"seed": 1}, {"seed": 2}, {"seed": 1, "size": (48, 64)}, {"seed": 3}]
    with Engine(threads=1) as engine:
        alone = [engine.synthesize(natural[:64, :64], iterations=3, **job).image for job in jobs]
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(engine.synthesize, natural[:64, :64], iterations=3, **job) for job in jobs]
            together = [run.result().image for run in runs]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert threading.active_count() < 20


def test_the_output_tiles(engine):
    """On an exemplar that is smooth enough for a seam to be seen."""
    with Image.open(EXAMPLES / "gravel.png") as image:
        exemplar = image.crop((0, 0, 48, 48)).resize((96, 96))
    ratios = {}
    for padding in ("wrap", "zeros"):  # under zeros, nothing makes the borders meet
        image = engine.synthesize(exemplar, iterations=25, padding=padding).image
        ratios[padding] = seam_ratio(image / np.float32(255))
    assert ratios["wrap"] < min(1.1, ratios["zeros"])


def test_brightness_and_contrast_are_the_exemplars(engine):
    exemplar = np.asarray(Image.open(EXAMPLES / "gravel.png").convert("RGB"))[:96, :96] / 255
    image = engine.synthesize(exemplar, size=(128, 96), iterations=25).image / 255
    assert image.mean() == pytest.approx(exemplar.mean(), abs=0.02)
    assert image.std() == pytest.approx(exemplar.std(), rel=0.1)


def test_saving(engine, natural, tmp_path):
    result = engine.synthesize(natural[:32, :32], iterations=1)
    result.save(tmp_path / "texture.png")
    with Image.open(tmp_path / "texture.png") as image:
        assert np.array_equal(np.asarray(image), result.image)
    with pytest.raises(PyengineError, match=r"bmp"):
        result.save(tmp_path / "texture.bmp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"size 0x0: both sides must be 16 to"),
        ({"size": (-5, 64)}, r"size -5x64"),
        ({"size": 10**6}, r"size 1000000x1000000"),
        ({"size": (64, 64, 3)}, r"give \(width, height\)"),
        ({"size": 64.5}, r"size=64.5"),
        ({"size": "64x64"}, r"size='64x64'"),
        ({"seed": -1}, r"seed=-1"),
        ({"seed": 1.5}, r"seed=1.5"),
        ({"levels": 0}, r"levels=0: give 1 to 2"),
        ({"levels": 9}, r"levels=9: give 1 to 2"),
        ({"iterations": -1}, r"iterations=\(-1,\)"),
        ({"iterations": (1, 2, 3)}, r"give one number, or 1 of them"),
        ({"iterations": "many"}, r"iterations='many'"),
        ({"iterations": 5.5}, r"iterations=5.5"),
        ({"gram_layers": 5}, r"gram_layers=5: give a sequence of names"),
        ({"gram_layers": (["relu1_1"],)}, r"gram_layers="),
        ({"weights": {"gram": "much"}}, r"gram='much'"),
        ({"histogram_layers": ["conv1_1"]}, r"layer 'conv1_1'"),
    ],
)
def test_bad_options(engine, natural, options, message):
    with pytest.raises(PyengineError, match=message) as error:
        engine.synthesize(natural[:40, :40], **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, r"device='tpu': choose 'auto' or 'cpu'"),
        ({"model": "alexnet"}, r"unknown model 'alexnet': installed are .*vgg16"),
        ({"threads": 0}, r"threads=0"),
        ({"threads": 1.5}, r"threads=1.5"),
        ({"threads": 10**10}, r"threads=10000000000"),
    ],
)
def test_bad_engines(natural, options, message):
    with pytest.raises(PyengineError, match=message):
        pyengine.synthesize(natural, **options)


def test_an_exemplar_too_small_is_refused(engine):
    with pytest.raises(PyengineError, match=r"exemplar of 20x15 pixels: both sides must be at least 16"):
        engine.synthesize(np.zeros((15, 20, 3), np.uint8))


def test_an_output_beyond_memory_is_refused_before_it_starts(engine, natural):
    with pytest.raises(PyengineError, match=r"16000x16000 pixels needs about .* GB"):
        engine.synthesize(natural, size=16000)


def test_an_exemplar_beyond_memory_is_refused_before_it_starts(engine, natural, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 3000}[name])
    with pytest.raises(PyengineError, match=r"exemplar of 96x96 pixels needs about"):
        engine.synthesize(natural, size=32)
    with pytest.raises(PyengineError, match=r"an image 96x96 pixels needs about"):
        engine.objective(natural)


@pytest.mark.parametrize(("padding", "exemplars"), [("wrap", "reflect"), ("zeros", "zeros")])
def test_an_exemplar_is_reflected_where_the_output_is_wrapped(monkeypatch, natural, padding, exemplars):
    used = {}

    def network(*args, gradient, **options):
        used[gradient] = options["padding"]
        return sessions.Network(*args, gradient=gradient, **options)

    monkeypatch.setattr("pyengine.engine.Network", network)
    with Engine(threads=1) as engine:
        engine.synthesize(natural[:32, :32], iterations=1, padding=padding)
        assert used == {True: padding, False: exemplars}
        engine.objective(natural[:32, :32], padding=padding)  # as given: people compare it with the paper's sum
        assert used[False] == padding


def test_networks_are_kept_but_not_all(monkeypatch, natural):
    made = []
    monkeypatch.setattr("pyengine.engine.Network", lambda *a, **k: made.append(a[1]) or sessions.Network(*a, **k))
    with Engine(threads=1) as engine:
        objective = engine.objective(natural[:32, :32])
        small, large = (np.zeros((side, side, 3), np.float32) for side in (32, 64))
        made.clear()
        for image in (small, large, small, large):
            objective(image)
        assert made == [(32, 32), (64, 64)]
        monkeypatch.setattr("pyengine.engine.IDLE_BYTES", 0)
        for image in (large, small, small, large):
            objective(image)
        assert made == [(32, 32), (64, 64), (32, 32), (64, 64)]
        with ThreadPoolExecutor(2) as pool:  # two at a time: as many are kept, however small the limit
            list(pool.map(objective, [large] * 20))
        assert len(made) <= 5


def test_blas_has_its_threads_back_after_concurrent_runs_and_errors(natural):
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    def callback(progress: pyengine.Progress) -> None:
        assert set(threads()) == {1}
        if progress.recipe.seed:
            raise RuntimeError

    with Engine(threads=1) as engine:
        engine.synthesize(natural[:32, :32], iterations=1)  # loads SciPy
        before = threads()
        with ThreadPoolExecutor(3) as pool:
            runs = [
                pool.submit(engine.synthesize, natural[:32, :32], seed=s, iterations=3, callback=callback)
                for s in (0, 1, 0)
            ]
        assert [run.exception() is None for run in runs] == [True, False, True]
    assert threads() == before


def test_a_closed_engine_gives_its_memory_back():
    """In a process of its own, where no other test has left memory to reuse."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads the memory in use from /proc")
    code = """if True:
        import resource
        import numpy as np
        from pyengine import Engine

        def megabytes():
            return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

        exemplar = np.random.default_rng(0).random((64, 64, 3))
        with Engine(threads=1) as engine:
            engine.objective(exemplar)(np.zeros((32, 32, 3), np.float32))
            before = megabytes()
            engine.objective(exemplar)(np.zeros((256, 256, 3), np.float32))
            held = megabytes()
        print(held - before, megabytes() - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, left = map(float, done.stdout.split())
    assert held > 100
    assert left < 0.4 * held


def test_sizes_of_a_long_picture():
    assert default_levels((40, 4000)) == 1
    assert level_sizes((4000, 40), 1) == [(4000, 40)]


def level(image: np.ndarray, size: tuple[int, int]) -> Level:
    return Level(size, (Exemplar(image),))


def test_noise_in_the_exemplars_colours():
    exemplar = np.zeros((8, 8, 3), np.float32)
    exemplar[:, ::2] = (1, 0, 0)
    generator = np.random.default_rng(0)
    noise = white_noise(level(exemplar, (50, 40)), generator)
    assert noise.shape == (40, 50, 3)
    assert noise[..., 0].mean() == pytest.approx(0.5, abs=0.05)
    grey = np.full((16, 16, 3), 0.5, np.float32)
    detailed = add_detail(grey, level(exemplar, (16, 16)), generator)
    assert detailed[..., 0].std() > 0.01
    assert detailed[..., 1].std() == pytest.approx(0, abs=1e-6)  # the exemplar has no detail in green
    flat = add_detail(grey, level(np.ones((17, 3, 3), np.float32), (16, 16)), generator)
    assert np.allclose(flat, 0.5)


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (["onnxruntime", "onnxruntime-gpu"], r"both installed .*: pip uninstall -y onnxruntime onnxruntime-gpu"),
        (["onnxruntime", "onnxruntime"], None),
    ],
)
def test_two_runtimes_are_refused(monkeypatch, installed, message):
    monkeypatch.setattr(sessions, "packages_distributions", lambda: {"onnxruntime": installed})
    sessions.runtime.cache_clear()
    if message is None:
        sessions.runtime()
    else:
        with pytest.raises(PyengineError, match=message):
            sessions.runtime()


def test_no_runtime_says_what_to_type(monkeypatch):
    monkeypatch.setattr(sessions, "packages_distributions", dict)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    sessions.runtime.cache_clear()
    with pytest.raises(PyengineError, match=r"pip install 'pyengine\[cpu\]'"):
        Engine()


def test_the_version_is_the_distributions():
    assert pyengine.__version__ == metadata.version("pyengine")
