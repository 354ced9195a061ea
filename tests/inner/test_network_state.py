"""Running averages and other variables of networks: carried by trainings, against loops written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import metalearn as ml
from metalearn import trees
from metalearn.inner.training.benchmark import Benchmark
from metalearn.landscape.plane import Axis, Plane
from metalearn.recording import load_snapshot, save_snapshot

KEY, OTHER = jax.random.key(3), jax.random.key(4)
DRAW = np.random.default_rng(2)
LABELS = np.arange(12, dtype=np.int32) % 3
DATA = ml.data.Data(DRAW.normal(size=(4, 12)).astype(np.float32), LABELS)
VALIDATION = ml.data.Data(DRAW.normal(1, 2, size=(4, 12)).astype(np.float32), LABELS)
DRAWN = nn.initializers.uniform(1.0)  # the fastest to compile
THETA = {"rate": jnp.float32(-2.0)}
RATE = ml.hyperparameters.exp("rate")
BATCH, READINGS = 8, ("train", "validation", "test")


class Linen(nn.Module):
    """Dropout and BatchNorm told apart by an argument of the call, and a count of the passes in training."""

    @nn.compact
    def __call__(self, x, train: bool):
        count = self.variable("counts", "passes", jnp.zeros, (), jnp.int32)
        count.value = count.value + train
        dense = functools.partial(nn.Dense, kernel_init=DRAWN, param_dtype=jnp.result_type(float))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8, param_dtype=x.dtype)(dense(5)(x))
        return dense(3)(nn.Dropout(0.2, deterministic=not train)(jnp.tanh(x)))


class Passes(nnx.Variable):
    pass


class Nnx(nnx.Module):
    """The same; modes are attributes."""

    def __init__(self, rngs):
        self.first, self.second = (
            nnx.Linear(*ends, kernel_init=DRAWN, param_dtype=jnp.result_type(float), rngs=rngs)
            for ends in ((4, 5), (5, 3))
        )
        self.norm, self.dropout = nnx.BatchNorm(5, momentum=0.8, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)
        self.passes = Passes(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        self.passes[...] += not self.dropout.deterministic
        return self.second(self.dropout(jnp.tanh(self.norm(self.first(x)))))


class Small(nn.Module):
    """A network without randomness, for estimators, which have the longest programs."""

    @nn.compact
    def __call__(self, x, use_running_average):
        x = nn.BatchNorm(use_running_average, momentum=0.8, param_dtype=x.dtype)(x)
        start = lambda key, shape, dtype: jnp.arange(12, dtype=dtype).reshape(shape) / 12
        return nn.Dense(3, kernel_init=start, param_dtype=x.dtype)(x)


NETWORKS = {"Linen": ml.from_linen(Linen(), (1, 4), examples_first=True), "NNX": ml.from_nnx(Nnx, examples_first=True)}
NETWORKS |= {"small": ml.from_linen(Small(), (1, 4), examples_first=True)}


def wide(averages):
    """Linen creates the averages in float32; a loop in float64 keeps float64."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(float)), averages)


def linen_by_hand():
    """`(start, run)`: `key -> (params, state)` and `(params, state, rows, key, train) -> (logits, state)`."""

    def start(key):
        variables = Linen().init(key, jnp.zeros((1, 4)), False)
        return variables["params"], {"batch_stats": wide(variables["batch_stats"]), "counts": variables["counts"]}

    def run(params, state, rows, key, train):
        rngs, kept = {"dropout": key}, ["batch_stats", "counts"]
        return Linen().apply({"params": params, **state}, rows, train, rngs=rngs, mutable=kept)

    return start, run


def nnx_by_hand():
    def parts(module):
        return nnx.split(module, nnx.Param, nnx.RngState, ...)[1:]

    def start(key):
        return parts(Nnx(nnx.Rngs(key)))[::2]

    def run(params, state, rows, key, train):
        module = Nnx(nnx.Rngs(key))
        nnx.update(module, params, state)
        module.train() if train else module.eval()
        return module(rows), parts(module)[2]

    return start, run


