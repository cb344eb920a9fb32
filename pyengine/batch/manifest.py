"""Jobs: what folders, manifests and dictionaries ask for, a synthesis each, with the file that it is written to."""

from __future__ import annotations

import csv
import glob
import inspect
import itertools
import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from pyengine.batch import remote
from pyengine.document import PICTURES, is_maps
from pyengine.errors import PyengineError, in_short
from pyengine.files import is_url, one_line
from pyengine.images.formats import format_of, suffixes
from pyengine.maps import by_name, name_in, places
from pyengine.recipe import Recipe

MANIFESTS = (".jsonl", ".csv", ".yaml", ".yml")
"""How the names of manifests end."""

OUTPUT, DEFAULTS, MATRIX, JOBS = "output", "defaults", "matrix", "jobs"
"""What a manifest has besides the arguments of `Recipe.create`: a job's file, and the parts that count for all."""


@dataclass(frozen=True)
class Job:
    """A picture to make.

    Attributes
    ----------
    place : str
        Where it is asked for, as in "jobs.jsonl:17".
    output : str
        The file to write, by its path in the output folder, with forward slashes.
    arguments : dict
        What to call `Recipe.create` with, as JSON holds it; pictures by their absolute paths.
    beside : tuple of str
        Of a material, the files of the maps after the first, whose is `output`. Default: none.
    """

    place: str
    output: str
    arguments: Mapping[str, Any]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What is asked for, but can't be made, and why."""

    place: str
    message: str


@dataclass(frozen=True)
class Entry:
    """An entry of a manifest: where it is, and what it says; or what is wrong with it."""

    place: str
    said: Any


@dataclass(frozen=True)
class Common:
    """What counts for all entries of a manifest: arguments by name, and of some of them all values to be combined."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=dict)


JobSource: TypeAlias = str | Path | Mapping[str, Any]
"""A manifest; a folder, a picture or a pattern of such names, also by URL; or a job's own arguments, with `output`."""


def read_jobs(sources: JobSource | Iterable[JobSource], overrides: Mapping[str, Any]) -> Iterator[Job | Fault]:
    """All jobs that there are in some sources, in their order, one after the other.

    Parameters
    ----------
    sources : path, dict, or several of them
        Manifests, folders, pictures, patterns such as "textures/*.png"; or a job's own arguments.
    overrides : dict
        Arguments that count for all jobs, whatever they say themselves, and `output`.

    Raises
    ------
    PyengineError
        A source that is no such thing, or a manifest that can't be read at all.

    Examples
    --------
    >>> [job] = read_jobs({"exemplar": "/textures/grass.png", "seed": 7, "output": "{stem}_{seed}.png"}, {"size": 64})
    >>> job.output, job.arguments["size"]
    ('grass_7.png', 64)
    """
    if isinstance(sources, (str, Path, Mapping)):
        sources = [sources]
    overrides = _resolved(overrides, Path())
    for number, source in enumerate(sources, 1):
        if isinstance(source, Mapping):
            yield from _jobs(Entry(f"job {number}", source), Common(), overrides, Path())
        elif isinstance(source, str) and is_url(source):
            if source.lower().endswith(MANIFESTS):
                raise PyengineError(f"manifest {source}: has to be a file of this machine: copy it")
            yield from _jobs_of_pictures(remote.pictures_of(source), overrides)
        elif isinstance(source, (str, Path)):
            yield from _jobs_of_path(Path(source), overrides)
        else:
            raise PyengineError(f"job {number}, a {type(source).__name__}: give a path, or a dict of arguments")


def _jobs_of_path(path: Path, overrides: Mapping[str, Any]) -> Iterator[Job | Fault]:
    if path.suffix.lower() in MANIFESTS and not path.is_dir():
        yield from read_manifest(path, overrides)
        return
    yield from _jobs_of_pictures(map(str, pictures_of(path)), overrides)


def _jobs_of_pictures(pictures: Iterable[str], overrides: Mapping[str, Any]) -> Iterator[Job | Fault]:
    for picture in pictures:
        yield from _jobs(Entry(picture, {"exemplar": picture}), Common(), overrides, Path())


