"""The arguments and attributes by which a Flax module tells training from evaluation."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Settings = dict[str, Any]
Mode = tuple[Settings, Settings]  # arguments of the call, attributes of the module

KNOWN = {  # arguments of a call that are set where it has them: the values in training and in evaluation
    "deterministic": (False, True),
    "train": (True, False),
    "training": (True, False),
    "use_running_average": (False, True),
}


def find_flags(
    module: type, has_attribute: Callable[[str], bool], flags: Mapping[str, tuple[Any, Any]] | None
) -> tuple[Mode, Mode]:
    """What a module is given in training, and in evaluation.

    Args:
      module: its class.
      has_attribute: whether the module has an attribute of a name.
      flags: name -> (value in training, value in evaluation), beside those that are known.

    Raises:
      TypeError: `flags` is of another form.
      ValueError: a flag is neither an argument of the call nor an attribute, or an argument without a default is none.
    """
    given = _checked({} if flags is None else flags)
    parameters = list(inspect.signature(module.__call__).parameters.values())[1:]
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters)
    arguments = {name: pair for name, pair in KNOWN.items() if name in named}
    attributes = {}
    for name, pair in given.items():
        if name in named or (anything and not has_attribute(name)):
            arguments[name] = pair
        elif has_attribute(name):
            attributes[name] = pair
        else:
            raise ValueError(
                f"flags names {name!r}, which is neither an argument of the call of {module.__name__} (its arguments are "
                f"{', '.join(one.name for one in parameters) or 'none'}) nor an attribute of the module."
            )
    _check_complete(module, parameters, arguments)
    training, evaluation = (
        tuple({name: pair[mode] for name, pair in pairs.items()} for pairs in (arguments, attributes))
        for mode in (0, 1)
    )
    return (training[0], training[1]), (evaluation[0], evaluation[1])


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


def _check_complete(module, parameters, arguments) -> None:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [one.name for one in parameters[1:] if one.kind in kinds and one.default is one.empty]
    missing = [name for name in needed if name not in arguments]
    if missing:
        raise ValueError(
            f"The call of {module.__name__} needs the argument {missing[0]!r} beside the inputs. Give its values in training "
            f"and in evaluation: flags={{{missing[0]!r}: (True, False)}}."
        )
