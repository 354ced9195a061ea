"""Optimisers that compute in float32 or wider for parameters of any precision."""

import optax

from metalearn import trees


def widened(transformation: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Run a transformation on gradients and parameters in float32 or wider. Updates have the dtypes of the gradients.

    In float16, Adam's ε and the squares of small gradients are rounded to zero, and the squares of large ones overflow.
    In bfloat16, a running mean with decay 0.999 does not change, because of rounding. Parameters in float32 or float64
    are not affected.
    """
    wide = optax.with_extra_args_support(transformation)

    def init(params):
        return wide.init(trees.wide(params))

    def update(updates, state, params=None, **extra):
        moved, state = wide.update(trees.wide(updates), state, trees.wide(params), **extra)
        return trees.like(moved, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
