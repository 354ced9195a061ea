"""Compilation: efforts depend on counts only, results agree between efforts, and programs are small."""

import copy
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn import heartbeat, operations
from metalearn.compilation import EFFORTS, compilation_effort, effort_for
from tests.estimators.family import EVERY
from tests.statistics import rejects, within

KEY = jax.random.key(0)


@pytest.fixture
def automatic(with_effort):
    with_effort()


@pytest.mark.usefixtures("automatic")
def test_the_effort_grows_with_the_work():
    chosen = [effort_for(500, 1e-3, calls) for calls in (1, 500, 10_000, 10_000_000)]
    assert chosen == ["minimal", "low", "medium", "full"]
    assert [effort_for(500, seconds, None) for seconds in (1e-6, 1e-3, 1.0, 1e3)] == [
        "minimal",
        "low",
        "medium",
        "medium",
    ]
    assert effort_for(50, 1.0, 1) in ("medium", "full")  # long runs of small programs


def test_an_unknown_effort_raises_an_error():
    with pytest.raises(
        ValueError, match="effort must be one of automatic, minimal, low, medium, full; 'best' was given"
    ):
        compilation_effort("best")


def test_the_estimated_work_includes_steps_of_scans_products_and_random_numbers():
    square = jnp.ones((30, 30))
    cost = lambda function: operations.measure(jax.make_jaxpr(function)(square).jaxpr)[1]
    once = cost(lambda x: x @ x)
    assert once == pytest.approx(2 * 30**3 * operations.FLOP + operations.EQUATION)
    many = cost(lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, length=100)[0])
    assert many == pytest.approx(100 * once, rel=1e-6)
    drawn = cost(lambda x: jax.random.bits(KEY, (1000,)))
    assert drawn > 10 * operations.ELEMENT * 1000


@pytest.mark.usefixtures("automatic")
def test_a_compiled_function_equals_jax_jit_outside_and_inside_others():
    function = lambda x: jnp.sum(jnp.sin(x) ** 2)
    program, x = ml.jit(function, "a sine", calls=1), jnp.arange(3.0)
    expected, slope = function(x), jax.grad(function)(x)
    assert program(x) == pytest.approx(float(expected))
    np.testing.assert_allclose(jax.grad(program)(x), slope, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda y: program(y) + 1)(x), expected + 1, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda y: program(x) + y)(1.0), expected + 1, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(program)(x[None]), expected[None], rtol=1e-6)
    names = [one.name for one in ml.compiled_programs()]
    program(jnp.arange(4.0))
    assert [one.name for one in ml.compiled_programs()] == [*names, "a sine"]
    assert ml.compiled_programs()[-1].effort == "minimal"


def test_errors_of_the_function_are_raised_unchanged():
    def refuse(x):
        raise ValueError("Not this one.")

    with pytest.raises(ValueError, match="Not this one"):
        ml.jit(refuse, "nothing")(1.0)


