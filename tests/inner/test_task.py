"""Losses, minibatches and metrics against NumPy."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.inner.training.datasets import Data
from metalearn.inner.training.flax_wrappers import from_linen
from metalearn.inner.training.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.training.minibatches import gaussian_noise
from metalearn.inner.training.networks import Network, mlp
from metalearn.inner.training.task import classification, metric_loss, regression

KEY = jax.random.key(1)
EXAMPLES, CLASSES = 12, 3
DRAW = np.random.default_rng(2)
INPUTS = jnp.asarray(DRAW.normal(size=(4, EXAMPLES)), jnp.float32)
LABELS = Data(INPUTS, jnp.arange(EXAMPLES, dtype=jnp.int32) % CLASSES)
NUMBERS = Data(INPUTS, jnp.asarray(DRAW.normal(size=(2, EXAMPLES)), jnp.float32))
LINEAR = Network(lambda key: jax.random.normal(key, (CLASSES, 4)), lambda params, inputs, key=None: params @ inputs)
ROWS = from_linen(nn.Dense(CLASSES), (1, 4))  # takes examples as rows, without a declaration
PARAMS = LINEAR.init(KEY)
TO_TWO = Network(lambda key: jnp.ones((2, 4)), lambda params, inputs, key=None: params @ inputs)
MARKS = Network(lambda key: jnp.ones((1, 1)), lambda params, inputs, key=None: inputs)


def log_softmax(outputs):
    outputs = np.asarray(outputs, np.float64)
    return outputs - np.log(np.exp(outputs).sum(axis=0))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_classification_loss_equals_its_formula(smoothing):
    task = classification(LINEAR, LABELS, label_smoothing=smoothing, weight_decay=0.3, normalise=True)
    wanted = np.full((CLASSES, EXAMPLES), smoothing / CLASSES)
    wanted[np.asarray(LABELS.targets), np.arange(EXAMPLES)] += 1 - smoothing
    entropy = -(wanted * log_softmax(PARAMS @ INPUTS)).sum(axis=0).mean()
    expected = entropy / math.log(CLASSES) + 0.15 * np.sum(np.asarray(PARAMS) ** 2)
    assert task.loss(PARAMS, KEY).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(task.init(KEY), PARAMS)


def test_the_regression_loss_equals_its_formula():
    params = 0.5 * TO_TWO.init(KEY)
    expected = np.mean((np.asarray(params @ INPUTS) - np.asarray(NUMBERS.targets)) ** 2) + 0.05 * 8 * 0.25
    assert regression(TO_TWO, NUMBERS, weight_decay=0.1).loss(params, KEY).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["label_smoothing", "weight_decay", "dropout", "initial_scale"])
def test_losses_are_differentiable_with_respect_to_every_setting(name):
    def loss(number):
        settings = {"dropout": 0.0, "initial_scale": 1.0, "label_smoothing": 0.0, "weight_decay": 0.0, name: number}
        network = mlp((4, 5, CLASSES), dropout=settings.pop("dropout"), initial_scale=settings.pop("initial_scale"))
        task = classification(network, LABELS, 6, **settings)
        return task.loss(task.init(KEY), jax.random.key(5))

    with jax.enable_x64(True):
        run, h = jax.jit(jax.value_and_grad(loss)), 1e-5
        (above, _), (below, _) = run(jnp.asarray(0.3 + h)), run(jnp.asarray(0.3 - h))
        slope = run(jnp.asarray(0.3))[1].item()
        assert slope == pytest.approx(((above - below) / (2 * h)).item(), rel=1e-6)
    assert abs(slope) > 1e-4


def test_data_may_depend_on_theta():
    def loss(shift):
        return classification(LINEAR, Data(INPUTS + shift, LABELS.targets), 6).loss(PARAMS, KEY)

    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(loss))
        (above, _), (below, _) = run(np.float64(0.1 + 1e-5)), run(np.float64(0.1 - 1e-5))
        slope = run(np.float64(0.1))[1].item()
        assert slope == pytest.approx(((above - below) / 2e-5).item(), rel=1e-6)


def test_minibatches_are_uniform_with_replacement_and_keep_their_targets():
    count, size = 10, 2000
    data = Data(jnp.arange(float(count))[None, :], 100 + jnp.arange(float(count))[None, :])
    drawn = []
    gather = regression(
        MARKS, data, size, metric=lambda outputs, targets: drawn.append((outputs, targets)) or jnp.mean(outputs)
    )
    gather.loss(MARKS.init(KEY), KEY)
    outputs, targets = (np.asarray(part) for part in drawn[0])
    assert outputs.shape == (1, size)
    np.testing.assert_array_equal(targets, outputs + 100)
    counts = np.bincount(outputs[0].astype(int), minlength=count)
    assert len(counts) == count
    assert np.sum((counts - size / count) ** 2 / (size / count)) < 35  # chi-square with 9 degrees of freedom: p < 1e-4


def test_evaluation_uses_the_minibatch_of_the_same_key_without_dropout():
    network = mlp((4, 50, CLASSES), dropout=0.5)
    plain = mlp((4, 50, CLASSES))
    params = network.init(KEY)
    reading = metric_loss(network, LABELS, 5)(params, KEY)
    assert reading.item() == pytest.approx(classification(plain, LABELS, 5).loss(params, KEY).item(), rel=1e-5)
    assert reading.item() != pytest.approx(classification(network, LABELS, 5).loss(params, KEY).item(), rel=1e-3)
    assert reading != metric_loss(network, LABELS, 5)(params, jax.random.key(8))


def test_minibatch_and_dropout_are_drawn_independently():
    network = mlp((4, 50, CLASSES), dropout=0.5)
    task = classification(network, LABELS)
    params = task.init(KEY)
    assert task.loss(params, KEY) != task.loss(params, jax.random.key(7))
    assert task.loss(params, KEY) == task.loss(params, KEY)


def test_error_rate_counts_errors_and_has_a_zero_gradient():
    outputs = jnp.array([[3.0, 0.0, 0.0, jnp.nan], [1.0, 2.0, 1.0, 0.0]])
    labels = jnp.array([0, 0, 1, 0])
    assert error_rate(outputs, labels).item() == pytest.approx(0.5)
    for count in (3, 44, 134, 397):
        assert error_rate(jnp.eye(count), jnp.arange(count)) == 0
    reading = metric_loss(LINEAR, LABELS, metric="error_rate")
    expected = np.mean(np.argmax(PARAMS @ INPUTS, axis=0) != np.asarray(LABELS.targets))
    assert 0 < expected < 1
    assert reading(PARAMS, KEY).item() == pytest.approx(expected)
    assert not np.any(jax.grad(reading)(PARAMS, KEY))


def test_metrics_are_given_by_name_or_by_function():
    squares = metric_loss(TO_TWO, NUMBERS, metric="mean_squared_error")(TO_TWO.init(KEY), KEY)
    assert squares == metric_loss(TO_TWO, NUMBERS, metric=mean_squared_error)(TO_TWO.init(KEY), KEY)
    named = metric_loss(LINEAR, LABELS, normalise=True)(PARAMS, KEY)
    assert named.item() == pytest.approx(
        metric_loss(LINEAR, LABELS, metric=cross_entropy)(PARAMS, KEY).item() / math.log(3), rel=1e-6
    )
    assert classification(LINEAR, LABELS, metric="error_rate").loss(PARAMS, KEY) == error_rate(
        PARAMS @ INPUTS, LABELS.targets
    )


def test_low_precision_losses_are_float32():
    low = PARAMS.astype(jnp.bfloat16)
    network = Network(LINEAR.init, lambda params, inputs, key=None: params @ inputs.astype(params.dtype))
    loss, slope = jax.value_and_grad(classification(network, LABELS, weight_decay=0.1).loss)(low, KEY)
    assert loss.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    assert loss.item() == pytest.approx(
        classification(LINEAR, LABELS, weight_decay=0.1).loss(PARAMS, KEY).item(), rel=0.02
    )


def test_an_infinite_logit_of_another_class_gives_no_nan():
    loss, slope = jax.value_and_grad(cross_entropy)(jnp.array([[2.0], [-jnp.inf]]), jnp.array([0]))
    assert loss == 0
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (
            lambda: classification(LINEAR, Data(INPUTS, LABELS.targets + 1)),
            ValueError,
            "from 0 to 2.*labels from 1 to 3 were given",
        ),
        (
            lambda: classification(LINEAR, Data(INPUTS.T, LABELS.targets)),
            ValueError,
            "Examples are columns; transpose arrays",
        ),
        (lambda: classification(LINEAR, NUMBERS), ValueError, r"labels \[examples\]"),
        (
            lambda: classification(LINEAR, Data(INPUTS, 1.0 * LABELS.targets)),
            TypeError,
            "must have integer labels.*float32",
        ),
        (lambda: classification(LINEAR, LABELS, 0), ValueError, "batch_size must be at least 1; 0 was given"),
        (
            lambda: classification(LINEAR, LABELS, label_smoothing=1.5),
            ValueError,
            r"label_smoothing must be a number in \[0, 1\]",
        ),
        (
            lambda: classification(LINEAR, LABELS, weight_decay=-1),
            ValueError,
            r"weight_decay must be a number in \[0, inf\)",
        ),
        (
            lambda: classification(LINEAR, LABELS, metric="accuracy"),
            ValueError,
            "metric must be one of cross_entropy, error_rate",
        ),
        (
            lambda: classification(LINEAR, LABELS, metric="error_rate", normalise=True),
            ValueError,
            "normalise divides the cross-entropy",
        ),
        (
            lambda: classification(LINEAR, LABELS, metric="error_rate", label_smoothing=0.1),
            ValueError,
            "label_smoothing and example_weights belong",
        ),
        (lambda: regression(LINEAR, NUMBERS), ValueError, r"outputs have shape \(3, 12\) and the targets \(2, 12\)"),
        (lambda: regression(LINEAR, LABELS), ValueError, r"targets \[outputs, examples\]"),
        (
            lambda: metric_loss(LINEAR, LABELS, metric="loss"),
            ValueError,
            "metric must be one of.*mean_squared_error; 'loss'",
        ),
        (lambda: metric_loss(mlp((5, 3)), LABELS), ValueError, "with 5 features"),
        (
            lambda: classification(LINEAR, Data(INPUTS, jax.nn.one_hot(LABELS.targets, 3, axis=0))),
            ValueError,
            r"one-hot columns with jnp.argmax\(targets, axis=0\)",
        ),
        (
            lambda: classification(LINEAR, (INPUTS, LABELS.targets)),
            TypeError,
            r"an ml.data.Data\(inputs, targets\); a tuple",
        ),
        (lambda: classification(LINEAR, Data(INPUTS, LABELS.targets[None])), ValueError, r"use targets\.ravel\(\)"),
        (
            lambda: classification(LINEAR, Data(INPUTS.T, jax.nn.one_hot(LABELS.targets, 3))),
            ValueError,
            "columns; transpose arrays",
        ),
        (lambda: classification(lambda inputs: inputs, LABELS), TypeError, "network must be a Network"),
        (lambda: metric_loss(LINEAR, (INPUTS, LABELS.targets)), TypeError, "data must be an ml.data.Data"),
        (lambda: classification(ROWS, LABELS), ValueError, "examples as rows with examples_first=True"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_example_weights_multiply_the_losses_of_their_examples():
    weights = jnp.arange(EXAMPLES, dtype=jnp.float32) / 4
    logs = log_softmax(PARAMS @ INPUTS)
    mixed = 0.8 * logs[np.asarray(LABELS.targets), np.arange(EXAMPLES)] + 0.2 * logs.mean(axis=0)
    task = classification(LINEAR, LABELS, label_smoothing=0.2, example_weights=weights)
    assert task.loss(PARAMS, KEY).item() == pytest.approx(-np.mean(np.asarray(weights) * mixed), rel=1e-5)


def test_weights_stay_with_their_examples_in_a_minibatch():
    """Only one example has weight, and minibatches see it as often as it is drawn."""
    alone = jnp.zeros(EXAMPLES).at[5].set(1.0)
    task = classification(LINEAR, LABELS, 4, example_weights=alone)
    losses = jax.vmap(lambda key: task.loss(PARAMS, key))(jax.random.split(KEY, 4000))
    one = -log_softmax(PARAMS @ INPUTS)[int(LABELS.targets[5]), 5]
    spread = one * np.sqrt((1 / EXAMPLES) * (1 - 1 / EXAMPLES) / 4 / 4000)
    assert abs(float(losses.mean()) - one / EXAMPLES) < 5 * spread


def test_num_examples_uses_the_first_examples_also_if_it_is_traced():
    marked = Data(jnp.arange(EXAMPLES, dtype=jnp.float32)[None], jnp.zeros(EXAMPLES, jnp.int32))
    seen = lambda count, key: classification(
        MARKS, marked, 64, num_examples=count, metric=lambda outputs, labels: jnp.max(outputs)
    ).loss({}, key)
    largest = jax.vmap(seen)(jnp.array([1, 3, EXAMPLES]), jax.random.split(KEY, 3))
    assert largest.tolist() == [0, 2, EXAMPLES - 1]


def test_a_traced_number_of_examples_is_clipped_to_its_range():
    marked = Data(jnp.arange(EXAMPLES, dtype=jnp.float32)[None], jnp.zeros(EXAMPLES, jnp.int32))
    mean = lambda count: classification(
        MARKS, marked, 400, num_examples=count, metric=lambda outputs, labels: jnp.mean(outputs)
    ).loss({}, KEY)
    found = jax.jit(jax.vmap(mean))(jnp.array([-1, 0, 1, EXAMPLES, 40]))
    np.testing.assert_array_equal(found[:3], 0)
    np.testing.assert_allclose(found[3:], found[3])
    assert abs(float(found[3]) - (EXAMPLES - 1) / 2) < 5 * np.sqrt((EXAMPLES**2 - 1) / 12 / 400)


def test_augmentation_adds_noise_of_the_given_strength_to_the_minibatch():
    read = lambda outputs, labels: jnp.mean(outputs)
    still = Data(jnp.zeros((1, EXAMPLES)), jnp.zeros(EXAMPLES, jnp.int32))
    task = lambda strength: classification(MARKS, still, 50, metric=read, augment=gaussian_noise(strength))
    means = jax.vmap(lambda key: task(0.7).loss({}, key))(jax.random.split(KEY, 2000))
    assert float(jnp.std(means)) == pytest.approx(0.7 / np.sqrt(50), rel=0.1)
    assert jax.grad(lambda strength: task(strength).loss({}, KEY))(0.7) == pytest.approx(
        float(task(1.0).loss({}, KEY)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"example_weights": jnp.ones(3)}, "example_weights must have shape .12,., one number per example"),
        ({"num_examples": 3}, "give a batch_size with it"),
        ({"num_examples": 13, "batch_size": 2}, "num_examples must be at most 12, the number of examples"),
        ({"num_examples": 0, "batch_size": 2}, "num_examples must be at least 1"),
        ({"example_weights": jnp.ones(12), "metric": "error_rate"}, "belong to the metric cross_entropy"),
    ],
)
def test_arguments_that_do_not_fit_the_examples_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        classification(LINEAR, LABELS, **settings)


@pytest.mark.parametrize("count", [2.7, True, "a", jnp.array([1, 2])])
def test_the_number_of_examples_must_be_an_integer(count):
    with pytest.raises(TypeError, match="num_examples must be"):
        classification(LINEAR, LABELS, 2, num_examples=count)
