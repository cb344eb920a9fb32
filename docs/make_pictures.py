"""Makes the pictures of the documentation, and prints the figures beside them, from examples/ alone.

``python docs/make_pictures.py`` makes all (three quarters of an hour on two cores),
``python docs/make_pictures.py transfer hole`` some.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import pyengine
from pyengine.quality.measures import compare
from pyengine.quality.sheet import sheet

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent / "examples"
EXEMPLARS = ("grass", "brick", "gravel", "buttons", "galaxies", "strokes")
REGULAR = ("tiles", "weave")


def example(name: str) -> Path:
    """A file of examples/."""
    return next(EXAMPLES.glob(f"{name}.*"))


def save(name: str, rows: list[list], labels: list[list[str]] | None = None) -> None:
    """A sheet of pictures, as a file of docs/images."""
    (FOLDER / "images").mkdir(exist_ok=True)
    Image.fromarray(sheet(rows, labels)).save(FOLDER / "images" / f"{name}.jpg", quality=90)


def row(name: str, kind: str, exemplar: Path, result: pyengine.Result) -> None:
    """One line of a table of figures."""
    found = compare(exemplar, result.image)
    width, height = result.recipe.size
    print(
        f"| {name} | {kind} | {width}x{height} | {len(result.history)} | {result.timings['total']:.0f} "
        f"| {found.patch_distance:.3f} | {found.brightness_drift:.1f} | {found.contrast_drift:.1f} "
        f"| {max(found.seam_ratio_x, found.seam_ratio_y):.2f} |",
        flush=True,
    )


def textures(engine: pyengine.Engine) -> None:
    """Every exemplar, the default, the paper's start from noise, and from there the Gram losses alone."""
    few = ("brick", "buttons")
    ways = {"default": {}, 'start="noise"': {"start": "noise"}}
    gram_only = {"Gram only": {"start": "noise", "weights": {"histogram": 0}}}
    made: dict[str, dict[str, np.ndarray]] = {}
    for name in (*EXEMPLARS, *REGULAR):
        path = example(name)
        made[name] = {"exemplar": np.asarray(Image.open(path).convert("RGB"))[:256, :256]}
        for kind, options in {**ways, **(gram_only if name in few else {})}.items():
            result = engine.synthesize(path, size=256, **options)
            made[name][kind] = result.image
            row(name, kind, path, result)
    save("textures", [[made[name][kind] for name in EXEMPLARS] for kind in ("exemplar", "default")])
    kinds = ("exemplar", *ways)
    save("starts", [[made[name][kind] for name in made] for kind in kinds], [[kind] * len(made) for kind in kinds])
    kinds = ("exemplar", 'start="noise"', "Gram only")
    save("gram_only", [[made[name][kind] for name in few] for kind in kinds])
    save("tiled", [[np.tile(made["buttons"]["default"], (2, 2, 1))]])


def gatys(engine: pyengine.Engine) -> None:
    """The baseline after 500 iterations beside the paper's method."""
    names = ("brick", "buttons")
    rows = {method: [] for method in ("gatys", "histogram")}
    for name in names:
        for method, images in rows.items():
            result = engine.synthesize(example(name), size=128, start="noise", method=method)
            images.append(result.image)
            row(name, method, example(name), result)
    exemplars = [np.asarray(Image.open(example(name)).convert("RGB"))[:128, :128] for name in names]
    save("gatys", [exemplars, *rows.values()])


PAIRS = (("portrait", "strokes", 512), ("portrait", "ink", 256), ("cat", "strokes", None), ("cat", "tissue", None))


def transfer(engine: pyengine.Engine) -> None:
    """Style transfers at default settings: content, style, result."""
    for content, style, size in PAIRS:
        result = engine.synthesize(example(style), content=example(content), size=size)
        row(content, style, example(style), result)
        save(f"transfer_{content}_{style}", [[example(content), example(style), result.image]])


