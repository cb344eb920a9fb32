"""`pyengine synthesize` with the maps of a material: what is read, where all of it is written, and what is refused."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import FAST, finish, invoke, program
from PIL import Image

import pyengine
from pyengine.images.encoding import Encoding
from pyengine.images.reading import load_with_encoding
from pyengine.images.writing import save
from pyengine.maps import unit

HEIGHT, WIDTH = 24, 32


def noise(seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)


@pytest.fixture
def rock(tmp_path: Path) -> Path:
    """A folder of four maps: a JPEG, and PNGs of 8 and 16 bits, one of two values."""
    folder = tmp_path / "rock"
    folder.mkdir()
    Image.fromarray(noise(0)).save(folder / "rock_basecolor.jpg", quality=95)
    Image.fromarray(noise(1)).save(folder / "rock_nrm.png")
    heights = np.random.default_rng(2).random((HEIGHT, WIDTH), np.float32)
    save(heights, folder / "rock_height.png", Encoding(depth=16))
    Image.fromarray((noise(3, 1)[:, :, 0] > 200).astype(np.uint8) * 255).save(folder / "rock_metal.png")
    Image.fromarray(noise(4)).save(folder / "preview.png")
    return folder


def stored(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    result = invoke("synthesize", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    return line


def test_a_set(rock: Path, tmp_path: Path) -> None:
    result = invoke("synthesize", "--set", rock, "-o", tmp_path / "out.png", *FAST)
    assert result.exit_code == 0, result.output
    names = ["out.png", "out_height.png", "out_metalness.png", "out_normal.png"]
    assert names_in(tmp_path) == names
    places = [tmp_path / name for name in ("out.png", "out_normal.png", "out_height.png", "out_metalness.png")]
    assert result.stdout.startswith(f"{', '.join(map(str, places[:3]))} and {places[3]}: 32x24 pixels, 2 iterations, ")
    assert stored(tmp_path / "out_metalness.png").mode == "L"
    assert {value for _, value in stored(tmp_path / "out_metalness.png").getcolors()} <= {0, 255}  # type: ignore[union-attr]
    assert load_with_encoding(tmp_path / "out_height.png", data=True)[2].depth == 16
    normals = load_with_encoding(tmp_path / "out_normal.png", data=True)[0]
    assert np.abs(unit(normals) - normals).max() < 1 / 255


def test_maps_by_name_are_a_set(rock: Path, tmp_path: Path) -> None:
    """The same as of the API, whichever is the EXEMPLAR, which says by its name what it is."""
    normal = rock / "rock_nrm.png"
    given = [
        (rock / "rock_basecolor.jpg", "--with", f"normal={normal}"),
        (normal, "--with", f"diffuse={rock / 'rock_basecolor.jpg'}"),
    ]
    expected = pyengine.synthesize(
        {"albedo": rock / "rock_basecolor.jpg", "normal": normal}, start="noise", iterations=2, levels=1, threads=1
    )
    expected.save(tmp_path / "api.png")
    for k, arguments in enumerate(given):
        result = invoke("synthesize", *arguments, "-o", tmp_path / f"{k}.png", *FAST)
        assert result.exit_code == 0, result.output
        for end in (".png", "_normal.png"):
            made, wanted = (stored(tmp_path / f"{name}{end}") for name in (k, "api"))
            np.testing.assert_array_equal(np.asarray(made), np.asarray(wanted))


def test_standard_input_is_a_map(rock: Path, tmp_path: Path) -> None:
    with (rock / "rock_basecolor.jpg").open("rb") as file:
        arguments = ("--with", f"normal={rock / 'rock_nrm.png'}", "-o", tmp_path / "out.png", *FAST, "-q")
        code, stdout, stderr = finish(program("synthesize", "-", *arguments, stdin=file))
    assert (code, stdout, stderr) == (0, "", "")
    assert names_in(tmp_path) == ["out.png", "out_normal.png"]


def test_json_and_recipes(rock: Path, tmp_path: Path) -> None:
    """All outputs are listed; the recipe is in each PNG and in the JSON, and finds the maps beside it."""
    result = invoke("synthesize", "--set", rock, "-o", tmp_path / "out.png", *FAST, "--json")
    report = json.loads(result.stdout)
    assert report["output"] == str(tmp_path / "out.png")
    assert report["maps"] == {
        name: str(tmp_path / f"out{end}.png")
        for name, end in (("albedo", ""), ("normal", "_normal"), ("height", "_height"), ("metalness", "_metalness"))
    }
    (rock / "recipe.json").write_text(result.stdout)
    (tmp_path / "out_height.png").rename(rock / "made.png")
    for recipe in (rock / "recipe.json", rock / "made.png"):
        again = invoke("synthesize", "--recipe", recipe, "-o", tmp_path / "again.png", "--threads", 1)
        assert again.exit_code == 0, again.output
        for end in (".png", "_normal.png", "_metalness.png"):
            assert np.array_equal(*(np.asarray(stored(tmp_path / f"{name}{end}")) for name in ("out", "again")))
    other = invoke(
        "synthesize", "--recipe", rock / "made.png", rock / "preview.png", "-o", tmp_path / "other.png", "--threads", 1
    )
    assert other.exit_code == 0, other.output
    assert not (tmp_path / "other_normal.png").exists()


def test_what_is_no_set(rock: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out.png", *FAST)
    albedo, normal = rock / "rock_basecolor.jpg", f"normal={rock / 'rock_nrm.png'}"
    assert "--with and 2 EXEMPLARs: " in refused(albedo, albedo, "--with", normal, *out)
    assert "--with and 0 EXEMPLARs: " in refused("--with", normal, *out)
    assert "--set: give one of them" in refused(albedo, "--set", rock, *out)
    assert "there is no map 'normall': did you mean 'normal'?" in refused(albedo, "--with", f"normall={albedo}", *out)
    assert "the map 'albedo' is there twice" in refused(albedo, "--with", f"albedo={albedo}", *out)
    assert "the map 'normal' is there twice" in refused("--set", rock, "--with", normal, *out)
    assert (
        "give MAP=FILE, such as normal=rock_normal.png" in invoke("synthesize", albedo, "--with", "normal", *out).stderr
    )
    assert "cannot be read" in refused("--set", tmp_path / "none", *out)
    Image.fromarray(noise(5)[:20, :20]).save(tmp_path / "small.png")
    line = refused(albedo, "--with", f"normal={tmp_path / 'small.png'}", *out)
    assert line.endswith("of 20x20 pixels: 'albedo' has 32x24: make all maps one size")
    assert names_in(tmp_path) == ["small.png"]


def test_all_places_are_checked_before_the_work(rock: Path, tmp_path: Path) -> None:
    """What is said is one line, and no progress."""
    given = ("--set", rock, *FAST)
    assert refused(*given, "-o", "-") == "Error: -o - with 4 maps: one picture goes to standard output: name a file"
    line = refused(*given, "-o", rock / "rock.png")
    assert f"{rock / 'rock_height.png'} is one of the images to read" in line
    (tmp_path / "out_normal.png").mkdir()
    assert str(tmp_path / "out_normal.png") in refused(*given, "-o", tmp_path / "out.png")
    Image.fromarray(noise(3)).save(tmp_path / "rough.jpg")
    few = (rock / "rock_nrm.png", "--with", f"albedo={rock / 'rock_basecolor.jpg'}", *FAST)
    Image.fromarray(noise(1)).save(tmp_path / "normal.jpg")
    with_jpeg = (rock / "rock_basecolor.jpg", "--with", f"normal={tmp_path / 'normal.jpg'}", *FAST)
    assert "b_normal.jpg: JPEG does not hold depth=16" in refused(*with_jpeg, "-o", tmp_path / "b.png", "--depth", 16)
    checkpoint = ("--checkpoint", tmp_path / "a_normal.png")
    assert "the picture is written there" in refused(*few, "-o", tmp_path / "a.png", *checkpoint)


def test_saved_on_the_way_and_on_ctrl_c(rock: Path, tmp_path: Path) -> None:
    arguments = ("--set", rock, "-o", tmp_path / "out.png", "--start", "noise", "--levels", 1, "--iterations", 100000)
    process = program("synthesize", *arguments, "--save-every", 2, "--keep-on-interrupt", "--threads", 1)
    ends = time.monotonic() + 60
    while len(names_in(tmp_path)) < 4 and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(names_in(tmp_path)) >= 4
    for path in tmp_path.glob("out*.png"):
        path.unlink(missing_ok=True)
    process.send_signal(signal.SIGINT)
    code, stdout, _ = finish(process)
    assert code == 130
    assert "stopped after" in stdout
    assert names_in(tmp_path) == ["out.png", "out_height.png", "out_metalness.png", "out_normal.png"]


def test_opacity_is_made_or_a_mask(tmp_path: Path) -> None:
    leaf = noise(0, 4)
    leaf[:, :, 3] = 255 * (np.arange(WIDTH) % 16 < 12)
    Image.fromarray(leaf).save(tmp_path / "leaf.png")
    for alpha, mode in (("synthesize", "RGBA"), ("mask", "RGB")):
        result = invoke("synthesize", tmp_path / "leaf.png", "-o", tmp_path / f"{mode}.png", "--alpha", alpha, *FAST)
        assert result.exit_code == 0, result.output
        assert stored(tmp_path / f"{mode}.png").mode == mode
    piped = finish(program("synthesize", tmp_path / "leaf.png", "-o", "-", *FAST, "-q", text=False))
    assert piped[1][:4] == b"\x89PNG"
