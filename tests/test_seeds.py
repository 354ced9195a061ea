"""Every function with a seed raises an error for invalid seeds and for those that JAX would truncate to 32 bits."""

import jax
import numpy as np
import pytest

import metalearn as ml
from metalearn.application import parse_seed
from metalearn.inner.checks import check_count
from metalearn.inner.training.hyperparameter_sets import learned_tuning
from metalearn.reproductions.measurements import keys

DATA = ml.data.Data(np.zeros((2, 4)), np.zeros(4, int))
CHECKERS = np.indices((32, 32)).sum(axis=0) % 5 > 2
PLANE = ml.landscape.condition("single").plane
TAKERS = {
    "configuration": parse_seed,
    "split": lambda seed: ml.data.split(DATA, (2,), seed),
    "digits": lambda seed: ml.problems.digits_benchmark(seed=seed, label_noise=0.1),
    "teacher": lambda seed: ml.problems.teacher_benchmark(seed=seed),
    "learned": lambda seed: learned_tuning(None, ml.learned.mlp_optimizer((2,)), seed),  # pyright: ignore
    "fractal": ml.problems.fractal_training,
    "boxes": lambda seed: ml.landscape.box_counting_dimension(CHECKERS, seed=seed),
    "precision": lambda seed: ml.landscape.precision(
        ml.landscape.condition("single").problem, PLANE, num_steps=1, resolution=2, seed=seed
    ),
    "reproductions": lambda seed: keys([seed]),
}
NO_SEEDS = {"true": True, "half": 0.5, "whole": 1.0, "text": "0", "negative": -1, "2**32": 2**32, "2**64": 2**64}


@pytest.mark.parametrize("seed", NO_SEEDS.values(), ids=NO_SEEDS)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_an_invalid_seed_raises_a_clear_error(take, seed):
    with pytest.raises((TypeError, ValueError), match=r"seeds? must be (a whole number|at (least 0|most 4294967295))"):
        take(seed)


@pytest.mark.parametrize(
    "take", [TAKERS[name] for name in ("configuration", "split", "digits", "boxes", "reproductions")]
)
def test_the_largest_seed_is_accepted(take):
    take(2**32 - 1)


def test_seeds_give_the_same_key_in_either_precision_and_as_numpy_integers():
    bits = lambda seed: np.asarray(jax.random.key_data(parse_seed(seed))).tolist()
    with jax.enable_x64(True):
        in_float64 = bits(2**32 - 1)
    assert bits(2**32 - 1) == bits(np.uint32(2**32 - 1)) == in_float64 != bits(0)
    np.testing.assert_array_equal(jax.random.key_data(keys([3, 2**32 - 1])), [bits(3), bits(2**32 - 1)])


def test_counts_beyond_32_bits_raise_an_error():
    with pytest.raises(ValueError, match="num_steps must be at most 2147483647; 2147483648 was given"):
        check_count("num_steps", 2**31)
    with pytest.raises(ValueError, match=r"horizon must be .* below 2³¹"):
        ml.Truncation(2**32, 2**31)
