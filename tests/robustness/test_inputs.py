"""A few inputs of every kind; `python -m robustness` tries many."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness.fuzzing import KINDS

SEED = 0


@pytest.mark.parametrize("name", KINDS)
def test_a_result_or_a_refusal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))
    kind = KINDS[name]
    accepted = []
    kind.each(SEED, kind.few, lambda value: accepted.append(kind.accepts(value, tmp_path)), shrink=True)
    assert 0.05 * kind.few < sum(accepted) < 0.95 * kind.few  # or the inputs are not worth trying
