"""The outer loop: it descends, is reproducible, and does not depend on the length of its chunks."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

PROBLEM = ml.problems.linear_quadratic()
TRUNCATION = ml.Truncation(12, 3)
ESTIMATOR = ml.noise_reuse_es(PROBLEM, TRUNCATION, sigma=0.1, num_pairs=4)
START, KEY = jnp.float32(0.3), jax.random.key(1)


def optimum():
    """Return the θ that minimises Σ (s_t − y)², by least squares: s_t = a^t s_0 + b θ (1 − a^t)/(1 − a)."""
    powers = 0.9 ** np.arange(1, 13)
    slopes = (1 - powers) / 0.1
    return -(powers @ slopes) / (slopes @ slopes)


def test_meta_train_reaches_the_optimum_of_a_quadratic():
    theta, history = ml.meta_train(ESTIMATOR, optax.adam(0.02), START, jax.random.key(0), 800)
    assert float(theta) == pytest.approx(optimum(), abs=0.03)
    assert history.theta.shape == (800,)
    assert history.theta[0] == START
    assert set(history.metrics) >= {"loss", "fraction_diverged", "inner_steps"}


def test_chunks_change_no_bit_and_the_callback_receives_every_step():
    seen = []
    runs = [
        ml.meta_train(ESTIMATOR, optax.adam(0.02), START, jax.random.key(0), 20, chunk_length=length, callback=callback)
        for length, callback in (
            (None, None),
            (7, lambda step, theta, history: seen.append((step, len(history.theta)))),
        )
    ]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1].theta, runs[1][1].theta)
    assert seen == [(7, 7), (14, 7), (20, 6)]


def test_meta_train_maps_over_starts_and_applies_the_projection():
    def descend(start, key):
        return ml.meta_train(
            ESTIMATOR, optax.adam(0.05), start, key, 60, project=lambda theta: jnp.clip(theta, 0.1, 1.0)
        )[0]

    ends = jax.vmap(descend)(jnp.array([0.2, 0.9]), jax.random.split(jax.random.key(1), 2))
    np.testing.assert_allclose(ends, 0.1, atol=1e-6)


def held_out(theta, key):
    """Return the meta-loss of an episode without randomness."""
    return ml.meta_loss(PROBLEM, theta, key, 12)


def run(num_steps=20, **settings):
    return ml.meta_train(ESTIMATOR, optax.adam(0.02), START, jax.random.key(0), num_steps, **settings)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, raw(one), raw(other))


def raw(tree):
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else np.asarray(leaf), tree)


def test_evaluations_are_those_of_theta_and_the_best_is_kept():
    theta, history = run(evaluate=held_out, chunk_length=6)
    assert history.evaluations["step"].tolist() == [0, 6, 12, 18, 20]
    points = [START, *history.theta[jnp.array([6, 12, 18])], theta]
    losses = [float(held_out(point, jax.random.key(1))) for point in points]
    np.testing.assert_allclose(history.evaluations["loss"], losses, rtol=1e-6)
    told = []
    run(
        evaluate=held_out,
        chunk_length=6,
        callback=lambda step, theta, part: told.extend(part.evaluations["step"].tolist()),
    )
    assert told == [0, 6, 12, 18, 20], "what a callback is told is everything, once"
    best = history.snapshot.best
    assert best.step == [0, 6, 12, 18, 20][int(np.argmin(losses))]
    assert best.theta == points[int(np.argmin(losses))]
    assert best.loss == pytest.approx(min(losses))


def test_the_best_theta_is_returned_although_the_last_is_worse():
    """The descent begins near the optimum, and one large step leads beyond it."""
    near = jnp.float32(optimum() + 0.01)
    _, history = ml.meta_train(
        ESTIMATOR, optax.sgd(10.0), near, jax.random.key(0), 2, evaluate=held_out, chunk_length=1
    )
    assert history.snapshot.best.step == 0
    assert history.snapshot.best.theta == near


def test_held_out_loss_is_the_mean_over_its_episodes():
    noisy = ml.problems.noisy_linear_quadratic()
    key, theta = jax.random.key(3), jnp.float32(0.3)
    losses = [ml.meta_loss(noisy, theta, one, 12) for one in jax.random.split(key, 5)]
    assert len(set(map(float, losses))) == 5
    assert ml.held_out_loss(noisy, 12, 5)(theta, key) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(
    "estimator", [ESTIMATOR, {0: ESTIMATOR, 7: ml.persistent_es(PROBLEM, TRUNCATION, sigma=0.2, num_pairs=2)}]
)
def test_an_interrupted_run_continues_with_the_same_bits(estimator):
    arguments = (estimator, optax.adam(0.02), START, jax.random.key(0))
    whole = ml.meta_train(*arguments, 20, evaluate=held_out, chunk_length=4)
    for cut in (4, 7, 13):
        _, begun = ml.meta_train(*arguments, cut, evaluate=held_out, chunk_length=4)
        theta, rest = ml.meta_train(*arguments, 20, evaluate=held_out, chunk_length=4, resume=begun.snapshot)
        same(whole[0], theta)
        np.testing.assert_array_equal(whole[1].theta, np.concatenate([begun.theta, rest.theta]))
        exactly = (
            whole[1].snapshot if cut == 4 else whole[1].snapshot._replace(best=rest.snapshot.best)
        )  # other cuts evaluate more often
        same(exactly, rest.snapshot)


def test_a_schedule_of_estimators_changes_the_estimator():
    """Before the change the bits are those of the first estimator alone. Each step has the cost of its estimator."""
    longer = ml.noise_reuse_es(PROBLEM, ml.Truncation(12, 6), sigma=0.1, num_pairs=4)
    arguments = (optax.adam(0.02), START, jax.random.key(0), 9)
    _, alone = ml.meta_train(ESTIMATOR, *arguments)
    _, staged = ml.meta_train({0: ESTIMATOR, 5: longer}, *arguments)
    np.testing.assert_array_equal(staged.theta[:6], alone.theta[:6])
    assert not np.any(staged.theta[6:] == alone.theta[6:])
    assert staged.metrics["inner_steps"].tolist() == [4 * 2 * 3] * 5 + [4 * 2 * 6] * 4


def explosive(at):
    """An estimator whose gradient is infinite at one step, which it counts in its state."""

    def init(theta, key):
        return jnp.zeros((), jnp.int32)

    def estimate(theta, state, key):
        metrics = {"loss": jnp.float32(2.5), "fraction_diverged": jnp.float32(0.008), "inner_steps": 1}
        return jnp.where(state == at, jnp.inf, 1.0) * jnp.ones_like(theta), state + 1, metrics

    return ml.GradientEstimator(init, estimate)


@pytest.mark.parametrize("chunk_length", [None, 3])
def test_training_stops_at_the_last_finite_theta_with_a_warning(chunk_length):
    with pytest.warns(UserWarning, match="Outer step 5 would have made theta, or .* non-finite .* 2.5, 1% of its"):
        theta, history = ml.meta_train(
            explosive(5), optax.sgd(0.1), START, jax.random.key(0), 30, chunk_length=chunk_length, evaluate=held_out
        )
    assert history.evaluations["step"].tolist() == ([0, 5] if chunk_length is None else [0, 3, 5])
    assert history.evaluations["loss"][-1] == pytest.approx(float(held_out(theta, KEY)))
    assert theta == pytest.approx(0.3 - 0.5)
    assert history.snapshot.stopped == 5
    assert history.snapshot.step == 5
    assert history.snapshot.inner_steps == 6, "of one a step; what a chunk did after it is not counted"
    assert history.theta.shape == (6,)
    assert np.isfinite(history.theta).all()
    # with the state of the outer optimiser and of the estimator kept, a clipped run goes on from there
    clipped = optax.chain(optax.clip(1.0), optax.sgd(0.1))
    fresh = history.snapshot._replace(optimizer_state=clipped.init(theta))
    later, _ = ml.meta_train(explosive(5), clipped, theta, jax.random.key(0), 8, resume=fresh)
    assert later == pytest.approx(-0.2 - 0.3)


def test_training_stops_if_the_second_moment_of_adam_overflows():
    """A gradient of 1e25 makes the second moment infinite in float32, and every update after it zero."""
    large = explosive(2)._replace(estimate=lambda theta, state, key: finite(explosive(2).estimate(theta, state, key)))
    finite = lambda found: (jnp.minimum(found[0], 1e25), *found[1:])
    with pytest.warns(UserWarning, match="Outer step 2 would have made theta, or the outer optimiser's state"):
        _, history = ml.meta_train(large, optax.adam(0.1), START, jax.random.key(0), 10)
    assert history.snapshot.stopped == 2


def test_evaluations_record_the_inner_steps_spent_before_them():
    _, begun = run(7, evaluate=held_out, chunk_length=4)
    _, rest = run(20, evaluate=held_out, chunk_length=4, resume=begun.snapshot)
    for history in (begun, rest):
        np.testing.assert_array_equal(history.evaluations["inner_steps"], 24 * history.evaluations["step"])


@pytest.mark.parametrize("every", [True, False])
def test_a_run_without_any_finite_particle_warns_once(every):
    def estimate(theta, state, key):
        share = jnp.where(every | (state != 1), 1.0, 0.5)
        return jnp.zeros_like(theta), state + 1, {"loss": jnp.nan, "fraction_diverged": share, "inner_steps": 1}

    lost = ml.GradientEstimator(lambda theta, key: jnp.zeros((), jnp.int32), estimate)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ml.meta_train(lost, optax.sgd(0.1), START, KEY, 6, chunk_length=3)
    *before, last = (str(one.message) for one in told)
    assert last.startswith(f"Every particle of outer steps {'0 to 2' if every else '3 to 5'} diverged")
    assert [one[:47] for one in before] == ([] if every else ["100.0% of the particles of outer step 0 diverged"[:47]])


def test_a_warning_is_issued_once_when_more_than_one_percent_of_the_particles_diverge():
    shares = jnp.asarray([0.0, 0.01, 0.004, 0.002, 0.03, 0.2, 0.1, 0.05, 0.0])

    def estimate(theta, state, key):
        metrics = {"loss": jnp.float32(1), "fraction_diverged": shares[state], "inner_steps": 1}
        return jnp.zeros_like(theta), state + 1, metrics

    partly = ml.GradientEstimator(lambda theta, key: jnp.zeros((), jnp.int32), estimate)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, history = ml.meta_train(partly, optax.sgd(0.1), START, KEY, 9, chunk_length=3)
    (only,) = (str(one.message) for one in told)
    assert only.startswith("3.0% of the particles of outer step 4 diverged")
    assert "ml.saturate" in only
    found = history.divergence()
    assert (found["first"], found["last"], found["capped"]) == (0, 0, 0)
    assert found["worst"] == pytest.approx(0.2)


def test_warnings_count_only_steps_that_were_taken():
    """Training stops at step 2. The warning does not count the rest of the chunk, in which everything diverged."""
    last = jax.random.key_data(jax.random.fold_in(jax.random.split(KEY)[1], 2))

    def estimate(theta, state, key):
        beyond = (state == 2) & jnp.any(jax.random.key_data(key) != last)
        metrics = {"loss": jnp.float32(1), "fraction_diverged": jnp.where(beyond, 1.0, 0.0), "inner_steps": 1}
        return jnp.where(state == 2, jnp.inf, 1.0) * jnp.ones_like(theta), state + 1, metrics

    stops = ml.GradientEstimator(lambda theta, key: jnp.zeros((), jnp.int32), estimate)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ml.meta_train(stops, optax.sgd(0.1), START, KEY, 6)
    assert [str(one.message)[:12] for one in told] == ["Outer step 2"]


@pytest.mark.parametrize("name", ["polyak_sgd", "reduce_on_plateau"])
def test_an_outer_optimiser_receives_the_loss(name):
    """Polyak's step is value/‖g‖² times the gradient, so that one step has a known result."""
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=2, cooldown=0, factor=0.1))
    outer = {"polyak_sgd": optax.polyak_sgd(1e3), "reduce_on_plateau": plateau}[name]
    theta, _ = ml.meta_train(explosive(99), outer, START, KEY, 1 if name == "polyak_sgd" else 30)
    expected = 0.3 - 2.5 if name == "polyak_sgd" else 0.3 - 0.1 * 30
    assert (float(theta) == pytest.approx(expected)) == (name == "polyak_sgd")
    assert float(theta) > -3.0


