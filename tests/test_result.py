"""What a synthesis gives back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pyengine import PyengineError


def test_saving(engine, natural, tmp_path):
    result = engine.synthesize(natural[:32, :32], iterations=1)
    result.save(tmp_path / "texture.png")
    with Image.open(tmp_path / "texture.png") as image:
        assert np.array_equal(np.asarray(image), result.image)
    with pytest.raises(PyengineError, match=r"bmp"):
        result.save(tmp_path / "texture.bmp")
