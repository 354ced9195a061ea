"""Data of any shape, shuffled epochs, and files: against NumPy and by counting."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn import compilation, large_constants
from metalearn.inner.training.minibatch_indices import first_position, next_indices, permute

KEY = jax.random.key(1)
COUNT, CLASSES = 12, 3
DRAW = np.random.default_rng(2)
LABELS = np.arange(COUNT, dtype=np.int32) % CLASSES
IMAGES = DRAW.normal(size=(COUNT, 4, 5, 2)).astype(np.float32)
TOKENS = DRAW.integers(0, 6, size=(COUNT, 5)).astype(np.int32)
ROWS = IMAGES.reshape(COUNT, -1)
NOTHING = {"rate": jnp.zeros(())}
SGD = ml.sgd(0.1)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(nn.relu(nn.Conv(2, (3, 3))(x)).reshape(x.shape[0], -1))


class Letters(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(6)(nn.Embed(6, 3)(tokens))


def entropy(outputs, labels):
    """Return the mean cross-entropy of logits whose last axis counts the classes."""
    outputs = np.asarray(outputs, np.float64)
    logs = outputs - np.log(np.exp(outputs).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(logs, np.asarray(labels)[..., None], axis=-1).mean()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [ml.data.Data, ml.data.Examples])
def test_a_network_receives_images_in_their_own_shape(kind, first):
    module = Convolution()
    network = ml.from_linen(module, (1, 4, 5, 2), examples_first=first)
    params = network.init(KEY)
    for images in (IMAGES, jnp.asarray(IMAGES)):
        loss = ml.classification(network, kind(images, LABELS)).loss(params, KEY)
        assert loss.item() == pytest.approx(entropy(module.apply({"params": params}, IMAGES), LABELS), rel=1e-5)
    reading = ml.metric_loss(network, kind(IMAGES, LABELS), metric="error_rate")(params, KEY)
    wrong = np.argmax(module.apply({"params": params}, IMAGES), axis=-1) != LABELS
    assert reading.item() == pytest.approx(wrong.mean())


def test_sequences_may_have_a_label_for_every_position():
    network = ml.from_linen(Letters(), TOKENS[:1])
    params = network.init(KEY)
    targets = np.roll(TOKENS, -1, axis=1)
    loss = ml.classification(network, ml.data.Examples(TOKENS, targets)).loss(params, KEY)
    assert loss.item() == pytest.approx(entropy(Letters().apply({"params": params}, TOKENS), targets), rel=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_rows_and_columns_are_the_same_task(first):
    network = ml.from_linen(nn.Dense(CLASSES), (1, ROWS.shape[1]), examples_first=True)
    params = network.init(KEY)
    data = ml.data.Examples(ROWS, LABELS) if first else ml.data.Data(ROWS.T, LABELS)
    assert ml.classification(network, data, 5).loss(params, KEY).item() == pytest.approx(
        entropy(np.asarray(nn.Dense(CLASSES).apply({"params": params}, ROWS))[drawn()], LABELS[drawn()]), rel=1e-5
    )


def drawn(size=5):
    return np.asarray(jax.random.bits(jax.random.split(KEY)[0], (size,), jnp.uint32) % COUNT)


def test_inputs_may_be_pytrees_and_targets_may_have_any_rank():
    network = ml.Network(
        lambda key: jnp.ones((1, 1, 1, 2)), lambda params, inputs, key=None: params * inputs["a"] + inputs["b"]
    )
    inputs = {"a": DRAW.normal(size=(COUNT, 2, 3, 2)), "b": DRAW.normal(size=(COUNT, 2, 3, 1))}
    targets = DRAW.normal(size=(COUNT, 2, 3, 2)).astype(np.float32)
    loss = ml.regression(network, ml.data.Examples(inputs, targets), 5).loss(jnp.ones((1, 1, 1, 2)), KEY)
    assert loss.item() == pytest.approx(np.mean((inputs["a"] + inputs["b"] - targets)[drawn()] ** 2), rel=1e-5)


def test_parts_of_examples_are_disjoint_examples():
    parts = ml.data.split(ml.data.Examples({"x": IMAGES}, LABELS), (5, 4))
    assert [part.inputs["x"].shape[0] for part in parts] == [5, 4]
    found = np.concatenate([part.inputs["x"] for part in parts]).reshape(9, -1)
    assert len(np.unique(found, axis=0)) == 9


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1797])
def test_every_epoch_is_a_permutation_and_differs_between_seeds(count):
    places = jnp.arange(count, dtype=jnp.uint32)
    orders = np.array([permute(places, jnp.uint32(count), jnp.full(count, seed, jnp.uint32)) for seed in range(3)])
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(count), (3, 1)))
    assert count < 4 or len(np.unique(orders, axis=0)) == 3


def test_permutations_are_uniform():
    seeds = jax.random.bits(KEY, (6000,), jnp.uint32)
    order = lambda seed: permute(jnp.arange(4, dtype=jnp.uint32), jnp.uint32(4), jnp.full(4, seed))
    counts = np.unique(np.asarray(jax.jit(jax.vmap(order))(seeds)), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert np.sum((counts - 250) ** 2 / 250) < 59  # chi-square with 23 degrees of freedom: p < 1e-4


def test_every_example_occurs_once_per_epoch():
    def draw(key):
        take = lambda position, _: next_indices(position, 5, jnp.uint32(COUNT))[::-1]
        return jax.lax.scan(take, first_position(key), None, length=36)[1]

    indices = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(KEY, 3))).reshape(3, -1, COUNT)
    np.testing.assert_array_equal(np.sort(indices), np.broadcast_to(np.arange(COUNT), indices.shape))
    assert len(np.unique(indices.reshape(-1, COUNT), axis=0)) == 45  # orders of all epochs and particles differ


def counting(meta_loss, **options):
    """Return a training whose parameters count how often each example was drawn."""
    data = ml.data.Data(jnp.eye(COUNT), jnp.zeros((1, COUNT)))
    network = ml.Network(lambda key: jnp.zeros((1, COUNT)), lambda params, inputs, key=None: params @ inputs)
    task = ml.regression(network, data, 4, metric=lambda outputs, _: -4 * jnp.mean(outputs), **options)
    return ml.training(task, lambda theta: optax.sgd(1.0 + 0.0 * theta), meta_loss, cap=None)


def spread(params, key):
    return jnp.max(params) - jnp.min(params)


def order(params, key):
    return params[0] @ jnp.arange(COUNT, dtype=params.dtype)


ESTIMATORS = {
    "pes": lambda problem, windows: ml.persistent_es(problem, windows, sigma=0.1, num_pairs=2),
    "nres": lambda problem, windows: ml.noise_reuse_es(problem, windows, sigma=0.1, num_pairs=2),
    "backprop": lambda problem, windows: ml.backprop(problem, windows, num_particles=2, rematerialise=True),
    "forward": lambda problem, windows: ml.forward_mode(problem, windows, num_particles=2),
    "uoro": lambda problem, windows: ml.uoro(problem, windows, num_particles=2),
}


@pytest.mark.parametrize("stagger", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_draws_whole_epochs(name, stagger):
    """An epoch has three minibatches: after each window every example was drawn equally often."""
    if stagger and name not in ("pes", "backprop"):
        pytest.skip("two estimators with staggered particles are enough")
    losses = {}
    for sampling in ("epochs", "replacement"):
        windows = ml.Truncation(6, 3, stagger=stagger)
        estimator = ESTIMATORS[name](counting(spread, sampling=sampling), windows)
        state, found = estimator.init(jnp.zeros(()), KEY), []
        for step in range(2 if sampling == "epochs" else 1):
            _, state, metrics = estimator.estimate(jnp.zeros(()), state, jax.random.fold_in(KEY, step))
            found.append(metrics["loss"].item())
        losses[sampling] = found
    np.testing.assert_allclose(losses["epochs"], 2 / 3, rtol=1e-6)
    assert losses["replacement"][0] > 0.9


def test_a_fixed_key_fixes_the_order_of_examples():
    def read(windows):
        estimator = ESTIMATORS["pes"](counting(order, sampling="epochs"), windows)
        state = estimator.init(jnp.zeros(()), KEY)
        losses = []
        for step in range(2):
            _, state, metrics = estimator.estimate(jnp.zeros(()), state, jax.random.fold_in(KEY, step))
            losses.append(metrics["loss"].item())
        return losses

    frozen, free = read(ml.Truncation(2, 2, key=jax.random.key(7))), read(ml.Truncation(2, 2))
    assert frozen[0] == frozen[1]
    assert free[0] != free[1]
    assert frozen[0] == ml.meta_loss(counting(order, sampling="epochs"), jnp.zeros(()), jax.random.key(7), 2)


def test_the_loss_at_a_state_and_the_next_step_use_the_same_minibatch():
    data = ml.data.Data(jnp.asarray(ROWS.T), jnp.asarray(LABELS))
    network = ml.mlp((ROWS.shape[1], CLASSES))
    task = ml.classification(network, data, 5, sampling="epochs")
    problem = ml.training(task, ml.sgd(0.1), cap=None)
    state, params = problem.init(NOTHING, KEY), network.init(KEY)
    position = first_position(KEY)
    for step in range(4):
        indices, position = next_indices(position, 5, jnp.uint32(COUNT))
        part = ml.data.Data(data.inputs[:, indices], data.targets[indices])
        loss, slope = jax.value_and_grad(ml.classification(network, part).loss)(params, KEY)
        assert problem.loss(state, NOTHING, jax.random.key(step)) == pytest.approx(loss.item(), rel=1e-6)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, slope)
        state = problem.step(state, NOTHING, jax.random.key(step))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.params, params)


def test_batch_norm_receives_its_state_in_epochs():
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(CLASSES)(nn.BatchNorm(use_running_average=not train)(x))

    network = ml.from_linen(Normalised(), (1, ROWS.shape[1]))
    data = ml.data.Examples(ROWS, LABELS)
    task = ml.classification(network, data, 5, sampling="epochs")
    problem = ml.training(task, SGD, ml.metric_loss(network, data))
    state = problem.step(problem.init(NOTHING, KEY), NOTHING, KEY)
    assert state.network_state.position.offset == 5
    assert np.any(np.asarray(state.network_state.network_state["batch_stats"]["BatchNorm_0"]["mean"]) != 0)
    assert problem.loss(state, NOTHING, KEY) == ml.metric_loss(network, data)(
        state.params, KEY, state.network_state.network_state
    )


def test_files_are_read_minibatch_by_minibatch(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    network = ml.from_linen(nn.Dense(CLASSES), (1, ROWS.shape[1]))
    stored = ml.data.memory_mapped(np.load(tmp_path / "rows.npy", mmap_mode="r"), LABELS)
    found = []
    for data in (stored, ml.data.Examples(ROWS, LABELS)):
        task = ml.classification(network, data, 5)
        problem = ml.training(task, ml.sgd(ml.hyperparameters.exp("rate")), cap=None)
        read = jax.value_and_grad(lambda theta, key, problem=problem: ml.meta_loss(problem, theta, key, 3))
        losses, slopes = jax.jit(jax.vmap(read, (None, 0)))(NOTHING, jax.random.split(KEY))
        found.append(np.concatenate([losses, slopes["rate"]]))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_large_arrays_are_arguments_of_programs(monkeypatch):
    monkeypatch.setattr(large_constants, "LARGE", 500)
    data = jnp.asarray(DRAW.normal(size=(COUNT, 20)), jnp.float32)
    made = []
    monkeypatch.setattr(
        compilation, "WithArrays", lambda *given: made.append(large_constants.WithArrays(*given)) or made[-1]
    )
    program = compilation.jit(lambda x, *, y: {"sum": jnp.sum(data @ x) + y, "none": None}, "sum of rows")
    x = jnp.arange(20.0)
    for factor in (1, 2):
        assert program(factor * x, y=1.0)["sum"].item() == pytest.approx(factor * (data @ x).sum().item() + 1, rel=1e-5)
    assert program.ahead(x, y=1.0)(x, y=1.0)["sum"] == program(x, y=1.0)["sum"]
    assert [len(one.arrays) for one in made] == [1, 1]  # one for the calls, and one ahead
    assert jax.vmap(lambda x: program(x, y=0.0)["sum"])(x[None]).shape == (1,)


def test_a_task_of_theta_transposes_its_data_once():
    data = ml.data.Data(jnp.asarray(ROWS.T), jnp.asarray(LABELS))
    network = ml.mlp((ROWS.shape[1], CLASSES))
    problem = ml.training(lambda theta: ml.classification(network, data, 5, weight_decay=theta["rate"]), SGD)
    program = jax.make_jaxpr(lambda theta: ml.meta_loss(problem, theta, KEY, 3))(NOTHING)
    assert sum(getattr(one, "nbytes", 0) >= ROWS.nbytes for one in program.consts) == 1


NETWORK = ml.from_linen(nn.Dense(CLASSES), (1, ROWS.shape[1]))
task = lambda data, *given, **options: lambda: ml.classification(NETWORK, data, *given, **options)
GOOD = ml.data.Examples(ROWS, LABELS)
REFUSED = {
    "another number of labels": (task(ml.data.Examples(ROWS, LABELS[:5])), "first axis counts the examples; inputs of"),
    "an unknown sampling": (task(GOOD, 5, sampling="shuffled"), "sampling must be one of epochs, replacement"),
    "epochs of all examples": (task(GOOD, sampling="epochs"), "give a batch_size with it"),
    "a network of features": (
        lambda: ml.classification(ml.mlp((40, CLASSES)), GOOD),
        r"The network takes inputs \[features, examples\] with 40 features; shape \(12, 40\)",
    ),
    "logits of the wrong shape": (
        lambda: ml.classification(NETWORK, ml.data.Examples(ROWS[:, None], LABELS)),
        r"must return \[12, classes\] for these inputs; it returned \(12, 1, 3\)",
    ),
    "rows as columns": (task(ml.data.Data(ROWS, LABELS)), r"or give ml.data.Examples\(inputs, targets\)"),
    "weights of positions": (
        lambda: ml.classification(
            ml.from_linen(Letters(), TOKENS), ml.data.Examples(TOKENS, TOKENS), 5, example_weights=np.ones(COUNT)
        ),
        "example_weights need one label per example",
    ),
    "a file of all examples": (task(ml.data.memory_mapped(ROWS, LABELS)), "give a batch_size"),
    "a file in JAX": (lambda: ml.data.memory_mapped(jnp.ones(3), LABELS), "memory_mapped takes NumPy arrays"),
    "a file in float64": (lambda: ml.data.memory_mapped(np.ones((12, 3)), LABELS), "reads it as float32"),
    "files of other lengths": (lambda: ml.data.memory_mapped(ROWS, LABELS[:2]), "first axis counts the examples"),
    "a part of a file": (lambda: ml.data.split(ml.data.memory_mapped(ROWS, LABELS), (3,)), "split the arrays before"),
    "lists of numbers": (task(ml.data.Examples({"x": [1.0]}, LABELS)), "The data must have arrays; its inputs are a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_data_raise_a_clear_error(name):
    make, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
