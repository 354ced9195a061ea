"""Optimisers that keep a moving average of the parameters."""

from typing import Any, NamedTuple

import jax
import optax

from metalearn import trees
from metalearn.inner.checks import check_number
from metalearn.inner.training.optimizers import Optimizer, check_optimizer
from metalearn.inner.training.transforms import Hyperparameter, resolve
from metalearn.types import Params


class Averaged(NamedTuple):
    """The state of `averaged`.

    Attributes:
      inner: the state of the optimiser.
      average: the moving average of the parameters, in float32 or wider.
    """

    inner: Any
    average: Params


def averaged(optimizer: Optimizer, decay: Hyperparameter) -> Optimizer:
    """Keep an exponential moving average of the parameters: a ← d a + (1 − d) w after each step, a = w at the start.

    The average does not change the steps. `training` reads the meta-loss at it with `evaluate_at`:

        optimizer = ml.hyperparameters.averaged(ml.adam(1e-3), 0.99)
        problem = ml.training(task, optimizer, meta_loss, evaluate_at=ml.hyperparameters.averaged_params)

    Args:
      optimizer: a function of θ.
      decay: d in [0, 1), a number or a function of θ.

    Raises:
      TypeError: `optimizer` is not a function of θ, or `decay` is neither a number nor a function of θ.
      ValueError: `decay` is out of range.
    """
    check_optimizer(optimizer)
    if not callable(decay):
        check_number("decay", decay, 0, 1, open_high=True)

    def combined(theta):
        rate = resolve(decay, trees.wide(theta))
        check_number("decay", rate, 0, 1, open_high=True)
        inner = optax.with_extra_args_support(optimizer(theta))

        def init(params):
            return Averaged(inner.init(params), trees.wide(params))

        def update(updates, state, params: Any = None, **extra):
            updates, after = inner.update(updates, state.inner, params, **extra)
            moved = trees.wide(optax.apply_updates(params, updates))
            average = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, state.average, moved)
            return updates, Averaged(after, trees.like(average, state.average))

        return optax.GradientTransformationExtraArgs(init, update)

    return combined


def averaged_params(optimizer_state: Any, params: Params) -> Params:
    """Return the average that `averaged` keeps, for `training(..., evaluate_at=ml.hyperparameters.averaged_params)`.

    Args:
      optimizer_state: the state of an optimiser, which contains that of one `averaged`, also inside of others.
      params: the parameters, whose dtypes the result has.

    Raises:
      ValueError: the state contains no average, or several.
    """
    is_average = lambda node: isinstance(node, Averaged)
    found = [node for node in jax.tree.leaves(optimizer_state, is_leaf=is_average) if is_average(node)]
    if len(found) != 1:
        raise ValueError(
            f"averaged_params needs the state of one ml.hyperparameters.averaged(optimizer, decay); {len(found)} found."
        )
    return trees.like(found[0].average, params)
