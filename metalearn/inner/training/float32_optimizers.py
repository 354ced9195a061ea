"""Optimisers in float32, whatever the precision of the parameters."""

import optax

from metalearn import trees


def widened(transformation: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The transformation of gradients and parameters in float32 or wider; updates have the dtypes of the gradients.

    In float16 the ε of Adam and the squares of small gradients are zero, and those of large ones infinite; in bfloat16
    a running mean that decays by 0.999 a step stands still. Parameters in float32 or float64 are not touched.
    """
    wide = optax.with_extra_args_support(transformation)

    def init(params):
        return wide.init(trees.wide(params))

    def update(updates, state, params=None, **extra):
        moved, state = wide.update(trees.wide(updates), state, trees.wide(params), **extra)
        return trees.like(moved, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
