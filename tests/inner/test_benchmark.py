"""Benchmarks have disjoint parts of data, and hyperparameters start at the defaults of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.inner.training import hyperparameter_sets as tuning_module
from metalearn.inner.training.datasets import check_disjoint
from tests.estimators.sampling import QUICK

KEY = jax.random.key(0)


def small(**settings):
    return ml.problems.digits_benchmark((5,), num_steps=10, batch_size=8, **settings)


@pytest.mark.parametrize(
    ("make", "sizes", "classes"),
    [
        (ml.problems.digits_benchmark, (1000, 400, 397), 10),
        (ml.problems.wine_benchmark, (90, 44, 44), 3),
        (ml.problems.breast_cancer_benchmark, (300, 135, 134), 2),
        (ml.problems.teacher_benchmark, (1000, 400, 400), 5),
    ],
)
def test_the_parts_are_disjoint_and_the_network_fits(make, sizes, classes):
    benchmark = make((4,), num_steps=3)
    parts = (benchmark.train, benchmark.validation, benchmark.test)
    assert tuple(part.inputs.shape[1] for part in parts) == sizes
    columns = np.concatenate([np.asarray(part.inputs).T for part in parts])
    assert len(np.unique(columns, axis=0)) >= len(columns) - 2  # two digits may be the same picture
    outputs = benchmark.network.apply(benchmark.network.init(KEY), benchmark.test.inputs, None)
    assert outputs.shape == (classes, sizes[2])
    assert int(benchmark.test.targets.max()) == classes - 1


def test_label_noise_changes_only_training_labels():
    clean, noisy = small(), small(label_noise=0.3)
    changed = np.mean(np.asarray(clean.train.targets) != np.asarray(noisy.train.targets))
    assert changed == pytest.approx(0.3 * 0.9, abs=0.03)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(clean, part).targets, getattr(noisy, part).targets)


def test_evaluations_use_their_part_of_the_data():
    benchmark = small()
    optimizer = lambda theta: optax.sgd(theta)
    theta = jnp.float32(0.1)
    for reading, data in (("validation", benchmark.validation), ("test", benchmark.test)):
        problem = benchmark.problem(optimizer, reading)
        state = problem.init(theta, KEY)
        outputs = benchmark.network.apply(state.params, data.inputs, None)
        expected = ml.metrics.cross_entropy(outputs, data.targets)
        assert problem.loss(state, theta, KEY) == pytest.approx(float(expected), rel=1e-6)
        last = benchmark.problem(optimizer, reading, at_the_end=True)
        end = ml.unroll(problem, state, theta, jax.random.split(KEY)[1], 10)[1][-1]
        assert np.isfinite(ml.meta_loss(last, theta, KEY, 10))
        assert 0 < end < 3
    batches = benchmark.problem(optimizer)
    losses = {float(batches.loss(batches.init(theta, KEY), theta, key)) for key in jax.random.split(KEY, 3)}
    assert len(losses) == 3


def test_the_last_evaluation_is_at_the_end_of_the_same_training():
    benchmark = small()
    optimizer = lambda theta: optax.sgd(theta)
    theta, start = jnp.float32(0.1), jax.random.split(KEY)[0]
    last = benchmark.problem(optimizer, "validation", at_the_end=True)
    state, losses = ml.unroll(last, last.init(theta, start), theta, KEY, 10)
    outputs = benchmark.network.apply(state[0].params, benchmark.validation.inputs, None)
    assert np.mean(losses) == pytest.approx(
        float(ml.metrics.cross_entropy(outputs, benchmark.validation.targets)), rel=1e-4
    )


def test_the_hyperparameters_of_every_tensor_start_as_adamw():
    network = ml.mlp((4, 3, 2))
    tuning = ml.hyperparameters.per_tensor_adam(network, 20, learning_rate=0.01, weight_decay=1e-3, eps=1e-6)
    params = network.init(KEY)

    def follow(transformation):
        state, moved = transformation.init(params), params
        for step in range(5):
            gradients = jax.tree.map(lambda leaf, step=step: jnp.cos(7 * leaf + step) + 0.1, params)
            updates, state = transformation.update(gradients, state, moved)
            moved = optax.apply_updates(moved, updates)
        return moved

    ours = follow(tuning.optimizer(tuning.theta))
    adam = follow(optax.adamw(0.01, eps=1e-6, weight_decay=1e-3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours, adam)
    for entry, name in (("log_rate_start", "layer_0/weight"), ("log_rate_end", "layer_0/weight")):
        theta = jax.tree.map(lambda leaf: leaf, tuning.theta)
        theta[entry][name] = theta[entry][name] + 1.0
        moved = follow(tuning.optimizer(theta))
        differs = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), moved, ours)
        assert differs == {"layer_0": {"weight": True, "bias": False}, "layer_1": {"weight": False, "bias": False}}
    theta = tuning.theta | {"b1": tuning.theta["b1"] | {"layer_1": jnp.asarray(-1.0)}}
    differs = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), follow(tuning.optimizer(theta)), ours)
    assert not any(differs["layer_0"].values())
    assert all(differs["layer_1"].values())


def test_all_hyperparameters_are_eighteen_numbers_with_nonzero_gradients():
    benchmark = ml.problems.digits_benchmark((6,), num_steps=6, batch_size=16)
    tuning = ml.hyperparameters.all_hyperparameters(benchmark)
    assert sum(leaf.size for leaf in jax.tree.leaves(tuning.theta)) == 18
    problem = benchmark.problem(tuning.optimizer, "validation", task=tuning.task)
    ml.check_problem(problem, tuning.theta)
    theta = tuning.theta | {"log_eps": jnp.log(0.01), "dropout": jnp.zeros(2)}
    meta_gradient = jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, 6))
    gradient = jax.jit(meta_gradient, compiler_options=QUICK)(theta)
    assert all(bool(jnp.all(leaf != 0)) for leaf in jax.tree.leaves(gradient))


def test_all_hyperparameters_start_at_the_values_of_the_benchmark():
    benchmark = small()._replace(network=ml.mlp((64, 5, 10), "relu", initial_scale=0.1, gain=0.5))
    tuning = ml.hyperparameters.all_hyperparameters(benchmark)
    assert tuning.task is not None
    starts = [benchmark.network.init(KEY), tuning.task(tuning.theta).init(KEY)]
    jax.tree.map(np.testing.assert_array_equal, *starts)


def test_b2_does_not_round_to_one_for_any_theta():
    """At b2 = 1 the bias correction of Adam would divide by zero. Training stays finite at logits of 100."""
    benchmark = small()
    tuning = ml.hyperparameters.all_hyperparameters(benchmark)
    assert np.float32(tuning_module.B2_LIMIT) < 1
    for extreme in (100.0, -100.0):
        logits = {name: dict.fromkeys(tuning.theta[name], jnp.float32(extreme)) for name in ("b1", "b2")}
        problem = ml.training(benchmark.task(), tuning.optimizer)
        losses = ml.unroll(problem, problem.init(tuning.theta, KEY), tuning.theta | logits, KEY, 10)[1]
        assert np.isfinite(losses).all()
        assert losses.max() < 20


def test_the_inputs_have_dropout():
    network = ml.mlp((50, 3), "relu", input_dropout=0.4)
    params = {"layer_0": {"weight": jnp.ones((3, 50)), "bias": jnp.zeros(3)}}
    outputs = network.apply(params, jnp.ones((50, 200)), KEY)
    assert np.mean(outputs) == pytest.approx(50, rel=0.02)
    assert np.std(outputs[0]) == pytest.approx(np.sqrt(50 * 0.4 / 0.6), rel=0.15)
    np.testing.assert_allclose(network.apply(params, jnp.ones((50, 2)), None), 50)


def overlapping():
    """Data whose validation part contains three training examples, one of them with another label."""
    benchmark = small()
    inputs = jnp.concatenate([benchmark.validation.inputs, benchmark.train.inputs[:, :3]], axis=1)
    targets = jnp.concatenate([benchmark.validation.targets, (benchmark.train.targets[:3] + 1) % 10])
    return benchmark._replace(validation=ml.data.Data(inputs, targets))


def test_repeated_examples_are_counted_and_traced_data_pass():
    first, second = jnp.array([[1.0, 2.0, -0.0]]), np.array([[2.0, 2.0, 0.0, 5.0]])
    parts = {"a": ml.data.Data(first, jnp.zeros(3, int)), "b": ml.data.Data(second, jnp.zeros(4, int))}
    with pytest.raises(ValueError, match="3 of the 4 examples of b are in a too"):
        check_disjoint(parts)
    with pytest.raises(TypeError, match=r"a must be an ml\.data\.Data\(inputs, targets\); a tuple was given"):
        check_disjoint(parts | {"a": tuple(parts["a"])})
    jax.jit(lambda inputs: check_disjoint(parts | {"a": ml.data.Data(inputs, parts["a"].targets)}))(first)


@pytest.mark.parametrize("network", [ml.mlp((64, 5, 10), "tanh"), ml.mlp((64, 5, 10), "relu", bias=False)])
def test_a_user_defined_network_is_trained_without_changes(network):
    benchmark = small()._replace(network=network)
    tuning = ml.hyperparameters.all_hyperparameters(benchmark)
    assert "dropout" not in tuning.theta
    params, key = network.init(jax.random.key(0)), jax.random.key(1)
    expected = benchmark.task(label_smoothing=0.05).loss(params, key)
    theta = tuning.theta | {"label_smoothing": jnp.log(jnp.float32(0.1 / 0.9))}  # half of its logistic function is 0.05
    assert tuning.task is not None
    np.testing.assert_allclose(tuning.task(theta).loss(params, key), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: small(label_noise=1.5), ValueError, "label_noise must be a number"),
        (lambda: ml.problems.digits_benchmark(num_steps=0), ValueError, "num_steps must be at least 1"),
        (lambda: small().problem(lambda theta: optax.sgd(0.1), "training"), ValueError, "reading"),
        (
            lambda: ml.hyperparameters.per_tensor_adam(ml.mlp((2, 2)), 10, learning_rate=0.0),
            ValueError,
            "learning_rate must be a number",
        ),
        (
            lambda: overlapping().problem(lambda theta: optax.sgd(0.1)),
            ValueError,
            "3 of the 403 examples of validation",
        ),
        (lambda: ml.mlp((2, 2), input_dropout=1.0), ValueError, "input_dropout must be a number"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
