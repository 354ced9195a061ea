"""Datasets: shapes, moments, reproducibility and error messages."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.inner.training import datasets

KEY = jax.random.key(0)


def test_gaussian_regression_is_independent_noise():
    sample = datasets.gaussian_regression(KEY, 3, 4000, 2)
    assert sample.inputs.shape == (3, 4000)
    assert sample.targets.shape == (2, 4000)
    covariance = np.cov(np.concatenate([sample.inputs, sample.targets]))
    assert np.max(np.abs(covariance - np.eye(5))) < 5 * np.sqrt(2 / 4000)
    assert np.array_equal(sample.inputs, datasets.gaussian_regression(KEY, 3, 4000, 2).inputs)


def test_the_noise_of_the_teacher_is_added_to_its_outputs():
    draw = jax.jit(lambda noise: datasets.teacher(KEY, 3, 4000, 2, noise=noise))
    clean, noisy = draw(0.0), draw(0.5)
    np.testing.assert_array_equal(clean.inputs, noisy.inputs)
    difference = np.asarray(noisy.targets - clean.targets)
    assert abs(difference.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * 8000)
    assert abs(np.corrcoef(difference[0], clean.targets[0])[0, 1]) < 5 / np.sqrt(4000)
    assert clean.targets.std() > 0.3
    run = jax.jit(lambda: [datasets.teacher(KEY, 3, 50, 4, classification=labels).targets for labels in (True, False)])
    labels, scores = run()
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, np.argmax(scores, axis=0))


def test_the_teacher_is_differentiable_with_respect_to_its_noise():
    run = jax.jit(jax.value_and_grad(lambda noise: jnp.sum(datasets.teacher(KEY, 3, 5, noise=noise).targets)))
    assert run(0.3)[1].item() == pytest.approx((run(1.0)[0] - run(0.0)[0]).item(), rel=1e-4)


def test_split_is_a_partition_in_the_order_of_numpys_legacy_generator():
    whole = datasets.Data(jnp.arange(20.0).reshape(2, 10), jnp.arange(10))
    parts = datasets.split(whole, (5, 3), seed=7)
    assert [part.inputs.shape for part in parts] == [(2, 5), (2, 3)]
    order = np.random.RandomState(7).permutation(10)
    for part, indices in zip(parts, (order[:5], order[5:8])):
        np.testing.assert_array_equal(part.targets, indices)
        np.testing.assert_array_equal(part.inputs, np.asarray(whole.inputs)[:, indices])
    outputs = datasets.split(datasets.Data(whole.inputs, whole.inputs), (4,))[0].targets
    assert outputs.shape == (2, 4)
    assert not np.array_equal(datasets.split(whole, (5,), seed=8)[0].targets, parts[0].targets)


@pytest.mark.parametrize(
    ("load", "features", "examples", "classes"),
    [(datasets.digits, 64, 1797, 10), (datasets.breast_cancer, 30, 569, 2), (datasets.wine, 13, 178, 3)],
)
def test_real_data_are_columns(load, features, examples, classes):
    sample = load()
    assert sample.inputs.shape == (features, examples)
    assert sample.inputs.dtype == jnp.float32
    assert sample.targets.dtype == jnp.int32
    assert sorted(set(sample.targets.tolist())) == list(range(classes))


def test_digits_are_sixteenths_and_centre_subtracts_the_mean_image():
    plain, centred = datasets.digits().inputs, datasets.digits(centre=True).inputs
    assert plain.min() == 0
    assert plain.max() == 1
    from sklearn.datasets import load_digits

    np.testing.assert_allclose(
        np.asarray(plain)[:, 17].reshape(8, 8), load_digits(return_X_y=True)[0][17].reshape(8, 8) / 16
    )
    np.testing.assert_allclose(centred.mean(axis=1), np.zeros(64), atol=1e-6)
    np.testing.assert_allclose(centred[:, 0] - centred[:, 1], plain[:, 0] - plain[:, 1], atol=1e-6)


@pytest.mark.parametrize("load", [datasets.breast_cancer, datasets.wine])
def test_measurements_are_standardised(load):
    with jax.enable_x64(True):
        inputs = np.asarray(load().inputs)
    assert inputs.dtype == np.float64
    np.testing.assert_allclose(inputs.mean(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(inputs.std(axis=1), 1, rtol=1e-10)


def test_a_missing_scikit_learn_is_named_in_the_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"digits data needs scikit-learn; install metalearn\[data\]"):
        datasets.digits()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (
            lambda: datasets.split(datasets.wine(), (100, 100)),
            ValueError,
            r"at most 178, the number of examples in the data; \(100, 100\) was given",
        ),
        (lambda: datasets.split(datasets.wine(), (0.5,)), TypeError, r"sizes must be a whole number; 0\.5"),
        (lambda: datasets.gaussian_regression(KEY, 0, 3), ValueError, "num_features must be at least 1; 0 was given"),
        (
            lambda: datasets.teacher(KEY, 2, 3, noise=-1),
            ValueError,
            r"noise must be a number in \[0, inf\); -1 was given",
        ),
        (lambda: datasets.teacher(KEY, 2, 3, 1, classification=True), ValueError, "num_outputs must be at least 2"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
