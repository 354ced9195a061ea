"""Training as a map: the published fractal trajectories, NumPy loops, and the transformations of JAX."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from metalearn.inner.derived import strided
from metalearn.inner.problem import check_problem
from metalearn.inner.problems.known import linear_quadratic, noisy_linear_quadratic
from metalearn.inner.training.datasets import Data
from metalearn.inner.training.networks import mlp
from metalearn.inner.training.optimizers import adam, clipped, per_layer, sgd
from metalearn.inner.training.schedules import cosine_schedule
from metalearn.inner.training.task import Task, classification, metric_loss, regression
from metalearn.inner.training.training import TrainingState, training
from metalearn.inner.training.transforms import exp, sigmoid, value
from metalearn.inner.unroll import unroll

KEY = jax.random.key(0)
REFERENCE = pathlib.Path(__file__).parents[1] / "reference"
INPUTS = jnp.asarray(np.random.default_rng(2).normal(size=(4, 12)), jnp.float32)
LABELS = Data(INPUTS, jnp.arange(12, dtype=jnp.int32) % 3)
NETWORK = mlp((4, 5, 3))
START = jax.tree.map(
    lambda leaf: jnp.asarray(np.random.default_rng(leaf.size).normal(size=leaf.shape) / 2, jnp.float32),
    jax.eval_shape(NETWORK.init, KEY),
)
ADAM = adam(exp("rate"), b1=sigmoid("b1", 0, 0.99))
THETA = {"rate": jnp.asarray(-2.0), "b1": jnp.asarray(0.5)}


def classify(batch_size=None):
    """A classification with a fixed start, because compiling random draws for every shape is slow."""
    return classification(NETWORK, LABELS, batch_size)._replace(init=lambda key: START)


def test_the_first_losses_of_the_fractal_equal_the_published_ones():
    """v[0] is the loss at the start; `unroll` reads the following nine, each after its update."""
    reference = np.load(REFERENCE / "fractal_tanh_first_losses.npz")
    with jax.enable_x64(True):
        network = mlp((16, 16, 1), "tanh", "mean_field", bias=False)
        loss = regression(network, Data(jnp.asarray(reference["X"].T), jnp.asarray(reference["Y"].T))).loss
        weights = {f"layer_{i}": {"weight": jnp.asarray(reference[f"W{i}"].T)} for i in (0, 1)}
        optimizer = per_layer({"layer_0": sgd(value("input")), "layer_1": sgd(value("output"))})
        problem = training(Task(lambda key: weights, loss), optimizer, cap=None)

        def losses(input_rate, output_rate):
            theta = {"input": input_rate, "output": output_rate}
            state = problem.init(theta, KEY)
            return jnp.append(problem.loss(state, theta, KEY), unroll(problem, state, theta, KEY, 9)[1])

        found = np.asarray(jax.jit(jax.vmap(losses))(reference["input_rates"], reference["output_rates"]))
    assert len(found) == 8
    np.testing.assert_allclose(found, reference["losses"], rtol=1e-10)


def test_training_steps_equal_those_of_a_plain_loop():
    problem = training(classify(6), ADAM)
    check_problem(problem, THETA)
    state, losses = jax.jit(lambda theta: unroll(problem, problem.init(theta, KEY), theta, KEY, 4))(THETA)
    task = classify(6)
    transformation = optax.adam(np.exp(-2.0), 0.99 / (1 + np.exp(-0.5)), eps_root=1e-12)

    @jax.jit
    def step(params, moments, index):
        updates, moments = transformation.update(jax.grad(task.loss)(params, jax.random.fold_in(KEY, index)), moments)
        params = optax.apply_updates(params, updates)
        return params, moments, task.loss(params, jax.random.fold_in(KEY, index + 1))

    params = START
    moments, expected = transformation.init(params), []
    for index in range(4):
        params, moments, loss = step(params, moments, index)
        expected.append(loss)
    np.testing.assert_allclose(losses, np.stack(expected), rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), state.params, params)
    assert isinstance(state, TrainingState)


def test_the_key_reaches_the_task_unmodified():
    seen = []

    def loss(params, key):
        seen.append(jax.random.key_data(key))
        return jnp.sum(params**2)

    problem = training(Task(lambda key: seen.append(jax.random.key_data(key)) or jnp.ones(2), loss), sgd(0.1), cap=None)
    state = problem.init(None, KEY)
    problem.step(state, None, jax.random.key(5))
    problem.loss(state, None, jax.random.key(6))
    for data, seed in zip(seen, (0, 5, 6), strict=True):
        np.testing.assert_array_equal(np.asarray(data), jax.random.key_data(jax.random.key(seed)))


def test_a_given_meta_loss_replaces_the_loss_of_the_task():
    other = Data(INPUTS + 1, LABELS.targets)
    metric = metric_loss(NETWORK, other, metric="error_rate")
    problem = training(classify(), sgd(exp("rate")), metric)
    state = jax.jit(problem.init)(THETA, KEY)
    assert problem.loss(state, THETA, KEY) == metric(state.params, KEY)
    plain = training(classify(), sgd(exp("rate")))
    moved = jax.jit(lambda state: [made.step(state, THETA, KEY) for made in (problem, plain)])(state)
    jax.tree.map(np.testing.assert_array_equal, *moved)
    assert not np.array_equal(moved[0].params["layer_0"]["weight"], state.params["layer_0"]["weight"])


def test_a_task_may_depend_on_theta():
    def task(theta):
        network = mlp((4, 5, 3), dropout=jax.nn.sigmoid(theta["dropout"]), initial_scale=jnp.exp(theta["scale"]))
        shifted = Data(INPUTS + theta["shift"], LABELS.targets)
        return classification(
            network,
            shifted,
            6,
            label_smoothing=0.1 * jax.nn.sigmoid(theta["smooth"]),
            weight_decay=jnp.exp(theta["wd"]),
        )

    problem = training(task, sgd(0.3, 0.9))
    theta = {name: 0.1 * index - 1.0 for index, name in enumerate(("dropout", "scale", "shift", "smooth", "wd"))}
    metric = metric_loss(NETWORK, LABELS)

    def end(theta):
        return metric(unroll(problem, problem.init(theta, KEY), theta, KEY, 3)[0].params, KEY)

    with jax.enable_x64(True):
        theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), theta)
        run = jax.jit(jax.value_and_grad(end))
        slopes = run(theta)[1]
        for name in theta:
            above, below = ({**theta, name: theta[name] + h} for h in (1e-6, -1e-6))
            difference = (run(above)[0] - run(below)[0]) / 2e-6
            assert slopes[name].item() == pytest.approx(difference.item(), rel=1e-4), name
            assert abs(slopes[name]) > 1e-7, name


def test_forward_and_reverse_mode_agree_under_vmap_and_jit():
    task = classification(NETWORK, LABELS)

    def start(key):
        shift = jax.random.uniform(key)
        return jax.tree.map(lambda leaf: leaf + shift, START)

    problem = training(task._replace(init=start), clipped(ADAM, 0.5))

    def mean(theta, key):
        return jnp.mean(unroll(problem, problem.init(theta, key), theta, key, 3)[1])

    keys = jax.random.split(KEY, 3)
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), THETA)
        tangent = {"rate": jnp.asarray(1.0), "b1": jnp.asarray(0.0)}

        @jax.jit
        @jax.vmap
        def both(key):
            forward = jax.jvp(lambda theta: mean(theta, key), (theta,), (tangent,))[1]
            return forward, jax.grad(mean)(theta, key)["rate"]

        forward, reverse = both(keys)
        np.testing.assert_allclose(forward, reverse, rtol=1e-9)
    assert len(set(np.asarray(reverse).tolist())) == 3


def test_low_precision_states_keep_their_dtypes():
    network = mlp((4, 5, 3), dtype=jnp.bfloat16)
    problem = training(classification(network, LABELS, 6), ADAM)
    check_problem(problem, THETA)
    state = jax.jit(problem.init)(THETA, KEY)
    moved = jax.jit(problem.step)(state, THETA, KEY)
    assert jax.tree.map(lambda leaf: leaf.dtype, moved) == jax.tree.map(lambda leaf: leaf.dtype, state)
    assert {leaf.dtype for leaf in jax.tree.leaves(moved.params)} == {jnp.dtype(jnp.bfloat16)}
    assert jax.tree.leaves(moved.params)[0].tolist() != jax.tree.leaves(state.params)[0].tolist()


EXTRA = {
    "lbfgs": lambda theta: optax.lbfgs(),
    "polyak": lambda theta: optax.polyak_sgd(max_learning_rate=0.1),
    "plateau": lambda theta: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
}


@pytest.mark.parametrize("name", EXTRA)
def test_optimisers_that_need_the_loss_receive_it(name):
    problem = training(classify(), EXTRA[name])
    check_problem(problem, THETA)
    start = jax.jit(problem.init)(THETA, KEY)
    losses = jax.jit(lambda state: unroll(problem, state, THETA, KEY, 3)[1])(start)
    assert losses[-1] < problem.loss(start, THETA, KEY)


def test_injected_hyperparameters_follow_the_current_theta():
    """optax.inject_hyperparams keeps its numbers in the state, where those of θ at the episode's start would stay."""
    plain = training(classify(), lambda theta: optax.sgd(jnp.exp(theta)))
    injected = training(classify(), lambda theta: optax.inject_hyperparams(optax.sgd)(learning_rate=jnp.exp(theta)))
    theta = jnp.float32(-1.0)
    check_problem(injected, theta)
    state = {name: problem.init(theta, KEY) for name, problem in (("plain", plain), ("injected", injected))}

    def later(name, problem, theta):
        return jax.tree.leaves(problem.step(state[name], theta, KEY).params)[0].sum()

    slopes = [jax.grad(functools.partial(later, *one))(theta) for one in (("plain", plain), ("injected", injected))]
    assert slopes[0] != 0
    assert float(slopes[1]) == pytest.approx(float(slopes[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: training(LABELS.inputs, sgd(0.1)), "task must be a Task, or a function of theta"),
        (lambda: training(classification(NETWORK, LABELS), optax.sgd(0.1)), r"write lambda theta: optax\.adam\(1e-3\)"),
        (
            lambda: training(classification(NETWORK, LABELS), sgd(0.1), 3.0),
            r"meta_loss must be a function \(params, key\)",
        ),
        (lambda: training(lambda theta: 3, sgd(0.1)).init(THETA, KEY), "must return a Task; it returned a int"),
        (
            lambda: training(classification(NETWORK, LABELS), sgd).init(0.1, KEY),
            "not the factory adam itself",
        ),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, sentence):
    with pytest.raises(TypeError, match=sentence):
        make()


def test_strided_has_the_same_states_with_fewer_losses():
    """For a deterministic map, the losses are every third of the full run. A counter in the state keeps its dtype."""
    problem = linear_quadratic(0.8, 0.5)
    theta, key = jnp.float32(0.3), jax.random.key(0)
    whole = unroll(problem, problem.init(theta, key), theta, key, 12)[1]
    wrapped = strided(problem, 3)
    _, losses = unroll(wrapped, wrapped.init(theta, key), theta, key, 4)
    np.testing.assert_allclose(losses, whole[2::3], rtol=1e-6)
    with pytest.raises(ValueError, match="stride must be at least 1; 0 was given"):
        strided(problem, 0)


def test_strided_draws_new_random_numbers_in_each_step():
    noisy = noisy_linear_quadratic(1.0, 0.0, start=0.0, noise=1.0)
    wrapped, theta = strided(noisy, 25), jnp.float32(0.0)
    ends = jax.vmap(lambda key: wrapped.step(wrapped.init(theta, key), theta, key))(
        jax.random.split(jax.random.key(1), 2000)
    )
    assert float(jnp.var(ends)) == pytest.approx(25, rel=0.2)


def test_a_schedule_that_branches_on_a_traced_number_of_steps_raises_an_error():
    task = Task(lambda key: jnp.ones(3), lambda params, key: jnp.sum(params**2))
    theta = jnp.float32(10.0)
    with pytest.raises(
        TypeError, match=r"TracerBoolConversionError: no `if` may depend.*ml\.hyperparameters\.linear_schedule"
    ):
        check_problem(training(task, lambda theta: optax.sgd(optax.cosine_decay_schedule(0.1, theta))), theta)
    check_problem(training(task, lambda theta: sgd(cosine_schedule(0.1, 0.0, lambda theta: theta))(theta)), theta)
