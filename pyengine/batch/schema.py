"""The JSON Schema of a manifest, made from the arguments of `Recipe.create`, for editors that complete and check."""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pyengine.batch.manifest import DEFAULTS, JOBS, MATRIX, OUTPUT
from pyengine.document import PICTURES
from pyengine.maps import NAMES
from pyengine.recipe import Recipe

PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
"""What JSON Schema calls Python's types."""

PICTURE = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"file": {"type": "string"}, "sha256": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ]
}
"""A picture: a path from the manifest's folder, or as recipes have it, with the hash of what the file holds."""


MATERIAL = {
    "type": "object",
    "properties": dict.fromkeys(NAMES, PICTURE),
    "additionalProperties": PICTURE,
    "minProperties": 1,
}
"""The maps of a material, by these names or others that mean the same."""


def schema() -> dict[str, Any]:
    """The schema of a YAML manifest, of which `$defs` has a job, as each line of JSON Lines holds it.

    Examples
    --------
    >>> schema()["$defs"]["job"]["properties"]["pooling"]["enum"]
    ['average', 'max']
    """
    arguments = _arguments()
    job = {"$ref": "#/$defs/job"}
    several = {name: {"type": "array", "items": said, "minItems": 1} for name, said in arguments.items()}
    whole = {
        DEFAULTS: {**job, "description": "Arguments of all jobs that do not say them themselves."},
        MATRIX: {
            "type": "object",
            "description": "Values that are combined in all ways, each a job.",
            "properties": several,
            "additionalProperties": False,
        },
        JOBS: {"type": "array", "items": job, "description": "What to make. Default: what the matrix combines."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A batch of pyengine",
        "$defs": {"job": {"type": "object", "properties": arguments, "additionalProperties": False}},
        "anyOf": [
            {"type": "object", "properties": whole, "additionalProperties": False},
            {"type": "array", "items": job},
        ],
    }


def _arguments() -> dict[str, Any]:
    hints = get_type_hints(Recipe.create)
    said = _descriptions()
    found: dict[str, Any] = {
        OUTPUT: {
            "type": "string",
            "description": "The file to write, from the output folder; {stem} stands for the exemplar's name, {seed}, "
            "{size} and so on for arguments. Default: {stem}, and what the matrix has, .png.",
        }
    }
    for name, parameter in inspect.signature(Recipe.create).parameters.items():
        kind = _picture(name) if name in PICTURES else _kind(hints[name])
        found[name] = {**kind, "description": said.get(name, "")}
        if parameter.default is not None:
            found[name]["default"] = parameter.default
    return found


def _descriptions() -> dict[str, str]:
    """What the docstring of `synthesize` says of each argument."""
    from pyengine.api import synthesize

    text = (
        inspect.cleandoc(synthesize.__doc__ or "").partition("Parameters\n----------\n")[2].partition("\nReturns\n")[0]
    )
    found: dict[str, str] = {}
    for names, words in re.findall(r"^(\w[\w, ]*) : .*\n((?:    .*\n)+)", text, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(words.split()))
    return found


def _picture(name: str) -> dict[str, Any]:
    if name in ("exemplar", "init"):
        return {"anyOf": [*PICTURE["anyOf"], MATERIAL]}
    if name == "exemplars":
        return {"type": "array", "items": {"anyOf": [*PICTURE["anyOf"], MATERIAL]}, "minItems": 1}
    if name.endswith("regions"):
        several = {"type": "array", "items": {"anyOf": [PICTURE, {"type": "array", "items": PICTURE}]}}
        return {"anyOf": [*PICTURE["anyOf"], several]}
    return PICTURE


def _kind(hint: Any) -> dict[str, Any]:
    """What JSON Schema says of values of a type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": [*parts]}
    if origin in (Union, types.UnionType):
        kinds = [_kind(part) for part in parts if part is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_kind(part) for part in parts], "minItems": len(parts), "items": False}
    if origin is collections.abc.Sequence:
        return {"type": "array", "items": _kind(parts[0])}
    if origin in (collections.abc.Mapping, dict):
        return {"type": "object", "additionalProperties": _kind(parts[1])}
    return {"type": PLAIN[hint]}
