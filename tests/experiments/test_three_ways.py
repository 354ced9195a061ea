"""The comparison of three ways to train from the command line: its folder, an interrupted run, and user errors."""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from metalearn.intervals import share_interval
from metalearn.studies.three_ways import compete, contests, judged, make_loss, neuron
from tests.processes import error_line, run_study
from tests.statistics import within

TINY = (
    "size=quick",
    "seed=4",
    "seeds=6",
    "evaluations=96",
    "population=8",
    "resolution=9",
    "losses=[decisions]",
    "tracker=none",
)


run = functools.partial(run_study, "three_ways")


def test_a_run_records_its_results_and_a_resumed_run_computes_only_the_missing_parts(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    assert (folder / "figures" / "three_ways.png").stat().st_size > 0
    rows = {
        (row["equal"], row["method"]): row for row in json.loads((folder / "tables" / "three_ways.json").read_text())
    }
    assert len(rows) == 8
    assert all(0 < row["evaluations"] <= 4 * 96 for row in rows.values())
    assert all(rows["evaluations", name]["evaluations"] <= 96 for _, name in rows)
    times = [row["milliseconds"] for (kind, _), row in rows.items() if kind == "evaluations"]
    assert all(row["milliseconds"] <= max(times) * 1.01 for row in rows.values())
    held = np.load(folder / "arrays" / "decisions" / "backprop.npz")
    np.testing.assert_array_equal(held["theta"], np.broadcast_to(held["theta"][:, :1], held["theta"].shape))
    search = np.load(folder / "arrays" / "decisions" / "CMA-ES.npz")
    assert np.all(np.diff(search["loss"][:, 1:], axis=1) <= 0)
    np.testing.assert_array_equal(search["theta"][:, 0], held["theta"][:, 0])
    (folder / "arrays" / "decisions" / "backprop.npz").unlink()
    assert run(tmp_path, *TINY, f"resume={folder}").returncode == 0
    np.testing.assert_array_equal(np.load(folder / "arrays" / "decisions" / "backprop.npz")["theta"], held["theta"])


@pytest.mark.parametrize("name", ["regression", "decisions"])
def test_the_policy_gradient_is_unbiased_for_the_gradient_of_the_mean_cost(name):
    policy, place, zero = contests()[name].policy.loss, jnp.array([1.3, -0.4]), jnp.zeros(())
    target = neuron(jnp.array([4.0, 0.5]))
    mean = {
        "regression": lambda theta: jnp.mean((neuron(theta) - target) ** 2),
        "decisions": lambda theta: jnp.mean(jax.nn.sigmoid(jnp.where(target > 0, -4, 4) * neuron(theta))),
    }[name]
    exact = np.asarray(jax.grad(mean)(place))
    keys = jax.random.split(jax.random.key(7), 20_000)
    found = jax.jit(jax.vmap(jax.grad(lambda theta, key: policy(zero, theta, key)), (None, 0)))(place, keys)
    assert within(found, exact, k=4, twin=-exact)


def test_searches_escape_local_minima_in_which_gradient_descent_ends():
    """Minimise the regression loss from 400 starts that differ from those of the page."""
    settings, solved = {"learning_rate": 0.1, "sigma": 0.5, "population": 16}, {}
    contest, key = contests()["regression"], jax.random.key(21)
    for method in ("backprop", "genetic algorithm"):
        found = compete(contest, method, key, 400, 480, settings)
        place = int(np.searchsorted(found["evaluations"], 480, "right")) - 1
        solved[method] = (np.asarray(found["loss"])[:, place] < contest.solved).astype(float)
        if method == "backprop":  # after four times the evaluations, its ends are stationary points, not the minimum
            slope = jax.vmap(jax.grad(make_loss(contest)))(found["theta"][:, -1])
            assert np.median(np.linalg.norm(slope, axis=1)) < 1e-3
            assert np.median(np.asarray(found["loss"])[:, -1]) > 0.4
    better = solved["genetic algorithm"] - solved["backprop"]
    assert within(better, 0.2, k=4, twin=-0.2)
    assert within(solved["backprop"], 0.32, k=4, twin=0.55)


def test_results_are_compared_at_equal_evaluations_and_at_equal_time():
    steps = np.arange(5)
    run = lambda cost, seconds, losses: {
        "evaluations": cost * steps,
        "seconds": seconds * steps,
        "loss": np.array([losses, losses]),
    }
    runs = {"slow": run(10, 4.0, [9, 8, 7, 6, 5]), "fast": run(20, 2.0, [9, 3, 2, 1, 0])}
    rows = {(row["equal"], row["method"]): row for row in judged(runs, 2.5, 20)}
    assert [rows[kind, name]["median"] for kind in ("evaluations", "time") for name in runs] == [7, 3, 7, 0]
    assert [rows[kind, "fast"]["solved"] for kind in ("evaluations", "time")] == [0, 1]
    assert rows["evaluations", "fast"]["solved_low"] == 0 < rows["evaluations", "fast"]["solved_high"] < 1


@pytest.mark.parametrize("count", [5, 50, 400])
def test_the_interval_of_a_share_covers_it(count):
    """The twin, p ± 1.96 s.e., has no width at 0 and 100 %, and covers a small share of few trials too rarely."""
    for share in (0.02, 0.16, 0.5, 0.95, 1.0):
        probability = binom.pmf(np.arange(count + 1), count, share)
        inside = [low <= share <= high for low, high in (share_interval(k, count) for k in range(count + 1))]
        assert probability @ inside > 0.9
        assert probability @ inside < 0.9995 or share == 1 or count == 5
        found = np.arange(count + 1) / count
        twin = abs(found - share) <= 1.96 * np.sqrt(found * (1 - found) / count)
        assert share != 0.02 or count > 50 or probability @ twin < 0.7
    low, high = share_interval(0, 50)  # Wilson: z² / (n + z²)
    assert (low, high) == (0, pytest.approx(1.959964**2 / (50 + 1.959964**2)))
    assert share_interval(50, 50) == (pytest.approx(1 - high), 1)
    assert share_interval(8, 50) == (pytest.approx(0.0834, abs=1e-3), pytest.approx(0.2851, abs=1e-3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seeds=0"], "seeds must be at least 2; 0 was given"),
        (["evaluations=3"], "evaluations must be at least 16"),
        (
            ["losses=[xor]"],
            "Every one of losses must be one of decisions, hyperparameters, regression; 'xor' was given",
        ),
        (["losses=[]"], "losses must name at least one of"),
        (["losses=decisions"], "losses must be a list, such as losses=[decisions]"),
        (["sigma=nan"], "sigma must be finite; nan was given"),
        (["learning_rate=0"], "learning_rate must be a number in (0, inf)"),
        (["size=tiny"], "size can be: full, quick"),
    ],
)
def test_an_invalid_setting_is_a_one_line_error_and_leaves_no_run_folder(tmp_path, arguments, words):
    assert words in error_line(run(tmp_path, *arguments, "tracker=none"), tmp_path)


def test_a_missing_evosax_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "evosax", None)
    result = run(tmp_path, "tracker=none")
    assert result.returncode == 2, result.stderr
    assert "pip install 'metalearn[search]'" in result.stderr
