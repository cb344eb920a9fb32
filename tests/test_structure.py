"""The structure loss beyond what all losses do: translations, pairs, and what they see."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conftest import KERNELS, WRAPS, coverage, relative_error
from maps import LAYER, evaluate, feature_map, make, structure_targets

from pyengine.losses.base import Region, Sample
from pyengine.losses.gram import GramLoss
from pyengine.losses.structure import StructureLoss


def test_translations_of_half_a_sample_are_left_out():
    shifts = set(StructureLoss.measure(LAYER, [Sample(feature_map(1, 9, 40))], KERNELS).targets)
    assert shifts == {(0, 1), (1, 0), (0, 2), (2, 0), (0, 4), (4, 0), (0, 8)}
    samples = [Sample(feature_map(1, 9, 40)), Sample(feature_map(1, 20, 8))]  # by the smallest side of any
    assert set(StructureLoss.measure(LAYER, samples, KERNELS).targets) == {(0, 1), (1, 0), (0, 2), (2, 0), (4, 0)}


def test_a_sample_without_pairs_has_no_structure():
    loss = StructureLoss.measure(LAYER, [Sample(feature_map(1, 2, 2))], KERNELS)
    gradient = np.full((5, 7, 9), np.nan, np.float32)
    assert loss.magnitude == 0
    assert evaluate(loss, feature_map(0), gradient=gradient) == 0
    assert not gradient.any()


def test_an_output_without_pairs_has_no_structure():
    """A region of one pixel, which no translation leads back into."""
    w = np.zeros(63, np.float32)
    w[30] = 1
    loss = make("structure", [Sample(feature_map(1))], Region("1", 0.1, {LAYER: coverage(w)}))
    gradient = np.full((5, 7, 9), np.nan, np.float32)
    assert evaluate(loss, feature_map(0), gradient=gradient) == 0
    assert not gradient.any()


@pytest.mark.parametrize("wrap", WRAPS)
def test_structure_of_an_output_smaller_than_a_translation(wrap):
    """Where it does not wrap it has no such pairs; the exemplar's side is 20, so that all translations are used."""
    samples, features = [Sample(feature_map(1, 20, 20))], feature_map(0, 6, 5)
    loss = make("structure", samples, Region(), wrap)
    gradient = np.empty_like(features)
    value = evaluate(loss, features, gradient=gradient)
    wanted = reference.structure_loss(features, structure_targets(samples), wrap=wrap)
    assert value == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1]) < 1e-5


def test_structure_sees_what_a_gram_matrix_does_not():
    stripes = np.tile(np.float32([0, 0, 1, 1]), (1, 16, 4))
    shuffled = np.random.default_rng(0).permutation(stripes.ravel()).reshape(stripes.shape)
    losses = [GramLoss.measure, StructureLoss.measure]
    gram, structure = (evaluate(measure(LAYER, [Sample(stripes)], KERNELS), shuffled) for measure in losses)
    assert gram == 0
    assert structure > 0.04