def test_a_mapped_copy_that_stops_does_not_stop_the_others():
    def descend(at):
        return ml.meta_train(explosive(at), optax.sgd(0.1), START, jax.random.key(0), 10)

    theta, history = jax.vmap(descend)(jnp.array([3, 99]))
    np.testing.assert_allclose(theta, [0.3 - 0.3, 0.3 - 1.0], atol=1e-6)
    assert history.snapshot.stopped.tolist() == [3, -1]


def test_a_concrete_start_may_be_used_inside_jit():
    end = jax.jit(lambda key: ml.meta_train(explosive(99), optax.sgd(0.1), START, key, 10)[0])(jax.random.key(0))
    assert end == pytest.approx(0.3 - 1.0)
    unknown = jnp.nan * START
    with pytest.raises(ValueError, match="theta must be finite"):
        jax.jit(lambda key: ml.meta_train(explosive(99), optax.sgd(0.1), unknown, key, 10)[0])(KEY)


def test_meta_train_maps_over_sigma_and_over_seeds():
    def descend(sigma, key):
        estimator = ml.noise_reuse_es(PROBLEM, TRUNCATION, sigma=sigma, num_pairs=4)
        return ml.meta_train(estimator, optax.adam(0.02), START, key, 5, evaluate=held_out)

    keys = jax.random.split(jax.random.key(1), 2)
    theta, history = jax.vmap(descend)(jnp.array([0.1, 0.3]), keys)
    assert history.snapshot.best.loss.shape == (2,)
    for sigma, key, end in zip((0.1, 0.3), keys, theta):
        assert end == pytest.approx(float(descend(sigma, key)[0]), rel=1e-4)


