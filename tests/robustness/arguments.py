"""Arguments of the Python API: mostly ones that fit together, with some among them that nobody should give."""

from __future__ import annotations

import decimal
import inspect
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

import pyengine
from pyengine.images.reading import ImageFile
from robustness.damage import Damaged, damaged
from robustness.models import tiny
from robustness.oracle import Lost, Wrong, judged

MOST = 250 * 10**6
"""Bytes that a call may take: the shipped model, read, is the most of it."""

SAVED = "saved.png"
"""The one name among odd values that a picture may be saved by, in the working folder."""

CHECKPOINT = "a run"
"""The name of a checkpoint, in the same folder."""

SHAPES = ((16, 16), (20, 16), (17, 33), (24, 24))

# ------------------------------------------------------------------ pictures

CONTENTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Any]] = {
    "noise": lambda rng, shape: rng.random(shape),
    "black": lambda rng, shape: np.zeros(shape),
    "white": lambda rng, shape: np.ones(shape),
    "board": lambda rng, shape: np.indices(shape)[:2].sum(0) // 4 % 2,
    "half": lambda rng, shape: np.indices(shape)[0] * 2 < shape[0],
    "regions": lambda rng, shape: np.indices(shape)[1] * 2 // shape[1] + 1,
    "outside": lambda rng, shape: rng.random(shape) * 2 - 0.5,
    "levels": lambda rng, shape: rng.integers(0, 256, shape),
    "NaN": lambda rng, shape: np.where(rng.random(shape) < 0.1, np.nan, 0.5),
    "infinite": lambda rng, shape: np.where(rng.random(shape) < 0.1, np.inf, 0.5),
}


def _pillow(array: np.ndarray) -> Any:
    try:
        return Image.fromarray(array)
    except (TypeError, ValueError, KeyError, IndexError):  # not every array can be one
        return Image.new("RGBA", (20, 20))


def _closed(array: np.ndarray) -> Image.Image:
    image = Image.new("RGB", (20, 20))
    image.close()
    return image


def _subclass(array: np.ndarray) -> np.ndarray:
    return array.view(type("Own", (np.ndarray,), {}))


def _file(array: np.ndarray) -> ImageFile:
    encoded = io.BytesIO()
    Image.new("RGB", (20, 16), "teal").save(encoded, "PNG")
    return ImageFile(Path("a picture.png"), encoded.getvalue())


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda array: array,
    "Fortran": np.asfortranarray,
    "backward": lambda array: array[::-1] if array.ndim else array,
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape) if array.ndim else array,
    "list": lambda array: array.tolist(),
    "nested": lambda array: [array],
    "Pillow": _pillow,
    "closed": _closed,
    "masked": lambda array: np.ma.masked_array(array, array.astype(bool)),
    "matrix": lambda array: np.matrix(np.eye(16)),
    "subclass": _subclass,
    "file": _file,
}


@dataclass(frozen=True)
class Picture:
    """A picture by what there is to know of it."""

    shape: tuple[int, ...]
    dtype: str
    content: str
    form: str = "array"

    def made(self) -> Any:
        dtype = np.dtype(self.dtype)
        values = np.asarray(CONTENTS[self.content](np.random.default_rng(0), self.shape))
        if dtype.kind == "u" and values.dtype.kind == "f":
            values = np.nan_to_num(values.clip(0, 1)) * np.iinfo(dtype).max
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return FORMS[self.form](values.astype(dtype))


def pictures(shape: tuple[int, int]) -> st.SearchStrategy[Picture]:
    """Pictures as they should be, of a size."""
    shapes = st.sampled_from([shape, (*shape, 1), (*shape, 3), (*shape, 3), (*shape, 4)])
    return st.builds(
        Picture, shapes, st.sampled_from(["u1", "u1", "f4", "f8", "u2"]),
        st.sampled_from(["noise", "noise", "board", "white", "half"]),
        st.sampled_from(["array"] * 4 + ["Fortran", "backward", "Pillow", "subclass"]),
    )  # fmt: skip


def masks(shape: tuple[int, int]) -> st.SearchStrategy[Picture]:
    return st.builds(
        Picture, st.just(shape), st.sampled_from(["?", "u1", "f4"]), st.sampled_from(["half", "board", "noise"])
    )


def layouts(shape: tuple[int, int]) -> st.SearchStrategy[Picture]:
    return st.builds(
        Picture, st.just(shape), st.sampled_from(["u1", "i4", "f4"]), st.sampled_from(["regions", "half", "white"])
    )


