"""Command lines: every option of every command, behind it what fits, what does not, or nothing.

`pyengine bench` is left out: what it measures takes minutes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from click.testing import CliRunner
from hypothesis import strategies as st
from PIL import Image

import pyengine
from pyengine.cli import main
from pyengine.images.reading import load
from pyengine.network.modelfile import load as load_model
from robustness.damage import Damaged, damaged
from robustness.models import chain, tiny, whole
from robustness.oracle import Lost, Wrong, bounded, contents, silent

MOST = 250 * 10**6
"""Bytes that a command may take: the shipped model, read, is the most of it."""

OUTPUTS = ("-o", "--output", "--picture", "--checkpoint")
"""The options behind which stands what is written."""

TEXTS = (
    "", " ", "x", "-1", "0", "1", "2", "1.5", "nan", "inf", "1e999", "9" * 400, "16", "20x24", "1x", "16x16x16", "1,1",
    ",", "auto", "gram=1", "gram=auto", "gram", "=", "gram/relu0=2", "content=nan", "x=1", "relu0", "relu0,relu0",
    "alpha", "1GB", "1B", "-1GB", "1e400GB", "GB", "noise", "content", "patches", "flips,turns", "seamless",
    "torchvision", "\x1b[2J\n", "é" * 40, "\udcff", "n" * 300, "--size", "--", "-", "@x", "%s{}\\",
)  # fmt: skip
FILES = (
    "exemplar.png", "exemplar.png", "board.png", "mask.png", "damaged.png", "empty.png", "recipe.json", "chain.onnx",
    "vgg.npz", "tiny.onnx", "folder", "nosuch.png", "../exemplar.png", "/dev/null", ".", "exemplar.png/x.png",
)  # fmt: skip
PLACES = (
    "out.png", "out.jpg", "out.TIF", "out.webp", "new.onnx", "old.png", "out.gif", "out", "folder", "nosuch/out.png",
    "-", "exemplar.png", "/dev/full", "", "n" * 300 + ".png", "\x1b[2J.png",
)  # fmt: skip
ALWAYS = ("--size", "--iterations", "--levels", "--model", "--threads")
"""What `synthesize` is given in any case, so that it takes milliseconds."""

FITTING = {
    "--size": ("16", "20x24", "40"), "--iterations": ("0", "1", "1,1"), "--levels": ("1", "2"), "--threads": ("1",),
    "--model": ("tiny.onnx",), "--weight": ("gram=1", "histogram=auto", "variation=0.1", "content=2"),
    "--content": ("exemplar.png",), "--init": ("noise", "board.png"), "--keep": ("mask.png",),
    "--fill": ("mask.png", "alpha"), "--content-strength": ("2",), "--style-scale": ("0.5", "2"), "--seed": ("7",),
    "--memory-limit": ("2GB",), "--device": ("cpu",), "--exemplar-weights": ("1,2",), "--augment": ("flips",),
    "--gram-layers": ("relu0",), "--recipe": ("recipe.json",), "--mask": ("mask.png",), "--name": ("mine",),
    "--preprocessing": ("torchvision",), "--deepest": ("relu0",), "--exemplar-regions": ("mask.png",),
    "--output-regions": ("mask.png",), "--regions": ("2",), "--sample-mask": ("mask.png",),
    "--mask-threshold": ("0.5",),
}  # fmt: skip
"""What fits behind an option; behind one that is not here, its choices do."""

COMMANDS = (
    *["synthesize"] * 12, *["compare", "inspect", "info", "models import", "models list", "models remove"] * 4, "batch",
)  # fmt: skip
"""A batch is rare, for it takes a process of its own, which takes half a second to start."""


def _command(path: str) -> click.Command:
    found: click.Command = main
    for word in path.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word) or found
    return found


@cache
def options(path: str) -> list[click.Option]:
    """The options of a command."""
    return [option for option in _command(path).params if isinstance(option, click.Option)]


@st.composite
def lines(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[str]:
    """The words of a command line."""
    path = draw(st.sampled_from(COMMANDS))
    known = {option.opts[-1]: option for option in options(path)}
    words = [draw(st.sampled_from(FILES[:3])) for _ in range({"compare": 2, "models list": 0, "info": 0}.get(path, 1))]
    if path == "models import":
        words = [draw(st.sampled_from(["chain.onnx", "vgg.npz", "tiny.onnx", "damaged.png"]))]
    if path == "batch":
        words = ["--check", draw(st.sampled_from(["jobs.yaml", "jobs.csv", "jobs.jsonl", "exemplar.png", "folder"]))]
    if path == "models remove":
        words = [draw(st.sampled_from(["mine", "vgg16", "nosuch"]))]
    if path == "synthesize":
        words += draw(st.sampled_from([[]] + [["--start", "noise"]] * 29))  # patches take a hundred times as long
        for name in ALWAYS:
            words += [name, draw(st.sampled_from(FITTING[name]))]
    if "--output" in known and draw(st.integers(0, 9)):
        words += ["-o", draw(st.sampled_from(PLACES[:6]))]
    for name in draw(st.lists(st.sampled_from([*known]), max_size=4)):
        words += _option(draw, name, known[name])
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):  # and what nobody meant to type
        odd = draw(st.sampled_from([*TEXTS, *FILES, "--nosuch", "--siz", "-x", "--help", "--json=1", "-qv"]))
        at = draw(st.integers(int(path == "batch"), len(words)))  # which is only to be checked
        if draw(st.booleans()) and at < len(words) and path != "synthesize":
            words[at] = odd
        else:
            words.insert(at, odd)
    return [*path.split(), *words]


def _option(draw: Callable[[st.SearchStrategy[Any]], Any], name: str, option: click.Option) -> list[str]:
    if option.is_flag:
        return [draw(st.sampled_from([name, *option.secondary_opts]))]
    fits: tuple[str, ...] = FITTING.get(name, tuple(getattr(option.type, "choices", ())))
    if name in OUTPUTS:
        fits = PLACES
    return [name, draw(st.sampled_from(fits or TEXTS) if draw(st.integers(0, 3)) else st.sampled_from(TEXTS + FILES))]


inputs = st.deferred(lambda: st.tuples(lines(), st.none() | st.none() | damaged(stage())))


@cache
def _models() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def stage() -> dict[str, bytes]:
    """What is in the working folder."""
    folder = Path(_models().name)
    y, x = np.indices((20, 24))
    pictures = {
        "exemplar.png": np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8),
        "board.png": ((x // 4 + y // 4) % 2 * 255).astype(np.uint8),
        "mask.png": ((x < 12) * 255).astype(np.uint8),
        "old.png": np.zeros((3, 3), np.uint8),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    recipe = pyengine.Recipe.create(folder / "exemplar.png", size=(24, 20), iterations=1, levels=1)
    return {
        **{name: (folder / name).read_bytes() for name in pictures},
        "damaged.png": (folder / "exemplar.png").read_bytes()[:300],
        "empty.png": b"",
        "recipe.json": recipe.to_json().encode(),
        "jobs.yaml": b"matrix: {seed: [0, 1], size: [16, [20, 24]]}\njobs:\n- exemplar: exemplar.png\n- {exemplar: "
        b"board.png}\n",
        "jobs.csv": b"exemplar,size,seed\nexemplar.png,20x24,1\nboard.png,16,\n",
        "jobs.jsonl": b'{"defaults": {"size": 16}}\n{"exemplar": "exemplar.png", "output": "{stem}/{seed}.png"}\n',
        "chain.onnx": chain((4, 3)),
        "tiny.onnx": tiny(folder).read_bytes(),
        "vgg.npz": whole()["vgg.npz"],
    }


def act(value: tuple[list[str], Damaged | None], folder: Path) -> None:
    """Run a command line, perhaps with a damaged file, look at how it ended, and at every file that is there."""
    words, broken = value
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in stage().items():
        (folder / name).write_bytes(content)
    if broken is not None:
        (folder / broken.name).write_bytes(broken.content)
    (folder / "folder").mkdir()
    (folder / "models").mkdir()
    (folder / "models" / "mine.onnx").write_bytes(stage()["tiny.onnx"])
    before = contents(folder)
    with bounded(MOST), silent():
        ended = CliRunner(env={"PYENGINE_MODELS": str(folder / "models")}).invoke(main, words)
    said = ended.stderr.splitlines()
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    if ended.exit_code not in (0, 2):
        raise Wrong(f"exit code {ended.exit_code}")
    errors = [line for line in said if line.startswith("Error: ")]
    if words[0] == "batch":  # which tells of all jobs that it can't make
        errors = errors[-1:]
    elif errors != said[-1:] * (ended.exit_code == 2):
        raise Wrong(f"exit code {ended.exit_code}, and said {said}")
    if any("should not happen" in line or not line.isprintable() for line in said):
        raise Wrong(f"said {said}")
    _check(before, contents(folder), words, ended.exit_code, folder)
    if ended.exit_code:
        raise pyengine.PyengineError((errors or said)[0][:500])


def _check(before: dict[Path, bytes], after: dict[Path, bytes], words: list[str], code: int, folder: Path) -> None:
    """Raise `Lost` unless all that changed is what was to be written, and that whole."""
    written = {Path(os.path.normpath(folder / word)) for option, word in pairwise(words) if option in OUTPUTS}
    for path in {*before, *after}:
        if before.get(path) == after.get(path):
            continue
        if words[0] == "batch" and path.name.startswith("journal.sqlite"):
            continue
        models = path.parent.name == "models" and words[0] == "models"
        if code or not (path in written or models):
            raise Lost(f"{path.name!r} is another")
        if path in after:
            load_model(path) if path.suffix == ".onnx" else load(path)
