"""Convolutions replaced by matrix products: equal results, and no change in programs without convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

import metalearn as ml
from metalearn.inner import patches
from metalearn.inner.convolutions import prepare, without_convolutions

QUICK = {"xla_backend_optimization_level": 0}  # little is computed here, so compile little
NHWC = ("NHWC", "HWIO", "NHWC")
# input, kernel, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature groups, batch groups
CASES = {
    "one dimension": ((2, 3, 9), (4, 3, 3), (2,), [(1, 2)], (1,), (2,), None, 1, 1),
    "image, strided": ((2, 7, 6, 2), (3, 3, 2, 4), (2, 1), "SAME", (1, 1), (1, 1), NHWC, 1, 1),
    "as large as the image": ((2, 5, 6, 2), (5, 4, 2, 3), (1, 1), [(1, 1), (0, 0)], (1, 1), (1, 1), NHWC, 1, 1),
    "a single place": ((2, 4, 4, 2), (4, 4, 2, 3), (1, 1), "VALID", (1, 1), (1, 1), NHWC, 1, 1),
    "transposed": ((2, 4, 3, 2), (3, 2, 2, 3), (1, 2), [(2, 1), (-1, 2)], (2, 3), (1, 2), NHWC, 1, 1),
    "spread, large kernel": ((1, 2, 4), (3, 2, 6), (1,), [(1, 0)], (2,), (1,), None, 1, 1),
    "groups": ((2, 5, 5, 4), (3, 3, 2, 6), (1, 1), "SAME", (1, 1), (1, 1), NHWC, 2, 1),
    "depthwise": ((2, 5, 4, 3), (3, 2, 1, 3), (2, 1), "SAME", (1, 1), (1, 1), NHWC, 3, 1),
    "batch groups": ((4, 5, 5, 2), (3, 3, 2, 6), (1, 1), "SAME", (1, 1), (1, 1), NHWC, 1, 2),
    "three dimensions": ((1, 2, 3, 4, 3), (2, 2, 2, 3, 1), (1, 2, 1), "SAME", (1, 1, 1), (1, 1, 1), None, 1, 1),
    "other order": ((5, 3, 2, 4), (3, 2, 3, 2), (1, 1), "SAME", (1, 1), (2, 1), ("HNCW", "OIWH", "CWNH"), 1, 1),
    "no dimension": ((3, 2), (4, 2), (), [], (), (), None, 1, 1),
}


def _arrays(*shapes):
    return [jax.random.normal(jax.random.key(index), shape) for index, shape in enumerate(shapes)]


def _convolution(case):
    _, _, strides, padding, lhs_dilation, rhs_dilation, numbers, features, batches = case
    return functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=numbers,
        feature_group_count=features,
        batch_group_count=batches,
    )


def _derivatives(function):
    """Return the value, the tangent and the gradients."""

    def all_of(image, kernel):
        tangents = jnp.cos(image), jnp.sin(kernel)
        gradients = jax.grad(lambda *both: jnp.sum(jnp.sin(function(*both))), (0, 1))
        return jax.jvp(function, (image, kernel), tangents), gradients(image, kernel)

    return all_of


def _agree(first, second, **tolerance):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), **tolerance)


def _holds(function, *arguments):
    return "conv_general_dilated" in str(jax.make_jaxpr(function)(*arguments))


SUMMED = ("image, strided", "as large as the image", "transposed")  # slice by slice, as if there were too many windows


@pytest.mark.parametrize(
    ("name", "room"), [*((name, patches.MAX_BYTES) for name in CASES), *((name, 0) for name in SUMMED)]
)
def test_values_and_derivatives_are_those_of_a_convolution(name, room, monkeypatch):
    """Derivatives are taken outside (through the products) and inside (of convolutions that are then replaced)."""
    monkeypatch.setattr(patches, "MAX_BYTES", room)
    convolution, arguments = _convolution(CASES[name]), _arrays(*CASES[name][:2])
    outside = _derivatives(without_convolutions(convolution))
    inside = without_convolutions(_derivatives(convolution))
    traced = jax.jit(lambda *both: (outside(*both), inside(*both))).trace(*arguments)
    assert "conv_general_dilated" not in str(traced.jaxpr)
    expected = jax.jit(_derivatives(convolution), compiler_options=QUICK)(*arguments)
    for replaced in traced.lower().compile(QUICK)(*arguments):
        _agree(expected, replaced, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_convolutions_of_other_dtypes_are_replaced(dtype, float64):
    image, kernel = (x.astype(dtype) for x in _arrays((2, 5, 5, 2), (3, 3, 2, 3)))
    convolution = functools.partial(
        lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC
    )
    replaced = without_convolutions(convolution)
    _agree(convolution(image, kernel), replaced(image, kernel), rtol=1e-2 if dtype == "bfloat16" else 1e-12)


def test_particles_may_have_different_kernels():
    case = CASES["image, strided"]
    image, kernels = _arrays(case[0], (3, *case[1]))
    convolution = _convolution(case)
    both = [jax.vmap(f, (None, 0)) for f in (convolution, without_convolutions(convolution))]
    expected, replaced = jax.jit(lambda *a: [f(*a) for f in both], compiler_options=QUICK)(image, kernels)
    _agree(expected, replaced, rtol=1e-5, atol=1e-5)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(3, (3, 3), strides=2)(images))
        return nn.ConvTranspose(2, (2, 2), strides=(2, 2))(x)


def test_convolutions_of_flax_modules_are_replaced():
    (images,) = _arrays((2, 6, 6, 1))
    params = Linen().init(jax.random.key(0), images)
    layer = nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    for function, arguments in (
        (Linen().apply, (params, images)),
        (lambda state, images: nnx.merge(graph, state)(images), (state, images)),
    ):
        replaced = without_convolutions(function)
        assert not _holds(replaced, *arguments)
        both = jax.jit(lambda *a, f=function, r=replaced: (f(*a), r(*a)), compiler_options=QUICK)(*arguments)
        _agree(*both, rtol=1e-5, atol=1e-5)


def _problem():
    """Gradient descent on one kernel, with the gradient inside a loop and a branch of the step."""
    (images,) = _arrays((2, 6, 6, 1))

    def measure(kernel):
        outputs = lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
        return jnp.mean((jnp.tanh(outputs) - 0.3) ** 2)

    def step(state, theta, key):
        def move(_, kernel):
            return kernel - jnp.exp(theta["learning_rate"]) * jax.checkpoint(jax.grad(measure))(kernel)

        kernel = lax.cond(
            state["count"] < 100, lambda: lax.fori_loop(0, 2, move, state["kernel"]), lambda: state["kernel"]
        )
        return {"kernel": kernel, "count": state["count"] + 1}

    def init(theta, key):
        return {"kernel": jax.random.normal(key, (3, 3, 1, 2)), "count": jnp.zeros((), jnp.int32)}

    return ml.InnerProblem(init, step, lambda state, theta, key: measure(state["kernel"]))


def test_a_problem_with_gradients_in_its_step():
    theta, key = {"learning_rate": jnp.asarray(-1.0)}, jax.random.key(0)
    losses = []
    for problem in (_problem(), prepare(_problem())):
        state = problem.init(theta, key)
        losses.append(jax.jit(lambda s, p=problem: p.loss(p.step(s, theta, key), theta, key))(state))
        replaced = not _holds(problem.step, state, theta, key)
    assert replaced
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_functions_without_convolutions_are_called_as_they_are():
    calls = []

    def function(state, theta):
        calls.append(state)
        return {"a": state["a"] * 2, "b": (None, theta + 1.0)}

    wrapped = without_convolutions(function)
    state = {"a": jnp.arange(3), "b": None}
    assert str(jax.make_jaxpr(wrapped)(state, 1.0)) == str(jax.make_jaxpr(function)(state, 1.0))
    count = len(calls)
    jax.make_jaxpr(wrapped)(state, 1.0)
    jax.jit(wrapped)(state, 1.0)
    assert len(calls) == count, "JAX remembers the trace"


def test_closed_over_tracers_and_weak_types_are_kept():
    (image,) = _arrays((1, 1, 5))

    def loss(scale):
        def function(kernel, factor):
            outputs = lax.conv_general_dilated(image * scale, kernel, (1,), "SAME")
            return {"sum": outputs.sum(), "factor": factor * 2, "none": None}

        made = without_convolutions(function)(jnp.ones((1, 1, 3)), 1.0)
        assert jax.typeof(made["factor"]).weak_type
        return made["sum"]

    np.testing.assert_allclose(jax.grad(loss)(2.0), loss(1.0), rtol=1e-6)


def test_a_function_is_prepared_once():
    problem = prepare(_problem())
    assert prepare(problem) == problem
    assert hash(prepare(problem)) == hash(problem)


def test_convolutions_are_not_replaced_on_accelerators(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    convolution = _convolution(CASES["one dimension"])
    assert _holds(without_convolutions(convolution), *_arrays(*CASES["one dimension"][:2]))
