"""One weight decay of a linear model: docs/theory.md §5.5.

Vicol, Metz and Sohl-Dickstein 2021 (arXiv 2112.13835); Vicol, Kolter and Swersky 2023 (arXiv 2304.11153).

A synthetic stand-in for the UCI yacht data. Windows of one step, never reset, 2 pairs, σ = 0.01, Adam 3e-3, 50 000
outer steps. The true optimum is log λ = 3.82. Methods that see only one step end at 3.58. Iterates jitter, so the
result is the median over the last tenth.
"""

import numpy as np
import pytest

import metalearn as ml
from metalearn.reproductions.weight_decay import PAIRS, descend

pytestmark = pytest.mark.slow


def test_truncated_backprop_converges_to_a_biased_weight_decay():
    np.testing.assert_allclose(descend(ml.backprop, seeds=(0,)), 3.58, atol=0.05)


def test_truncated_es_has_the_bias_of_truncated_backprop():
    np.testing.assert_allclose(descend(ml.evolution_strategies, **PAIRS), 3.58, atol=0.05)


def test_noise_reuse_es_finds_the_optimum():
    np.testing.assert_allclose(descend(ml.noise_reuse_es, **PAIRS), 3.82, atol=0.05)


def test_persistent_es_is_noisy_around_the_optimum():
    """Without a reset its variance grows with time. The median of five seeds is within the published 3.6 … 4.4."""
    ends = descend(ml.persistent_es, seeds=range(5), **PAIRS)
    assert 3.6 < np.median(ends) < 4.4, ends
    assert np.all(np.abs(ends - 3.82) < 1.5), ends
