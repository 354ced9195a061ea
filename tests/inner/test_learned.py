"""Learned optimisers against NumPy, Adam and finite differences, and in the wrappers of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from benchmarks import learned as by_hand
from metalearn.inner import learned
from metalearn.inner.learned import base, factored, per_parameter
from metalearn.inner.problem import InnerProblem, check_problem
from metalearn.inner.training.task import Task
from metalearn.inner.training.training import training
from metalearn.inner.unroll import meta_loss, unroll
from tests.estimators.sampling import QUICK

KEY = jax.random.key(0)
EVERY = {
    "mlp": lambda: learned.mlp_optimizer((4, 3)),
    "nominal": lambda: learned.nominal_optimizer((4, 3), learning_rate=0.02),
    "factored": lambda: learned.factored_optimizer((3, 3)),
    "recurrent": lambda: learned.recurrent_optimizer(4, learning_rate=0.02),
}
SHAPES = {"scalar": (), "vector": (5,), "matrix": (3, 4), "kernel": (2, 2, 3, 2)}


def draw(seed, dtype=np.float64, scale=1.0):
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(scale * random.standard_normal(shape), dtype) for name, shape in SHAPES.items()}


def moved(theta, amount=0.3):
    """Return θ away from its start, so that no weight is zero."""
    flat, unravel = ravel_pytree(theta)
    return unravel(flat + amount * jax.random.normal(jax.random.key(3), flat.shape, flat.dtype))


def follow(transformation, gradients, params):
    """Return the updates of every step."""
    step = jax.jit(transformation.update, compiler_options=QUICK)
    state, updates = transformation.init(params), []
    for gradient in gradients:
        update, state = step(gradient, state, params)
        params = optax.apply_updates(params, update)
        updates.append(update)
    return updates


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def count(theta):
    return sum(leaf.size for leaf in jax.tree.leaves(theta))


def test_the_numbers_of_weights_are_those_of_the_documentation():
    assert count(learned.nominal_optimizer().init(KEY)) == 227
    assert count(learned.mlp_optimizer().init(KEY)) == 1666
    assert count(learned.factored_optimizer().init(KEY)) == 25 * 4 + 7 * 4 + 4 + 20 + 10
    assert factored.NUM_FEATURES == 25


@pytest.mark.parametrize("make", [learned.nominal_optimizer, learned.recurrent_optimizer])
def test_the_initial_nominal_optimizer_equals_adam(make, float64):
    """This includes tensors of every rank and a gradient of exactly zero."""
    optimizer = make(learning_rate=0.02)
    gradients = [draw(seed) | {"vector": jnp.zeros(5)} for seed in range(30)]
    ours = follow(optimizer(optimizer.init(KEY)), gradients, draw(99))
    adam = follow(optax.adam(0.02), gradients, draw(99))
    for one, other in zip(ours, adam):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), one, other)
    away = follow(optimizer(moved(optimizer.init(KEY))), gradients, draw(99))
    assert not np.allclose(away[-1]["matrix"], adam[-1]["matrix"], rtol=0.01)


def numpy_mlp(theta, gradients, params, nominal):
    """The per-parameter rule in NumPy, one tensor at a time."""
    network = jax.tree.map(np.asarray, theta["network"])
    decays, moments, updates = (0.5, 0.9, 0.99), {}, []
    params = {name: np.array(value) for name, value in params.items()}
    for t, gradient in enumerate(gradients, 1):
        update = {}
        for name, p in params.items():
            g = np.asarray(gradient[name]).ravel()
            means, v = moments.get(name, ([0 * g] * 3, 0 * g))
            means = [b * m + (1 - b) * g for b, m in zip(decays, means)]
            v = 0.999 * v + 0.001 * g * g
            moments[name] = means, v
            hats = [m / (1 - b**t) for b, m in zip(decays, means)]
            scale = np.sqrt(v / (1 - 0.999**t)) + 1e-8
            rows = [x / np.sqrt(np.mean(x * x)) for x in (g, *hats, p.ravel())] + [x / scale for x in (g, *hats)]
            x = np.clip(np.stack(rows), -5, 5)
            times = np.tanh((t - 1) / (3 * 10 ** np.linspace(0, 3, 7)) - 1)
            first, second, last = (network[f"layer_{i}"] for i in range(3))
            x = np.maximum(first["weight"] @ x + (first["bias"] + first["time"] @ times)[:, None], 0)
            x = np.maximum(second["weight"] @ x + second["bias"][:, None], 0)
            a, b = last["weight"] @ x + last["bias"][:, None]
            if nominal:
                adam = hats[1] / scale
                u = -np.exp(float(theta["log_learning_rate"])) * (adam * np.exp(np.clip(b, -6, 3)) + a)
            else:
                u = -0.01 * a * np.exp(np.clip(0.1 * b, -6, 6))
            update[name] = u.reshape(p.shape)
        params = {name: p + update[name] for name, p in params.items()}
        updates.append(update)
    return updates


@pytest.mark.parametrize("name", ["mlp", "nominal"])
def test_the_per_parameter_rules_equal_their_formulas_in_numpy(name, float64):
    optimizer = EVERY[name]()
    theta = moved(optimizer.init(KEY))
    gradients = [draw(seed) for seed in range(4)]
    ours = follow(optimizer(theta), gradients, draw(99))
    for one, other in zip(ours, numpy_mlp(theta, gradients, draw(99), name == "nominal")):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_the_loop_of_the_benchmark_takes_the_same_steps():
    """The ratio of speeds is meaningful only if both take the same steps."""
    optimizer = learned.mlp_optimizer()
    theta = moved(optimizer.init(KEY), 0.1)
    shapes = {"a": (by_hand.WIDTH, by_hand.WIDTH), "b": (1, by_hand.WIDTH)}
    random = lambda seed: {name: jax.random.normal(jax.random.key(seed), shape) for name, shape in shapes.items()}
    flat = base.side_by_side(random(0))
    ours = follow(optimizer(theta), [random(seed) for seed in (1, 2, 3)], random(0))
    means, square = jnp.zeros((3, flat.size)), jnp.zeros(flat.size)
    for count, update in enumerate(ours):
        grads = base.side_by_side(random(count + 1))
        before = flat
        with jax.numpy_rank_promotion("allow"):
            flat, means, square = by_hand.rule(theta["network"], grads, flat, means, square, count)
        np.testing.assert_allclose(flat - before, base.side_by_side(update), rtol=1e-3, atol=1e-6)


def perceptron(network, x, t):
    """Return (a, b) for the columns of x at step t, counted from 0."""
    network = jax.tree.map(np.asarray, network)
    times = np.tanh(t / (3 * 10 ** np.linspace(0, 3, 7)) - 1)
    x = network["layer_0"]["weight"] @ x + (network["layer_0"]["bias"] + network["layer_0"]["time"] @ times)[:, None]
    for name in ("layer_1", "layer_2"):
        x = network[name]["weight"] @ np.maximum(x, 0) + network[name]["bias"][:, None]
    return x


def numpy_factored(theta, gradients, params):
    """The rule with factored moments in NumPy, with all moments as weighted sums over the past, matrix by matrix."""
    updates, params = [], {name: np.array(value) for name, value in params.items()}
    for t in range(1, len(gradients) + 1):
        update = {}
        for name, p in params.items():
            past = [np.asarray(gradient[name]) for gradient in gradients[:t]]

            def mean(values, decay):
                weights = decay ** np.arange(len(values))[::-1]
                return sum(w * x for w, x in zip(weights, values)) / weights.sum()

            g, means = past[-1], [mean(past, decay) for decay in (0.1, 0.5, 0.9, 0.99, 0.999)]
            squares = [x * x for x in past]
            rows, factors = [], []
            for decay in (0.9, 0.99, 0.999):
                v = mean(squares, decay)
                matrices = v.reshape(-1, *v.shape[-2:]) if v.ndim > 1 else v.reshape(1, -1, 1)
                factor, row = np.empty_like(matrices), np.empty_like(matrices)
                for index, matrix in enumerate(matrices):
                    r, c = matrix.mean(axis=1), matrix.mean(axis=0)
                    row[index] = r[:, None]
                    outer = np.outer(r, c) / r.mean() if v.ndim > 1 else matrix
                    factor[index] = outer**-0.5
                rows.append(row.reshape(v.shape) ** -0.5)
                factors.append(factor.reshape(v.shape))
            steps, inverse = [g, *means], mean(squares, 0.999) ** -0.5
            unit = lambda x: x / np.sqrt(np.mean(x * x))
            features = [unit(x) for x in (*steps, p)] + [x * inverse for x in steps]
            features += [x * factors[2] for x in steps] + [g * factors[0], g * factors[1]]
            features += [unit(x) for x in (inverse, *rows)]
            a, b = perceptron(theta["network"], np.clip(np.stack([x.ravel() for x in features]), -5, 5), t - 1)
            update[name] = (-0.01 * a * np.exp(np.clip(0.1 * b, -6, 6))).reshape(p.shape)
        params = {name: p + update[name] for name, p in params.items()}
        updates.append(update)
    return updates


def numpy_recurrent(theta, gradients, params):
    """The rule with a recurrent unit in NumPy."""
    theta = jax.tree.map(np.asarray, theta)
    logistic = lambda x: 1 / (1 + np.exp(-x))
    hidden = {name: np.zeros(theta["output"]["weight"].shape) for name in params}
    updates, params = [], {name: np.array(value) for name, value in params.items()}
    for t in range(1, len(gradients) + 1):
        update = {}
        for name, p in params.items():
            past, g = [np.asarray(gradient[name]) for gradient in gradients[:t]], np.asarray(gradients[t - 1][name])
            weigh = lambda decay, t=t: decay ** np.arange(t)[::-1] / np.sum(decay ** np.arange(t))
            m, v = sum(w * x for w, x in zip(weigh(0.9), past)), sum(w * x * x for w, x in zip(weigh(0.999), past))
            length = lambda x: np.log(np.sqrt(np.mean(x * x))) / 10
            cosine = np.sum(g * m) / np.sqrt(np.sum(g * g) * np.sum(m * m))
            agree = np.mean(np.sign(g) == np.sign(m))
            x = np.array([length(g), length(m), length(p), cosine, agree, np.tanh((t - 1) / 1000 - 1)])
            h = hidden[name]
            (into_z, into_r, into_h), (bias_z, bias_r, bias_h) = theta["gates"], theta["gate_bias"]
            z = logistic(into_z[:, :6] @ x + into_z[:, 6:] @ h + bias_z)
            r = logistic(into_r[:, :6] @ x + into_r[:, 6:] @ h + bias_r)
            hidden[name] = h + z * (np.tanh(into_h[:, :6] @ x + into_h[:, 6:] @ (r * h) + bias_h) - h)
            o = theta["output"]["weight"] @ hidden[name] + theta["output"]["bias"]
            rate = np.exp(theta["log_learning_rate"]) * np.exp(np.clip(o, -6, 3))
            update[name] = -rate * m / (np.sqrt(v) + 1e-8)
        params = {name: p + update[name] for name, p in params.items()}
        updates.append(update)
    return updates


@pytest.mark.parametrize(("name", "reference"), [("factored", numpy_factored), ("recurrent", numpy_recurrent)])
def test_the_factored_and_the_recurrent_rule_equal_their_formulas_in_numpy(name, reference, float64):
    optimizer = EVERY[name]()
    theta = moved(optimizer.init(KEY))
    gradients = [draw(seed) for seed in range(5)]
    ours = follow(optimizer(theta), gradients, draw(99))
    for one, other in zip(ours, reference(theta, gradients, draw(99))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_the_twin_with_exchanged_gates_is_rejected(float64):
    optimizer = EVERY["recurrent"]()
    theta = moved(optimizer.init(KEY))
    gradients = [draw(seed) for seed in range(5)]
    swapped = theta | {"gates": theta["gates"][jnp.array([1, 0, 2])]}
    ours = follow(optimizer(theta), gradients, draw(99))[-1]
    assert not np.allclose(ours["matrix"], numpy_recurrent(swapped, gradients, draw(99))[-1]["matrix"], rtol=1e-4)


def test_the_factored_second_moment_is_exact_for_squares_of_rank_one(float64):
    """If g² = a bᵀ, the factored second moment is exact. Otherwise it differs."""
    rows, columns = jnp.asarray([1.0, 2.0, 0.5]), jnp.asarray([3.0, 1.0, 0.2, 1.5])
    for square, exact in ((jnp.outer(rows, columns), True), (jnp.square(draw(1)["matrix"]), False)):
        row, column = (jnp.mean(square, axis=axis, keepdims=True) for axis in (-1, -2))
        assert np.allclose(factored._factor(row, column), 1 / np.sqrt(square), rtol=1e-6) == exact
    vector = jnp.asarray([4.0, 0.25])
    np.testing.assert_allclose(factored._factor(vector, vector), [0.5, 2.0])


@pytest.mark.parametrize("name", ["mlp", "factored"])
def test_updates_do_not_depend_on_the_unit_of_the_loss(name, float64):
    optimizer = EVERY[name]()
    theta = moved(optimizer.init(KEY))
    small, large = (
        follow(optimizer(theta), [draw(seed, scale=scale) for seed in range(3)], draw(99)) for scale in (1.0, 1e4)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), small[-1], large[-1])


def quadratic(dtype=None, zero=0.0):
    """A task with parameters of two ranks, `zero` of which have no gradient."""
    curvature = jnp.asarray([[1.0, 3.0, zero]], dtype)

    def init(key):
        return {"w": jnp.asarray([[1.0, -2.0, 0.5]], dtype), "b": jnp.asarray(0.7, dtype)}

    def loss(params, key):
        return jnp.sum(curvature * params["w"] ** 2) + jnp.square(params["b"] - 1)

    return Task(init, loss)


@pytest.mark.parametrize("name", EVERY)
def test_meta_gradients_equal_finite_differences(name, float64):
    optimizer = EVERY[name]()
    problem = training(quadratic(), optimizer)
    theta = moved(optimizer.init(KEY), 0.1)
    flat, unravel = ravel_pytree(theta)
    value = lambda point: meta_loss(problem, unravel(point), KEY, 6)
    both = jax.jit(jax.value_and_grad(value), compiler_options=QUICK)  # one program
    direction = jax.random.normal(jax.random.key(1), flat.shape)
    step = 1e-6
    slope = (both(flat + step * direction)[0] - both(flat - step * direction)[0]) / (2 * step)
    assert abs(slope) > 1e-6
    assert float(both(flat)[1] @ direction) == pytest.approx(float(slope), rel=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_backpropagation_is_finite_at_a_gradient_of_zero(name):
    """The third weight has a zero gradient, and so has the last tensor, which is zero itself."""
    optimizer = EVERY[name]()
    task = quadratic(jnp.float32)
    blank = Task(lambda key: task.init(key) | {"dead": jnp.zeros((2, 3))}, task.loss)
    problem = training(blank, optimizer)
    theta = moved(optimizer.init(KEY), 0.1)
    gradient = jax.jit(jax.grad(lambda theta: meta_loss(problem, theta, KEY, 5)), compiler_options=QUICK)
    assert np.isfinite(ravel_pytree(gradient(theta))[0]).all()


@pytest.mark.parametrize("name", EVERY)
def test_low_precision_parameters_keep_their_dtype_and_moments_are_float32(name):
    optimizer = EVERY[name]()
    problem: InnerProblem = training(quadratic(jnp.bfloat16), optimizer)
    theta = optimizer.init(KEY)
    check_problem(problem, theta)
    state, _ = unroll(problem, problem.init(theta, KEY), theta, KEY, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    kinds = {leaf.dtype for leaf in jax.tree.leaves(state.optimizer_state)}
    assert kinds == {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}


@pytest.mark.parametrize("name", EVERY)
def test_a_learned_optimizer_is_an_optax_transformation(name):
    """It gives the same updates in a chain, for a part of the parameters, and under jit."""
    optimizer = EVERY[name]()
    theta = moved(optimizer.init(KEY))
    params, gradient = draw(99, np.float32), draw(1, np.float32)
    alone = follow(optimizer(theta), [gradient], params)[0]
    halved = optax.chain(optimizer(theta), optax.scale(0.5))
    update = jax.jit(halved.update)(gradient, halved.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-5), update, alone)
    labels = {shape: "learned" if shape == "matrix" else "sgd" for shape in SHAPES}
    parts = optax.partition({"learned": optimizer(theta), "sgd": optax.sgd(1.0)}, labels)
    update = parts.update(gradient, parts.init(params), params)[0]
    np.testing.assert_allclose(update["matrix"], alone["matrix"], rtol=1e-5)
    np.testing.assert_allclose(update["vector"], -gradient["vector"])


def test_an_update_without_parameters_raises_an_error():
    optimizer = learned.mlp_optimizer((4,))
    transformation = optimizer(optimizer.init(KEY))
    gradient = draw(1, np.float32)
    with pytest.raises(ValueError, match="reads the parameters"):
        transformation.update(gradient, transformation.init(gradient))


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: learned.mlp_optimizer(()), ValueError, "hidden must have at least one width"),
        (lambda: learned.mlp_optimizer((4, 0.5)), TypeError, "hidden must be a whole number"),
        (lambda: learned.mlp_optimizer(decays=(1.0,)), ValueError, "decays must be a number"),
        (
            lambda: learned.mlp_optimizer(decays=0.9),
            TypeError,
            r"a sequence of rates, such as \(0\.9,\); 0\.9 was given",
        ),
        (lambda: learned.mlp_optimizer(step_size=0), ValueError, "step_size must be a number"),
        (lambda: learned.nominal_optimizer(decays=(0.5,)), ValueError, "decays must contain 0.9"),
        (lambda: learned.nominal_optimizer(learning_rate=-1.0), ValueError, "learning_rate must be a number"),
        (lambda: learned.factored_optimizer(step_size="big"), TypeError, "step_size must be"),
        (lambda: learned.recurrent_optimizer(0), ValueError, "hidden must be at least 1"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_time_features_and_normalisation_are_their_formulas(float64):
    np.testing.assert_allclose(base.time_features(jnp.asarray(3.0))[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(base.unit(jnp.asarray([3.0, 4.0])), np.array([3, 4]) / np.sqrt(12.5))
    assert np.all(base.unit(jnp.zeros(3)) == 0)
    assert per_parameter.DECAYS == (0.5, 0.9, 0.99)


def test_weights_of_another_architecture_raise_an_error():
    for weights in (learned.mlp_optimizer().init(KEY), learned.nominal_optimizer((4,)).init(KEY)):
        with pytest.raises(ValueError, match="The weights of theta do not fit the architecture"):
            learned.nominal_optimizer()(weights)