def small_by_hand():
    def start(key):
        variables = Small().init(key, jnp.zeros((1, 4)), True)
        return variables["params"], {"batch_stats": wide(variables["batch_stats"])}

    def run(params, state, rows, key, train):
        return Small().apply({"params": params, **state}, rows, not train, mutable=["batch_stats"])

    return start, run


MOMENTUM = {"Linen": 0.9, "NNX": 0.9, "small": None}
HANDS = {"Linen": linen_by_hand, "NNX": nnx_by_hand, "small": small_by_hand}


def by_hand(name, dtype=np.float32):
    """The training of DATA by SGD with momentum, read on all of VALIDATION with the running averages."""
    (start, run), optimizer = (
        HANDS[name](),
        lambda theta: optax.sgd(lambda count: jnp.exp(theta["rate"]), MOMENTUM[name]),
    )
    rows, others = jnp.asarray(DATA.inputs.T, dtype), VALIDATION.inputs.T.astype(dtype)
    labels = jnp.asarray(LABELS)

    def objective(params, state, key):
        batch, dropout = jax.random.split(key)
        chosen = jax.random.bits(batch, (BATCH,), jnp.uint32) % 12
        logits, moved = run(params, state, rows[chosen], dropout, True)
        return ml.metrics.cross_entropy(logits.T, labels[chosen]), moved

    def init(theta, key):
        params, state = start(key)
        return params, optimizer(theta).init(params), state

    def step(carry, theta, key):
        params, memory, state = carry
        gradient, state = jax.grad(objective, has_aux=True)(params, state, key)
        updates, memory = optimizer(theta).update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, state

    def loss(carry, theta, key):
        return ml.metrics.cross_entropy(run(carry[0], carry[2], others, key, False)[0].T, labels)

    return ml.InnerProblem(init, step, loss)


@functools.cache
def trained(name, cap=None, dtype=np.float32):
    """The same by the library."""
    data, validation = (one._replace(inputs=one.inputs.astype(dtype)) for one in (DATA, VALIDATION))
    task = ml.classification(NETWORKS[name], data, BATCH)
    return ml.training(task, ml.sgd(RATE, MOMENTUM[name]), ml.metric_loss(NETWORKS[name], validation), cap=cap)


def episodes(problem, theta, keys):
    """Return the last states and the losses of 20 steps, mapped over keys, by a loop without casts."""

    def one(key):
        def body(state, index):
            state = problem.step(state, theta, jax.random.fold_in(key, index))
            return state, problem.loss(state, theta, key)

        return jax.lax.scan(body, problem.init(theta, key), jnp.arange(20))

    return jax.jit(jax.vmap(one))(keys)


def raw(tree):
    return [jax.random.key_data(leaf) if trees.is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(a), jax.tree.leaves(b))


@pytest.mark.parametrize(("name", "dtype"), [("Linen", np.float32), ("NNX", np.float32), ("small", np.float64)])
def test_twenty_steps_are_bit_for_bit_those_of_a_loop_written_by_hand(name, dtype):
    with jax.enable_x64(dtype == np.float64):
        theta = {"rate": jnp.asarray(-2.0, dtype)}
        problem, keys = trained(name, dtype=dtype), jax.random.split(KEY, 2)
        ml.check_problem(problem, theta)
        (state, losses), (expected, read) = (episodes(one, theta, keys) for one in (problem, by_hand(name, dtype)))
    assert losses.dtype == dtype
    same(losses, read)
    same((state.params, state.optimizer_state, state.network_state), expected)
    counts = [leaf for leaf in jax.tree.leaves(state.network_state) if leaf.dtype == jnp.int32]
    assert np.all(np.array(counts) == 20)
    assert len(jax.tree.leaves(state.network_state)) == 2 + len(counts)
    assert len(counts) == (name != "small")
    assert len(np.unique(losses)) == 40


