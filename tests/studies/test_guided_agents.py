"""The world of the guide against a replay in plain Python, and probes of learned optimisers against identities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.studies.learned_goals import ProbeCondition, losses
from metalearn.studies.misgeneralisation import episode, follower, rewards, train_walkers

WORLD = {"size": 5, "places": 3, "hidden": 4, "penalty": 0.3}


def replay(shown, guide, penalty=0.3, gain=1.0):
    """Return the guide's cells and the total reward of every step, from the places and the agent's cells alone."""
    places, agent = [tuple(cell) for cell in shown["places"]], [tuple(cell) for cell in shown["agent"]]
    at, order, needed, total = agent[0], {"right": [0, 1, 2], "wrong": [2, 1]}[guide], 0, 0.0
    cells, totals, target = [at], [0.0], 0
    for before, now in itertools.pairwise(agent):
        goal = places[order[target % len(order)]]
        axis = 0 if goal[0] != at[0] else 1
        at = tuple(at[i] + (np.sign(goal[i] - at[i]) if i == axis else 0) for i in (0, 1))
        target += at == goal
        if now != before and now in places:
            right = places.index(now) == needed
            total, needed = total + (gain if right else -penalty), (needed + right) % 3
        cells.append(at)
        totals.append(total)
    return np.array(cells), np.array(totals)


@pytest.mark.parametrize(
    ("guide", "seed", "twin"),
    [
        ("right", 41, {"gain": 0.9}),
        ("right", 43, {"penalty": -0.3}),
        ("wrong", 41, {"penalty": -0.3}),
    ],
)
def test_an_episode_equals_its_replay_in_python(guide, seed, twin):
    shown = episode(follower(4), guide, jax.random.key(seed), WORLD, 40)
    cells, totals = replay(shown, guide)
    np.testing.assert_array_equal(shown["guide"], cells)
    np.testing.assert_allclose(shown["total"], totals, atol=1e-5)
    assert not np.allclose(shown["total"], replay(shown, guide, **twin)[1]), "no power: a twin passes"


def test_the_reward_has_no_gradient():
    problem, theta = ml.problems.guided_walk(**WORLD), ml.problems.walker_weights(jax.random.key(0), 4)
    gradient = ml.jit(jax.grad(lambda theta: ml.meta_loss(problem, theta, jax.random.key(1), 6)), "a gradient")(theta)
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_scaling_the_loss_and_the_weights_scales_the_learning_rate_of_sgd():
    """With w = s v and the loss c L(s v), v ← v − r c s ∇L is w ← w − r c s² ∇L; and Adam does not see c."""
    benchmark, key = ml.problems.digits_benchmark((2,), num_steps=20), jax.random.key(5)
    run = ml.jit(
        lambda factors, rates: (
            losses(ProbeCondition(benchmark, *factors), optax.sgd(rates), key),
            losses(ProbeCondition(benchmark, factors[0]), optax.adam(0.05, eps=0.0, eps_root=1e-30), key),
        ),
        "losses",
    )
    plain, adam = run((1.0, 1.0), 0.3)
    changed, adam_of_another = run((2.0, 3.0), 0.3 / (2 * 9))
    np.testing.assert_allclose(changed, plain, rtol=2e-4)
    np.testing.assert_allclose(adam_of_another, adam, rtol=2e-2)
    wrong, _ = run((2.0, 3.0), 0.3 / (2 * 3))
    assert not np.allclose(wrong, plain, rtol=0.02), "no power: the factor of the weights enters once"
    assert plain.shape == (2, 3)


@pytest.mark.slow
def test_agents_learn_to_follow_and_are_worse_than_standing_still_with_a_wrong_guide():
    """Agents that learn follow a wrong guide too. One of these three seeds stays at a reward of .3, for 1000 steps too."""
    settings = OmegaConf.create(
        {"world": WORLD, "horizon": 40, "length": 10, "sigma": 0.3, "learning_rate": {"NRES": 0.05}}
        | {"pairs": 64, "episodes": 700, "tests": 128}
    )
    keys = [jax.random.fold_in(jax.random.key(7), seed) for seed in range(3)]
    found = train_walkers("NRES", [{"right": 1.0}], keys, settings)["reward"][0, :, -1]
    best = float(rewards(follower(4), jax.random.key(8), WORLD, 40, 512)[0])
    learned = found[:, 0] > 0.8 * best
    assert learned.sum() >= 2
    assert np.all(found[learned, 3] < -0.5)
