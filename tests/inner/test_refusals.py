"""Data, networks and losses of another form than documented raise errors with an explanation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import metalearn as ml
from metalearn.words import counted, percent


class Linen(nn.Module):
    width: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


class Nnx(nnx.Module):
    def __init__(self, width=2, *, rngs):
        self.layer = nnx.Linear(3, width, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


INPUTS, LABELS = np.zeros((3, 4), np.float32), np.zeros(4, np.int32)
NETWORK = ml.mlp((3, 2))
split = lambda inputs, targets, sizes=(2,): lambda: ml.data.split(ml.data.Data(inputs, targets), sizes)
train = lambda inputs, targets: lambda: ml.classification(NETWORK, ml.data.Data(inputs, targets))
REFUSED = {
    "split of lists": (split([[1.0, 2.0]], [0, 1]), "data must have arrays; its inputs are a list"),
    "split of texts": (split(INPUTS, np.array(list("abcd"))), "data must have numbers; the dtype of its targets is <U1"),
    "split of a tuple": (lambda: ml.data.split((INPUTS, LABELS), (2,)), "data must be an ml.data.Data"),
    "split of rows": (split(INPUTS.T, LABELS), "data must be inputs .* Examples are columns; transpose arrays"),
    "split of vectors": (split(LABELS, LABELS), "data must be inputs"),
    "split into a number": (split(INPUTS, LABELS, 2), r"sizes must be a sequence, such as \(80, 20\); 2 was given"),
    "split of nothing": (split(INPUTS[:, :0], LABELS[:0]), "data must have at least one example"),
    "train on lists": (train(INPUTS.tolist(), LABELS), "The data must have arrays; its inputs are a list"),
    "train on nothing": (train(INPUTS[:, :0], LABELS[:0]), "The data must have at least one example"),
    "train on labels of nothing": (train(INPUTS, LABELS[:0]), "The data must have at least one example"),
    "evaluate on lists": (lambda: ml.metric_loss(NETWORK, ml.data.Data(INPUTS, [0] * 4)), "data must have arrays"),
    "train a module": (lambda: ml.classification(Linen(), ml.data.Data(INPUTS, LABELS)), "a Linen was given. ml.from_linen"),
    "train a class": (lambda: ml.classification(Linen, ml.data.Data(INPUTS, LABELS)), "the class Linen was given"),
    "a Linen class": (lambda: ml.from_linen(Linen, (1, 3)), "the class Linen was given. Call it"),
    "an NNX module as Linen": (lambda: ml.from_linen(Nnx(rngs=nnx.Rngs(0)), (1, 3)), "Nnx was given. Use from_nnx"),
    "a function as Linen": (lambda: ml.from_linen(print, (1, 3)), "must be an instance of a Linen module"),
    "a number as a shape": (lambda: ml.from_linen(Linen(), 3), r"inputs_shape must be the shape of an array"),
    "no example in a shape": (lambda: ml.from_linen(Linen(), (0, 3)), "Every side of inputs_shape must be at least 1"),
    "a shape that does not fit": (lambda: ml.from_linen(nn.Conv(2, (3, 3)), (1,)), r"Conv cannot take inputs of shape \(1,\)"),
    "an NNX instance": (lambda: ml.from_nnx(Nnx(rngs=nnx.Rngs(0))), r"an instance of Nnx was given. Write lambda rngs: Nnx\("),
    "an NNX class with arguments": (lambda: ml.from_nnx(nnx.Linear), "must be a function of rngs alone"),
    "a factory of nothing": (lambda: ml.from_nnx(lambda rngs: None), "must return an NNX module; it returned a NoneType"),
    "a Linen module as NNX": (lambda: ml.from_nnx(Linen()), r"a Linen module was given\. Use from_linen"),
    "a number as a factory": (lambda: ml.from_nnx(3), "must be a function rngs -> module; a int was given"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_invalid_arguments_raise_a_clear_error(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_valid_modules_are_accepted():
    assert ml.from_nnx(lambda rngs: Nnx(rngs=rngs)).apply is not None
    assert ml.from_linen(Linen(), [1, 3]).init is not None


TASK = ml.classification(NETWORK, ml.data.Data(INPUTS, LABELS))
OUTPUTS = {
    "an auxiliary output": (
        lambda value: (value, {"seen": value}),
        "it returned a tuple of length 2. Return the loss alone",
    ),
    "a dictionary": (lambda value: {"loss": value}, "it returned a dict of length 1"),
    "a vector": (lambda value: jnp.stack([value, value]), r"shape \(2,\) and dtype float32. Take its mean"),
    "an integer": (lambda value: value.astype(int), r"shape \(\) and dtype int32"),
    "nothing": (lambda value: None, "it returned a NoneType"),
}


@pytest.mark.parametrize(("change", "words"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_non_scalar_loss_raises_an_error_in_every_function(change, words):
    theta, sgd = jnp.zeros(()), lambda theta: optax.sgd(jnp.exp(theta))
    task = ml.Task(TASK.init, lambda params, key: change(TASK.loss(params, key)))
    metric = lambda outputs, labels: change(jnp.mean(outputs**2))
    problems = {
        "The loss of the task": ml.training(task, sgd),
        "meta_loss": ml.training(TASK, sgd, task.loss),
        "The metric": ml.training(ml.classification(NETWORK, ml.data.Data(INPUTS, LABELS), metric=metric), sgd),
        "The loss of the problem": ml.InnerProblem(
            lambda theta, key: theta, lambda state, theta, key: state, lambda state, theta, key: change(jnp.float32(1))
        ),
    }
    for name, problem in problems.items():
        with pytest.raises(TypeError, match=f"{name} must return one real floating-point scalar; .*{words}"):
            ml.check_problem(problem, theta)


def test_small_shares_are_not_rounded_to_zero_nor_large_ones_to_a_hundred_percent():
    shares = (0, 1e-9, 0.0004, 0.0006, 0.5, 0.9996, 1 - 1e-9, 1, np.float32(0.25), np.nan)
    said = ["0.0%", "<0.1%", "<0.1%", "0.1%", "50.0%", ">99.9%", ">99.9%", "100.0%", "25.0%", "unknown"]
    assert [percent(share) for share in shares] == said
    assert [percent(share, 0) for share in (0.004, 0.006, 0.994, 0.996)] == ["<1%", "1%", "99%", ">99%"]
    assert [counted(1, "value"), counted(2, "value"), counted(0, "minimum", "minima")] == [
        "1 value",
        "2 values",
        "0 minima",
    ]


def test_one_infinite_value_of_a_landscape_is_reported_as_one():
    values = np.zeros((100, 100))
    values[3, 4] = np.inf
    plane = ml.landscape.Plane(
        ml.landscape.Axis("a", 0, 1), ml.landscape.Axis("b", 0, 1), lambda x, y: jax.numpy.stack([x, y])
    )
    with pytest.raises(ValueError, match=r"^<0\.1% of the landscape are not finite \(1 of 10000 values\) and cannot"):
        ml.landscape.smooth(values, plane, 0.1)
