"""A proxy is minimised, a goal is watched, and mitigations are compared with the plain case."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn import trees
from metalearn.learned import nominal_optimizer
from metalearn.outer.observables import check_finite
from metalearn.outer.one_world import one_world
from metalearn.studies.goodhart import PLAIN, descend, goal_rows, tuned_training
from metalearn.studies.mitigations import Switches, altered, noisy

PROBLEM = ml.problems.noisy_linear_quadratic(a=0.5, target=1.0, noise=0.3)
STUDY = ml.Study(
    PROBLEM,
    jnp.array(0.2),
    3,
    observables={
        "wanted": lambda state, theta, key: (theta - 0.4) ** 2,
        "third": lambda state, theta, key: (theta - 0.35) ** 2,
    },
    repeat_randomness=True,
)
NAMES = {"proxy": "loss", "goal": "wanted"}


def whole(problem, key):
    return ml.backprop(problem, ml.Truncation(3, 3, key=key))


def run(switches, seeds=2, study=STUDY):
    keys = [jax.random.key(70 + seed) for seed in range(seeds)]
    how = {"num_steps": 24, "chunk_length": 2, "num_episodes": 4, "progress": lambda *_: None, "label": ""}
    return descend(study, NAMES, whole, optax.sgd(0.05), switches, keys, **how)


def test_every_episode_of_a_run_uses_the_data_of_its_goals():
    seen = []
    watch = {"again": lambda theta, key: ml.meta_loss(PROBLEM, theta, key, 3)}
    estimator = one_world(lambda key: whole(PROBLEM, key))
    for seed in (1, 2):
        _, history = ml.meta_train(
            estimator, optax.sgd(0.1), jnp.array(0.2), jax.random.key(seed), 3, watch=watch, chunk_length=1
        )
        np.testing.assert_allclose(history.metrics["loss"], history.watched["again"][:3], rtol=1e-6)
        seen.append(float(history.metrics["loss"][0]))
    assert seen[0] != seen[1]


def test_the_goal_has_a_turning_point_and_mitigations_recover_its_loss():
    found = {PLAIN: run(Switches()), "penalty": run(Switches(penalty=4.0)), "goal": run(Switches(share=1.0))}
    found["stop"] = run(Switches(stop_on="third", patience=2))
    rows = {row["case"]: row for row in goal_rows(found)}
    assert rows[PLAIN]["best"] < rows[PLAIN]["start"] < rows[PLAIN]["end"]
    assert rows[PLAIN]["worse_than_start"] == 1
    assert rows[PLAIN]["recovered"] == 0
    for name in ("penalty", "goal", "stop"):
        assert rows[name]["recovered"] > 0.8
    stopped = found["stop"]
    assert np.isnan(stopped["goal"]).any()
    at = np.nanargmin(stopped["third"], axis=1)
    np.testing.assert_allclose(stopped["end/goal"], stopped["goal"][np.arange(2), at])


def test_a_third_reading_that_is_never_finite_returns_the_last_theta():
    names = {**(STUDY.observables or {}), "third": lambda state, theta, key: theta / 0.0}
    study = ml.Study(PROBLEM, jnp.array(0.2), 3, observables=names, repeat_randomness=True)
    found = run(Switches(stop_on="third", patience=2), study=study)
    assert not np.isfinite(found["third"]).any()
    for seed, goal in enumerate(found["goal"]):
        assert found["end/goal"][seed] == goal[np.isfinite(goal)][-1]


def test_noise_on_the_gradient_is_independent_of_the_noise_of_the_estimator():
    """fold_in(key, 1) is split(key)[1]: an estimator that splits its key would have the same noise."""
    inner = ml.persistent_es(PROBLEM, ml.Truncation(3, 3), sigma=0.1, num_pairs=1)
    for split in (2, 3, 5):
        for place in range(split):
            draw = lambda key, split=split, place=place: trees.normal_like(
                jax.random.split(key, split)[place], jnp.zeros(5), 1.0
            )
            plain = inner._replace(estimate=lambda theta, state, key, draw=draw: (draw(key), state, {}))
            added = noisy(plain, 1.0).estimate(jnp.zeros(5), None, jax.random.key(3))[0]
            ours = draw(jax.random.split(jax.random.key(3))[0])
            assert not jnp.allclose(added - ours, ours, atol=1e-5)
            assert jnp.any(added != ours)
    twin = draw(jax.random.key(3)) - trees.normal_like(jax.random.fold_in(jax.random.key(3), 4), jnp.zeros(5), 1.0)
    assert not jnp.any(twin), "the two ways to derive a key are the same"


def test_the_first_weights_and_the_meta_training_of_a_learned_optimiser_have_keys_of_their_own(monkeypatch):
    from metalearn.studies import learned_goals

    seen = []
    monkeypatch.setattr(learned_goals, "meta_train", lambda *given: seen.append(given[2:4]) or (given[2], None))
    settings = OmegaConf.create(
        {"num_steps": 20, "length": 10, "outer_steps": 2, "pairs": 2, "sigma": 0.1, "learning_rate": 0.1}
    )
    keys = [jax.random.key(8), jax.random.key(9)]
    learned_goals.meta_trained(settings, keys)
    draw = jax.jit(nominal_optimizer().init)
    for (theta, key), given in zip(seen, keys):
        for used in (given, key, *jax.random.split(key, 3)):
            assert not jax.tree.all(jax.tree.map(jnp.array_equal, draw(used), theta))


def test_the_recovered_share_and_its_error_are_exact_for_known_curves():
    curves = lambda *ends: {
        "step": np.arange(3), "goal": np.array([[1.0, 0.5, end] for end in ends]), "proxy": np.zeros((len(ends), 3)),
        "end/goal": np.array(ends), "end/proxy": np.zeros(len(ends)),
    }  # fmt: skip
    plain, half, worse = goal_rows({PLAIN: curves(1.5, 2.5), "half": curves(1.0, 1.5), "worse": curves(3.0, 4.0)})
    assert (half["recovered"], half["recovered_error"]) == (0.5, 0.0)
    assert worse["recovered"] == -1.0
    assert (plain["turning_step"], plain["turning_step_error"]) == (1.0, 0.0)


def test_the_penalty_and_the_share_equal_their_formulas():
    theta, key = jnp.array(0.7), jax.random.key(0)
    state = PROBLEM.init(theta, key)
    proxy, goal = PROBLEM.loss(state, theta, key), (0.7 - 0.4) ** 2
    mixed = altered(STUDY, "loss", "wanted", Switches(penalty=3.0, share=0.25)).loss(state, theta, key)
    assert float(mixed) == pytest.approx(0.75 * float(proxy) + 0.25 * goal + 1.5 * 0.25, rel=1e-5)


def test_invalid_arguments_raise_a_clear_error():
    for make, words in (
        (lambda: ml.outer.observe(STUDY, "wantet", "goal"), r"goal must be an observable .*did you mean wanted"),
        (lambda: Switches(share=2.0), r"share must be a number in \[0, 1\]"),
        (lambda: Switches(patience=3), "patience is used with stop_on only"),
        (lambda: Switches(stop_on="third", patience=0), "patience must be at least 1"),
        (lambda: tuned_training(0), "num_steps must be at least 1"),
        (lambda: tuned_training(rate=0.0), "rate must be"),
        (lambda: ml.Study(PROBLEM, 0.2, 3, observables={"loss": PROBLEM.loss}), "cannot be called 'loss'"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    infinite = ml.Study(PROBLEM, jnp.array(0.2), 3, observables={"far": lambda state, theta, key: theta / 0.0})
    with pytest.raises(ValueError, match="goal must be finite at the start; 'far' is inf"):
        check_finite(infinite, "far", "goal")
    check_finite(STUDY, "wanted", "goal")
    with pytest.raises(TypeError, match="The observable 'pair' must return one real number"):
        ml.Study(PROBLEM, 0.2, 3, observables={"pair": lambda state, theta, key: jnp.ones(2)})


def tuned(seeds, steps, outer_rate, **arguments):
    """Minimise the training loss, or the loss on few validation rows, on seeds of their own."""
    study = tuned_training(**arguments)
    keys = [jax.random.key(900 + seed) for seed in range(seeds)]
    build = lambda problem, key: ml.backprop(problem, ml.Truncation(1, 1, key=key))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(outer_rate))
    how = {"num_steps": steps, "chunk_length": 4, "num_episodes": 1, "progress": lambda *_: None, "label": ""}
    return descend(study, {"proxy": "loss", "goal": "clean"}, build, optimizer, Switches(), keys, **how)


@pytest.mark.slow
def test_minimising_the_training_loss_worsens_the_goal_after_a_turning_point():
    """200 steps of Adam .05 from a rate of .003 and a decay of .3: the goal ends at 1.5 times its best or more.

    A bound of .05 on the proxy, seen on other seeds, holds on one of these three: .056, .044 and .059.
    """
    found = tuned(3, 200, 0.05, num_steps=200, rate=0.003, decay_rate=0.3)
    assert np.all(found["end/proxy"] < 0.1)
    assert np.all(found["end/goal"] >= 1.5 * found["goal"].min(axis=1))


@pytest.mark.slow
def test_few_validation_rows_have_a_turning_point_and_many_have_a_weaker_one():
    """The medians of the last quarter of 136 outer steps are compared with the best reading of the goal.

    After about 150 steps, where the proxy is below 1e-3, single steps of Adam made training diverge on two of these
    three seeds (the proxy ends at 2.1); with other rounding one seed diverged for a while after 84 steps.
    """
    ratios, late = {}, lambda readings: np.median(readings[:, -readings.shape[1] // 4 :], axis=1)
    for rows in (20, 400):
        arguments = {"example_weights": 200, "proxy": "validation", "validation_rows": rows, "num_steps": 60}
        found = tuned(3, 136, 0.1, rate=0.05, decay_rate=0.003, **arguments)
        ratios[rows] = late(found["goal"]) / found["goal"].min(axis=1)
        if rows == 20:
            assert np.all(late(found["proxy"]) < 0.05)
    assert np.all(ratios[20] >= 1.5)
    assert np.all(ratios[400] < ratios[20])
