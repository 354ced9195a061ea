"""Training a small network with two learning rates, on the published data and on two other draws of the data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.explain.layers import shares
from metalearn.outer import end_points

pytestmark = pytest.mark.slow

STEPS, SIGMA, KEY = 500, 0.1, jax.random.key(2)
PLANE = ml.landscape.Plane(
    ml.landscape.Axis("input", -1.0, 5.0), ml.landscape.Axis("output", -1.0, 3.0), lambda x, y: jnp.stack([x, y])
)
WHOLE, WINDOWS = ml.Truncation(STEPS, STEPS, key=KEY), ml.Truncation(STEPS, 50, key=KEY)
STARTS = np.array([[-0.5, -0.5], [0.0, 2.0], [4.5, 1.0], [4.0, -0.5], [2.0, 2.35], [1.5, 2.1]])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_meta_loss_is_rough_where_training_is_best(seed):
    problem = ml.problems.fractal_training(seed=seed)
    found = ml.diagnosis.anatomy(problem, PLANE, (36, 24), KEY, num_steps=STEPS)
    share = shares(found)
    assert 0.75 < share["converged"] < 0.83
    assert 0.40 < share["long gradient"] < 0.53
    assert 0.27 < share["growth beyond float32"] < 0.38
    assert share["best 2 %: long gradient"] >= 0.5
    usable = found.gradient_map(ml.landscape.smooth(found.loss, PLANE, SIGMA)).usable
    x = np.broadcast_to(PLANE.x.points(36), usable.shape)
    assert usable[found.converged & (x > 2.5)].mean() < 0.08
    assert usable[found.converged & (x < 1.5)].mean() > 0.80
    for law in ml.diagnosis.lyapunov_law(found).values():
        assert law.correlation > 0.995
        assert 0.93 < law.slope < 1.03
    row = found.log_gradient[12]  # one cut, near an output rate of 10, on which everything trains
    assert found.converged[12].all()
    assert np.all(row[PLANE.x.points(36) < 1] < np.log(2))
    assert np.all(row[PLANE.x.points(36) >= 2.8] > 40 * np.log(10))


def descend(estimator, num_steps, rate):
    low, high = jnp.array([-1.0, -1.0]), jnp.array([5.0, 3.0])
    thetas, _ = ml.outer.outer_trajectories(
        estimator, optax.adam(rate), jnp.array(STARTS), jax.random.key(4), num_steps, low=low, high=high
    )
    ends = end_points(thetas)
    return ends, np.array([float(ml.meta_loss(estimator.description.problem, end, KEY, STEPS)) for end in ends])


def test_unbiased_estimators_end_at_one_point_and_biased_ones_do_not():
    """Unbiased estimators end at one point from six starts, truncated ES two decades away, backprop at no one point."""
    problem = ml.problems.fractal_training()
    smooth = {"sigma": SIGMA, "num_pairs": 4}
    ends, full = descend(ml.evolution_strategies(problem, WHOLE, **smooth), 120, 0.06)
    assert full.max() < 0.12
    assert np.ptp(ends, axis=0).max() < 0.8
    quiet = smooth | {"num_pairs": 8}  # with 4 the last tenth of a trajectory still spreads by .28 to .36
    short, truncated = descend(ml.evolution_strategies(problem, WINDOWS, **quiet), 500, 0.03)
    assert truncated.min() > 0.28
    assert np.ptp(short, axis=0).max() < 0.3
    assert short[:, 0].max() < 0.6
    away, raw = descend(ml.backprop(problem, WHOLE, num_particles=1), 150, 0.05)
    assert raw.max() > 0.9
    assert np.sum(raw > 1.25 * full.max()) >= 4
    assert np.median(raw) > 3 * np.median(full)
    assert np.sum(np.linalg.norm(away - STARTS, axis=1) < 0.05) >= 2