ESTIMATORS = {
    "PES": lambda problem, windows: ml.persistent_es(problem, windows, sigma=0.1, num_pairs=2),
    "NRES": lambda problem, windows: ml.noise_reuse_es(problem, windows, sigma=0.1, num_pairs=2),
    "full ES": lambda problem, _: ml.evolution_strategies(problem, ml.Truncation(4, 4), sigma=0.1, num_pairs=2),
    "truncated backprop": ml.backprop,
    "forward mode": ml.forward_mode,
    "UORO": lambda problem, _: ml.uoro(problem, ml.Truncation(4, 1)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_are_those_of_the_problem_written_by_hand(name):
    found = []
    for problem in (trained("small"), by_hand("small")):
        estimator = ESTIMATORS[name](problem, ml.Truncation(4, 2))
        gradient, state, _ = estimator.estimate(THETA, estimator.init(THETA, KEY), OTHER)
        second = gradient if name == "full ES" else estimator.estimate(THETA, state, OTHER)[0]
        found.append([gradient["rate"], second["rate"]])
    assert np.isfinite(found).all()
    assert np.all(np.abs(found) > 1e-6)
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("name", ["Linen", "NNX"])
def test_training_passes_update_the_network_state_and_evaluation_passes_read_it(name):
    network, metric = NETWORKS[name], ml.metric_loss(NETWORKS[name], VALIDATION)

    @jax.jit
    def read(key):
        params, state = started(network, key)
        moved = network.apply(params, jnp.asarray(DATA.inputs), key, state)[1]
        kept = network.apply(params, jnp.asarray(DATA.inputs), None, state)[1]
        return state, kept, moved, metric(params, key, state), metric(params, key, moved)

    state, kept, moved, first, second = read(KEY)
    same(kept, state)
    assert all(np.all(new != old) for new, old in zip(jax.tree.leaves(moved), jax.tree.leaves(state)))
    assert first != second


def test_optimiser_decay_and_cap_do_not_change_the_network_state():
    network = NETWORKS["NNX"]

    def ends(theta):
        first = []
        for decay, optimizer, cap in ((0.0, ml.sgd(RATE), None), (0.5, ml.adamw(RATE, weight_decay=0.5), 1e3)):
            problem = ml.training(ml.classification(network, DATA, BATCH, weight_decay=decay), optimizer, cap=cap)
            first.append(problem.step(problem.init(theta, KEY), theta, OTHER))
        return first

    plain, decayed = jax.jit(ends)(THETA)
    same(plain.network_state, decayed.network_state)
    assert not np.array_equal(plain.params["first"]["kernel"], decayed.params["first"]["kernel"])
    moments = decayed.optimizer_state[0].mu
    assert jax.tree.structure(moments) == jax.tree.structure(plain.params)


def test_a_diverged_run_keeps_its_network_state():
    problem = trained("small", cap="start")
    theta = {"rate": jnp.float32(80.0)}
    state, losses = jax.jit(lambda key: ml.unroll(problem, problem.init(theta, key), theta, key, 4))(KEY)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(state.network_state["batch_stats"]))
    assert problem.cap is not None
    np.testing.assert_array_equal(losses, problem.cap(state))


def test_a_benchmark_evaluates_with_the_running_averages():
    parts = {name: DATA._replace(inputs=DATA.inputs * (1 + shift)) for shift, name in enumerate(READINGS)}
    benchmark = Benchmark(NETWORKS["small"], **parts, batch_size=BATCH, num_steps=1)
    curves = ml.outer.learning_curves(benchmark, optax.sgd(0.1), KEY, num_seeds=1)

    @jax.jit
    def end(key):
        theta, (first, steps) = {"rate": jnp.log(jnp.float32(0.1))}, jax.random.split(key)
        params, _, state = by_hand("small").step(
            by_hand("small").init(theta, first), theta, jax.random.fold_in(jax.random.fold_in(steps, 0), 0)
        )
        logits = small_by_hand()[1](params, state, parts["test"].inputs.T, key, False)[0]
        return ml.metrics.cross_entropy(logits.T, LABELS)

    assert curves.test_loss[0] == pytest.approx(float(end(jax.random.split(KEY, 1)[0])), rel=1e-3)
    tuning = ml.hyperparameters.per_tensor_adam(benchmark.network, 2)
    state = jax.eval_shape(benchmark.problem(tuning.optimizer).init, tuning.theta, KEY)
    assert len(jax.tree.leaves(state.network_state)) == 2


def test_meta_training_continues_from_a_file_and_a_landscape_is_drawn(tmp_path):
    estimator, optimizer = ESTIMATORS["PES"](trained("small"), ml.Truncation(4, 2)), optax.sgd(0.1)
    run = functools.partial(ml.meta_train, estimator, optimizer, THETA, KEY, chunk_length=1)
    whole, begun = run(3), run(1)[1]
    like = ml.outer.first_snapshot(estimator, optimizer, THETA, KEY)
    theta, rest = run(3, resume=load_snapshot(save_snapshot(tmp_path / "begun.npz", begun.snapshot), like))
    same((whole[0], *raw(whole[1].snapshot)), (theta, *raw(rest.snapshot)))
    plane = Plane(Axis("rate", -3.0, 2.0), Axis("more", 0, 1), lambda x, y: {"rate": x + y})
    found = ml.landscape.trainability(trained("small"), plane, num_steps=2, resolution=2)
    assert np.isfinite(found.measure).all()


def test_a_user_defined_task_may_have_a_state():
    def loss(params, key, state):
        average = 0.5 * state + 0.5 * params
        return jnp.sum((params - 1) ** 2) / 2 + 0.0 * jnp.sum(average), average

    task = ml.Task(lambda key: jnp.zeros(2), loss, lambda key: jnp.zeros(2))
    problem = ml.training(task, ml.sgd(RATE), lambda params, key, state: jnp.sum((state - 1) ** 2))
    ml.check_problem(problem, THETA)
    state, losses = jax.jit(lambda: ml.unroll(problem, problem.init(THETA, KEY), THETA, KEY, 3))()
    rate, params, average, expected = np.exp(-2.0), 0.0, 0.0, []
    for _ in range(3):
        average, params = 0.5 * average + 0.5 * params, params + rate * (1 - params)
        expected.append(2 * (average - 1) ** 2)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(state.network_state, average, rtol=1e-5)


class Flagged(nn.Module):
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, is_training):
        return nn.BatchNorm(use_running_average=not is_training, momentum=self.momentum)(x)


