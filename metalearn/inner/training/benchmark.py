"""Benchmarks for hyperparameters and learned optimisers: small networks, and data in three parts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.brief import brief_help
from metalearn.inner.checks import check_choice, check_count, check_number, check_seed
from metalearn.inner.derived import final_loss
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.datasets import Data, breast_cancer, check_disjoint, digits, split, teacher, wine
from metalearn.inner.training.networks import Network, mlp
from metalearn.inner.training.optimizers import Optimizer
from metalearn.inner.training.task import Task, classification, metric_loss
from metalearn.inner.training.training import training
from metalearn.types import Theta

READINGS = ("validation_batch", "validation", "test")


@brief_help
class Benchmark(NamedTuple):
    """A classification task with separate data for training, tuning and evaluation.

    Attributes:
      network: the network to train.
      train, validation, test: disjoint parts of the data.
      batch_size: the number of examples in a minibatch.
      num_steps: T, the number of inner steps of a training run.
    """

    network: Network
    train: Data
    validation: Data
    test: Data
    batch_size: int
    num_steps: int

    def problem(
        self,
        optimizer: Optimizer,
        reading: str = "validation_batch",
        *,
        task: Task | Callable[[Theta], Task] | None = None,
        metric: str = "cross_entropy",
        at_the_end: bool = False,
        cap: float | str | None = 20.0,
    ) -> InnerProblem:
        """Return the inner problem of training the network by an optimiser that is a function of θ.

        Args:
          optimizer: θ -> optax transformation.
          reading: the data on which the meta-loss is evaluated. "validation_batch", a fresh minibatch of the validation
            data, is meant for meta-training; "validation" and "test", all examples of the part, for evaluation.
          task: the task to train on, for a θ that sets more than the optimiser. The default is the cross-entropy of a
            minibatch.
          metric: the metric of the meta-loss; "error_rate" is piecewise constant.
          at_the_end: whether the meta-loss is the last loss alone. The default is the mean over the training run.
          cap: the largest loss; larger losses, including those of diverged runs, are replaced by it. "start" as in
            `training`. None does not bound the losses.

        Raises:
          TypeError: `optimizer` is not a function, `task` is neither a `Task` nor a function of θ, or `cap` is neither
            a number nor a string nor None.
          ValueError: `reading` or `metric` is unknown, `cap` is not finite or another string than "start", or two parts
            of the data have an example in common.
        """
        check_choice("reading", reading, READINGS)
        self.check()
        size = self.batch_size if reading == "validation_batch" else None
        read = metric_loss(self.network, self.test if reading == "test" else self.validation, size, metric=metric)
        trained = training(self.task() if task is None else task, optimizer, read, cap=cap)
        return final_loss(trained, self.num_steps) if at_the_end else trained

    def check(self) -> None:
        """Check that the parts of the data are disjoint.

        Raises:
          ValueError: two of `train`, `validation` and `test` have an example in common.
        """
        check_disjoint({"train": self.train, "validation": self.validation, "test": self.test})

    def task(self, network: Network | None = None, label_smoothing: Any = 0.0) -> Task:
        """Return the task of minimising the cross-entropy of a network on minibatches of the training data.

        Args:
          network: the network, by default that of the benchmark.
          label_smoothing: as in `classification`.
        """
        network = self.network if network is None else network
        return classification(network, self.train, self.batch_size, label_smoothing=label_smoothing)


def digits_benchmark(
    hidden: Sequence[int] = (32,),
    *,
    num_steps: int = 500,
    batch_size: int = 64,
    label_noise: float = 0.0,
    seed: int = 0,
) -> Benchmark:
    """Return a benchmark on handwritten digits with a ReLU network 64 – hidden – 10.

    The parts are 1000 examples for training, 400 for validation and 397 for testing.

    Args:
      hidden: widths of the hidden layers.
      num_steps: T, the number of inner steps of a training run.
      batch_size: the number of examples in a minibatch.
      label_noise: the fraction of the training labels that are replaced by random labels.
      seed: the seed of the split and of the label noise.

    Raises:
      ImportError: scikit-learn is missing.
      TypeError: `hidden` is not a sequence of whole numbers, `num_steps`, `batch_size` or `seed` is not a whole number,
        or `label_noise` is not a real number.
      ValueError: a width, `num_steps` or `batch_size` is below 1, `label_noise` is outside of [0, 1], or `seed` is
        outside of 0 … 2³² − 1.
    """
    return _benchmark(digits(), (1000, 400, 397), 10, hidden, num_steps, batch_size, label_noise, seed)


def wine_benchmark(
    hidden: Sequence[int] = (32,), *, num_steps: int = 500, batch_size: int = 64, seed: int = 0
) -> Benchmark:
    """Return a benchmark on wines described by 13 measurements, with a ReLU network 13 – hidden – 3.

    The parts are 90 examples for training and 44 each for validation and testing. Arguments and errors are those of
    `digits_benchmark`.
    """
    return _benchmark(wine(), (90, 44, 44), 3, hidden, num_steps, batch_size, 0.0, seed)


def breast_cancer_benchmark(
    hidden: Sequence[int] = (32,), *, num_steps: int = 500, batch_size: int = 64, seed: int = 0
) -> Benchmark:
    """Return a benchmark on tumours described by 30 measurements, with a ReLU network 30 – hidden – 2.

    The parts are 300 examples for training, 135 for validation and 134 for testing. Arguments and errors are those of
    `digits_benchmark`.
    """
    return _benchmark(breast_cancer(), (300, 135, 134), 2, hidden, num_steps, batch_size, 0.0, seed)


def teacher_benchmark(
    hidden: Sequence[int] = (32,), *, num_steps: int = 500, batch_size: int = 64, noise: float = 0.5, seed: int = 0
) -> Benchmark:
    """Return a benchmark on labels from a random network with noisy outputs, with a ReLU network 20 – hidden – 5.

    The parts are 1000 examples for training and 400 each for validation and testing. `noise` is that of `teacher`. The
    other arguments are those of `digits_benchmark`.
    """
    key = jax.random.key(check_seed("seed", seed))
    data = teacher(key, 20, 1800, 5, hidden=(32,), noise=noise, classification=True)
    return _benchmark(data, (1000, 400, 400), 5, hidden, num_steps, batch_size, 0.0, seed)


def _benchmark(data, sizes, num_classes, hidden, num_steps, batch_size, label_noise, seed) -> Benchmark:
    if isinstance(hidden, int):
        raise TypeError(f"hidden must be a sequence of widths, such as ({hidden},); {hidden} was given.")
    check_count("num_steps", num_steps)
    check_count("batch_size", batch_size)
    check_number("label_noise", label_noise, 0, 1)
    train, validation, test = split(data, sizes, seed)
    network = mlp((data.inputs.shape[0], *hidden, num_classes), "relu")
    train = _with_label_noise(train, label_noise, num_classes, seed)
    return Benchmark(network, train, validation, test, batch_size, num_steps)


def _with_label_noise(data, fraction, num_classes, seed):
    """Replace a fraction of the labels by uniformly random labels, some of which are correct by chance."""
    if not fraction:
        return data
    random = np.random.RandomState((seed + 1) % 2**32)
    count = len(data.targets)
    chosen = random.permutation(count)[: round(fraction * count)]
    labels = np.array(data.targets)
    labels[chosen] = random.randint(0, num_classes, len(chosen))
    return Data(data.inputs, jnp.asarray(labels, jnp.int32))
