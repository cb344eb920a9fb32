"""The README's example runs as it stands, on smaller exemplars and with fewer iterations; no link leads nowhere."""

import re
from pathlib import Path

import pytest
from conftest import EXAMPLES
from PIL import Image

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("models/*.md")]
)


def test_python_example(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "examples").mkdir()
    for name in ("gravel.png", "brick.png", "grass.png", "strokes.png", "cat.jpg", "torn.png"):
        with Image.open(EXAMPLES / name) as image:
            image.reduce(2).save(tmp_path / "examples" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyengine.recipe.default_iterations", lambda levels, start: (1,) * levels)
    names: dict = {}
    exec(example, names)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "texture.png",
        "brick.png",
        "grass.png",
        "cat.png",
        "mended.png",
    }
    assert names["gradient"].shape == (256, 384, 3)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links(document):
    links = re.findall(r"\]\(([^)\s]+)", document.read_text(encoding="utf-8"))
    relative = [link.partition("#")[0] for link in links if not re.match("[a-z]+:|#", link)]
    assert [link for link in relative if not (document.parent / link).exists()] == []
