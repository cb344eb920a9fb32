"""What is installed: every package of the source is in pyproject.toml's list, which setuptools goes by."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_listed() -> None:
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert listed
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "pyengine").rglob("__init__.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"pyengine.models"}  # that lies in models/
    assert set(re.findall(r'"(.*?)"', listed[1])) == expected
