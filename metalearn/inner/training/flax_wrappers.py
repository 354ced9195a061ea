"""Networks written as Flax modules, Linen or NNX, as two pure functions."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_count
from metalearn.inner.training.networks import Network
from metalearn.words import counted

if TYPE_CHECKING:
    from flax import linen as nn
    from flax import nnx


def from_linen(module: "nn.Module", inputs_shape: Sequence[int], *, examples_first: bool = False) -> Network:
    """Wrap a Flax Linen module.

    Where the module's call has an argument `deterministic`, `train` or `training`, it is set by whether a key is given;
    the key itself is the stream "dropout".

    Args:
      module: the module; its parameters are the only variables it may have.
      inputs_shape: the shape of an array to initialise it with, as the module itself takes it, such as (64, 1).
      examples_first: True for the usual layout `[examples, features]`, which Linen's own Dense takes: inputs and
        outputs are transposed.

    Raises:
      TypeError: the module is not an instance of a Linen module, or `inputs_shape` is not a shape.
      ValueError: the module cannot take such inputs, or keeps other variables (running averages), which a training
        state of parameters cannot carry.
    """
    _check_linen(module)
    if isinstance(inputs_shape, int) or not hasattr(inputs_shape, "__iter__"):
        raise TypeError(f"inputs_shape must be the shape of an array, such as (64, 1); {inputs_shape!r} was given.")
    for side in inputs_shape:
        check_count("Every side of inputs_shape", side)
    arguments = inspect.signature(type(module).__call__).parameters

    def mode(key) -> dict[str, Any]:
        settings = {"deterministic": key is None, "train": key is not None, "training": key is not None}
        return {name: value for name, value in settings.items() if name in arguments}

    def variables(key) -> Any:
        return module.init(key, jnp.zeros(tuple(inputs_shape)), **mode(None))

    try:
        others = set(jax.eval_shape(variables, jax.eval_shape(lambda: jax.random.key(0)))) - {"params"}
    except Exception as error:
        raise ValueError(
            f"The module {type(module).__name__} cannot take inputs of shape {tuple(inputs_shape)}: {_reason(error)}"
        ) from error
    if others:
        raise ValueError(
            f"The module keeps the collections {', '.join(sorted(others))} besides its parameters; "
            "training carries parameters only. "
            "Use layers without running averages (LayerNorm or GroupNorm instead of BatchNorm)."
        )

    def apply(params, inputs, key=None):
        rngs = None if key is None else {"dropout": key}
        outputs: Any = module.apply({"params": params}, inputs.T if examples_first else inputs, rngs=rngs, **mode(key))
        return outputs.T if examples_first else outputs

    return Network(lambda key: variables(key)["params"], apply)


def from_nnx(module_factory: "Callable[[nnx.Rngs], nnx.Module]", *, examples_first: bool = False) -> Network:
    """Wrap a Flax NNX module.

    The parameters are the pure dictionary of the module's `nnx.Param` variables. A forward pass builds the module anew
    around them, from streams of the given key in training mode, or in evaluation mode without one; the initial values
    it draws are unused, and compiled away.

    Args:
      module_factory: `rngs -> module`, such as `lambda rngs: MyModule(64, 10, rngs=rngs)`.
      examples_first: True for the usual layout `[examples, features]`, which nnx.Linear takes: inputs and outputs are
        transposed.

    Raises:
      TypeError: `module_factory` is not a function `rngs -> NNX module`; a module itself is one such mistake.
      ValueError: the module keeps other variables (running averages), which a training state of parameters cannot
        carry.
    """

    from flax import nnx

    _check_nnx(module_factory)

    def split(module):
        return nnx.split(module, nnx.Param, nnx.RngState, ...)[1:]

    others = jax.tree.leaves(split(nnx.eval_shape(lambda: module_factory(nnx.Rngs(0))))[2])
    if others:
        raise ValueError(
            f"The module keeps {counted(len(others), 'array')} besides its parameters; "
            "training carries parameters only. "
            "Use layers without running averages (LayerNorm or GroupNorm instead of BatchNorm)."
        )

    def init(key):
        return nnx.to_pure_dict(split(module_factory(nnx.Rngs(key)))[0])

    def apply(params, inputs, key=None):
        module = module_factory(nnx.Rngs(jax.random.key(0) if key is None else key))
        module.eval() if key is None else module.train()
        state = nnx.state(module, nnx.Param)
        nnx.replace_by_pure_dict(state, params)
        nnx.update(module, state)
        outputs = module(inputs.T if examples_first else inputs)
        return outputs.T if examples_first else outputs

    return Network(init, apply)


def _check_linen(module) -> None:
    """Check that a value is an instance of a Linen module."""
    from flax import linen as nn
    from flax import nnx

    if isinstance(module, type):
        raise TypeError(
            f"module must be an instance of a Linen module; the class {module.__name__} was given: call it with its arguments."
        )
    if isinstance(module, nnx.Module):
        raise TypeError(
            f"module must be a Linen module; the NNX module {type(module).__name__} was given: use from_nnx."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an instance of a Linen module; a {type(module).__name__} was given.")


def _check_nnx(factory) -> None:
    """Check that a value is a function `rngs -> NNX module`."""
    from flax import linen as nn
    from flax import nnx

    if isinstance(factory, nnx.Module):
        name = type(factory).__name__
        raise TypeError(
            f"module_factory must be a function of rngs; an instance of {name} was given. Write lambda rngs: {name}(..., rngs=rngs)."
        )
    if isinstance(factory, nn.Module) or (isinstance(factory, type) and issubclass(factory, nn.Module)):
        raise TypeError("module_factory must make an NNX module; a Linen module was given: use from_linen.")
    if not callable(factory):
        raise TypeError(f"module_factory must be a function rngs -> module; a {type(factory).__name__} was given.")
    try:
        made = nnx.eval_shape(lambda: factory(nnx.Rngs(0)))
    except Exception as error:
        raise TypeError(
            "module_factory must be a function of rngs alone, such as lambda rngs: MyModule(64, 10, rngs=rngs); calling it "
            f"failed: {_reason(error)}"
        ) from error
    if not isinstance(made, nnx.Module):
        raise TypeError(f"module_factory must return an NNX module; it returned a {type(made).__name__}.")


def _reason(error) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
