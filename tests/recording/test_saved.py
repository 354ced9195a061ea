"""Learned optimisers and snapshots are restored from their files unchanged, and other files raise errors."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.recording import extend_evaluations, load_optimizer, load_snapshot, save_optimizer, save_snapshot

KEY = jax.random.key(0)
MADE = [
    ml.learned.mlp_optimizer((4, 3), decays=(0.5, 0.9), step_size=0.02),
    ml.learned.nominal_optimizer((4,), learning_rate=0.1),
    ml.learned.factored_optimizer((3, 2)),
    ml.learned.recurrent_optimizer(5, learning_rate=0.2),
]
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(2)}


def first_update(transformation):
    gradient = jax.tree.map(lambda leaf: leaf + 0.3, PARAMS)
    return transformation.update(gradient, transformation.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("optimizer", MADE, ids=lambda one: one.architecture["name"])
def test_a_saved_optimiser_is_loaded_unchanged(optimizer, tmp_path):
    theta = jax.tree.map(lambda leaf: leaf + 0.1, optimizer.init(KEY))
    path = save_optimizer(tmp_path / "one.msgpack", optimizer, theta)
    found, weights = load_optimizer(path, optimizer)
    assert found.architecture == optimizer.architecture
    jax.tree.map(np.testing.assert_array_equal, weights, theta)
    jax.tree.map(np.testing.assert_array_equal, first_update(found(weights)), first_update(optimizer(theta)))


def test_a_file_of_another_architecture_raises_an_error(tmp_path):
    path = save_optimizer(tmp_path / "one.msgpack", MADE[1], MADE[1].init(KEY))
    with pytest.raises(ValueError, match=r"contains the architecture .*nominal.* but .*recurrent.* was expected"):
        load_optimizer(path, MADE[3])
    with pytest.raises(ValueError, match="weights of theta do not fit"):
        save_optimizer(tmp_path / "two.msgpack", MADE[1], MADE[0].init(KEY))
    with pytest.raises(TypeError, match="must be a learned optimiser"):
        save_optimizer(tmp_path / "two.msgpack", optax.adam(0.1), {})  # pyright: ignore[reportArgumentType]


def test_a_file_without_an_optimiser_raises_an_error(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"\x93\x01\x02\x03")
    with pytest.raises(ValueError, match="is not a file of a learned optimiser"):
        load_optimizer(other)
    with pytest.raises(FileNotFoundError):
        load_optimizer(tmp_path / "none")
    whole = save_optimizer(tmp_path / "one.msgpack", MADE[1], MADE[1].init(KEY))
    content = dict(flax.serialization.msgpack_restore(whole.read_bytes()))
    other.write_bytes(flax.serialization.msgpack_serialize({k: v for k, v in content.items() if k != "theta"}))
    with pytest.raises(ValueError, match="is not a file of a learned optimiser: KeyError: 'theta'"):
        load_optimizer(other)
    with pytest.raises(TypeError, match="expected must be a learned optimiser"):
        load_optimizer(whole, MADE[1].init(KEY))


def test_every_type_of_array_is_restored(tmp_path):
    tree = {"low": jnp.asarray([1.5, -2.0], jnp.bfloat16), "key": jax.random.split(KEY, 3), "count": jnp.asarray(7)}
    found = load_snapshot(save_snapshot(tmp_path / "one.npz", tree), tree)
    assert found["low"].dtype == jnp.bfloat16
    assert found["low"].tolist() == [1.5, -2.0]
    np.testing.assert_array_equal(jax.random.normal(found["key"][1]), jax.random.normal(tree["key"][1]))
    assert found["count"] == 7


def test_a_file_without_a_snapshot_raises_an_error(tmp_path):
    path = save_snapshot(tmp_path / "one.npz", {"a": jnp.ones(3)})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="was not written by save_snapshot"):
        load_snapshot(path, {"a": jnp.ones(3)})
    np.savez(tmp_path / "two.npz", other=np.ones(3))
    with pytest.raises(ValueError, match="was not written by save_snapshot"):
        load_snapshot(tmp_path / "two.npz", {"a": jnp.ones(3)})


def test_a_run_continues_from_a_file_with_the_same_bits(tmp_path):
    estimator = ml.persistent_es(ml.problems.noisy_linear_quadratic(), ml.Truncation(12, 3), sigma=0.1, num_pairs=4)
    arguments = (estimator, optax.adam(0.02), jnp.float32(0.3), KEY)
    whole, _ = ml.meta_train(*arguments, 20)
    _, begun = ml.meta_train(*arguments, 7)
    path = save_snapshot(tmp_path / "snapshot.npz", begun.snapshot)
    snapshot = load_snapshot(path, ml.outer.first_snapshot(*arguments))
    assert ml.meta_train(*arguments, 20, resume=snapshot)[0] == whole
    other = ml.outer.first_snapshot(estimator, optax.sgd(0.02), *arguments[2:])
    with pytest.raises(ValueError, match=r"is the snapshot of another run: it has \d+ arrays"):
        load_snapshot(path, other)
    with pytest.raises(ValueError, match=r"its theta is float32\[\], but here it must be float32\[2\]"):
        load_snapshot(path, ml.outer.first_snapshot(estimator, optax.adam(0.02), jnp.ones(2), KEY))


def test_evaluations_of_an_interrupted_run_are_one_curve(tmp_path):
    """Evaluations after the last snapshot are repeated by the resumed run, and occur once in the curve."""
    path = tmp_path / "curve.npz"
    curve = lambda *steps: {"step": jnp.asarray(steps, jnp.int32), "loss": jnp.asarray(steps, float) / 10}
    extend_evaluations(path, curve(0, 2))
    extend_evaluations(path, curve(4))
    found = extend_evaluations(path, curve(4, 6))
    assert found["step"].tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(np.load(path)["loss"], [0, 0.2, 0.4, 0.6], rtol=1e-6)
    assert extend_evaluations(path, curve())["step"].tolist() == [0, 2, 4, 6]
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="was not written by extend_evaluations"):
        extend_evaluations(path, curve(8))


@pytest.mark.parametrize("optimizer", MADE[:2], ids=lambda one: one.architecture["name"])
def test_a_changed_byte_of_a_saved_optimiser_is_detected(optimizer, tmp_path):
    theta = optimizer.init(KEY)
    whole = save_optimizer(tmp_path / "one.msgpack", optimizer, theta).read_bytes()
    loaded, other = 0, tmp_path / "other.msgpack"
    for place in np.random.default_rng(0).integers(len(whole), size=60):
        content = bytearray(whole)
        content[place] ^= 1 << int(place) % 8
        other.write_bytes(content)
        try:
            found, weights = load_optimizer(other)
        except ValueError:
            continue
        loaded += 1
        assert found.architecture == optimizer.architecture
        jax.tree.map(np.testing.assert_array_equal, weights, theta)
    assert loaded < 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_weights_raise_an_error(tmp_path, value):
    theta = MADE[1].init(KEY)
    broken = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(value), theta)
    with pytest.raises(ValueError, match="weights in theta must be finite"):
        save_optimizer(tmp_path / "one.msgpack", MADE[1], broken)
    content = dict(flax.serialization.msgpack_restore(save_optimizer(tmp_path / "o", MADE[1], theta).read_bytes()))
    content |= {"format": 1, "theta": jax.tree.map(np.asarray, broken)}
    content.pop("sha256")
    (tmp_path / "o").write_bytes(flax.serialization.msgpack_serialize(content))
    with pytest.raises(ValueError, match="must be finite"):
        load_optimizer(tmp_path / "o")


def test_a_file_without_a_checksum_of_an_earlier_version_is_read(tmp_path):
    theta = MADE[1].init(KEY)
    path = save_optimizer(tmp_path / "one.msgpack", MADE[1], theta)
    content = dict(flax.serialization.msgpack_restore(path.read_bytes()))
    content.pop("sha256")
    path.write_bytes(flax.serialization.msgpack_serialize(content))
    with pytest.raises(ValueError, match="it has other entries"):
        load_optimizer(path)
    path.write_bytes(flax.serialization.msgpack_serialize(content | {"format": 1}))
    jax.tree.map(np.testing.assert_array_equal, load_optimizer(path)[1], theta)
