"""Particles distributed over two devices give the numbers of one device, up to the order of sums."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators.devices import spread_here
from tests.processes import run_script

SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, optax
import metalearn as ml

ml.compilation_effort("low")
traces = []
def counted(gradient, state, theta=None):
    traces.append(1)
    return optax.adam(0.1).update(gradient, state, theta)
optimizer = optax.GradientTransformation(optax.adam(0.1).init, counted)
windows = ml.Truncation(20, 5, stagger=True, shared_minibatches=True)
makes = {
    "PES": lambda: ml.persistent_es(ml.problems.toy_regression(20), windows, sigma=0.1, num_pairs=6),
    "chunked": lambda: ml.noise_reuse_es(ml.problems.toy_regression(20), ml.Truncation(20, 5), sigma=0.1, num_pairs=6, chunk_size=2),
    "backprop": lambda: ml.backprop(ml.problems.toy_regression(20), windows, num_particles=6),
}
found = {}
with ml.over_devices(jax.devices()[: int(sys.argv[1])]):
    for name, make in makes.items():
        estimator = make()
        look = ml.held_out_loss(ml.problems.toy_regression(20), 20, 4)
        start = jnp.array([-4.0, -4.0])
        settings = {"chunk_length": 4, "evaluate": look if name == "backprop" else None}
        run = lambda key: ml.meta_train(estimator, optimizer, start, key, 12, **settings)
        before = len(traces)
        theta, history = run(jax.random.key(0))
        assert len(traces) == before + 2, "once when its form is looked at, once by the program"
        state = history.snapshot.estimator_state
        assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves((theta, history)) if isinstance(leaf, jax.Array))
        used = len(estimator.estimate(theta, state, jax.random.key(1))[1].episodes.devices())
        assert used == int(sys.argv[1]), name
        found[name] = [theta.tolist(), history.metrics["gradient_variance"].tolist()]
    found[name].append(history.evaluations["loss"].tolist())
    estimator, settings = makes["chunked"](), {"chunk_length": 4}
    mapped = jax.vmap(lambda key: run(key)[0])(jax.random.split(jax.random.key(0), 2))
    found["mapped"] = [mapped.tolist()]
    alone = ml.backprop(ml.problems.toy_regression(20), ml.Truncation(20, 20))
    if sys.argv[1] == "2":
        ml.compare({"alone": alone}, history.snapshot.best.theta, jax.random.key(0), num_episodes=2, reference_pairs=8)
readings = []
def read(state, theta, key):
    readings.append(1)
    return jnp.sum(state)
with ml.over_devices(jax.devices()[: int(sys.argv[1])]):
    look = ml.held_out_loss(ml.InnerProblem(lambda theta, key: theta, lambda state, theta, key: state, read), 4, 2)
look(jnp.zeros(2), jax.random.key(0))
before = len(readings)
look(jnp.ones(2), jax.random.key(1))
print(json.dumps({"found": found, "traced_again": len(readings) > before}))
"""


def run(count, folder):
    (folder / "script.py").write_text(SCRIPT)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    done = run_script(folder / "script.py", count, XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_give_the_same_numbers_as_one(tmp_path):
    one, two = run(1, tmp_path), run(2, tmp_path)
    assert not two["traced_again"]
    for name, values in one["found"].items():
        for alone, spread in zip(values, two["found"][name]):
            np.testing.assert_allclose(alone, spread, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize(("particles", "devices", "share"), [(6, 4, 2), (9, 4, 3), (8, 4, 2), (5, 4, 5), (4, 1, 4)])
def test_the_largest_number_of_devices_that_divides_the_particles_is_used(particles, devices, share):
    with ml.over_devices(jax.devices() * devices):
        assert spread_here(particles)[0] == share


def test_an_empty_list_of_devices_raises_an_error():
    with pytest.raises(ValueError, match="at least one"), ml.over_devices([]):
        pass


def test_particles_are_distributed_only_inside_the_context():
    with ml.over_devices():
        pass
    estimator = ml.backprop(ml.problems.toy_regression(), ml.Truncation(100, 10), num_particles=5)
    assert estimator.init(jnp.zeros(2), jax.random.key(0)).episodes.shape == (5,)
