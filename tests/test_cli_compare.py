"""`pyengine compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke
from PIL import Image


@pytest.fixture
def exemplar(tmp_path: Path) -> Path:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


# -------------------------------------------------------------- compare


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 200, (24, 40, 3), dtype=np.uint8)).save(path)
    return path


def test_compare(exemplar: Path, image: Path) -> None:
    from pyengine.quality.measures import compare

    result = invoke("compare", exemplar, exemplar, image)
    assert (result.exit_code, result.stderr) == (0, "")
    same, other = result.stdout.splitlines()
    assert same.startswith(f"{exemplar}: patch distance 0.000, brightness drift 0.0, contrast drift 0.0, realism 0.0, ")
    found = compare(exemplar, image)
    assert (found.order, found.copied_layout, found.edge_ratio) == (None, None, None)  # and so they are left out
    assert other == (
        f"{image}: patch distance {found.patch_distance:.3f}, brightness drift {found.brightness_drift:.1f}, "
        f"contrast drift {found.contrast_drift:.1f}, realism {found.realism:.1f}, left out {found.left_out:.1f}, "
        f"copied 0.0%, seam ratio x {found.seam_ratio_x:.2f}, seam ratio y {found.seam_ratio_y:.2f}"
    )


def test_compare_with_a_mask(exemplar: Path, image: Path, tmp_path: Path) -> None:
    from pyengine.quality.measures import compare

    mask = tmp_path / "mask.png"
    pixels = np.zeros((24, 40), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(mask)
    for name, given in (("mask", mask), ("seamless", "xy"), ("seamless", "x")):
        result = invoke("compare", exemplar, image, f"--{name}", given)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.endswith(f", edge ratio {compare(exemplar, image, **{name: given}).edge_ratio:.2f}\n")
    before = mask.read_bytes()
    for arguments, expected in [
        (["--mask", tmp_path / "missing.png"], "missing.png: no such file"),
        (["--mask", exemplar], "a mask is grey"),
        (["--mask", mask, "--picture", mask], "is one of the images to read"),
    ]:
        result = invoke("compare", exemplar, image, *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr
    result = invoke("compare", exemplar, exemplar, "--mask", mask)
    assert result.stderr == "Error: mask of 40x24 pixels: the image has 32x32, so must it\n"
    assert mask.read_bytes() == before


def test_compare_with_a_content(exemplar: Path, image: Path, tmp_path: Path) -> None:
    from pyengine.quality.measures import compare

    content = tmp_path / "content.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (48, 80), dtype=np.uint8)).save(content)
    result = invoke("compare", exemplar, image, "--content", content)
    assert (result.exit_code, result.stderr) == (0, "")
    found = compare(exemplar, image, content=content)
    assert result.stdout.endswith(
        f", style distance {found.style_distance:.3f}, layout similarity {found.layout_similarity:.2f}, "
        f"self similarity distance {found.self_similarity_distance:.3f}\n"
    )
    for arguments, expected in [
        (["--content", tmp_path / "missing.png"], "missing.png: no such file"),
        (["--content", content, "--picture", content], "is one of the images to read"),
        (["--content", "-", "--mask", "-"], "- stands for standard input, which can be read once"),
    ]:
        result = invoke("compare", exemplar, image, *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr


def test_compare_json(exemplar: Path, image: Path) -> None:
    from pyengine.quality.measures import compare

    result = invoke("compare", exemplar, image, "--json")
    found = compare(exemplar, image)
    assert json.loads(result.stdout) == [
        {
            "image": str(image),
            "patch_distance": found.patch_distance,
            "brightness_drift": found.brightness_drift,
            "contrast_drift": found.contrast_drift,
            "realism": found.realism,
            "left_out": found.left_out,
            "order": None,
            "copied": 0.0,
            "copied_layout": None,
            "seam_ratio_x": found.seam_ratio_x,
            "seam_ratio_y": found.seam_ratio_y,
            "edge_ratio": None,
            "style_distance": None,
            "layout_similarity": None,
            "self_similarity_distance": None,
        }
    ]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_compare_picture(flags: tuple[str, ...], exemplar: Path, image: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"an older one")
    result = invoke("compare", exemplar, image, exemplar, "--picture", picture, *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == invoke("compare", exemplar, image, exemplar, *flags).stdout
    page = np.asarray(Image.open(picture))
    np.testing.assert_array_equal(page[:32, :32], np.asarray(Image.open(exemplar)))
    columns = [x for x in range(page.shape[1] - 39) if (page[:24, x : x + 40] == np.asarray(Image.open(image))).all()]
    assert len(columns) == 1
    assert page.shape[0] > 32 + 14
    assert (page[33:] < 128).all(axis=2).any()  # the labels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exemplar.png", "image.png", "picture.png"]


def test_compare_labels(exemplar: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyengine.quality.measures import compare

    seen = []
    monkeypatch.setattr(
        "pyengine.quality.sheet.sheet", lambda rows, labels: seen.append(labels) or np.zeros((1, 1, 3), "u1")
    )
    assert invoke("compare", exemplar, image, "--picture", tmp_path / "picture.png").exit_code == 0
    distance = compare(exemplar, image).patch_distance
    assert seen == [[["exemplar.png", f"image.png\npatch distance {distance:.3f}"]]]


def test_compare_checks_the_picture_before_the_work(
    exemplar: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyengine.quality.measures.compare", lambda *_, **__: pytest.fail("worked first"))
    link = tmp_path / "link.png"
    link.symlink_to(image)
    before = exemplar.read_bytes(), image.read_bytes()
    for picture, expected in [
        (exemplar, f"{exemplar} is one of the images to read: write to another file"),
        (image, f"{image} is one of the images to read: write to another file"),
        (link, f"{link} is one of the images to read: write to another file"),
        (tmp_path / "missing" / "picture.png", "does not exist"),
        (tmp_path / "picture.gif", "cannot write this format"),
    ]:
        result = invoke("compare", exemplar, image, "--picture", picture)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr
    assert (exemplar.read_bytes(), image.read_bytes()) == before


def test_compare_bad_images(exemplar: Path, image: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (15, 40)).save(small)
    for arguments, expected in [
        ([exemplar, tmp_path / "missing.png"], f"image {tmp_path / 'missing.png'}: no such file"),
        ([tmp_path / "missing.png", image], f"exemplar {tmp_path / 'missing.png'}: no such file"),
        ([exemplar, image, small], "image of 15x40 pixels"),
        ([exemplar], "Missing argument 'IMAGE...'"),
    ]:
        result = invoke("compare", *arguments, "--picture", tmp_path / "picture.png")
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr
    assert not (tmp_path / "picture.png").exists()
