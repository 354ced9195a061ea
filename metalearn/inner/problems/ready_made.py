"""Ready-made training problems with the settings that the documentation and the experiments use."""

import numpy as np

from metalearn.inner.checks import check_choice, check_count, check_seed
from metalearn.inner.divergence import saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.two_layer import two_layer_data, two_layer_training
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.datasets import digits, split
from metalearn.inner.training.networks import mlp
from metalearn.inner.training.optimizers import sgd
from metalearn.inner.training.schedules import log_linear_schedule
from metalearn.inner.training.task import classification, metric_loss
from metalearn.inner.training.training import training
from metalearn.inner.training.transforms import exp10

META_LOSSES = ("training", "validation", "validation_error")


def digits_training(
    num_steps: int = 200,
    *,
    hidden: int = 32,
    activation: str = "tanh",
    batch_size: int = 64,
    num_examples: int = 1024,
    meta_loss: str = "training",
    cap: float | None = 1.0,
    seed: int = 0,
) -> InnerProblem:
    """Return the training of a small network on handwritten digits by SGD with a log-linear learning-rate schedule.

    θ = (log10 η_0, log10 η_T), and η_t = η_0^{1−t/T} η_T^{t/T}. The network is 64 – hidden – 10 without biases, with
    W_1 ~ 2N(0,1)/√64 and W_2 ~ N(0,1)/√hidden. Its inputs are pixels from which the mean is subtracted. The training
    minimises the cross-entropy. The meta-loss is cross-entropy / log 10, so that a network with equal outputs has the
    loss 1. Losses above the cap, including those of diverged runs, are replaced by the cap. The best θ, near (0.8,
    0.6), lies at the edge of a chaotic region, beyond which training diverges.

    Args:
      num_steps: T, the number of steps of the learning-rate schedule and the horizon of the meta-loss.
      hidden: the width of the hidden layer.
      activation: as in `mlp`. tanh gives a rough landscape, ReLU one with a cliff.
      batch_size: the number of examples in a minibatch.
      num_examples: the number of training examples. The remaining examples, at most 400, are used for validation.
      meta_loss: "training" (on a fresh minibatch), "validation" or "validation_error", which is piecewise constant.
      cap: see `saturate`; None does not bound the losses.
      seed: the seed of the random split of the data.

    Raises:
      ImportError: scikit-learn is missing.
      TypeError: a count, a width or `seed` is not a whole number, or `cap` is not a number, a string or None.
      ValueError: `meta_loss` or `activation` is unknown, a count or a width is below 1, `num_examples` is above 1796,
        `seed` is outside of 0 … 2³² − 1, or `cap` is not finite or another string than "start".
    """
    check_choice("meta_loss", meta_loss, META_LOSSES)
    check_count("num_steps", num_steps)
    check_count("num_examples", num_examples)
    held_out = min(400, 1797 - num_examples)
    if held_out < 1:
        raise ValueError(
            f"num_examples must be at most 1796, so that digits remain for validation; {num_examples} was given."
        )
    train, validation = split(digits(centre=True), (num_examples, held_out), seed)
    network = mlp((64, hidden, 10), activation, bias=False, gain=1.0, initial_scale=(2.0, 1.0))
    observables = {
        "training": metric_loss(network, train, batch_size, normalise=True),
        "validation": metric_loss(network, validation, normalise=True),
        "validation_error": metric_loss(network, validation, metric="error_rate"),
    }
    optimizer = sgd(log_linear_schedule(exp10(0), exp10(1), num_steps))
    return training(classification(network, train, batch_size), optimizer, observables[meta_loss], cap=cap)


def benchmark_training(
    benchmark: Benchmark, *, metric: str = "cross_entropy", reading: str = "validation"
) -> InnerProblem:
    """Return the training of a benchmark's network by SGD with a log-linear learning-rate schedule.

    θ = (log10 η_0, log10 η_T), and η_t = η_0^{1−t/T} η_T^{t/T}, as in `digits_training`. The meta-loss is at
    most that of the start.

    Args:
      benchmark: network, data and T, such as `wine_benchmark(num_steps=100)`.
      metric: "cross_entropy" or "error_rate", which is piecewise constant.
      reading: the data of the meta-loss, as in `Benchmark.problem`.

    Raises:
      ValueError: `metric` or `reading` is unknown.
    """
    optimizer = sgd(log_linear_schedule(exp10(0), exp10(1), benchmark.num_steps))
    return benchmark.problem(optimizer, reading, metric=metric, cap="start")


def fractal_training(seed: int | None = None, *, activation: str = "tanh", cap: float | None = 1.0) -> InnerProblem:
    """Return the training run with a fractal boundary of trainability; θ holds the logarithms of two learning rates.

    θ = (log10 η_0, log10 η_1) are the learning rates of the input and the output layer of a 16-16-1 network, which is
    trained on 272 examples in full batches. The loss is ℓ_t / ℓ_0, so that the start has the loss 1. Losses above the
    cap, including those of diverged runs, are replaced by the cap. The problem is deterministic. With 500 steps, chaos
    begins well inside the trainable region, and the best θ, near (2.35, 1.43), lies inside it.

    Args:
      seed: None for the data and initial weights of the published picture. A whole number draws other ones, standard
        normal, from NumPy's `default_rng(seed)` in the order X, Y, W0, W1.
      activation: "tanh", "relu" or "identity".
      cap: see `saturate`; None does not bound the losses.

    Raises:
      TypeError: `seed` is not a whole number, or `cap` is not a real number.
      ValueError: `activation` is unknown, `seed` is outside of 0 … 2³² − 1, or `cap` is not finite.

    References:
      Sohl-Dickstein 2024, arXiv 2402.06184.
    """
    if seed is None:
        data = two_layer_data()
    else:
        draw = np.random.default_rng(check_seed("seed", seed)).standard_normal
        data = {"X": draw((272, 16)), "Y": draw((272, 1)), "W0": draw((16, 16)), "W1": draw((16, 1))}
    trained = two_layer_training(data, activation)
    rates = lambda theta: {"input_rate": 10.0 ** theta[0], "output_rate": 10.0 ** theta[1]}
    nothing = {"input_rate": 0.0, "output_rate": 0.0}

    def loss(state, theta, key):
        start = trained.loss(trained.init(nothing, key), nothing, key)
        return trained.loss(state, rates(theta), key) / start

    problem = InnerProblem(
        lambda theta, key: trained.init(rates(theta), key),
        lambda state, theta, key: trained.step(state, rates(theta), key),
        loss,
    )
    return problem if cap is None else saturate(problem, cap)
