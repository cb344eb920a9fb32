"""What is typed of exemplars: pictures, or the maps of a material, by name or from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pyengine.cli import options, parsing
from pyengine.errors import PyengineError

material = options.together(
    [
        click.option(
            "--with", "others", type=parsing.named_file, multiple=True, metavar="MAP=FILE",
            help="Make this map of the material as well, aligned to the EXEMPLAR, which is the albedo unless its name "
            "ends as another map's: normal, height, roughness, metalness, occlusion, orm and so on. Give it again for "
            "each map.",
        ),
        click.option(
            "--set", "folder", type=options.file, metavar="FOLDER",
            help="Take the maps of the material from this folder instead of an EXEMPLAR, by the ends of their names: "
            "rock_albedo.png, rock_normal.png and so on.",
        ),
    ]
)  # fmt: skip


def typed_exemplars(
    exemplars: Sequence[Path], others: Sequence[tuple[str, Path]] = (), folder: Path | None = None
) -> dict[str, Any]:
    """The arguments of `Recipe.create` that are exemplars; none, if there is none.

    Parameters
    ----------
    exemplars : sequence of Path
    others : sequence of (str, Path)
        Maps with their names. Default: none.
    folder : Path, optional
        Where all maps are. Default: None, there is none.

    Raises
    ------
    PyengineError
        Maps of no picture or of several, of unknown names or twice the same; or what `maps.found_in` refuses.
    """
    from pyengine.maps import by_name, found_in, name_in

    if folder is None and not others:
        if not exemplars:
            return {}
        one, several = (exemplars[0], None) if len(exemplars) == 1 else (None, list(exemplars))
        return {"exemplar": one, "exemplars": several}  # both are said, as a recipe may have the other
    if folder is not None and exemplars:
        raise PyengineError(f"EXEMPLAR {exemplars[0]} and --set: give one of them, or the picture as --with MAP=FILE")
    if folder is None and len(exemplars) != 1:
        raise PyengineError(f"--with and {len(exemplars)} EXEMPLARs: give the one whose maps these are")
    first = [] if folder is None else [*found_in(folder).items()]
    first += [(name_in(path)[1] or "albedo", path) for path in exemplars]
    return {"exemplar": by_name([*first, *others], "--with"), "exemplars": None}