odd_pictures = st.builds(
    Picture,
    st.sampled_from(
        [(), (0,), (16,), (0, 16), (16, 0, 3), (1, 1), (15, 15, 3), (16, 16, 2), (16, 16, 5), (3, 20, 20),
         (2, 16, 16, 3), (20, 20, 3)]
    ),
    st.sampled_from(["?", "u1", "u2", "u4", "i4", "i8", "f2", "f4", "f8", "g", "c8", ">f4", ">u2", "O", "M8[s]", "U4"]),
    st.sampled_from([name for name in CONTENTS if name not in ("board", "half", "regions")]),
    st.sampled_from([*FORMS]),
)  # fmt: skip
odd_values = st.sampled_from(
    [
        None, True, False, -1, 0, 1, 2, 16, 10**30, -(10**30), 10**400, 2**31, 2**63, 1.5, 1e300, 1e-320, 1j,
        float("nan"), float("inf"), "", "x", "auto", "noise", "content", "alpha", SAVED, "a\0b", "x" * 300, "\x1b[2J\n",
        ".", "/dev/null", b"x", Path("nosuch"), Path("x" * 300), [], (), {}, {1}, [1], [[1, 2]], (1, 2, 3), [None],
        ["x"], {"gram": None}, range(3), object, float, print, NotImplemented, np.float32(2), np.int64(3),
        np.uint8(200), np.bool_(True), np.array(2), np.array([2, 2]), np.datetime64("2020"), Fraction(1, 2),
        decimal.Decimal(1), io.BytesIO(b"x"), memoryview(b"abc"),
    ]
)  # fmt: skip

# ----------------------------------------------------------------- arguments

layers = st.lists(st.sampled_from(["relu0", "relu1", "relu1_1", "relu2_1"]), max_size=3)
weights = st.sampled_from(["auto", "thresholds"]) | st.dictionaries(
    st.sampled_from(
        ["gram", "histogram", "correlation", "structure", "content", "variation", "gram/relu0", "gram/x", "/"]
    ),
    st.sampled_from(["auto", 0, 1, 0.5, 1e-30, 1e15, 1e300, -1, float("nan"), None, True]),
    max_size=3,
)


def usual(shape: tuple[int, int]) -> dict[str, st.SearchStrategy[Any]]:
    """What each argument may well be, for an exemplar of a size."""
    some, mask, layout = pictures(shape), masks(shape), layouts(shape)
    material = st.dictionaries(st.sampled_from(["albedo", "normal", "height", "ORM", "ao", "nosuch"]), some, max_size=3)
    return {
        "exemplar": some | material,
        "exemplars": st.lists(some, min_size=1, max_size=3) | st.lists(material, min_size=1, max_size=2),
        "alpha": st.sampled_from(["synthesize", "mask"]),
        "exemplar_weights": st.lists(st.sampled_from([0, 0.5, 1, 3]), min_size=1, max_size=3),
        "augment": st.lists(st.sampled_from(["flips", "turns"]), max_size=2),
        "size": st.integers(16, 40) | st.tuples(st.integers(16, 40), st.integers(16, 40)),
        "fit": st.sampled_from(["size", "scale"]),
        "content": some,
        "content_strength": st.sampled_from([0.5, 1, 3, 1e30, 1e-30]),
        "init": some | st.sampled_from(["noise", "content"]),
        "start": st.sampled_from(["noise"] * 5 + ["patches"]),
        "style_scale": st.sampled_from([0.5, 0.8, 1, 1.01, 2, 8, 1e-9]),
        "palette": st.just("keep"),
        "preserve_color": st.sampled_from(["luminance", "match"]),
        "profile": st.sampled_from(["srgb", "keep"]),
        "exemplar_regions": layout | st.lists(mask, min_size=1, max_size=2),
        "output_regions": layout | st.lists(mask, min_size=1, max_size=2),
        "regions": st.sampled_from([1, 2, 64]),
        "keep": mask,
        "fill": mask | st.just("alpha"),
        "sample_mask": mask | st.lists(mask, min_size=1, max_size=2),
        "mask_threshold": st.sampled_from([0, 0.25, 0.5]),
        "seamless": st.sampled_from(["x", "y", "xy"]),
        "method": st.sampled_from(["histogram", "gatys"]),
        "weights": weights,
        "structure": st.booleans(),
        "flatten_light": st.booleans(),
        "gram_layers": layers,
        "histogram_layers": layers,
        "content_layers": layers,
        "wrap": st.sampled_from(["x", "y", "xy", "none"]),
        "padding": st.sampled_from(["zeros", "reflect"]),
        "pooling": st.sampled_from(["average", "max"]),
        "seed": st.sampled_from([0, 1, 2**64, 2**200]),
        "levels": st.sampled_from([1, 2]),
        "iterations": st.sampled_from([0, 1, 2, [1, 1]]),
        "checkpoint": st.just(CHECKPOINT),
        "checkpoint_every": st.sampled_from([0, 0.5, 60]),
    }