def test_meta_train_of_a_combination_maps_over_sigma():
    def descend(sigma):
        parts = [ml.noise_reuse_es(PROBLEM, TRUNCATION, sigma=sigma, num_pairs=count) for count in (2, 3)]
        return ml.meta_train(ml.combine(parts), optax.adam(0.02), START, KEY, 3)[0]

    sigmas = jnp.array([0.1, 0.3])
    np.testing.assert_allclose(jax.vmap(descend)(sigmas), [descend(float(sigma)) for sigma in sigmas], rtol=1e-4)


@pytest.mark.parametrize("evaluate", [None, lambda theta, key: jnp.sum(theta**2)])
def test_chunks_of_equal_length_share_one_program(evaluate):
    traces = []
    update = lambda gradient, state, theta=None: (traces.append(1), optax.sgd(0.1).update(gradient, state))[1]
    optimizer = optax.GradientTransformation(optax.sgd(0.1).init, update)
    estimator = ml.persistent_es(ml.problems.toy_regression(20), ml.Truncation(20, 5), sigma=0.1, num_pairs=2)
    ml.meta_train(estimator, optimizer, jnp.zeros(2), jax.random.key(0), 12, chunk_length=4, evaluate=evaluate)
    assert len(traces) == 2, "once when its form is looked at, once by the program"


