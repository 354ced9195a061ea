"""Training problems that are ready to use, on real data, with the settings that docs and experiments refer to."""

import numpy as np

from metalearn.inner.checks import check_choice, check_count, check_seed
from metalearn.inner.divergence import saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.two_layer import two_layer_data, two_layer_training
from metalearn.inner.training.datasets import digits, split
from metalearn.inner.training.hyperparameters import exp10, log_linear_schedule
from metalearn.inner.training.networks import mlp
from metalearn.inner.training.optimizers import sgd
from metalearn.inner.training.task import classification, metric_loss
from metalearn.inner.training.training import training

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
    """A small network on handwritten digits, trained by plain SGD whose learning rate is interpolated between two ends.

    θ = (log10 η_0, log10 η_T), η_t = η_0^{1−t/T} η_T^{t/T}; the network is 64 – hidden – 10 without biases, W_1 ~
    2N(0,1)/√64, W_2 ~ N(0,1)/√hidden, on pixels with their mean subtracted. It descends the cross-entropy; the
    meta-loss reads cross-entropy / log 10, so that an undecided network has the loss 1, and losses beyond the cap,
    diverged ones among them, read as the cap. The best θ, near (0.8, 0.6), lies at the edge of a chaotic zone; beyond
    it training diverges.

    Args:
      num_steps: T, over which the learning rate is interpolated; the horizon of its meta-loss.
      hidden: width of the hidden layer.
      activation: as in `mlp`. tanh gives a rough landscape, ReLU a cliff.
      batch_size: examples in a minibatch.
      num_examples: training examples; as many of the rest as there are, at most 400, are for validation.
      meta_loss: "training" (of a fresh minibatch), "validation", or "validation_error", which is piecewise constant.
      cap: see `saturate`; None for losses as they are.
      seed: how the data are split.

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
        raise ValueError(f"num_examples must leave digits for validation, at most 1796; {num_examples} was given.")
    train, validation = split(digits(centre=True), (num_examples, held_out), seed)
    network = mlp((64, hidden, 10), activation, bias=False, gain=1.0, initial_scale=(2.0, 1.0))
    observables = {
        "training": metric_loss(network, train, batch_size, normalise=True),
        "validation": metric_loss(network, validation, normalise=True),
        "validation_error": metric_loss(network, validation, metric="error_rate"),
    }
    optimizer = sgd(log_linear_schedule(exp10(0), exp10(1), num_steps))
    return training(classification(network, train, batch_size), optimizer, observables[meta_loss], cap=cap)


def fractal_training(seed: int | None = None, *, activation: str = "tanh", cap: float | None = 1.0) -> InnerProblem:
    """The training run whose border of trainability is a fractal, as an outer problem: two learning rates as logarithms.

    θ = (log10 η_0, log10 η_1), the rates of the input and the output layer of a 16-16-1 network on 272 points, full
    batch. The meta-loss reads ℓ_t / ℓ_0, so that the start has the loss 1, and losses beyond the cap, diverged ones
    among them, read as the cap. It is deterministic. On 500 steps chaos begins well inside the trainable region, and
    the best θ, near (2.35, 1.43), lies inside it.

    Args:
      seed: None for the data and initial weights of the published picture; a whole number draws others, standard
        normal, by NumPy's `default_rng(seed)` in the order X, Y, W0, W1.
      activation: "tanh", "relu" or "identity".
      cap: see `saturate`; None for losses as they are.

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
