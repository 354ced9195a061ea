"""Optimisers against optax with fixed numbers, NumPy loops and finite differences."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metalearn.inner.training.optimizers import adam, adamw, clipped, per_layer, sgd
from metalearn.inner.training.schedules import (
    cosine_schedule,
    inverse_time_schedule,
    linear_schedule,
    log_linear_schedule,
    piecewise_schedule,
)
from metalearn.inner.training.transforms import exp, exp10, sigmoid, value

PARAMS = {"layer_0": {"weight": jnp.array([[1.0, -2.0], [0.5, 3.0]])}, "layer_1": {"weight": jnp.array([[0.3, -0.7]])}}
CURVATURE = {"layer_0": {"weight": jnp.array([[1.0, 0.2], [3.0, 0.5]])}, "layer_1": {"weight": jnp.array([[2.0, 0.1]])}}
STEPS = 6


def train(transformation, num_steps=STEPS, params=PARAMS):
    """Return the parameters after some steps on ½ Σ c w² + Σ sin w."""

    def loss(params):
        terms = jax.tree.map(lambda c, w: jnp.sum(c.astype(w.dtype) * w**2 / 2 + jnp.sin(w)), CURVATURE, params)
        return sum(jax.tree.leaves(terms))

    def body(carry, _):
        params, state = carry
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, transformation.init(params)), None, length=num_steps)[0][0]


def assert_same(ours, theirs, rtol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), train(ours), train(theirs))


THETA = {
    "lr": jnp.asarray(-1.5),
    "m": jnp.asarray(0.4),
    "b1": jnp.asarray(0.3),
    "b2": jnp.asarray(1.0),
    "wd": jnp.asarray(-2.0),
}
RATE, MOMENTUM = float(np.exp(-1.5)), float(1 / (1 + np.exp(-0.4)))
B1, B2 = 0.99 / (1 + np.exp(-0.3)), 0.5 + 0.4999 / (1 + np.exp(-1.0))
FROM_THETA = {
    "sgd": (sgd(exp("lr")), optax.sgd(RATE)),
    "momentum": (sgd(exp("lr"), sigmoid("m")), optax.sgd(RATE, MOMENTUM)),
    "nesterov": (sgd(exp("lr"), sigmoid("m"), nesterov=True), optax.sgd(RATE, MOMENTUM, nesterov=True)),
    "adam": (
        adam(exp("lr"), sigmoid("b1", 0, 0.99), sigmoid("b2", 0.5, 0.9999)),
        optax.adam(RATE, B1, B2, eps_root=1e-12),
    ),
    "eps": (adam(0.1, eps=exp10("wd"), eps_root=exp10("wd")), optax.adam(0.1, eps=0.01, eps_root=0.01)),
    "adamw": (adamw(exp("lr"), weight_decay=exp10("wd")), optax.adamw(RATE, eps_root=1e-12, weight_decay=0.01)),
    "clipped": (clipped(sgd(0.1), exp10("wd")), optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(0.1))),
    "loose": (clipped(sgd(0.1), 1e6), optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", FROM_THETA)
def test_an_optimiser_at_theta_equals_that_of_optax(name):
    ours, theirs = FROM_THETA[name]
    assert_same(ours(THETA), theirs, rtol=1e-5)


DIFFERENTIABLE = {
    "sgd learning_rate": lambda x: sgd(exp("x"))({"x": x}),
    "sgd momentum": lambda x: sgd(0.1, sigmoid("x"))({"x": x}),
    "nesterov momentum": lambda x: sgd(0.1, sigmoid("x"), nesterov=True)({"x": x}),
    "adam learning_rate": lambda x: adam(exp("x"))({"x": x}),
    "adam b1": lambda x: adam(0.1, b1=sigmoid("x", 0, 0.999))({"x": x}),
    "adam b2": lambda x: adam(0.1, b2=sigmoid("x", 0, 0.999))({"x": x}),
    "adam eps": lambda x: adam(0.1, eps=exp("x"))({"x": x}),
    "adam eps_root": lambda x: adam(0.1, eps_root=exp("x"))({"x": x}),
    "adamw weight_decay": lambda x: adamw(0.1, weight_decay=exp("x"))({"x": x}),
    "clipped max_norm": lambda x: clipped(sgd(0.1), exp("x"))({"x": x}),
    "clipped gradient": lambda x: clipped(sgd(exp("x"), 0.9), 0.7)({"x": x}),
    "per_layer": lambda x: per_layer({"layer_0": sgd(exp(0)), "layer_1": adam(exp(1))})(jnp.stack([x, 2 * x])),
    "linear": lambda x: sgd(linear_schedule(exp("x"), 0.01, 5))({"x": x}),
    "linear end": lambda x: sgd(linear_schedule(0.2, exp("x"), 5))({"x": x}),
    "linear num_steps": lambda x: sgd(linear_schedule(0.2, 0.01, lambda theta: 5.5 + theta["x"]))({"x": x}),
    "log_linear": lambda x: sgd(log_linear_schedule(0.2, exp("x"), 5))({"x": x}),
    "cosine": lambda x: sgd(cosine_schedule(exp("x"), 0.01, 5))({"x": x}),
    "cosine num_steps": lambda x: sgd(cosine_schedule(0.2, 0.01, lambda theta: 5.5 + theta["x"]))({"x": x}),
    "inverse_time": lambda x: sgd(inverse_time_schedule(0.1, exp("x")))({"x": x}),
    "piecewise": lambda x: sgd(piecewise_schedule((0.1, exp("x"), 0.02), (0, 2, 5)))({"x": x}),
    "piecewise boundary": lambda x: sgd(piecewise_schedule((0.1, 0.2, 0.02), (0, lambda theta: 2.5 + theta["x"], 5)))(
        {"x": x}
    ),
    "constant": lambda x: sgd(piecewise_schedule((0.1, exp("x")), (2,), "constant"))({"x": x}),
}


def test_losses_are_differentiable_with_respect_to_every_hyperparameter():
    """All hyperparameters share one program, because compilation takes most of the time."""

    def lengths(x):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
        ends = [train(make(x), 4, params) for make in DIFFERENTIABLE.values()]
        return jnp.stack([sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(end)) for end in ends])

    with jax.enable_x64(True):
        run, x, h = jax.jit(lambda x: jax.jvp(lengths, (x,), (jnp.ones_like(x),))), jnp.asarray(-1.3), 1e-5
        differences = (run(x + h)[0] - run(x - h)[0]) / (2 * h)
        slopes = np.asarray(run(x)[1])
    for name, slope, difference in zip(DIFFERENTIABLE, slopes, differences):
        assert slope == pytest.approx(float(difference), rel=1e-5), name
        assert abs(slope) > 1e-6, name


ZERO_GRADIENT = {
    "adam": lambda x: adam(exp("x"), b2=sigmoid("x", 0, 0.999)),
    "clipped adamw": lambda x: clipped(adamw(exp("x")), exp("x")),
}


@pytest.mark.parametrize("name", ZERO_GRADIENT)
def test_backpropagation_is_finite_at_a_gradient_of_zero(name):
    def end(x, scale):
        transformation = ZERO_GRADIENT[name](x)({"x": x})
        params = {"a": jnp.ones(2)}
        state = transformation.init(params)
        for _ in range(2):
            grads = jax.tree.map(lambda w: scale * w**2, params)
            updates, state = transformation.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return jnp.sum(params["a"])

    slopes = jax.jit(jax.grad(end, argnums=(0, 1)))(-1.0, 0.0)
    assert all(np.isfinite(slope) for slope in slopes)


def test_the_derivative_of_optax_at_a_gradient_of_zero_is_nan():
    """Without eps_root the derivative is NaN, so that the test above can fail."""

    def step(scale):
        transformation = optax.adam(0.1)
        return jnp.sum(transformation.update(scale * jnp.ones(2), transformation.init(jnp.ones(2)))[0])

    assert np.isnan(jax.jit(jax.grad(step))(0.0))


def test_clipping_is_exact_where_squares_overflow():
    transformation = clipped(sgd(1.0), 2.0)(None)
    grads = {"a": jnp.array([3e30, 0.0]), "b": jnp.array([-4e30])}
    updates, _ = transformation.update(grads, transformation.init(grads))
    np.testing.assert_allclose(updates["a"], [-1.2, 0], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [1.6], rtol=1e-6)


def test_the_state_has_one_structure_for_every_theta():
    for make in (
        FROM_THETA["sgd"][0],
        sgd(0.1),
        sgd(lambda theta: optax.constant_schedule(0.1)),
        sgd(linear_schedule(0.1, 0.2, 3)),
    ):
        state = make(THETA).init(PARAMS)
        assert jax.tree.structure(state) == jax.tree.structure(sgd(0.1)(THETA).init(PARAMS))


COUNTS = jnp.arange(12)
SCHEDULES = {
    "linear": (linear_schedule(exp("x"), 0.01, 10), lambda r: optax.linear_schedule(r, 0.01, 10)),
    "cosine": (cosine_schedule(exp("x"), 0.0, 10), lambda r: optax.cosine_decay_schedule(r, 10)),
    "log_linear": (
        log_linear_schedule(exp("x"), 0.01, 10),
        lambda r: lambda c: r ** (1 - min(c, 10) / 10) * 0.01 ** (min(c, 10) / 10),
    ),
    "inverse_time": (inverse_time_schedule(exp("x"), 0.3), lambda r: lambda c: r / (1 + 0.3 * c)),
    "piecewise": (
        piecewise_schedule((exp("x"), 0.5, 0.1), (1, 4, 9)),
        lambda r: lambda c: np.interp(c, [1, 4, 9], [r, 0.5, 0.1]),
    ),
    "constant": (
        piecewise_schedule((exp("x"), 0.5, 0.1), (4, 9), "constant"),
        lambda r: lambda c: [r, 0.5, 0.1][(c >= 4) + (c >= 9)],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_their_formulas_and_can_be_traced(name):
    ours, theirs = SCHEDULES[name]
    expected = [theirs(float(np.exp(-0.7)))(int(count)) for count in COUNTS]
    run = jax.jit(lambda x, counts: jax.vmap(ours({"x": x}))(counts))
    np.testing.assert_allclose(run(-0.7, COUNTS), np.array(expected, np.float32), rtol=1e-5, atol=1e-7)


def test_all_knots_may_come_from_one_array():
    edges = piecewise_schedule((0.1, 0.2), np.array([0, 5]))(None)
    assert jnp.asarray(edges(3)).item() == pytest.approx(0.16, rel=1e-5)
    schedule = piecewise_schedule(exp("rates"), (0, 5))({"rates": jnp.log(jnp.array([0.1, 0.2]))})
    assert jnp.asarray(schedule(3)).item() == pytest.approx(0.16, rel=1e-5)
    with pytest.raises(ValueError, match="need 2 values; 3 were given"):
        piecewise_schedule(exp("rates"), (0, 5))({"rates": jnp.zeros(3)})


def test_an_entry_of_theta_can_be_given_by_any_path():
    Pair = collections.namedtuple("Pair", "rate decay")
    theta = {"a": Pair(jnp.array([1.0, 2.0]), (3.0, 4.0))}
    assert value(("a", "rate", 1))(theta) == 2
    assert value(("a", "decay", -1))(theta) == 4
    assert value(1)(jnp.array([5.0, 6.0])) == 6
    assert exp10(0)(jnp.array([2.0])).item() == pytest.approx(100)
    assert sigmoid(0, 1, 3)(jnp.zeros(1)).item() == pytest.approx(2)
    for name, given, sentence in [
        ("b", theta, "no entry 'b'.*it has 'a'"),
        (2, jnp.zeros(2), "it has 2 entries"),
        ("x", jnp.zeros(2), "no names"),
    ]:
        with pytest.raises(KeyError, match=sentence):
            value(name)(given)


def test_per_layer_accepts_labels():
    labels = lambda params: {"layer_0": "body", "layer_1": {"weight": "head"}}
    ours = per_layer({"body": sgd(value(0)), "head": adam(value(1))}, labels)(jnp.array([0.1, 0.2]))
    theirs = optax.partition({"body": optax.sgd(0.1), "head": optax.adam(0.2, eps_root=1e-12)}, labels)
    assert_same(ours, theirs)
    assert_same(per_layer({"layer_0": sgd(0.1), "layer_1": adam(0.2)})(None), theirs)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: sgd(0.1, nesterov=True), ValueError, "momentum is None; give a momentum"),
        (lambda: sgd(-0.1), ValueError, r"learning_rate must be a number in \[0, inf\); -0\.1 was given"),
        (lambda: sgd("fast"), TypeError, "learning_rate must be one real number; 'fast'"),
        (lambda: adam(0.1, b2=1.0), ValueError, r"b2 must be a number in \[0, 1\); 1 was given"),
        (lambda: adam(0.1, eps_root=-1e-9), ValueError, "eps_root"),
        (lambda: adamw(0.1, weight_decay=-1), ValueError, "weight_decay"),
        (
            lambda: adam(0.1, b1=linear_schedule(0.1, 0.9, 5))(None),
            TypeError,
            "b1 must be a number.*Only learning_rate may be a schedule",
        ),
        (
            lambda: sgd(exp("rates"))({"rates": jnp.zeros(2)}),
            TypeError,
            r"learning_rate must be one real number; an array of shape \(2,\)",
        ),
        (lambda: clipped(optax.sgd(0.1), 1.0), TypeError, r"write lambda theta: optax\.adam\(1e-3\)"),
        (lambda: clipped(sgd(0.1), 0), ValueError, r"max_norm must be a number in \(0, inf\)"),
        (lambda: per_layer({}), ValueError, "at least one optimiser"),
        (lambda: per_layer({"layer_0": sgd(0.1)})(None).init(PARAMS), ValueError, "labelled layer_0, layer_1"),
        (
            lambda: per_layer(dict.fromkeys(("layer_0", "layer_1", "layer_2"), sgd(0.1)))(None).init(PARAMS),
            ValueError,
            "layer_2;",
        ),
        (lambda: linear_schedule(0.1, 0.2, 0), ValueError, r"num_steps must be a number in \(0, inf\); 0 was given"),
        (lambda: cosine_schedule(0.1, 0.2, -5), ValueError, "num_steps"),
        (lambda: log_linear_schedule(0.0, 0.2, 5), ValueError, r"start must be a number in \(0, inf\)"),
        (lambda: inverse_time_schedule(0.1, -1), ValueError, "rate must be a number"),
        (lambda: piecewise_schedule((1, 2), (5, 3)), ValueError, r"boundaries must increase; \[5\.0, 3\.0\]"),
        (
            lambda: piecewise_schedule((1, 2), (5,)),
            ValueError,
            "linear interpolation these boundaries need 1 values; 2 were given",
        ),
        (
            lambda: piecewise_schedule((1, 2), (5, 6), "constant"),
            ValueError,
            "constant interpolation these boundaries need 3 values",
        ),
        (
            lambda: piecewise_schedule((1, 2), (5, 6), "cubic"),
            ValueError,
            "interpolation must be one of constant, linear",
        ),
        (lambda: piecewise_schedule((), ()), ValueError, "boundaries must have at least one entry"),
        (lambda: sigmoid("x", 1, 0), ValueError, "low must be below high"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
