"""The arguments and attributes with which a module distinguishes training from evaluation."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Flags = Mapping[str, tuple[Any, Any]]
Settings = dict[str, Any]
Mode = tuple[Settings, Settings]  # arguments of the call, attributes of the module

KNOWN = {  # arguments that are set if the call has them: the values in training and in evaluation
    "deterministic": (False, True),
    "train": (True, False),
    "training": (True, False),
    "use_running_average": (False, True),
}


def find_flags(
    name: str,
    parameters: list[inspect.Parameter],
    has_attribute: Callable[[str], bool],
    flags: Flags | None,
    known: Flags = KNOWN,
) -> tuple[Mode, Mode]:
    """Return the values of flags in training, and in evaluation.

    Args:
      name: the name of the module in messages.
      parameters: the parameters of its call, the inputs first.
      has_attribute: `name -> bool`, whether the module has an attribute of this name.
      flags: name -> (value in training, value in evaluation), in addition to `known`.
      known: such pairs for common arguments, which are used if the call has these arguments.

    Raises:
      TypeError: `flags` is not a dictionary of pairs.
      ValueError: a flag is neither an argument of the call nor an attribute, or an argument without a default has no
        flag.
    """
    given = _checked({} if flags is None else flags)
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters)
    arguments = {flag: pair for flag, pair in known.items() if flag in named}
    attributes = {}
    for flag, pair in given.items():
        if flag in named or (anything and not has_attribute(flag)):
            arguments[flag] = pair
        elif has_attribute(flag):
            attributes[flag] = pair
        else:
            raise ValueError(
                f"flags names {flag!r}, which is neither an argument of the call of {name} (its arguments are "
                f"{', '.join(one.name for one in parameters) or 'none'}) nor an attribute of the module."
            )
    _check_complete(name, parameters, arguments)
    training, evaluation = (
        tuple({flag: pair[mode] for flag, pair in pairs.items()} for pairs in (arguments, attributes))
        for mode in (0, 1)
    )
    return (training[0], training[1]), (evaluation[0], evaluation[1])


def call_parameters(module: type) -> list[inspect.Parameter]:
    """Return the parameters of the call of a module, the inputs first."""
    return list(inspect.signature(module.__call__).parameters.values())[1:]


def _checked(flags) -> dict[str, tuple[Any, Any]]:
    pairs = isinstance(flags, Mapping) and all(
        isinstance(one, tuple | list) and len(one) == 2 for one in flags.values()
    )
    if not pairs or not all(isinstance(name, str) for name in flags):
        raise TypeError(
            "flags must be a dictionary of pairs (value in training, value in evaluation), such as "
            f"{{'is_training': (True, False)}}; {flags!r} was given."
        )
    return {name: tuple(pair) for name, pair in flags.items()}


def _check_complete(name, parameters, arguments) -> None:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [one.name for one in parameters[1:] if one.kind in kinds and one.default is one.empty]
    missing = [one for one in needed if one not in arguments]
    if missing:
        raise ValueError(
            f"The call of {name} needs the argument {missing[0]!r} in addition to the inputs. Give its values in "
            f"training "
            f"and in evaluation: flags={{{missing[0]!r}: (True, False)}}."
        )