class Noted(nnx.Module):
    def __init__(self, rngs, bonus=0.0):
        self.norm, self.bonus = nnx.BatchNorm(4, rngs=rngs), bonus

    def __call__(self, x, train):
        return self.norm(x, use_running_average=not train) + self.bonus


def started(network, key=KEY):
    return network.init(key), network.init_state(key)


def test_training_flags_are_arguments_or_attributes():
    inputs = jnp.asarray(DATA.inputs)
    linen = ml.from_linen(
        Flagged(), (1, 4), examples_first=True, flags={"is_training": (True, False), "momentum": (0.5, 0.9)}
    )
    params, state = started(linen)
    moved = linen.apply(params, inputs, KEY, state)[1]["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, 0.5 * DATA.inputs.mean(axis=1), rtol=1e-5)
    noted = ml.from_nnx(Noted, examples_first=True, flags={"bonus": (7.0, 2.0)})
    params, state = started(noted)
    np.testing.assert_allclose(noted.apply(params, inputs, None, state)[0], inputs + 2, rtol=1e-4)
    trained, moved = noted.apply(params, inputs, KEY, state)
    np.testing.assert_allclose(trained.mean(axis=1), 7, rtol=1e-5)
    assert not np.allclose(moved["norm"]["mean"], 0)


class Reader(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x) + self.variable("constants", "shift", None).value


class Sown(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.sow("penalties", "size", jnp.sum(x**2))
        return nn.Dense(3)(x)


class OnlyInTraining(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        if train:
            self.variable("batch_stats", "late", jnp.zeros, ())
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        noise = jax.random.normal(self.make_rng("noise"), x.shape) if train else 0.0
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x + noise))


ROWS = {"examples_first": True}
classify = lambda network: ml.classification(network, DATA)
MISTAKES = {
    "a collection nobody makes": (
        lambda: ml.from_linen(Reader(), (1, 4), **ROWS),
        ValueError,
        "The module Reader reads a variable that it does not create: .*constants.* Give it an initial value",
    ),
    "a flag that is not there": (
        lambda: ml.from_linen(Linen(), (1, 4), flags={"is_training": (True, False)}),
        ValueError,
        r"'is_training', which is neither an argument of the call of Linen \(its arguments are x, train\) nor an attribute",
    ),
    "an attribute that is not there": (
        lambda: ml.from_nnx(Nnx, flags={"mode": (1, 0)}),
        ValueError,
        "'mode', which is neither an argument of the call of Nnx",
    ),
    "an argument without a flag": (
        lambda: ml.from_linen(Flagged(), (1, 4)),
        ValueError,
        r"The call of Flagged needs the argument 'is_training' .*flags={'is_training': \(True, False\)}",
    ),
    "flags of another form": (
        lambda: ml.from_nnx(Nnx, flags={"train": True}),
        TypeError,
        "flags must be a dictionary of pairs",
    ),
    "a value that is sown": (
        lambda: classify(ml.from_linen(Sown(), (1, 4), **ROWS)),
        ValueError,
        "changes the structure of the network's state: .*'size'.* sow values into",
    ),
    "a variable of training alone": (
        lambda: classify(ml.from_linen(OnlyInTraining(), (1, 4), **ROWS)),
        ValueError,
        r"\['batch_stats'\]\['late'\] was added and nothing was removed. Create every variable",
    ),
    "a stream that is not there": (
        lambda: classify(ml.from_linen(Noisy(), (1, 4), **ROWS)),
        ValueError,
        'fails in training, when it is given a key, but not in evaluation .*noise.* stream "dropout"',
    ),
    "a metric without the state": (
        lambda: ml.metric_loss(NETWORKS["Linen"], DATA)({}, KEY),
        TypeError,
        r"called as \(params, key, state\)",
    ),
    "a meta-loss of two arguments": (
        lambda: problem_of(lambda params, key: jnp.zeros(())),
        TypeError,
        r"meta_loss is called as \(params, key, state\); the one given takes \(params, key\)",
    ),
    "an apply without a state": (
        lambda: classify(ml.Network(NETWORKS["NNX"].init, lambda params, inputs, key, state: inputs, lambda key: 0)),
        (TypeError, ValueError),
        r"must return \(outputs, state\) from apply",
    ),
    "a loss without a state": (
        lambda: ml.check_problem(
            ml.training(
                ml.Task(lambda key: jnp.zeros(()), lambda params, key, state: params, lambda key: 0), ml.sgd(RATE)
            ),
            THETA,
        ),
        TypeError,
        r"must return \(loss, state\) from loss",
    ),
}


def problem_of(meta_loss):
    ml.check_problem(ml.training(classify(NETWORKS["Linen"]), ml.sgd(RATE), meta_loss), THETA)


@pytest.mark.parametrize("name", MISTAKES)
def test_invalid_arguments_raise_a_clear_error(name):
    make, kind, sentence = MISTAKES[name]
    with pytest.raises(kind, match=sentence):
        make()