def options(engine: pyengine.Engine) -> None:
    """What the arguments of a transfer do."""
    style, content, small = example("strokes"), example("portrait"), 256
    variants = {
        "content_strength=0.3": {"content_strength": 0.3},
        'init="noise"': {"init": "noise"},
        'preserve_color="luminance"': {"preserve_color": "luminance"},
        'preserve_color="match"': {"preserve_color": "match"},
    }
    images = [engine.synthesize(style, content=content, size=small, **v).image for v in variants.values()]
    names = list(variants)
    save("transfer_options", [images[:2], images[2:]], [names[:2], names[2:]])


def regions(engine: pyengine.Engine) -> None:
    """A figure in one style, its background left, or in another style."""
    content, mask = example("portrait"), example("portrait_regions")
    figure = engine.synthesize(example("strokes"), content=content, output_regions=mask)
    two = np.asarray(Image.open(mask)) + 1
    both = engine.synthesize(exemplars=[example("tissue"), example("strokes")], content=content, output_regions=two)
    save(
        "transfer_regions",
        [[content, figure.image, both.image]],
        [["content", "the background is region 0: left", "a style for each region"]],
    )


def layout(engine: pyengine.Engine) -> None:
    """A painted layout."""
    ground, plan = example("ground"), example("layout")
    painted = engine.synthesize(ground, exemplar_regions=example("ground_regions"), output_regions=plan)
    colours = np.array([[0, 0, 0], [90, 160, 60], [150, 140, 130], [60, 120, 200]], np.uint8)
    maps = [colours[np.asarray(Image.open(path))] for path in (example("ground_regions"), plan)]
    save(
        "layout",
        [[ground, maps[0]], [painted.image, maps[1]]],
        [["exemplar", "exemplar_regions"], ["result", "output_regions"]],
    )


def hole(engine: pyengine.Engine) -> None:
    """A torn picture filled, and a picture that is made to tile."""
    torn = example("torn")
    filled = engine.synthesize(torn, fill="alpha")
    row("torn", 'fill="alpha"', torn, filled)
    damaged = np.asarray(Image.open(torn))
    on_white = np.where(damaged[:, :, 3:] > 0, damaged[:, :, :3], 255).astype(np.uint8)
    whole = example("gravel")
    tiling = engine.synthesize(whole, seamless="xy")
    row("gravel", 'seamless="xy"', whole, tiling)
    before = np.asarray(Image.open(whole).convert("RGB"))
    save(
        "hole",
        [[on_white, filled.image], [np.roll(before, (128, 128), (0, 1)), np.roll(tiling.image, (128, 128), (0, 1))]],
        [["torn", 'fill="alpha"'], ["its borders meet in the middle", 'seamless="xy"']],
    )


def structure(engine: pyengine.Engine) -> None:
    """Regular patterns from noise, with and without the structure losses."""
    rows: dict[str, list] = {"from noise": [], "structure": []}
    for name in REGULAR:
        for kind, images in rows.items():
            result = engine.synthesize(example(name), start="noise", structure=kind == "structure")
            images.append(result.image)
            row(name, kind, example(name), result)
    save("structure", [[example(name) for name in REGULAR], *rows.values()])


def mix(engine: pyengine.Engine) -> None:
    """Two exemplars, interpolated."""
    pair = [example("strokes"), example("tissue")]
    mixed = engine.synthesize(exemplars=pair, exemplar_weights=[1, 2])
    save("mix", [[pair[0], mixed.image, pair[1]]])


def material(engine: pyengine.Engine) -> None:
    """The maps of a material, and those of a larger one."""
    maps = {name: example(f"cobbles_{name}") for name in ("albedo", "normal", "height", "roughness", "occlusion")}
    result = engine.synthesize(maps, size=256)
    row("cobbles", "material", maps["albedo"], result)
    save("material", [[*maps.values()], [*result.maps.values()]], [list(maps)] * 2)


SHEETS = (textures, gatys, transfer, options, regions, layout, hole, structure, mix, material)


def main() -> None:
    """Make the sheets that are named, or all."""
    wanted = sys.argv[1:] or [make.__name__ for make in SHEETS]
    print("| picture | kind | size | iterations | seconds | patch distance | brightness | contrast | seam ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with pyengine.Engine() as engine:
        for make in SHEETS:
            if make.__name__ in wanted:
                make(engine)


if __name__ == "__main__":
    main()
