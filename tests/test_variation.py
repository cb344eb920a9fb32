"""The total variation, which is of the image itself."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conftest import KERNELS, WRAPS, relative_error
from maps import evaluate

from pyengine.losses.base import IMAGE, Sample
from pyengine.losses.variation import VariationLoss


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("size", [(7, 9), (1, 5), (2, 2)])
def test_variation(wrap, size):
    image = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    loss = VariationLoss.measure(IMAGE, [Sample(image)], KERNELS, wrap=wrap)
    value, gradient = reference.variation(image, wrap)
    assert evaluate(loss, image) == pytest.approx(value, rel=1e-5)
    found = np.full_like(image, np.nan)  # to be overwritten
    assert evaluate(loss, image, weight=2.0, gradient=found) == pytest.approx(value, rel=1e-5)
    assert relative_error(found, 2 * gradient) < 1e-5
    found = np.ones_like(image)
    evaluate(loss, image, weight=2.0, gradient=found, accumulate=True)
    assert relative_error(found - 1, 2 * gradient) < 1e-5


def test_variation_has_a_name_without_a_layer_and_the_exemplars_as_unit():
    images = [np.random.default_rng(seed).random((5, 6 + seed, 3)).astype(np.float32) for seed in (0, 1)]
    loss = VariationLoss.measure(IMAGE, [Sample(images[0], None, 3.0), Sample(images[1])], KERNELS)
    assert loss.name == "variation"
    values = [reference.variation(image, (False, False))[0] for image in images]
    assert loss.magnitude == pytest.approx(np.average(values, weights=[3 * 30, 35]), rel=1e-5)
