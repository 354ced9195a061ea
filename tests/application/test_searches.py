"""Searches: their budget of inner steps, their files, and errors raised before a search that cannot be run."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metalearn.application import build_hyperparameters, check_searches, on_each, searched
from metalearn.inner.training.benchmark import wine_benchmark
from metalearn.inner.training.hyperparameter_sets import Tuning

BENCHMARK = wine_benchmark((4,))
TUNING = Tuning(
    {"rate": jnp.zeros(2)}, lambda theta: optax.sgd(theta["rate"]), box=({"rate": jnp.zeros(2)}, {"rate": jnp.ones(2)})
)
WEIGHTS = Tuning(jnp.zeros(2), lambda theta: optax.sgd(theta[0]))


@pytest.fixture
def calls(monkeypatch):
    """Record the arguments of the searches instead of running them. Each search returns a different θ."""
    made, place = [], "metalearn.application.searches."

    def found(*given, **named):
        made.append((given, named))
        return {"rate": jnp.full(2, float(len(made)))}, None

    monkeypatch.setattr(place + "held_out", lambda *_: None)
    monkeypatch.setattr(place + "evolve", found)
    monkeypatch.setattr(place + "random_search", found)
    return made


def run(path, name, horizon, num_inner_steps):
    told = lambda name, done, total: None
    return searched(
        path, name, BENCHMARK._replace(num_steps=horizon), TUNING, jax.random.key(0), num_inner_steps, 16, told
    )


@pytest.mark.parametrize(("horizon", "steps", "generations"), [(500, 400_000, 50), (2500, 1_200_000, 30), (7, 100, 1)])
def test_a_search_uses_its_budget_of_inner_steps_in_whole_generations(tmp_path, calls, horizon, steps, generations):
    run(tmp_path / "cma.npz", "cma_es", horizon, steps)
    run(tmp_path / "random.npz", "random_search", horizon, steps)
    (evolution, sizes), (draws, _) = calls
    assert (evolution[1], evolution[4], sizes["population_size"]) == ("cma_es", generations, 16)
    assert draws[3] == steps // horizon
    if generations > 1:
        assert generations * 16 * horizon == steps


def test_a_saved_search_is_not_run_again(tmp_path, calls):
    first = run(tmp_path / "cma.npz", "cma_es", 10, 1000)
    again = run(tmp_path / "cma.npz", "cma_es", 10, 1000)
    other = run(tmp_path / "other.npz", "cma_es", 10, 1000)
    assert len(calls) == 2
    np.testing.assert_array_equal(first["rate"], again["rate"])
    assert float(other["rate"][0]) == 2


def test_a_problem_that_cannot_be_searched_raises_an_error(monkeypatch):
    check_searches(["random_search", "cma_es", "genetic"], TUNING)
    check_searches(["cma_es"], WEIGHTS)
    with pytest.raises(ValueError, match="Every one of searches must be one of"):
        check_searches(["bayes"], TUNING)
    with pytest.raises(ValueError, match="random_search draws from the box"):
        check_searches(["random_search"], WEIGHTS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_searches(["random_search"], TUNING)
    with pytest.raises(ImportError, match=r"pip install 'metalearn\[search\]'"):
        check_searches(["cma_es"], TUNING)


def test_each_benchmark_is_evaluated_with_its_own_hyperparameters():
    small, large = BENCHMARK._replace(num_steps=10), BENCHMARK._replace(num_steps=20)
    tunings = {"small": (small, TUNING), "large": (large, TUNING._replace(task=lambda theta: "task"))}
    thetas = {"small": {"rate": jnp.ones(2)}, "large": {"rate": jnp.zeros(2)}}
    tuned = on_each(tunings, thetas)
    assert tuned(small)[1] is None
    assert tuned(large)[1] == "task"


def test_a_network_without_these_hyperparameters_is_named_in_the_error(monkeypatch):
    def refuse(benchmark, learning_rate):
        raise ValueError("all_hyperparameters needs a perceptron.")

    monkeypatch.setattr("metalearn.application.searches.all_hyperparameters", refuse)
    with pytest.raises(
        ValueError, match=r"mine: all_hyperparameters needs a perceptron\. searches=\[\] evaluates without them\."
    ):
        build_hyperparameters({"mine": BENCHMARK._replace(num_steps=10)}, "searches=[]")