def pictures_in(folder: Path) -> list[Path]:
    """The files in a folder that are called as pictures are, in alphabetical order."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes())


def pictures_of(path: Path) -> list[Path]:
    """The pictures that a path stands for: itself, what matches it as a pattern, or what is in the folder.

    Raises
    ------
    PyengineError
        There are none.

    Examples
    --------
    >>> pictures_of(Path("grass.png"))
    [PosixPath('grass.png')]
    """
    if path.is_dir():
        found = pictures_in(path)
        problem = "no pictures in this folder: give one that has some"
    elif remote.WILDCARDS & {*str(path)} and not path.exists():
        matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute patterns
        found = sorted(file for file in map(Path, matches) if file.is_file())
        problem = "no file is called so: check the pattern"
    else:
        return [path]
    if not found:
        raise PyengineError(f"{path}: {problem}")
    return found


# ----------------------------------------------------------------- manifests


def read_manifest(path: Path, overrides: Mapping[str, Any]) -> Iterator[Job | Fault]:
    """The jobs of a manifest, in its order. Files in it are named from the folder that it is in.

    Parameters
    ----------
    path : Path
        JSON Lines, CSV or YAML, by its suffix; docs/batch.md says what is in it.
    overrides : dict
        Arguments that count for all jobs, whatever they say themselves, and `output`.

    Raises
    ------
    PyengineError
        The file can't be read, or what counts for all of it is wrong.
    """
    reader = {".jsonl": _json_lines, ".csv": _csv_rows}.get(path.suffix.lower(), _yaml_nodes)
    common = Common()
    try:
        for entry in reader(path):
            if isinstance(entry, Common):
                common = _checked(entry, path)
            elif isinstance(entry, Fault):
                yield entry
            else:
                yield from _jobs(entry, common, overrides, path.parent)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PyengineError(f"manifest {path}: cannot be read ({one_line(error)}): check the path") from None


def _json_lines(path: Path) -> Iterator[Entry | Common | Fault]:
    """A JSON object a line; the first may be what counts for all."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                said = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Fault(place, f"this is not JSON ({one_line(error)}): give one object a line")
                continue
            if isinstance(said, dict) and said and said.keys() <= {DEFAULTS, MATRIX}:
                yield Common(said.get(DEFAULTS, {}), said.get(MATRIX, {}))
            else:
                yield Entry(place, said)


def _csv_rows(path: Path) -> Iterator[Entry | Common | Fault]:
    """Arguments' names in the first line, a job in each other; what is empty is not said."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        before = rows.line_num
        for cells in rows:
            place, before = f"{path}:{before + 1}", rows.line_num
            if len(cells) > len(names):
                yield Fault(place, f"{len(cells)} cells under {len(names)} names: quote cells with commas in them")
            elif any(cells):
                yield Entry(place, {name: _cell(name, text) for name, text in zip(names, cells, strict=False) if text})


def _cell(name: str, text: str) -> Any:
    """What a cell of a CSV says: JSON if it is some, such as 512, [512, 256] or true, a size as 512x256, or a text."""
    if name in PICTURES and not text.startswith("["):
        return text
    sides = text.lower().split("x")
    if name == "size" and len(sides) == 2 and all(map(str.isdecimal, sides)):
        return [*map(int, sides)]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _yaml_nodes(path: Path) -> Iterator[Entry | Common | Fault]:
    """A mapping with `jobs`, and with what counts for all; or the list of jobs alone."""
    import yaml

    try:
        with path.open(encoding="utf-8-sig") as file:
            loader = yaml.SafeLoader(file)
            root = loader.get_single_node()
            parts = {"": root}
            if isinstance(root, yaml.MappingNode):
                parts = {str(loader.construct_object(key)): value for key, value in root.value}
                unknown = parts.keys() - {DEFAULTS, MATRIX, JOBS}
                if unknown:
                    raise PyengineError(f"manifest {path}: {in_short(min(unknown))}: give defaults, matrix and jobs")
            common = (
                loader.construct_object(parts[name], deep=True) if name in parts else {} for name in (DEFAULTS, MATRIX)
            )
            yield Common(*common)
            jobs = parts.get(JOBS, parts.get(""))
            if jobs is None:
                yield Entry(str(path), {})  # all that is said is in the matrix
            elif not isinstance(jobs, yaml.SequenceNode):
                raise PyengineError(f"manifest {path}: no list of jobs: give one, `jobs:` with a line for each")
            else:
                for node in jobs.value:
                    yield Entry(f"{path}:{node.start_mark.line + 1}", loader.construct_object(node, deep=True))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f":{mark.line + 1}"
        raise PyengineError(f"manifest {path}{line}: this is not YAML ({one_line(error)})") from None


def _checked(common: Common, path: Path) -> Common:
    if not isinstance(common.defaults, dict):
        raise PyengineError(f"manifest {path}: defaults, {in_short(common.defaults)}: give arguments by their names")
    if not isinstance(common.matrix, dict) or not all(isinstance(v, list) and v for v in common.matrix.values()):
        raise PyengineError(f"manifest {path}: matrix, {in_short(common.matrix)}: give a list of values for each name")
    return common


# ---------------------------------------------------------------------- jobs


def _jobs(entry: Entry, common: Common, overrides: Mapping[str, Any], folder: Path) -> Iterator[Job | Fault]:
    """The jobs of an entry: one, or all that the matrix combines. What is said nearest to the job counts."""
    if not isinstance(entry.said, Mapping) or not all(isinstance(name, str) for name in entry.said):
        yield Fault(entry.place, f"{in_short(entry.said)} is no job: give arguments by their names")
        return
    axes = {name: values for name, values in common.matrix.items() if name not in {*entry.said, *overrides}}
    for values in itertools.product(*axes.values()):
        varied = dict(zip(axes, values, strict=True))
        said = {**common.defaults, **varied, **entry.said}
        words = ", ".join(f"{name}={in_short(value)}" for name, value in varied.items())
        place = f"{entry.place} ({words})" if words else entry.place
        try:
            arguments = {**_resolved(said, folder), **overrides}
            template = arguments.pop(OUTPUT, None)
            if template is None:
                template = "".join(["{stem}", *(f"_{{{name}}}" for name in axes if name != "exemplar"), ".png"])
            arguments = _plain(arguments)
            output = _output(template, arguments)
            yield Job(place, output, arguments, _beside(output, arguments))
        except PyengineError as error:
            yield Fault(place, str(error))


def _resolved(said: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same with absolute paths of pictures, which are named from a folder; URLs stay as they are."""

    def absolute(value: Any, keywords: tuple[str, ...]) -> Any:
        if is_url(value):
            return value
        if isinstance(value, (list, tuple)):
            return [absolute(item, ()) for item in value]
        if is_maps(value):
            return {name: absolute(item, ()) for name, item in value.items()}
        if isinstance(value, Mapping) and isinstance(value.get("file"), str):
            return {**value, "file": absolute(value["file"], ())}
        if isinstance(value, (str, Path)) and value not in keywords:
            return str(Path(folder, value).absolute())
        return value

    return {name: absolute(value, PICTURES[name]) if name in PICTURES else value for name, value in said.items()}


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same as it comes out of JSON.

    Raises
    ------
    PyengineError
        Something that JSON can't hold, such as a picture in memory.
    """
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            remedy = "save it, and give its path" if name in PICTURES else "give what JSON holds"
            raise PyengineError(f"{name}, a {type(value).__name__}, can't be handed to a worker: {remedy}") from None
    plain: dict[str, Any] = json.loads(json.dumps(arguments))
    return {name: value for name, value in plain.items() if value is not None}


def _output(template: Any, arguments: Mapping[str, Any]) -> str:
    """The file that a template means, by its path in the output folder."""
    if not isinstance(template, str):
        raise PyengineError(f"output={in_short(template)}: give the name of a file")
    path = PurePosixPath(_Filled(arguments).format(template))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise PyengineError(f"output={in_short(template)}: give a path in the output folder")
    format_of(str(path))
    return str(path)


def _beside(output: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a material's maps after the first, which is written to a file."""
    first = _first_exemplar(arguments)
    if not is_maps(first):
        return ()
    read = {name: Path(_file_of(value)).suffix.lower() for name, value in by_name(first.items(), "exemplar").items()}
    return tuple(place.as_posix() for place in [*places(output, read).values()][1:])