ENGINE = {
    "device": st.sampled_from(["cpu", "auto", "cuda", "cuda:99", "tensorrt", "cpu:0"]),
    "model": st.sampled_from(["vgg16", "vgg19", "nosuch.onnx", "a\0.onnx", Path()]),
    "threads": st.sampled_from([1, 2, 1024, 1025]),
    "precision": st.sampled_from(["float32", "float16", "tf32"]),
    "memory_limit": st.sampled_from([1, 10**8, 10**9, 10**30]),
}

NAMES = [name for name in inspect.signature(pyengine.synthesize).parameters if name not in (*ENGINE, "callback")]


@dataclass(frozen=True)
class Call:
    """A function of the API by name, and its arguments."""

    function: str
    arguments: dict[str, Any]


@st.composite
def calls(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Call:
    """A call of a function that takes what `synthesize` takes, with little that does not fit."""
    expected = usual(draw(st.sampled_from(SHAPES)))
    names = ["exemplar", *draw(st.lists(st.sampled_from(NAMES), max_size=4))]
    arguments = draw(st.sampled_from([{}] + [{"start": "noise"}] * 49))  # patches take a hundred times as long
    arguments |= {name: draw(expected[name]) for name in names}
    if "exemplars" in arguments and draw(st.integers(0, 9)):
        del arguments["exemplar"]
    for name in draw(st.lists(st.sampled_from([*names, "nosuch", "exemplar"]), max_size=1)):
        arguments[name] = draw(odd_pictures | odd_values)
    return Call(draw(st.sampled_from(["synthesize", "synthesize", "objective", "Recipe"])), arguments)


others = st.one_of(
    st.fixed_dictionaries(
        {"exemplar": pictures((20, 16)) | odd_pictures, "image": pictures((20, 16)) | odd_values | odd_pictures}
    ).map(lambda arguments: Call("compare", arguments)),
    (pictures((40, 40)) | odd_pictures | odd_values).map(lambda exemplar: Call("inspect", {"exemplar": exemplar})),
    st.fixed_dictionaries({}, optional={name: value | value | odd_values for name, value in ENGINE.items()}).map(
        lambda arguments: Call("Engine", arguments)
    ),
    odd_values.map(lambda path: Call("save", {"path": path})),
    odd_values.filter(lambda value: not callable(value)).map(lambda value: Call("callback", {"callback": value})),
    st.fixed_dictionaries({"text": odd_values | st.just("{}")}, optional={"folder": odd_values}).map(
        lambda a: Call("from_json", a)
    ),
    st.fixed_dictionaries(
        {"file": odd_values | st.just("chain.onnx")},
        optional={name: odd_values for name in ("name", "deepest", "preprocessing", "half", "output", "force")},
    ).map(lambda arguments: Call("import_model", arguments)),
    odd_values.map(lambda name: Call("remove_model", {"name": name})),
)

# ------------------------------------------------------------------- recipes


@cache
def document() -> bytes:
    """A recipe as a file holds it."""
    recipe = pyengine.Recipe.create(
        _saved(Path(_folder().name)), size=(20, 16), content=Path(_folder().name) / "exemplar.png", iterations=[1],
        levels=1, weights={"gram": 1, "content": 2}, gram_layers=["relu0"],
    )  # fmt: skip
    return recipe.to_json().encode()


@dataclass(frozen=True)
class Edited:
    """A document of which some entries, by their numbers at each depth, are others."""

    edits: tuple[tuple[tuple[int, ...], Any], ...]

    @property
    def content(self) -> bytes:
        root = [json.loads(document())]
        for place, new in self.edits:
            entry: Any = root
            key: Any = 0
            for number in place:
                below = entry[key]
                if isinstance(below, (dict, list)) and below:
                    keys = [*below] if isinstance(below, dict) else range(len(below))
                    entry, key = below, keys[number % len(keys)]
            entry[key] = new
        return json.dumps(root[0]).encode()


# --------------------------------------------------------------- checkpoints

RESUMED: dict[str, Any] = {"size": 16, "start": "noise", "levels": 1, "iterations": 4, "checkpoint": CHECKPOINT}


@cache
def checkpoint() -> bytes:
    """A run that was stopped after its second iteration, as a file holds it."""
    path = Path(_folder().name) / CHECKPOINT

    def stop(progress: pyengine.Progress) -> None:
        if progress.state.iteration == 2:
            progress.stop()

    engine().synthesize(_saved(path.parent), callback=stop, **{**RESUMED, "checkpoint": path})
    return path.read_bytes()


def resume(content: bytes, exemplar: Path) -> pyengine.Result:
    """Go on from a checkpoint, which stays as it is where that is refused."""
    path = exemplar.parent / CHECKPOINT
    path.write_bytes(content)
    try:
        return engine().synthesize(exemplar, **{**RESUMED, "checkpoint": path})
    except pyengine.PyengineError:
        if path.read_bytes() != content:
            raise Lost("a checkpoint that was refused was written over") from None
        raise


odd_json = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 1.5, 1e300, 10**30, "", "x", "auto", "exemplar.png", "/etc/passwd", "\0", "\x1b[2J"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "gram", "exemplar"]), inner, max_size=2)
    ),
    max_leaves=4,
)
edited = st.builds(
    Edited,
    st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=4).map(tuple), odd_json), min_size=1, max_size=3).map(
        tuple
    ),
)

