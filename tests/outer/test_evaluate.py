"""`evaluate`: curves against a loop written by hand, sweeps against brute force, and the printed table."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.figures import draw_learning_curves, draw_matrix
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.evaluation import baselines
from metalearn.outer.evaluation.results import Evaluation, _ratio
from metalearn.outer.evaluation.speed_up import NO_ADAM, speed_up
from tests.coverage import covers, repeated

evaluation = importlib.import_module(
    "metalearn.outer.evaluation.evaluate"
)  # the module; the package exports the function of the same name
KEY = jax.random.key(0)
BENCHMARK = ml.problems.wine_benchmark((4,), num_steps=40, batch_size=16)


def by_hand(transformation, key, task=None):
    """Return the validation losses of one training, and the test loss and the test error at the end."""
    start, steps = jax.random.split(key)
    task, network = task or BENCHMARK.task(), BENCHMARK.network
    params = network.init(start)
    state, losses = transformation.init(params), []
    for index in range(BENCHMARK.num_steps):
        key = jax.random.fold_in(jax.random.fold_in(steps, index // 10), index % 10)
        gradient = jax.grad(task.loss)(params, key)
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        if index % 10 < 9:
            continue
        outputs = network.apply(params, BENCHMARK.validation.inputs, None)
        losses.append(float(ml.metrics.cross_entropy(outputs, BENCHMARK.validation.targets)))
    outputs = network.apply(params, BENCHMARK.test.inputs, None)
    targets = BENCHMARK.test.targets
    return losses, float(ml.metrics.cross_entropy(outputs, targets)), float(ml.metrics.error_rate(outputs, targets))


@pytest.mark.parametrize("task", [None, BENCHMARK.task(label_smoothing=0.3)])
def test_learning_curves_equal_those_of_a_plain_loop(task):
    curves = ml.outer.learning_curves(BENCHMARK, optax.adam(0.02), KEY, num_seeds=2, task=task)
    assert curves.validation.shape == (2, 4)
    assert curves.steps.tolist() == [10, 20, 30, 40]
    for seed, key in enumerate(jax.random.split(KEY, 2)):
        losses, test_loss, test_error = by_hand(optax.adam(0.02), key, task)
        np.testing.assert_allclose(curves.validation[seed], losses, rtol=1e-4)
        assert curves.test_loss[seed] == pytest.approx(test_loss, rel=1e-4)
        assert curves.test_error[seed] == pytest.approx(test_error, abs=1e-6)


def test_a_diverged_training_has_the_loss_of_the_cap_and_is_counted():
    for rate in (1e12, np.nan):
        curves = ml.outer.learning_curves(BENCHMARK, optax.sgd(rate), KEY, num_seeds=3)
        assert curves.fraction_diverged == 1
        assert curves.validation[:, -1].max() == 20
        assert np.isfinite(curves.test_loss).all()


def test_the_sweep_finds_the_best_learning_rate(monkeypatch):
    monkeypatch.setattr(baselines, "RATES", (1e-4, 3e-2, 1e4))
    rate = ml.outer.swept_rate(BENCHMARK, "Adam", "constant", KEY)
    keys = jax.random.split(KEY, baselines.SWEEP_SEEDS)
    means = [np.mean([by_hand(optax.adam(one), key)[0] for key in keys[:2]]) for one in (1e-4, 3e-2)]
    assert means[1] < means[0]
    assert rate == 3e-2


def test_a_best_rate_at_the_end_of_the_sweep_is_marked():
    curves = ml.outer.learning_curves(BENCHMARK, optax.sgd(1.0), KEY, num_seeds=2)
    row = lambda rate: evaluation._row("wine", f"SGD {rate}", rate, curves)
    table = str(Evaluation((row(1e-4), row(0.1), row(1.0), row(np.nan))))
    assert [line.split()[3] for line in table.splitlines()[2:6]] == ["0.0001*", "0.1", "1*", "–"]
    assert "a rate outside of the sweep may be better" in table
    assert "*" not in str(Evaluation((row(0.1), row(np.nan))))
    with pytest.raises(ValueError, match="benchmark must be one of wine; 'digits' was given"):
        draw_learning_curves(Evaluation((row(0.1),)), "digits")


def test_a_linear_schedule_ends_at_zero():
    transformation = baselines.baseline_optimizer(BENCHMARK, "SGD", "linear", 0.4)
    params = jnp.ones(())
    state, updates = transformation.init(params), []
    for _ in range(BENCHMARK.num_steps + 1):
        update, state = transformation.update(jnp.ones(()), state, params)
        updates.append(float(update))
    np.testing.assert_allclose(updates, -0.4 * (1 - np.arange(41) / 40), atol=1e-6)


def test_a_table_compares_learned_and_baseline_optimisers(monkeypatch):
    """The nominal optimiser starts as Adam, a pair brings its own task, and a function is called with the benchmark."""
    monkeypatch.setattr(baselines, "RATES", (1e-3, 3e-2))
    monkeypatch.setattr(evaluation, "BASELINES", {"Adam": optax.adam})
    learned = ml.learned.nominal_optimizer((4,), learning_rate=0.03)
    entries = {
        "learned": lambda benchmark: learned(learned.init(KEY)),
        "smoothed": (optax.adam(0.03), BENCHMARK.task(label_smoothing=0.9)),
    }
    told = []
    found = ml.evaluate(entries, {"wine": BENCHMARK}, KEY, num_seeds=3, progress=lambda *one: told.append(one))
    assert [row.optimizer for row in found.results] == ["Adam, constant", "Adam, linear", "learned", "smoothed"]
    assert told[-1] == ("evaluation", 4, 4)
    text = str(found)
    for words in ("benchmark", "mean loss", "learned", "wine"):
        assert words in text
    assert all(np.isscalar(value) for row in found.rows() for value in row.values())
    adam, row = found["wine", "Adam, constant"], found["wine", "learned"]
    assert adam.learning_rate == 3e-2
    np.testing.assert_allclose(row.curves.validation, adam.curves.validation, rtol=1e-3)
    assert found["wine", "smoothed"].final_loss.value > 1.5 * adam.final_loss.value
    means = row.curves.validation.mean(axis=1)
    assert row.mean_loss.value == pytest.approx(means.mean())
    assert row.mean_loss.error == pytest.approx(
        1.6596 * means.std(ddof=1) / np.sqrt(3), rel=1e-3
    )  # of Student's t of 2
    assert "From fewer than four seeds each ± is a lower bound" in text
    assert row.speed_up.low <= row.speed_up.value <= row.speed_up.high
    assert {"speed_up", "speed_up_low", "speed_up_high"} <= found.rows()[0].keys()


def test_speed_up_is_the_ratio_of_steps_to_adams_last_loss():
    """Losses are e^(−rate · t).

    Twice the rate needs half the steps. Half the rate does not reach the loss in this run.
    """

    def row(name, rate):
        losses = np.tile(np.exp(-rate * np.arange(1, 1001)), (2, 1))
        return evaluation._row(
            "made", name, np.nan, ml.outer.Curves(np.arange(1, 1001), losses, losses[:, -1], losses[:, -1], 0.0)
        )

    rates = {"Adam, linear": 0.002, "fast": 0.004, "faster": 0.04, "slow": 0.001}
    found = {name: row(name, rate) for name, rate in rates.items()}
    speeds = {name: evaluation._speed_up(one, found) for name, one in found.items()}
    assert speeds["Adam, linear"].value == 1
    assert speeds["fast"].value == pytest.approx(2, rel=0.03)
    assert speeds["faster"].value == pytest.approx(20, rel=0.06)
    assert np.isnan(speeds["slow"].value)
    assert str(speeds["slow"]) == "not reached"
    assert str(evaluation._speed_up(found["fast"], {"fast": found["fast"]})) == "–"


def test_noise_of_few_evaluations_changes_the_speed_up_little():
    """With fifty losses and noise of .01, two equal optimisers differ by less than a tenth of the steps."""
    random, steps, speeds = np.random.default_rng(0), np.arange(10, 501, 10), []
    for _ in range(200):
        rows = {}
        for name in ("Adam, linear", "same"):
            losses = np.tile(0.1 + np.exp(-0.01 * steps), (2, 1)) * (1 + 0.01 * random.standard_normal(50))
            rows[name] = evaluation._row(
                "made", name, np.nan, ml.outer.Curves(steps, losses, losses[:, -1], losses[:, -1], 0.0)
            )
        speeds.append(evaluation._speed_up(rows["same"], rows))
    assert np.nanstd([speed.value for speed in speeds]) < 0.1


STEPS = np.arange(10, 501, 10)
SHAPES = {
    "exponential": lambda rate, tilt, noise: (0.1 + np.exp(-rate * np.exp(0.2 * tilt) * STEPS / 100)) * (1 + noise),
    "power": lambda rate, tilt, noise: np.exp(0.1 * tilt + noise) / np.sqrt(1 + rate * STEPS / 10),
}


def trained(shape, num_seeds, random):
    """Return the curves of Adam and of an optimiser twice as fast. Both share a part of the randomness of a seed."""
    shared = random.normal(size=(num_seeds, 1))

    def curves(rate):
        tilt = 0.8 * shared + 0.6 * random.normal(size=(num_seeds, 1))
        losses = SHAPES[shape](rate, tilt, 0.01 * random.normal(size=(num_seeds, len(STEPS))))
        return ml.outer.Curves(STEPS, losses, losses[:, -1], losses[:, -1], 0.0)

    return curves(2.0), curves(1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_of_a_speed_up_covers(shape):
    own, adam = trained(shape, 20_000, np.random.default_rng(999))
    mean = lambda curves: curves._replace(validation=curves.validation.mean(axis=0, keepdims=True))
    truth = speed_up(mean(own), mean(adam)).value

    def measure(pair):
        found = speed_up(*pair)
        return np.log(found.value), np.log(found.high / found.value)

    assert covers(*repeated(measure, lambda random: trained(shape, 8, random)), np.log(truth))


@pytest.mark.parametrize("num_seeds", [4, 8])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda random, n: random.lognormal(0, 0.2, n), np.exp(0.02)),
        (lambda random, n: random.binomial(200, 0.1, n) / 200, 0.1),
    ],
)
def test_the_errors_of_losses_and_of_test_errors_cover(draw, truth, num_seeds):
    def measure(values):
        curves = ml.outer.Curves(np.array([10]), values[:, None], values, values, 0.0)
        row = evaluation._row("made", "mine", np.nan, curves)
        assert row.mean_loss == row.final_loss == row.test_loss == row.test_error
        return row.test_error.value, row.test_error.error

    assert covers(*repeated(measure, lambda random: draw(random, num_seeds), 1000), truth)


def test_the_ratio_to_a_baseline_covers():
    def measure(random):
        easy = random.lognormal(0, 0.3, (8, 1))
        ours, theirs = (easy * level * random.lognormal(0, 0.1, (8, 1)) for level in (0.5, 1.0))
        curves = [ml.outer.Curves(np.array([10]), one, one[:, 0], one[:, 0], 0.0) for one in (ours, theirs)]
        found = _ratio(*curves)
        return found.value, found.error

    assert covers(*repeated(measure, lambda random: random, 500), 0.5)


def test_speed_ups_without_an_interval_are_described_in_words():
    steps, falling = np.arange(1, 101), np.exp(-0.02 * np.arange(1, 101))
    curves = lambda losses, lost=0.0: ml.outer.Curves(steps, np.asarray(losses), np.ones(4), np.ones(4), lost)
    adam = curves([falling] * 4)
    barely = curves(np.outer([1.5, 0.5, 1.4, 0.58], falling))
    assert speed_up(barely, adam).low == 0
    assert "(not reached … " in str(speed_up(barely, adam))
    one = speed_up(*(curves._replace(validation=curves.validation[:1]) for curves in (adam, adam)))
    assert str(one) == "1"
    assert np.isnan(one.low)
    lost = evaluation._row("made", "lost", np.nan, curves([falling] * 4, 0.25))
    kept = evaluation._row("made", "kept", np.nan, adam)
    assert "† some seeds diverged" in str(Evaluation((lost, kept)))
    assert "lower bound" not in str(Evaluation((kept,)))


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"benchmarks": {}}, TypeError, "benchmarks must be mappings"),
        ({"benchmarks": BENCHMARK}, TypeError, "benchmarks must be mappings"),
        ({"benchmarks": {"digits": 3}}, TypeError, "benchmarks must be mappings"),
        (
            {
                "optimizers": {"mine": (optax.sgd(0.1), BENCHMARK.task())},
                "benchmarks": {"a": BENCHMARK, "b": BENCHMARK},
            },
            ValueError,
            "contains the training data of one benchmark",
        ),
        ({"optimizers": {"mine": 0.1}}, TypeError, "'mine' must be an optax transformation"),
        (
            {"optimizers": {"mine": ml.hyperparameters.all_hyperparameters(BENCHMARK)}},
            TypeError,
            "For a Tuning give tuning.at.theta.",
        ),
        ({"optimizers": {"Adam, constant": optax.adam(0.1)}}, ValueError, "are names of swept baselines"),
        ({"optimizers": {"mine": optax.adam}}, TypeError, "'mine' cannot take a step on 'wine'"),
        ({"optimizers": {"mine": lambda: 0}}, TypeError, "'mine' cannot take a step on 'wine'"),
        (
            {"benchmarks": {"wine": BENCHMARK._replace(test=BENCHMARK.train)}},
            ValueError,
            "train and test must be disjoint",
        ),
        ({"num_seeds": 0}, ValueError, "num_seeds must be at least 1"),
        ({"key": 0}, TypeError, "typed key"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(change, error, sentence):
    given = {"optimizers": {"SGD": optax.sgd(0.1)}, "benchmarks": {"wine": BENCHMARK}, "key": KEY} | change
    with pytest.raises(error, match=sentence):
        ml.evaluate(**given)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((BENCHMARK, "adam", "constant", KEY), "name must be one of"),
        ((BENCHMARK, "Adam", "cosine", KEY), "schedule must be one of"),
        ((BENCHMARK._replace(validation=BENCHMARK.train), "Adam", "constant", KEY), "must be disjoint"),
    ],
)
def test_a_sweep_rejects_unknown_names(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ml.outer.swept_rate(*arguments)


def test_an_optimiser_that_needs_the_loss_is_evaluated():
    plateau = optax.chain(optax.adam(0.01), optax.contrib.reduce_on_plateau())
    found = ml.evaluate({"plateau": plateau}, {"wine": BENCHMARK}, KEY, num_seeds=2, baselines=False)
    assert found["wine", "plateau"].final_loss.value < 1.0


def test_ratios_are_to_the_best_swept_baseline_of_each_benchmark():
    measured = lambda loss: Measurement(loss, 0.1)

    def row(benchmark, optimizer, rate, loss):
        losses = loss * np.array([[0.5], [1.5]]) if optimizer == "mine" else np.full((2, 1), loss)
        curves = ml.outer.Curves(np.array([10]), losses, np.ones(2), np.ones(2), 0.0)
        return evaluation.Row(benchmark, optimizer, rate, *[measured(loss)] * 4, NO_ADAM, curves)

    swept = [
        row("a", "Adam", 0.1, 0.5),
        row("a", "SGD", 0.2, 0.4),
        row("b", "Adam", 0.1, 3.0),
        row("b", "SGD", 0.1, 4.0),
    ]
    judged = [row("a", "mine", float("nan"), 0.2), row("b", "mine", float("nan"), 6.0)]
    found = ml.outer.Evaluation(tuple(swept + judged))
    ratios = {name: row["mine"] for name, row in found.ratios().items()}
    assert (ratios["a"].value, ratios["b"].value) == (pytest.approx(0.5), pytest.approx(2.0))
    assert ratios["a"].error == pytest.approx(0.25 * 1.8373, rel=1e-3)  # losses .1 and .3: .1 over .4, Student's t of 1
    axes = draw_matrix(found).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50 ± 0.46", "2.00 ± 1.84"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a\nSGD: 0.4", "b\nAdam: 3"]
    for results in (swept, judged):
        with pytest.raises(ValueError, match="Ratios compare optimisers with swept baselines"):
            ml.outer.Evaluation(tuple(results)).ratios()
