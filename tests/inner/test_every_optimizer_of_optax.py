"""Every optimiser of optax and optax.contrib works as inner and as outer optimiser, or raises a clear error."""

import functools
import inspect
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import metalearn as ml
from metalearn import trees
from metalearn.inner.problem import check_problem
from metalearn.outer.meta_train_checks import check_stages

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of optax, about its own arguments
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
LABELS = lambda params: jax.tree.map(lambda _: "all", params)
GIVEN = {  # arguments of optimisers that need other arguments than numbers
    "MultiSteps": lambda make: make(SGD, 2).gradient_transformation(),
    "add_noise": lambda make: make(0.1, 0.5, key=0),
    "apply_if_finite": lambda make: make(SGD, 3),
    "chain": lambda make: make(SGD),
    "conditionally_mask": lambda make: make(SGD, lambda step: step < 2),
    "conditionally_transform": lambda make: make(SGD, lambda step: step < 2),
    "differentially_private_aggregate": lambda make: make(1.0, 0.1, key=0),
    "dpsgd": lambda make: make(0.1, 1.0, 0.1, seed=0),
    "flatten": lambda make: make(SGD),
    "freeze": lambda make: make(False),
    "inject_hyperparams": lambda make: make(optax.adam)(0.1),
    "inject_stateful_hyperparams": lambda make: make(optax.adam)(0.1),
    "lookahead": lambda make: make(SGD, 2, 0.5),
    "masked": lambda make: make(SGD, True),
    "measure_with_ema": lambda make: make(lambda updates: updates, 0.9),
    "mechanize": lambda make: make(SGD),
    "multi_transform": lambda make: make({"all": SGD}, LABELS),
    "named_chain": lambda make: make(("all", SGD)),
    "noisy_sgd": lambda make: make(0.1, key=0),
    "partition": lambda make: make({"all": SGD}, LABELS),
    "sam": lambda make: make(SGD, SGD),
    "scale_by_schedule": lambda make: make(lambda count: 0.1),
    "schedule_free": lambda make: make(SGD, 0.1),
    "selective_transform": lambda make: make(SGD, freeze_mask=False),
    "snapshot": lambda make: make("norm", lambda updates, *rest, **others: optax.tree.norm(updates)),
    "split_real_and_imaginary": lambda make: make(SGD),
    "stateless": lambda make: make(lambda updates, params: updates),
    "stateless_with_tree_map": lambda make: make(lambda update, param: update),
    "with_extra_args_support": lambda make: make(SGD),
}
INNER_REFUSED = {  # arguments that training does not give
    "differentially_private_aggregate": "batch dimension",
    "dpsgd": "batch dimension",
    "lookahead": "no attribute 'fast'",
    "scale_by_muon": "pytree structure error",  # optax.contrib.muon is the optimiser
}
OUTER_REFUSED = {
    "differentially_private_aggregate": "its updates those of theta",
    "dpsgd": "its updates those of theta",
    "lbfgs": "value_fn",  # lbfgs(rate, linesearch=None) needs none
    "lookahead": "no attribute 'fast'",
    "scale_by_backtracking_linesearch": "value_fn",
    "scale_by_muon": "pytree structure error",
    "scale_by_zoom_linesearch": "value_fn",
    "sophia": "obj_fn",
}


def names(module):
    """Return the public functions of a module that make an optimiser."""
    for name in sorted(set(dir(module)) - {"GradientTransformation", "GradientTransformationExtraArgs"}):
        found = getattr(module, name)
        if name.startswith("_") or not (
            inspect.isfunction(found) or isinstance(found, functools.partial) or name == "MultiSteps"
        ):
            continue
        if name == "MultiSteps" or "GradientTransformation" in str(inspect.signature(found).return_annotation):
            yield name


def made(module, name):
    make = getattr(module, name)
    if name in GIVEN:
        return GIVEN[name](make)
    parameters = inspect.signature(make).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    return make(**dict.fromkeys(needed, 0.1))


ALL = [(module, name) for module in (optax, optax.contrib) for name in names(module)]
TASK = ml.classification(ml.mlp((4, 5, 3)), ml.data.Data(np.ones((4, 12), np.float32), np.arange(12) % 3), 4)
THETA = {"a": jnp.ones(3), "W": jnp.ones((3, 2))}
SQUARES = ml.InnerProblem(
    lambda theta, key: jnp.zeros(()),
    lambda state, theta, key: state + 0.0 * theta["a"][0],
    lambda state, theta, key: jnp.sum(theta["a"] ** 2) + jnp.sum(theta["W"] ** 2) + state,
)
ESTIMATOR = ml.backprop(SQUARES, ml.Truncation(1, 1))
QUICK = {"adam", "lbfgs", "sam", "muon", "sophia", "dpsgd", "lookahead", "schedule_free_sgd", "MultiSteps", "momo"}
every = lambda chosen: pytest.mark.parametrize(
    ("module", "name"), [one for one in ALL if one[1] in chosen], ids=[name for _, name in ALL if name in chosen]
)


def check(call, reason, beginning):
    """Check that a function raises a one-line error with this reason, or no error if there is no reason."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # lookahead warns about parameters
    if reason is None:
        return call()
    with pytest.raises(TypeError, match=rf"{beginning}[^\n]*{reason}") as caught:
        call()
    assert "\n" not in str(caught.value)


def check_both(module, name):
    problem = ml.training(TASK, lambda theta: made(module, name))
    check(lambda: check_problem(problem, THETA), INNER_REFUSED.get(name), "The optimiser cannot take a step")
    outer = lambda: check_stages(ESTIMATOR, made(module, name), THETA, KEY, 1, None)
    check(outer, OUTER_REFUSED.get(name), "optimizer ")


def test_the_list_contains_every_optimizer_of_optax():
    known = {name for _, name in ALL}
    assert len(ALL) > 100
    assert known >= QUICK
    assert not {*GIVEN, *INNER_REFUSED, *OUTER_REFUSED} - known


@every(QUICK)
def test_a_sample_of_optimizers_works_or_raises_an_error_that_says_what_they_need(module, name):
    check_both(module, name)


@pytest.mark.long
@every({name for _, name in ALL} - QUICK)
def test_every_optimizer_works_or_raises_an_error_that_says_what_it_needs(module, name):
    check_both(module, name)


@pytest.mark.long
@every({name for _, name in ALL})
def test_every_optimizer_takes_finite_steps(module, name):
    if name not in INNER_REFUSED:
        problem = ml.training(TASK, lambda theta: made(module, name), cap=None)
        state, step = problem.init(THETA, KEY), jax.jit(problem.step)
        for number in range(3):
            state = step(state, THETA, jax.random.key(number))
        assert trees.all_finite(state.params)
    if name not in OUTER_REFUSED:
        theta, history = ml.meta_train(ESTIMATOR, made(module, name), THETA, KEY, 2)
        assert trees.all_finite(theta)
        assert history.snapshot.step == 2
