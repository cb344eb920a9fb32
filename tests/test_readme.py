"""The README's example runs as it stands, on smaller exemplars and with fewer iterations."""

import re
from pathlib import Path

from conftest import EXAMPLES
from PIL import Image


def test_python_example(tmp_path, monkeypatch):
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "examples").mkdir()
    for name in ("gravel", "brick", "grass"):
        with Image.open(EXAMPLES / f"{name}.png") as image:
            image.reduce(8).save(tmp_path / "examples" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyengine.recipe.default_iterations", lambda levels: (1,) * levels)
    names: dict = {}
    exec(example, names)
    assert {path.name for path in tmp_path.glob("*.png")} == {"gravel.png", "brick.png", "grass.png"}
    assert names["gradient"].shape == (256, 384, 3)
