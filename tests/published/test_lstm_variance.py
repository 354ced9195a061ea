"""Variance against the number of windows on an LSTM (docs/theory.md §4.4), in the setting of the reproduction."""

import numpy as np
import pytest

import metalearn as ml
from metalearn.reproductions.lstm_variance import REPEATED, TOLERANCE, WINDOWS, curve, measured, predicted, setting

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["random", "repeated", "markov"])
def test_persistent_es_has_the_variance_of_the_linear_formula(kind):
    np.testing.assert_allclose(curve(kind), predicted(kind), rtol=TOLERANCE)


@pytest.mark.parametrize("num_windows", [1, 4, 32])
def test_the_variance_of_noise_reuse_does_not_depend_on_the_number_of_windows(num_windows):
    problem, theta, _, square = setting("random")
    np.testing.assert_allclose(measured(ml.noise_reuse_es, problem, theta, num_windows) / square, 461, rtol=TOLERANCE)


def test_on_repeated_text_persistent_es_has_the_variance_of_equal_windows():
    persistent = curve("repeated")
    np.testing.assert_allclose(persistent, REPEATED, rtol=TOLERANCE)


def test_on_random_text_the_variance_of_persistent_es_grows_with_the_number_of_windows():
    persistent = curve("random")
    assert np.all(np.diff(persistent) > 0), persistent
    assert persistent[-1] > 5 * 461


def test_on_markov_text_the_variance_of_persistent_es_is_u_shaped():
    persistent = curve("markov")
    lowest = int(np.argmin(persistent))
    assert 0 < lowest < len(WINDOWS) - 1, persistent
    assert persistent[lowest] < 0.9 * persistent[0]
    assert persistent[-1] > 1.5 * persistent[0]