def test_threads_that_call_together_compile_once():
    traces, barrier = [], threading.Barrier(2)

    def slow(x):
        traces.append(1)
        time.sleep(0.2)
        return x + 1

    program, before = ml.jit(slow, "slow"), len(ml.compiled_programs())

    def call():
        barrier.wait()
        program(jnp.ones(2))

    threads = [threading.Thread(target=call) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(ml.compiled_programs()) == before + 1
    assert len(traces) == 1


METHODS = {
    "backprop": lambda p, w: ml.backprop(p, w, num_particles=4),
    "forward mode": lambda p, w: ml.forward_mode(p, w, num_particles=4),
    "UORO": lambda p, w: ml.uoro(p, w, num_particles=4),
    "persistent ES": lambda p, w: ml.persistent_es(p, w, sigma=0.1, num_pairs=4),
    "truncated ES": lambda p, w: ml.evolution_strategies(p, w, sigma=0.1, num_pairs=4),
}


@pytest.mark.parametrize("method", METHODS)
def test_efforts_agree_within_rounding_without_chaos(method, with_effort):
    found = {}
    for effort in EFFORTS:
        with_effort(effort)
        estimator = METHODS[method](ml.problems.phase_walk(), ml.Truncation(6, 3))
        state = estimator.init(jnp.float32(0.3), KEY)
        for index in range(3):
            gradient, state, _ = estimator.estimate(jnp.float32(0.3), state, jax.random.fold_in(KEY, index))
        found[effort] = float(gradient)
    assert max(found.values()) - min(found.values()) < 1e-4 * abs(found["full"])


def test_efforts_agree_within_standard_errors_with_chaos(with_effort):
    """The means of estimates of a chaotic map agree. As a check, those at another θ do not."""
    samples = {}
    for case, (effort, theta) in {"quick": ("minimal", 3.8), "slow": ("full", 3.8), "twin": ("full", 3.6)}.items():
        with_effort(effort)
        estimator = ml.evolution_strategies(ml.problems.logistic_map(), ml.Truncation(40, 40), sigma=0.01, num_pairs=64)
        state = estimator.init(jnp.float32(theta), KEY)
        keys = jax.random.split(KEY, 32)
        samples[case] = np.array([estimator.estimate(jnp.float32(theta), state, key)[2]["loss"] for key in keys])
    assert np.any(samples["quick"] != samples["slow"]), "the map is chaotic: roundings show"
    assert within(samples["quick"] - samples["slow"], 0.0)
    assert rejects(samples["twin"] - samples["slow"], 0.0)


LINES = {  # lines of StableHLO in one estimate for a network; in comments: when a program repeated the step
    "backprop": 2620,  # 2876
    "backprop_rematerialised": 3650,  # 4990
    "forward_mode": 2290,  # 2730
    "forward_gradient": 2270,  # 2698
    "uoro": 4500,  # 5218
    "evolution_strategies": 1650,  # 2460
    "persistent_es": 1650,  # 1825
    "noise_reuse_es": 1650,  # 1825
    "artbp": 2900,  # 3250
}


@pytest.mark.parametrize("name", LINES)
def test_programs_stay_small(name):
    """The step occurs once in a program, and so does each kind of random number. The test counts and does not time."""
    estimator = EVERY[name](ml.problems.digits_training(40), ml.Truncation(40, 10))
    theta = jnp.array([0.5, 0.0])
    state = jax.eval_shape(estimator.init, theta, KEY)
    assert estimator.estimate.lower(theta, state, KEY).as_text().count("\n") <= LINES[name]


def said(capsys, count, patience=20.0):
    """Return the first `count` lines of the standard error stream as soon as they are there."""
    text, end = "", time.monotonic() + patience
    while text.count("\n") < count and time.monotonic() < end:
        time.sleep(0.02)
        text += capsys.readouterr().err
    assert text.count("\n") >= count
    return text.splitlines()


def test_long_compilations_are_reported(capsys, monkeypatch):
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.1)
    monkeypatch.setattr(heartbeat, "TICK", 0.02)
    with heartbeat.titled("PES, 2 of 6"), heartbeat.watched("episodes") as watch:
        watch.begin()
        lines = said(capsys, count=2)
    assert lines[0].startswith("compiling PES, 2 of 6, ")
    assert lines[0].endswith(" s")
    time.sleep(0.1)
    capsys.readouterr()
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_progress_display_replaces_the_printed_lines(capsys, monkeypatch):
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.1)
    monkeypatch.setattr(heartbeat, "TICK", 0.02)
    shown = []
    with heartbeat.listening(shown.append), heartbeat.watched("episodes") as watch:
        watch.begin()
        time.sleep(0.3)
    assert capsys.readouterr().err == ""
    assert shown[0][0].name == "episodes"


def test_calls_without_a_compilation_print_nothing(capsys, monkeypatch):
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.0)
    monkeypatch.setattr(heartbeat, "TICK", 0.01)
    with heartbeat.watched("a call"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("automatic")
def test_the_effort_depends_on_the_arguments_and_not_on_earlier_calls():
    program = ml.jit(lambda x: jnp.tanh(x @ x), "a square")
    efforts = []
    for size in (3, 600, 4):
        program(jnp.ones((size, size)))
        efforts.append(ml.compiled_programs()[-1].effort)
    assert efforts == ["minimal", "medium", "minimal"]


@pytest.mark.usefixtures("automatic")
def test_the_length_of_chunks_changes_no_bit_of_a_meta_training():
    """This holds where efforts are chosen automatically, and for a history that is large compared with the program."""
    estimator = ml.persistent_es(ml.problems.toy_regression(20), ml.Truncation(20, 5), sigma=0.1, num_pairs=2)
    optimizer, start = optax.adam(0.01), jnp.zeros(2)
    ends, efforts = [], set()
    for chunk in (7, 2000):
        before = len(ml.compiled_programs())
        ends.append(ml.meta_train(estimator, optimizer, start, KEY, 2000, chunk_length=chunk)[0])
        named = [one for one in ml.compiled_programs()[before:] if one.name == "meta-training"]
        efforts |= {(one.effort, one.equations) for one in named}
    assert len(efforts) == 1
    np.testing.assert_array_equal(*ends)


def test_a_compiled_function_can_be_copied():
    estimator = METHODS["persistent ES"](ml.problems.phase_walk(), ml.Truncation(6, 3))
    assert copy.deepcopy(estimator).estimate is estimator.estimate
    assert copy.copy(estimator.estimate) is estimator.estimate


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": 5}, "name must be a string"),
        ({"calls": 0}, "calls must be at least 1"),
        ({"calls": "many"}, "calls must be a whole number"),
        ({"calls": True}, "calls must be a whole number"),
    ],
)
def test_invalid_arguments_of_jit_raise_an_error(arguments, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.jit(**({"function": jnp.sin, "name": "a sine"} | arguments))
