"""How good textures are: every figure, for several pictures and ways to make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pyengine.arrays import Float32
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.files import one_line
from pyengine.images.formats import FORMATS
from pyengine.images.reading import load
from pyengine.images.writing import ByteImage, save, to_uint8
from pyengine.quality.measures import TRANSFERS, Comparison, compare
from pyengine.quality.sheet import sheet
from pyengine.recipe import Recipe

GMIC = "G'MIC"
"""What the pictures of G'MIC are called."""

Variants: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Ways to make a texture, by name: arguments of `Recipe.create`."""


@dataclass(frozen=True)
class QualityRun:
    """One texture of `quality`, and its figures.

    Attributes
    ----------
    exemplar : str
        The file's name without its suffix.
    variant : str
        How it was made.
    seed : int
        The seed that it was made with.
    comparison : Comparison
        The figures.
    seconds : float
        Time of the synthesis.
    image : uint8 (H, W, 3)
        The texture.
    """

    exemplar: str
    variant: str
    seed: int
    comparison: Comparison
    seconds: float
    image: ByteImage = field(repr=False, compare=False)

    def document(self) -> dict[str, Any]:
        """What is to be said of it, without the picture."""
        own = {"exemplar": self.exemplar, "variant": self.variant, "seed": self.seed, "seconds": self.seconds}
        return {**own, **asdict(self.comparison)}


def pictures_of(paths: Sequence[Path]) -> list[Path]:
    """Files, and of folders what is in them and called as a picture is, in alphabetical order.

    Raises
    ------
    PyengineError
        There is none in a folder, or two have one name.

    Examples
    --------
    >>> pictures_of([Path("grass.png"), Path("grass.jpg")])
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: grass.png and grass.jpg: would both be called grass: rename one
    """
    suffixes = {suffix for form in FORMATS for suffix in form.suffixes}
    found: dict[str, Path] = {}
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
            if not files:
                raise PyengineError(f"{path}: no pictures in this folder: give one that has some, or files")
        for file in files:
            if file.stem in found:
                raise PyengineError(f"{found[file.stem]} and {file}: would both be called {file.stem}: rename one")
            found[file.stem] = file
    return list(found.values())


def quality(
    exemplars: Sequence[Path],
    variants: Variants,
    *,
    size: int | None = None,
    seeds: Sequence[int] = (0,),
    threads: int | None = None,
    gmic: bool = False,
) -> Iterator[list[QualityRun]]:
    """Make a texture of every picture in every way, and measure it.

    Parameters
    ----------
    exemplars : sequence of Path
        The pictures to look like.
    variants : dict of str to dict
        The ways to make a texture by name, as arguments of `Recipe.create`.
    size : int, optional
        Pixels on a side of the outputs. Default: None, the exemplars' own sizes.
    seeds : sequence of int
        Make each of them with each of these seeds. Default: (0,).
    threads : int, optional
        See `Engine`. Default: None.
    gmic : bool
        Let G'MIC make a texture of each picture as well, from its patches (`syntexturize_matchpatch`). Default: False.

    Yields
    ------
    list of QualityRun
        Those of an exemplar and a variant, one for each seed, at once when they are done.

    Raises
    ------
    PyengineError
        Before the first synthesis: input that can't be used, or there is no G'MIC. Later: G'MIC fails.

    Examples
    --------
    >>> next(quality([], {"default": {}}), None) is None
    True
    """
    if gmic and shutil.which("gmic") is None:
        raise PyengineError("--against gmic: G'MIC is not installed; apt install gmic")
    recipes = [  # all are made first: what is wrong with one would end a long run
        (path, name, [Recipe.create(path, **{"size": size, "seed": seed, **arguments}) for seed in seeds])
        for path in exemplars
        for name, arguments in variants.items()
    ]
    with Engine(threads=threads) as engine:
        for k, (path, name, ways) in enumerate(recipes, start=1):
            exemplar = load(path)
            runs = []
            for recipe in ways:
                start = time.perf_counter()
                image = engine.run(recipe).image
                seconds = time.perf_counter() - start
                runs.append(QualityRun(path.stem, name, recipe.seed, compare(exemplar, image), seconds, image))
            yield runs
            if gmic and k % len(variants) == 0:
                start = time.perf_counter()
                image = _by_gmic(exemplar, ways[0].sizes[-1])
                seconds = time.perf_counter() - start
                yield [QualityRun(path.stem, GMIC, 0, compare(exemplar, image), seconds, image)]


def _by_gmic(exemplar: Float32, size: tuple[int, int]) -> ByteImage:
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        given, made = (os.fspath(Path(folder) / name) for name in ("exemplar.png", "texture.png"))
        save(to_uint8(exemplar), given)
        command = ["gmic", given, "syntexturize_matchpatch", f"{width},{height}", "output", made]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not Path(made).exists():
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise PyengineError(f"--against gmic: G'MIC failed ({one_line(ValueError(last))}): run it by itself")
        return to_uint8(load(made, "texture"))


def mean(comparisons: Sequence[Comparison]) -> Comparison:
    """The means of figures; of each over those that have it.

    Examples
    --------
    >>> one = Comparison(0.1, 2.0, 3.0, 4.0, 5.0, None, 0.0, 0.5, 0.75, 0.5, None)
    >>> other = Comparison(0.3, 4.0, 5.0, 6.0, 7.0, 0.5, 1.0, 0.5, 1.25, 1.0, None)
    >>> mean([one, other])
    Comparison(patch_distance=0.2, ..., order=0.5, ..., seam_ratio_x=1.0, seam_ratio_y=0.75, edge_ratio=None, ...)
    """
    found = {}
    for figure in fields(Comparison):
        values = [value for c in comparisons if (value := getattr(c, figure.name)) is not None]
        found[figure.name] = float(np.mean(values)) if values else None
    return Comparison(**found)  # type: ignore[arg-type]  # what is never None stays so


def heading() -> Iterator[str]:
    """The first two lines of a table in Markdown."""
    names = ["picture", "variant", *_shown(Comparison(*[0.0] * len(fields(Comparison)))), "seconds"]
    yield f"| {' | '.join(names)} |"
    yield f"|{' --- |' * len(names)}"


def row(name: str, runs: Sequence[QualityRun]) -> str:
    """A line of the table: the means of some textures that were made in one way."""
    seconds = float(np.mean([run.seconds for run in runs]))
    texts = _shown(mean([run.comparison for run in runs])).values()
    return f"| {' | '.join([name, runs[0].variant, *texts, f'{seconds:.1f}'])} |"


def means(runs: Sequence[QualityRun]) -> Iterator[str]:
    """The last lines of the table: the means of each way over all pictures."""
    for variant in dict.fromkeys(run.variant for run in runs):
        yield row("mean", [run for run in runs if run.variant == variant])


def _shown(comparison: Comparison) -> dict[str, str]:
    others = {name.replace("_", " ") for name in ("edge_ratio", *TRANSFERS)}  # there are no masks, and no contents
    return {name: text for name, text in comparison.shown().items() if name not in others}


def contact_sheet(exemplar: Path, runs: Sequence[QualityRun]) -> ByteImage:
    """An exemplar beside the textures that were made of it: a column for each way, a row for each seed.

    Parameters
    ----------
    exemplar : Path
        The picture.
    runs : sequence of QualityRun
        Its textures, at least one, those of a way together.

    Returns
    -------
    uint8 (H, W, 3)
    """
    columns: dict[str, list[QualityRun]] = {}
    for run in runs:
        columns.setdefault(run.variant, []).append(run)
    pictures: list[list[Any]] = []
    labels: list[list[str]] = []
    nothing = np.full((1, 1, 3), 255, np.uint8)
    for k in range(max(map(len, columns.values()))):
        line = [column[k] if k < len(column) else None for column in columns.values()]
        pictures.append([nothing if k else exemplar, *(nothing if run is None else run.image for run in line)])
        labels.append(["" if k else exemplar.stem, *("" if run is None else _label(run) for run in line)])
    return sheet(pictures, labels)


def _label(run: QualityRun) -> str:
    shown = run.comparison.shown()
    figures = ("patch distance", "realism", "order", "copied")
    return f"{run.variant}, seed {run.seed}\n" + "\n".join(f"{name} {shown[name]}" for name in figures)
