"""Searches return the best of their trials, and population-based training the schedule of its best member."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY = jax.random.key(0)
LOW, HIGH = {"a": jnp.float32(-2.0), "b": jnp.array([0.0, 1.0])}, {"a": jnp.float32(2.0), "b": jnp.array([1.0, 5.0])}
SAMPLE = ml.search.uniform(LOW, HIGH)


def bowl(theta, key):
    return (theta["a"] - 0.5) ** 2 + jnp.sum((theta["b"] - jnp.array([0.3, 3.0])) ** 2)


def bowls(thetas):
    return (np.asarray(thetas["a"]) - 0.5) ** 2 + np.sum((np.asarray(thetas["b"]) - np.array([0.3, 3.0])) ** 2, axis=1)


def test_random_search_returns_the_best_of_its_draws():
    theta, trials = ml.search.random_search(bowl, SAMPLE, KEY, 50, chunk_size=16)
    np.testing.assert_allclose(trials.loss, bowls(trials.theta), rtol=1e-5)
    assert trials.best == np.argmin(trials.loss)
    jax.tree.map(lambda one, every: np.testing.assert_array_equal(one, every[trials.best]), theta, trials.theta)


def test_more_trials_extend_fewer_ones_for_any_chunk_size():
    noisy = lambda theta, key: bowl(theta, key) + jax.random.normal(key)
    few, many = (
        ml.search.random_search(noisy, SAMPLE, KEY, count, chunk_size=size)[1] for count, size in ((7, 7), (20, 6))
    )
    np.testing.assert_allclose(few.loss, many.loss[:7], rtol=1e-6)
    assert len({*many.loss.tolist()}) == 20


def test_uniform_draws_from_the_whole_box():
    draws = jax.vmap(SAMPLE)(jax.random.split(KEY, 4000))
    for low, high, drawn in zip(jax.tree.leaves(LOW), jax.tree.leaves(HIGH), jax.tree.leaves(draws)):
        low, high, drawn = (np.asarray(one) for one in (low, high, drawn))
        assert np.all((drawn >= low) & (drawn <= high))
        error = (high - low) / np.sqrt(12 * 4000)
        assert np.all(np.abs(drawn.mean(axis=0) - (low + high) / 2) < 5 * error)
        np.testing.assert_allclose(drawn.std(axis=0), (high - low) / np.sqrt(12), rtol=0.05)


def test_a_diverged_trial_is_recorded_and_not_chosen():
    cliff = lambda theta, key: jnp.where(theta["a"] < 0, jnp.nan, bowl(theta, key))
    theta, trials = ml.search.random_search(cliff, SAMPLE, KEY, 40)
    assert theta["a"] >= 0
    np.testing.assert_array_equal(np.isnan(trials.loss), np.asarray(trials.theta["a"]) < 0)
    with pytest.raises(FloatingPointError, match="None of the 5 trials of the random search had a finite loss"):
        ml.search.random_search(lambda theta, key: jnp.nan * theta["a"], SAMPLE, KEY, 5)


def test_a_grid_contains_every_combination():
    axes = {"a": jnp.array([0.0, 1.0, 2.0]), "b": jnp.array([10.0, 20.0])}
    theta, trials = ml.search.grid_search(
        lambda theta, key: (theta["a"] - 1) ** 2 + theta["b"], axes, KEY, chunk_size=4
    )
    assert list(zip(trials.theta["a"].tolist(), trials.theta["b"].tolist())) == [
        (a, b) for a in (0.0, 1.0, 2.0) for b in (10.0, 20.0)
    ]
    assert (theta["a"], theta["b"]) == (1.0, 10.0)


@pytest.mark.parametrize(("algorithm", "below"), [("cma_es", 1e-6), ("genetic", 0.1)])
def test_evolution_minimises_an_ill_conditioned_quadratic(algorithm, below):
    pytest.importorskip("evosax")
    scales = jnp.array([1.0, 10.0, 30.0])
    stretched = lambda theta, key: jnp.sum((scales * (theta["x"] - 1)) ** 2)
    start = {"x": jnp.zeros(3)}
    sigma = 0.3 if algorithm == "cma_es" else 0.05
    theta, trials = ml.search.evolve(stretched, algorithm, start, KEY, 80, population_size=12, sigma=sigma)
    assert stretched(theta, KEY) < below * stretched(start, KEY)
    assert trials.loss.shape == (960,)
    np.testing.assert_allclose(trials.theta["x"][:12].std(), sigma, rtol=0.5)


def test_evolution_treats_a_non_finite_loss_as_the_worst():
    pytest.importorskip("evosax")
    wall = lambda theta, key: jnp.where(theta < 0.2, jnp.nan, (theta - 0.1) ** 2)
    with jax.numpy_rank_promotion("allow"):
        theta, trials = ml.search.evolve(wall, "cma_es", jnp.float32(1.0), KEY, 30, population_size=8, sigma=0.3)
    assert np.isnan(trials.loss).any()
    assert 0.15 < theta < 0.5


def test_evolution_keeps_dtypes_and_compiles_once():
    pytest.importorskip("evosax")
    mixed = {"a": jnp.float32(1.0), "b": jnp.ones(2, jnp.bfloat16)}
    square = lambda theta, key: theta["a"] ** 2 + jnp.sum(theta["b"].astype(jnp.float32) ** 2)
    for algorithm in ("cma_es", "genetic"):
        with jax.numpy_rank_promotion("allow"):
            theta, trials = ml.search.evolve(square, algorithm, mixed, KEY, 2, population_size=4)
        for tree in (theta, trials.theta):
            assert [leaf.dtype for leaf in jax.tree.leaves(tree)] == [jnp.float32, jnp.bfloat16]
    shapes, structure = jax.tree.flatten(jax.eval_shape(lambda: mixed))
    evolution = importlib.import_module(
        "metalearn.outer.search.evolve"
    )  # the package exports the function of the same name
    again = [evolution._strategy("genetic", 4, tuple(shapes), structure, 0.3)[0] for _ in range(2)]
    assert again[0] is again[1]


@pytest.mark.parametrize("algorithm", ["cma_es", "genetic"])
def test_evolution_gives_the_same_result_inside_jit_and_vmap(algorithm):
    def run(start, key):
        theta, trials = ml.search.evolve(lambda theta, key: theta**2, algorithm, start, key, 5, population_size=4)
        return theta, trials.loss, trials.best

    starts, keys = jnp.array([1.0, -2.0]), jax.random.split(KEY, 2)
    mapped = jax.jit(jax.vmap(run))(starts, keys)
    for index in range(2):
        theta, losses, best = run(starts[index], keys[index])
        np.testing.assert_allclose(mapped[0][index], theta, rtol=1e-4)
        np.testing.assert_allclose(mapped[1][index], losses, rtol=1e-3, atol=1e-6)
        assert mapped[2][index] == best


def test_evolution_without_any_finite_loss_raises_an_error():
    pytest.importorskip("evosax")
    with jax.numpy_rank_promotion("allow"), pytest.raises(FloatingPointError, match="None of the 8 trials of genetic"):
        ml.search.evolve(lambda theta, key: theta * jnp.nan, "genetic", jnp.float32(1.0), KEY, 2, population_size=4)


# --- Population-based training ---

TRUNCATION = ml.Truncation(12, 3)


def pursuit():
    """s ← s + θ follows a target that turns back halfway, so that the best θ changes with time."""

    def step(state, theta, key):
        return (state[0] + theta, state[1] + 1)

    def loss(state, theta, key):
        target = jnp.minimum(state[1], 12 - state[1])
        return (state[0] - target) ** 2

    return ml.InnerProblem(lambda theta, key: (jnp.zeros(()), jnp.zeros(())), step, loss)


@pytest.fixture(scope="module")
def population():
    sample = ml.search.uniform(jnp.float32(-1.0), jnp.float32(1.0))
    return ml.search.population_based_training(
        pursuit(), TRUNCATION, sample, jax.random.key(3), num_members=64, sigma=0.5
    )


@pytest.fixture(scope="module")
def crowd():
    """Run so many members that the best schedule is better than every constant for any key (eight were tried)."""
    sample = ml.search.uniform(jnp.float32(-1.0), jnp.float32(1.0))
    return ml.search.population_based_training(
        pursuit(), TRUNCATION, sample, jax.random.key(0), num_members=1024, sigma=1.0
    )


def replay(thetas):
    problem = ml.in_windows(pursuit(), 3)
    state, losses = ml.unroll(problem, problem.init(thetas, KEY), thetas, KEY, 12)
    return state[0][0], losses


def test_the_schedule_leads_to_the_best_member(crowd):
    """A new run of the schedule ends in the state and the loss of the best member.

    Its last θ alone, without those of its ancestors, does not.
    """
    best = int(crowd.best)
    state, losses = replay(crowd.schedule)
    assert losses[-3:].mean() == pytest.approx(float(crowd.loss[-1].min()), rel=1e-5)
    assert state == pytest.approx(float(crowd.states[0][best]), rel=1e-5)
    assert replay(crowd.theta[:, best])[0] != pytest.approx(float(crowd.states[0][best]), rel=1e-2)
    assert crowd.schedule.shape == (4,)


def test_the_worst_quarter_is_replaced_by_copies_of_the_best(population):
    for window in range(3):
        order = np.argsort(population.loss[window])
        parents = np.asarray(population.parents[window])
        moved = np.flatnonzero(parents != np.arange(64))
        assert set(moved) == set(order[-16:])
        assert set(parents[moved]) <= set(order[:16])
        before, after = population.theta[window], population.theta[window + 1]
        stayed = np.setdiff1d(np.arange(64), moved)
        np.testing.assert_array_equal(after[stayed], before[stayed])
        assert np.std(after[moved] - before[parents[moved]]) == pytest.approx(0.5, rel=0.4)


def test_a_schedule_is_better_than_the_best_constant(crowd):
    constants = jnp.linspace(-1, 1, 201)
    losses = jax.vmap(lambda theta: replay(jnp.full(4, theta))[1].mean())(constants)
    assert replay(crowd.schedule)[1].mean() < 0.7 * losses.min()


def test_a_schedule_of_one_theta_equals_that_theta():
    problem, theta = ml.problems.noisy_linear_quadratic(), jnp.float32(0.3)
    whole = ml.meta_loss(ml.in_windows(problem, 5), jnp.full(3, theta), KEY, 15)
    assert whole == pytest.approx(float(ml.meta_loss(problem, theta, KEY, 15)), rel=1e-6)


def test_a_diverged_member_is_replaced():
    wild = ml.InnerProblem(
        lambda theta, key: jnp.zeros(()),
        lambda state, theta, key: jnp.where(theta > 0, jnp.inf, state),
        lambda state, theta, key: state,
    )
    sample = ml.search.uniform(jnp.float32(-1.0), jnp.float32(1.0))
    found = ml.search.population_based_training(
        wild, ml.Truncation(6, 1), sample, KEY, num_members=8, sigma=0.0, exchanged=0.5
    )
    assert np.isinf(found.loss[0]).any()
    assert np.isfinite(found.loss[-1]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ml.search.random_search(bowl, SAMPLE, KEY, 0), "num_trials must be at least 1; 0 was given"),
        (lambda: ml.search.grid_search(bowl, LOW, KEY), "Every leaf of axes must be a 1-D array of values"),
        (lambda: ml.search.uniform(LOW, HIGH | {"a": jnp.float32(jnp.inf)}), "low and high must be finite"),
        (lambda: ml.search.uniform(HIGH, LOW), "low must nowhere be above high"),
        (lambda: ml.search.uniform(LOW, {"a": 1.0}), "low and high must have the same structure"),
        (lambda: ml.search.evolve(bowl, "bayes", LOW, KEY, 3), "algorithm must be one of"),
        (
            lambda: ml.search.population_based_training(
                pursuit(), TRUNCATION, SAMPLE, KEY, num_members=4, sigma=0.1, exchanged=0.7
            ),
            "exchanged must be a number in",
        ),
        (lambda: ml.in_windows(pursuit(), 0), "length must be at least 1"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ml.search.random_search(3, SAMPLE, KEY, 2), "evaluate must be a function"),
        (lambda: ml.search.random_search(lambda theta, key: theta["b"], SAMPLE, KEY, 2), "evaluate must return one"),
        (lambda: ml.search.random_search(bowl, 3, KEY, 2), "sample must be a function"),
        (lambda: ml.in_windows(3, 5), "problem must be an InnerProblem"),
        (lambda: ml.strided(3, 5), "problem must be an InnerProblem"),
    ],
)
def test_arguments_of_the_wrong_type_raise_a_clear_error(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_schedule_without_windows_raises_an_error():
    with pytest.raises(ValueError, match=r"Every leaf of theta must be \[num_windows"):
        ml.in_windows(pursuit(), 3).init(jnp.float32(0.3), KEY)


def test_a_population_without_any_finite_member_has_no_schedule():
    lost = pursuit()._replace(loss=lambda state, theta, key: theta * jnp.nan)
    found = ml.search.population_based_training(
        lost, TRUNCATION, ml.search.uniform(-1.0, 1.0), KEY, num_members=4, sigma=0.1
    )
    assert found.best == -1
    assert np.isnan(found.schedule).all()
