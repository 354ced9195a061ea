"""Benchmarks with other networks than perceptrons, and the text of two of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.inner.training.networks import forward
from tests.processes import ROOT

KINDS = {
    "convolutional": lambda **how: ml.problems.convolutional_benchmark((4, 6), batch_size=8, **how),
    "residual": lambda **how: ml.problems.residual_benchmark(4, batch_size=8, **how),
    "transformer": lambda **how: ml.problems.transformer_benchmark(8, length=16, batch_size=8, **how),
    "lstm": lambda **how: ml.problems.lstm_benchmark(8, length=16, batch_size=8, **how),
}


def test_windows_of_the_text_are_consecutive():
    (inputs, targets), symbols = ml.data.characters(50)
    assert inputs.shape == targets.shape == (len(inputs), 50)
    text = "".join(symbols[code] for code in np.ravel(inputs))
    assert text.startswith("training is a map that is iterated t times.")
    assert "  " not in text
    np.testing.assert_array_equal(np.ravel(inputs)[1:], np.ravel(targets)[:-1])
    assert set(np.unique(targets)) == set(range(len(symbols)))
    whole, _ = ml.data.characters(1)
    assert len(inputs) == len(whole.inputs) // 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_benchmark_has_disjoint_parts_and_hyperparameters_of_every_tensor(kind):
    benchmark = KINDS[kind](num_steps=4)
    benchmark.check()
    tuning = ml.hyperparameters.all_hyperparameters(benchmark)
    problem = benchmark.problem(tuning.optimizer, task=tuning.task)
    state = jax.eval_shape(problem.init, tuning.theta, jax.random.key(0))
    tensors, layers = len(jax.tree.leaves(state.params)), len(state.params)
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(tuning.theta)) == 2 * tensors + 3 * layers + 2
    assert "dropout" not in tuning.theta
    after = jax.eval_shape(problem.step, state, tuning.theta, jax.random.key(1))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert jax.eval_shape(problem.loss, state, tuning.theta, jax.random.key(1)).shape == ()
    assert (state.network_state is not None) == (kind in ("convolutional", "residual"))


def test_the_documentation_has_the_numbers_of_parameters():
    rows = re.findall(r"\| `(\w+)_benchmark` \|.*\| (\d+) \|", (ROOT / "docs/networks.md").read_text(encoding="utf-8"))
    for kind, count in rows:
        network = getattr(ml.problems, f"{kind}_benchmark")().network
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        assert int(count) == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert [kind for kind, _ in rows] == ["convolutional", "residual", "transformer", "lstm"]


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_prediction_depends_on_earlier_characters_only(kind):
    benchmark = KINDS[kind]()
    network, inputs = benchmark.network, benchmark.train.inputs[:2]
    params = jax.jit(network.init)(jax.random.key(0))
    changed = inputs.at[:, 9].set((inputs[:, 9] + 1) % 20)
    apply = jax.jit(lambda rows: forward(network, params, rows, None, examples_first=True)[0])
    one, other = apply(inputs), apply(changed)
    np.testing.assert_array_equal(one[:, :9], other[:, :9])
    assert np.all(np.any(one[:, 9:] != other[:, 9:], axis=2))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_training_predicts_better_than_frequencies_or_chance(kind):
    """The entropy of the frequencies of the text is 2.85 nats per character, that of ten digits 2.30."""
    benchmark = KINDS[kind](num_steps=300)
    problem = benchmark.problem(ml.adam(lambda theta: theta), "test", at_the_end=True)
    loss = ml.meta_loss(problem, jnp.float32(0.01), jax.random.key(0), 300)
    if kind in ("transformer", "lstm"):
        counts = np.bincount(np.ravel(benchmark.train.targets)) / benchmark.train.targets.size
        chance = -np.sum(counts[counts > 0] * np.log(counts[counts > 0]))
    else:
        chance = np.log(10)
    assert float(loss) < 0.9 * chance


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ml.problems.convolutional_benchmark(8), TypeError, r"channels must be a sequence, such as \(8,\)"),
        (lambda: ml.problems.convolutional_benchmark((4,) * 4), ValueError, "one to three numbers"),
        (lambda: ml.problems.convolutional_benchmark((0,)), ValueError, "channels must be at least 1"),
        (lambda: ml.problems.residual_benchmark(blocks=4), ValueError, "blocks must be"),
        (lambda: ml.problems.transformer_benchmark(9), ValueError, "multiple of heads=2; 9"),
        (lambda: ml.problems.lstm_benchmark(length=9000), ValueError, "seven windows"),
        (lambda: ml.problems.lstm_benchmark(num_steps=0), ValueError, "num_steps must be at least 1"),
        (lambda: ml.data.characters(0), ValueError, "length must be at least 1"),
        (lambda: ml.data.characters(10**6), ValueError, "length must be at most"),
        (lambda: ml.data.characters(2.5), TypeError, "length"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, error, words):
    with pytest.raises(error, match=words):
        make()
