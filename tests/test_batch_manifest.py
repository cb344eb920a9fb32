"""Jobs: folders, manifests and dictionaries, what counts for all of them, and the names of their files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from pyengine import PyengineError, Recipe
from pyengine.batch.manifest import Fault, Job, read_jobs
from pyengine.batch.schema import schema
from pyengine.recipe import Options

YAML = """\
defaults:
  size: [64, 32]
  output: "{stem}_{seed}_{size}.png"
matrix:
  seed: [1, 2]
jobs:
  - exemplar: grass.png
  - exemplar: sub/brick.png
    seed: 7
    output: "walls/{stem}{seed:03d}.jpg"
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def jobs_of(source: Any, **overrides: Any) -> list[Job]:
    found = list(read_jobs(source, overrides))
    assert [fault for fault in found if isinstance(fault, Fault)] == []
    return found  # type: ignore[return-value]


def fault_of(source: Any, **overrides: Any) -> Fault:
    [fault] = read_jobs(source, overrides)
    assert isinstance(fault, Fault)
    return fault


def test_yaml(tmp_path: Path) -> None:
    path = write(tmp_path / "jobs.yaml", YAML)
    jobs = jobs_of(path)
    assert [job.output for job in jobs] == ["grass_1_64x32.png", "grass_2_64x32.png", "walls/brick007.jpg"]
    assert [job.place for job in jobs] == [f"{path}:7 (seed=1)", f"{path}:7 (seed=2)", f"{path}:8"]
    assert jobs[0].arguments == {"exemplar": str(tmp_path / "grass.png"), "size": [64, 32], "seed": 1}
    assert jobs[2].arguments["exemplar"] == str(tmp_path / "sub" / "brick.png")


def test_yaml_without_jobs_or_without_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yml", "matrix: {exemplar: [a.png, b.png], seed: [1, 2], size: [16, [32, 16]]}")
    assert [job.output for job in jobs_of(path)][:3] == ["a_1_16.png", "a_1_32x16.png", "a_2_16.png"]
    path = write(tmp_path / "b.yml", "- exemplar: a.png\n- {exemplars: [b.png, c.png], init: noise}\n")
    assert [job.output for job in jobs_of(path)] == ["a.png", "b.png"]
    assert jobs_of(path)[1].arguments == {
        "exemplars": [str(tmp_path / "b.png"), str(tmp_path / "c.png")],
        "init": "noise",
    }


def test_json_lines(tmp_path: Path) -> None:
    lines = [{"defaults": {"size": 32}}, {"exemplar": "a.png"}, {"exemplar": "b.png", "size": 16}]
    path = write(tmp_path / "jobs.jsonl", "\n\n".join(map(json.dumps, lines)))
    jobs = jobs_of(path)
    assert [(job.place, job.arguments["size"]) for job in jobs] == [(f"{path}:3", 32), (f"{path}:5", 16)]


def test_csv(tmp_path: Path) -> None:
    text = (
        'exemplar,size,seed,weights,output\n1.png,64x32,3,"{""gram"": 2}",\n\n"a, b.png",48,,,"x\ny.png"\nc.png,,,,\n'
    )
    path = write(tmp_path / "jobs.csv", text)
    first, second, third = jobs_of(path)
    assert first.arguments == {
        "exemplar": str(tmp_path / "1.png"), "size": [64, 32], "seed": 3, "weights": {"gram": 2},
    }  # fmt: skip
    assert (first.output, first.place) == ("1.png", f"{path}:2")
    assert (second.arguments["size"], second.output, second.place) == (48, "x\ny.png", f"{path}:4")
    assert third.place == f"{path}:6"


def test_a_recipe_is_a_job(tmp_path: Path) -> None:
    """As `to_json` writes it, with the hash of the file that it was made from."""
    picture = str(tmp_path / "a.png")
    [job] = jobs_of({"exemplar": {"file": picture, "sha256": "12"}, "output": "{exemplar}.png"})
    assert job.arguments == {"exemplar": {"file": picture, "sha256": "12"}}
    assert job.output == "a.png"


def test_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [job.output for job in jobs_of(tmp_path)] == ["a.png", "b.png"]
    assert [job.output for job in jobs_of([str(tmp_path / "*.jpg"), tmp_path / "b.PNG"])] == ["a.png", "b.png"]
    for source, message in ((tmp_path / "*.tif", "no file is called so"), (tmp_path / "empty", "no pictures in")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(PyengineError, match=message):
            list(read_jobs(source, {}))


def test_what_is_said_for_all_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "jobs.yaml", YAML)
    jobs = jobs_of(path, seed=5, size=16, content="cat.png")
    assert [job.output for job in jobs] == ["grass_5_16.png", "walls/brick005.jpg"]  # no matrix is left
    assert {job.arguments["content"] for job in jobs} == {str(Path("cat.png").absolute())}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"output": "../a.png"}, "output='../a.png': give a path in the output folder"),
        ({"output": "/a.png"}, "output='/a.png': give a path in the output folder"),
        ({"output": "a.gif"}, "a.gif: cannot write this format"),
        ({"output": "{sede}.png"}, "output: the job has no {sede}: choose {"),
        ({"output": "{seed:x:y}.png"}, "this is no template"),
        ({"output": "{.png"}, "this is no template"),
        ({"output": "{weights}.png", "weights": {"gram": 1}}, "can't be in a file's name: leave {weights} out"),
        ({"output": 3}, "output=3: give the name of a file"),
        ({"exemplar": object()}, "exemplar, a object, can't be handed to a worker: save it, and give its path"),
    ],
)
def test_faults(said: dict[str, Any], message: str) -> None:
    fault = fault_of({"exemplar": "a.png", **said})
    assert fault.place == "job 1"
    assert message in fault.message


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.jsonl", '\n{"seed": }', 2, "this is not JSON"),
        ("a.jsonl", "\n\n[1, 2]", 3, "[1, 2] is no job: give arguments by their names"),
        ("a.csv", "exemplar\na.png,3", 2, "2 cells under 1 names"),
        ("a.yaml", "jobs:\n  - 3", 2, "3 is no job"),
    ],
)
def test_faults_have_lines(tmp_path: Path, name: str, text: str, line: int, message: str) -> None:
    fault = fault_of(write(tmp_path / name, text))
    assert fault.place == f"{tmp_path / name}:{line}"
    assert message in fault.message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "jobs:\n  - {", ":2: this is not YAML"),
        ("a.yaml", "jbos: []", "'jbos': give defaults, matrix and jobs"),
        ("a.yaml", "jobs: 3", "no list of jobs"),
        ("a.yaml", "matrix: {seed: 3}", "give a list of values for each name"),
        ("a.jsonl", '{"defaults": 3}', "give arguments by their names"),
        ("a.jsonl", "\udcff", "cannot be read"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PyengineError, match=f"^manifest {path}.*{message}"):
        list(read_jobs(path, {}))
    with pytest.raises(PyengineError, match="No such file"):
        list(read_jobs(tmp_path / "missing.csv", {}))