inputs = st.deferred(
    lambda: st.one_of(
        calls(), calls(), calls(), others, edited, damaged({"recipe.json": document(), CHECKPOINT: checkpoint()})
    )
)

# ---------------------------------------------------------------------- acts


@cache
def _folder() -> TemporaryDirectory[str]:
    """Where the model is, as long as the process lives."""
    return TemporaryDirectory()


@cache
def engine() -> pyengine.Engine:
    """An engine with a model for which a synthesis takes milliseconds."""
    return pyengine.Engine(model=tiny(Path(_folder().name)), threads=1)


def _saved(folder: Path) -> Path:
    path = folder / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)).save(path)
    return path


def _made(value: Any) -> Any:
    """What stands for a value, as an argument."""
    if isinstance(value, Picture):
        return value.made()
    if isinstance(value, dict):
        return {name: _made(entry) for name, entry in value.items()}
    return [_made(entry) for entry in value] if isinstance(value, list) else value


def _check(result: pyengine.Result) -> None:
    width, height = result.recipe.sizes[-1]
    shapes = [(height, width, channels) for channels in (3, 4)]
    if result.image.dtype != np.uint8 or result.image.shape not in shapes:
        raise Wrong(f"an image {result.image.dtype} {result.image.shape} of {width}x{height} pixels")
    if not all(np.isfinite(one.value) for one in result.history):
        raise Wrong("a value that is not finite")
    json.dumps(result.report())


def act(value: Call | Edited | Damaged, folder: Path) -> None:
    """Call a function, and look at what it returns."""
    exemplar = _saved(folder)
    shared = engine()
    arguments = {name: _made(entry) for name, entry in value.arguments.items()} if isinstance(value, Call) else {}
    for name in (SAVED, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    with judged(MOST, folder, folder / SAVED, folder / CHECKPOINT):
        if isinstance(value, Damaged) and value.name == CHECKPOINT:
            _check(resume(value.content, exemplar))
            return
        if not isinstance(value, Call):
            try:
                text = value.content.decode()
            except UnicodeDecodeError:  # which whoever reads the file sees to
                return
            _check(shared.run(pyengine.Recipe.from_json(text, folder), lambda progress: progress.stop()))
            return
        match value.function:
            case "synthesize":
                _check(shared.synthesize(callback=lambda progress: progress.stop(), **arguments))
            case "objective":
                objective = shared.objective(
                    **{k: v for k, v in arguments.items() if k not in ("levels", "iterations")}
                )
                width, height = objective.size or (17, 16)
                found, gradient = objective(
                    np.random.default_rng(0).random((height, width, objective.channels), np.float32)
                )
                if not (np.isfinite(found) and np.isfinite(gradient).all()):
                    raise Wrong(f"the objective is {found}, or its gradient not finite")
            case "Recipe":
                recipe = pyengine.Recipe.create(**arguments)
                if not recipe.files:
                    return
                again = pyengine.Recipe.from_json(recipe.to_json(), folder)
                if again.to_json() != recipe.to_json():
                    raise Wrong("another recipe after writing and reading")
            case "compare":
                if not all(
                    figure is None or np.isfinite(figure) for figure in vars(pyengine.compare(**arguments)).values()
                ):
                    raise Wrong("a figure that is not finite")
            case "inspect":
                pyengine.inspect(**arguments)
            case "Engine":
                with pyengine.Engine(**{"model": tiny(Path(_folder().name)), **arguments}) as other:
                    _check(other.synthesize(exemplar, iterations=1, levels=1, start="noise"))
            case "save":
                shared.synthesize(exemplar, iterations=0, levels=1, start="noise").save(**arguments)
            case "from_json":
                pyengine.Recipe.from_json(**arguments)
            case "import_model" | "remove_model":
                getattr(pyengine, value.function)(**arguments)
            case "callback":
                shared.synthesize(exemplar, iterations=1, levels=1, start="noise", **arguments)