def _first_exemplar(arguments: Mapping[str, Any]) -> Any:
    pictures = arguments.get("exemplar", arguments.get("exemplars"))
    return pictures[0] if isinstance(pictures, list) and pictures else pictures


def _file_of(value: Any) -> str:
    """The path of a picture, which may be said with its hash; what is none is told of when it is read."""
    return str(value.get("file", "") if isinstance(value, Mapping) else value)


@cache
def _defaults() -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(Recipe.create).parameters.items()}


class _Filled(string.Formatter):
    """Fills in a template what is known of a job, as it may stand in a file's name."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.known = {name: value for name, value in {**_defaults(), **arguments}.items() if value is not None}
        first = _first_exemplar(arguments)
        if first is not None:
            self.known["stem"] = first

    def format(self, template: str) -> str:  # type: ignore[override]
        """Fill in a template."""
        try:
            return self.vformat(template, (), {})
        except PyengineError:
            raise
        except Exception as error:  # what is no template, such as "{" or "{seed:x:y}"
            raise PyengineError(f"output={in_short(template)}: this is no template ({one_line(error)})") from None

    def get_value(self, key: int | str, args: Any, kwargs: Any) -> Any:
        """The value of a name."""
        if key not in self.known:
            names = ", ".join(f"{{{name}}}" for name in self.known)
            raise PyengineError(f"output: the job has no {{{key}}}: choose {names}")
        return _in_name(str(key), self.known[key])


def _in_name(name: str, value: Any) -> Any:
    """A value as it stands in a file's name: of a path what is before its suffix, of a size 512x256.

    Of a material, it is what the name of its first map's file begins with, or else that of the folder.
    """
    if is_maps(value) and (name == "stem" or name in PICTURES):
        first = Path(_file_of(next(iter(by_name(value.items(), "exemplar").values()))))
        return name_in(first)[0] or first.parent.name or first.stem
    if isinstance(value, dict) and isinstance(value.get("file"), str):
        value = value["file"]
    if isinstance(value, (list, tuple)):
        return ("x" if name == "size" else "-").join(str(_in_name(name, item)) for item in value)
    if isinstance(value, str):
        return Path(value).stem if name == "stem" or name in PICTURES else value
    if isinstance(value, (int, float)):
        return value
    raise PyengineError(f"output: {name}={in_short(value)} can't be in a file's name: leave {{{name}}} out")
