"""Small networks on real data, in three parts: what hyperparameters and learned optimisers are tuned and judged on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


class Benchmark(NamedTuple):
    """A classification to train on, with data to tune on and data to judge on.

    Attributes:
      network: what is trained.
      train, validation, test: disjoint parts of the data.
      batch_size: examples in a minibatch.
      num_steps: T, inner steps of a training.
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
        cap: float | None = 20.0,
    ) -> InnerProblem:
        """The training of the network by an optimiser that is a function of θ.

        Args:
          optimizer: θ -> optax transformation.
          reading: what the meta-loss is read on: "validation_batch" of a fresh minibatch of the validation data, which
            is what to descend; "validation" or "test" of all of it, which is what to judge by.
          task: what is descended, where θ sets more than the optimiser; by default the cross-entropy of a minibatch.
          metric: of the reading; "error_rate" is piecewise constant.
          at_the_end: read the last loss alone; by default the mean over the training.
          cap: losses beyond it, diverged ones among them, read as it; None for losses as they are.

        Raises:
          TypeError: `optimizer`, `task` or `cap` is of another type.
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
        """Refuse parts that have an example in common.

        Raises:
          ValueError: two of `train`, `validation` and `test` have an example in common.
        """
        check_disjoint({"train": self.train, "validation": self.validation, "test": self.test})

    def task(self, network: Network | None = None, label_smoothing: Any = 0.0) -> Task:
        """The cross-entropy of minibatches of the training data, of the network or of one like it."""
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
    """Handwritten digits: 1000 to train, 400 to validate, 397 to test; a ReLU network 64 – hidden – 10.

    Args:
      hidden: widths of the hidden layers.
      num_steps: T.
      batch_size: examples in a minibatch.
      label_noise: the fraction of the training labels that are replaced by random ones.
      seed: of the split and the noise.

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
    """Wines by 13 measurements: 90 to train, 44 each to validate and to test; 13 – hidden – 3. Arguments as of
    `digits_benchmark`."""
    return _benchmark(wine(), (90, 44, 44), 3, hidden, num_steps, batch_size, 0.0, seed)


def breast_cancer_benchmark(
    hidden: Sequence[int] = (32,), *, num_steps: int = 500, batch_size: int = 64, seed: int = 0
) -> Benchmark:
    """Tumours by 30 measurements: 300 to train, 135 to validate, 134 to test; 30 – hidden – 2. Arguments as of
    `digits_benchmark`."""
    return _benchmark(breast_cancer(), (300, 135, 134), 2, hidden, num_steps, batch_size, 0.0, seed)


def teacher_benchmark(
    hidden: Sequence[int] = (32,), *, num_steps: int = 500, batch_size: int = 64, noise: float = 0.5, seed: int = 0
) -> Benchmark:
    """Labels of a random network with noise in its outputs: 20 – hidden – 5; 1000 to train, 400 each to validate and to
    test. Arguments as of `digits_benchmark`; noise as of `teacher`."""
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
    """That fraction of the labels drawn anew, uniformly; some are right by chance."""
    if not fraction:
        return data
    random = np.random.RandomState((seed + 1) % 2**32)
    count = len(data.targets)
    chosen = random.permutation(count)[: round(fraction * count)]
    labels = np.array(data.targets)
    labels[chosen] = random.randint(0, num_classes, len(chosen))
    return Data(data.inputs, jnp.asarray(labels, jnp.int32))
