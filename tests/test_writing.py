"""Images in files: formats, places that are refused, permissions and links, a text in a PNG."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import needs_permissions, noise, smooth, write
from PIL import Image, JpegImagePlugin

from pyengine.errors import PyengineError
from pyengine.images import reading, writing


def test_to_uint8() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(writing.to_uint8(reading.load(levels))[:, :, 0], levels)
    halves = np.array([0.5, 1.5, 2.5], np.float64) / 255
    np.testing.assert_array_equal(writing.to_uint8(halves), [1, 2, 3])
    np.testing.assert_array_equal(writing.to_uint8(np.float32([-3, 3])), [0, 255])


def unwritable(path: Path, *expected: str) -> None:
    with pytest.raises(PyengineError) as caught:
        writing.check_output(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for text in expected:
        assert text in message


def test_check_output(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".PNG"):
        writing.check_output(tmp_path / f"out{suffix}")
    assert not list(tmp_path.iterdir())


def test_check_output_leaves_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"before")
    writing.check_output(path)
    assert path.read_bytes() == b"before"


def test_check_output_refuses(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    unwritable(tmp_path / "out.gif", ".png, .jpg, .jpeg, .tif, .tiff, .webp")
    unwritable(tmp_path / "out", ".png")
    unwritable(tmp_path / "none" / "out.png", "none does not exist: create it")
    unwritable(tmp_path / "file" / "out.png", "does not exist")
    unwritable(tmp_path / "folder.png", "is a folder")
    unwritable(tmp_path / ("n" * 300 + ".png"), "cannot be written", "too long")


@needs_permissions
def test_check_output_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        unwritable(tmp_path / "out.png", "Permission denied")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".tif", "TIFF"), (".TIFF", "TIFF"), (".webp", "WEBP")])
def test_save_without_loss(tmp_path: Path, suffix: str, kind: str) -> None:
    writing.save(noise(), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.format == kind
        assert image.info.get("compression", "tiff_adobe_deflate") == "tiff_adobe_deflate"
        np.testing.assert_array_equal(np.asarray(image), noise())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_save_jpeg(tmp_path: Path, suffix: str) -> None:
    writing.save(smooth(), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.format == "JPEG"
        assert JpegImagePlugin.get_sampling(image) == 0
        assert abs(np.asarray(image) - smooth().astype(float)).mean() < 1


@pytest.mark.parametrize(("suffix", "limit"), [(".webp", 16383), (".jpg", 65500)])
def test_save_refuses_long_sides(tmp_path: Path, suffix: str, limit: int) -> None:
    path = tmp_path / f"out{suffix}"
    writing.save(np.zeros((1, limit, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(PyengineError, match=rf"1x{limit + 1} exceeds \w+'s {limit} pixels a side: use .png"):
        writing.save(np.zeros((limit + 1, 1, 3), np.uint8), path)
    assert path.read_bytes() == before


def test_save_refuses_what_check_output_does(tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match=re.escape("end the name in .png")):
        writing.save(noise(), tmp_path / "out.gif")
    with pytest.raises(PyengineError, match="cannot be written"):
        writing.save(noise(), tmp_path / "none" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PyengineError, match="cannot be written"):
        writing.save(noise(), tmp_path / "folder.png")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]
    for path in (None, 3, b"out.png", ["out.png"]):
        with pytest.raises(PyengineError, match=r"^path=.*: give a path"):
            writing.save(noise(), path)  # type: ignore[arg-type]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    umask = os.umask(0o027)
    try:
        writing.save(noise(), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        writing.save(noise(), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(umask)


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege elsewhere")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "out.png", tmp_path / "elsewhere" / "real.png"
    link.symlink_to(target)
    writing.check_output(link)
    writing.save(noise(), link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == link.read_bytes()
    link.unlink()
    link.symlink_to(tmp_path / "none" / "real.png")
    unwritable(link, "none does not exist")


@pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX's")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_full_disk_is_no_success(tmp_path: Path, suffix: str) -> None:
    """Pillow's JPEG encoder, left to write the file itself, takes a part of it for all of it."""
    code = f"""if True:
        import resource
        import numpy as np
        from pyengine import PyengineError
        from pyengine.images.writing import save
        noise = np.random.default_rng(0).integers(0, 50, (200, 200, 3), dtype=np.uint8)  # one piece of a JPEG
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            save(noise, "out{suffix}")
        except PyengineError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.startswith(f"out{suffix}: cannot be written ("), done.stderr
    assert not list(tmp_path.iterdir())


def test_metadata(tmp_path: Path) -> None:
    text = '{"exemplar": "Gräser 草.png"}' * 10
    path = tmp_path / "out.png"
    writing.save(noise(), path, metadata=text)
    assert reading.read_metadata(path) == reading.read_metadata(str(path)) == text
    assert reading.read_metadata(reading.ImageFile.read(path, "image")) == text
    with Image.open(path) as image:
        assert image.info["pyengine"] == text
        np.testing.assert_array_equal(np.asarray(image), noise())
    writing.save(noise(), path)
    assert reading.read_metadata(path) is None


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp"])
def test_formats_without_metadata(tmp_path: Path, suffix: str) -> None:
    writing.save(noise(), tmp_path / f"with{suffix}", metadata="text")
    writing.save(noise(), tmp_path / f"without{suffix}")
    assert (tmp_path / f"with{suffix}").read_bytes() == (tmp_path / f"without{suffix}").read_bytes()
    assert reading.read_metadata(tmp_path / f"with{suffix}") is None


def test_metadata_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("pyengine")
    assert reading.read_metadata(tmp_path / "notes.txt") is None
    with pytest.raises(PyengineError, match=r"none\.png: no such file"):
        reading.read_metadata(tmp_path / "none.png")
    path = write(tmp_path, ".png", noise())
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(PyengineError, match=r"image .*image\.png: "):
        reading.read_metadata(path)