def test_sources_of_other_kinds() -> None:
    with pytest.raises(PyengineError, match="job 2, a int: give a path, or a dict of arguments"):
        list(read_jobs([{"exemplar": "a.png"}, 3], {}))  # type: ignore[list-item]


# ----------------------------------------------------------------- materials


def test_materials(tmp_path: Path) -> None:
    """Maps are named from the manifest's folder; all outputs are named, each in the format of its input."""
    lines = [
        {"exemplar": {"normal": "rock/normal.exr", "albedo": {"file": "rock/albedo.jpg", "sha256": "12"}}},
        {"exemplars": [{"basecolor": "a_basecolor.png", "ao": "b.gif"}, {"albedo": "/c.png", "ao": "d.png"}]},
        {"exemplar": {"albedo": "s3://b/moss_col.png", "height": "h.png"}, "output": "{exemplar}_albedo.tif"},
        {"exemplar": "a.png", "init": "noise"},
    ]
    rock, pair, moss, plain = jobs_of(write(tmp_path / "jobs.jsonl", "\n".join(map(json.dumps, lines))))
    assert (rock.output, rock.beside) == ("rock.png", ("rock_normal.exr",))
    assert rock.arguments["exemplar"] == {
        "normal": str(tmp_path / "rock/normal.exr"),
        "albedo": {"file": str(tmp_path / "rock/albedo.jpg"), "sha256": "12"},
    }
    assert (pair.output, pair.beside) == ("a.png", ("a_occlusion.png",))
    assert pair.arguments["exemplars"][1] == {"albedo": "/c.png", "ao": str(tmp_path / "d.png")}
    assert (moss.output, moss.beside) == ("moss_albedo.tif", ("moss_height.png",))
    assert moss.arguments["exemplar"]["albedo"] == "s3://b/moss_col.png"
    assert plain.beside == ()


def test_what_is_no_material() -> None:
    job = {"exemplar": {"albedo": "a.png", "normall": "b.png"}, "output": "a.png"}
    assert fault_of(job).message == "exemplar: there is no map 'normall': did you mean 'normal'?"
    job = {"exemplar": {"ao": "a.png", "occlusion": "b.png"}}
    assert fault_of(job).message == "exemplar: the map 'occlusion' is there twice: leave one out"


# -------------------------------------------------------------------- schema


def test_schema_knows_all_arguments() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    properties = schema()["$defs"]["job"]["properties"]
    assert properties.keys() == {"output", "exemplar", *Options.__annotations__}
    assert all(len(said["description"]) > 20 for said in properties.values())


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        (YAML, True),
        ("- {exemplar: a.png, size: 64, iterations: [3, 4], weights: {gram: auto}, exemplar_regions: [a.png]}", True),
        ("- {exemplar: {file: a.png, sha256: abc}}", True),
        ("- {exemplar: {albedo: a.png, nrm: {file: n.png, sha256: abc}}, init: {albedo: b.png}}", True),
        ("- {exemplars: [{albedo: a.png}, {albedo: b.png}]}", True),
        ("- {exemplar: {albedo: 3}}", False),
        ("- {exemplar: {}}", False),
        ("jobs: [{exemplar: a.png, sizee: 64}]", False),
        ("jobs: [{exemplar: a.png, pooling: median}]", False),
        ("jobs: [{size: [64]}]", False),
        ("matrix: {seed: 3}", False),
        ("jbos: []", False),
    ],
)
def test_schema(text: str, is_valid: bool) -> None:
    assert jsonschema.Draft202012Validator(schema()).is_valid(yaml.safe_load(text)) == is_valid


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "batch.md").read_text(encoding="utf-8")
    [example] = re.findall("```yaml\n(.*?)```", text, re.DOTALL)
    jsonschema.validate(yaml.safe_load(example), schema())
    outputs = [job.output for job in jobs_of(write(tmp_path / "jobs.yaml", example))]
    assert outputs == [*(f"gravel/{k}_{size}.png" for k in range(3) for size in ("256", "512x256"))] + [
        f"cats/{k}.png" for k in range(3)
    ]


def test_schema_has_the_defaults_of_recipes() -> None:
    properties = schema()["$defs"]["job"]["properties"]
    defaults = {name: said["default"] for name, said in properties.items() if "default" in said}
    assert defaults["method"] == "histogram"
    Recipe.create(np.eye(16), **defaults)
