"""Makes the pictures and the table of docs/quality.md: ``python docs/make_pictures.py`` (ten minutes on two cores).

For every exemplar in examples/: a texture of the exemplar's size at default settings, and one without the histogram
losses; and one texture of twice the size.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

import pyengine
from pyengine.images import load
from pyengine.quality import drift, patch_distance, seam_ratio

FOLDER = Path(__file__).parent
EXEMPLARS = ("grass", "brick", "gravel", "buttons", "galaxies")
GAP = 8


def sheet(rows: Iterable[Iterable[np.ndarray]]) -> Image.Image:
    """Pictures of one size in rows, on white."""
    pictures = [list(row) for row in rows]
    height, width = pictures[0][0].shape[:2]
    size = (len(pictures[0]) * (width + GAP) - GAP, len(pictures) * (height + GAP) - GAP)
    page = Image.new("RGB", size, "white")
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            page.paste(Image.fromarray(picture), (x * (width + GAP), y * (height + GAP)))
    return page


def main() -> None:
    """Synthesise, measure, compose."""
    columns: dict[str, list[np.ndarray]] = {"exemplar": [], "default": [], "Gram only": []}
    print("| exemplar | losses | seconds | patch distance | brightness drift | contrast drift | seam ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with pyengine.Engine() as engine:
        for name in EXEMPLARS:
            path = FOLDER.parent / "examples" / f"{name}.png"
            exemplar = load(path)
            columns["exemplar"].append((255 * exemplar).round().astype(np.uint8))
            for kind, options in (("default", {}), ("Gram only", {"histogram": 0})):
                start = time.perf_counter()
                image = engine.synthesize(path, **options).image
                seconds = time.perf_counter() - start
                columns[kind].append(image)
                result = load(image)
                brightness, contrast = drift(exemplar, result)
                print(
                    f"| {name} | {kind} | {seconds:.0f} | {patch_distance(exemplar, result):.3f} "
                    f"| {brightness:.1f} | {contrast:.1f} | {seam_ratio(result):.2f} |",
                    flush=True,
                )
        large = engine.synthesize(FOLDER.parent / "examples" / "gravel.png", size=512)
    pictures = FOLDER / "images"
    pictures.mkdir(exist_ok=True)
    sheet([columns["exemplar"], columns["default"]]).save(pictures / "textures.jpg", quality=90)
    sheet(columns.values()).save(pictures / "gram_only.jpg", quality=90)
    tiled = np.tile(columns["default"][EXEMPLARS.index("buttons")], (2, 2, 1))
    Image.fromarray(tiled).save(pictures / "tiled.jpg", quality=90)
    Image.fromarray(large.image).save(pictures / "gravel_512.jpg", quality=90)


if __name__ == "__main__":
    main()