def test_progress_is_called_for_every_chunk():
    told = []
    run(chunk_length=8, progress=lambda *told_of: told.append(told_of))
    assert told == [("meta-training", 8, 20), ("meta-training", 16, 20), ("meta-training", 20, 20)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"chunk_length": 0}, "chunk_length must be at least 1"),
        ({"key": 1}, "typed key"),
        ({"evaluate": 3.0}, "evaluate must be a function"),
        ({"evaluate": lambda theta: 0.0}, "evaluate must be a function .theta, key. -> scalar; .*too many"),
        ({"evaluate": lambda theta, key: jnp.ones(2)}, "evaluate must return one floating-point number"),
        ({"estimator": {3: ESTIMATOR}}, "must begin at outer step 0"),
        ({"estimator": {0: ESTIMATOR, 2: 1.0}}, "estimator must be a GradientEstimator"),
        ({"estimator": {0: ESTIMATOR, -1: ESTIMATOR}}, "first step of a stage must be at least 0"),
        ({"resume": 3}, "resume must be the snapshot of a history"),
        ({"optimizer": 0.1}, "optimizer must be an optax transformation"),
        ({"optimizer": optax.lbfgs()}, "optimizer cannot take a step on theta .TypeError: .*value_fn"),
        ({"project": lambda theta: None}, "project must return a theta of the same structure"),
        ({"callback": 3}, "callback must be a function"),
        ({"progress": True}, "progress must be a function"),
        ({"theta": jnp.float32(np.nan)}, "theta must be finite at the start of meta-training"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(change, sentence):
    arguments = {"estimator": ESTIMATOR, "optimizer": optax.sgd(0.1), "theta": START, "key": jax.random.key(0)}
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.meta_train(**(arguments | {"num_steps": 3} | change))


def test_a_snapshot_of_another_run_raises_an_error():
    problem, windows = ml.problems.toy_regression(20), ml.Truncation(20, 5)
    make = lambda pairs: ml.persistent_es(problem, windows, sigma=0.1, num_pairs=pairs)
    theta, key, adam = jnp.array([-4.0, -4.0]), jax.random.key(0), optax.adam(0.1)
    snapshot = ml.meta_train(make(2), adam, theta, key, 2)[1].snapshot
    go_on = lambda estimator, optimizer, theta: ml.meta_train(estimator, optimizer, theta, key, 4, resume=snapshot)
    for arguments, part in (
        ((make(3), adam, theta), "estimator_state"),
        ((make(2), optax.sgd(0.1), theta), "optimizer_state"),
        ((make(2), adam, {"rates": theta}), "theta"),
    ):
        with pytest.raises(
            ValueError, match=f"snapshot of another run: the structure or the shapes of its {part} do not fit"
        ):
            go_on(*arguments)
    assert go_on(make(2), adam, theta)[1].snapshot.step == 4
    later = {0: make(2), 2: make(3)}  # whose second stage begins anew at the snapshot
    assert go_on(later, adam, theta)[1].snapshot.step == 4


def test_a_finished_run_cannot_be_continued():
    _, history = run(5)
    with pytest.raises(ValueError, match="has already taken 5 outer steps, and num_steps=5"):
        run(5, resume=history.snapshot)


def test_meta_train_is_differentiable_in_reverse_mode():
    estimator = ml.backprop(ml.problems.toy_regression(20), ml.Truncation(20, 5))
    end = lambda theta: jnp.sum(ml.meta_train(estimator, optax.sgd(0.01), theta, jax.random.key(0), 3)[0])
    start = jnp.array([-3.0, -3.0])
    slope = jax.grad(end)(start)
    expected = jax.jacfwd(end)(start)
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    assert np.all(slope != 0)
