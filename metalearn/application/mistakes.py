"""Distinguish a mistake in the configuration, reported as one sentence, from a bug, reported with its traceback.

A mistake is
* an error that Hydra or OmegaConf raises while it composes or reads the configuration;
* an error of one of the types in `_REFUSALS` that a factory raises while `hydra.utils.instantiate` calls it;
* an error that says that the memory does not suffice;
* a ValueError, TypeError, ImportError, OSError or NotImplementedError that a `raise` statement of metalearn or of the
  experiment throws.

Everything else is a bug. This includes errors of these types that an operator or another library raises outside of a
factory.
"""

import dis
import re
import sys
from types import TracebackType

import yaml
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from metalearn.recording.files import RunFolderError
from metalearn.words import suggestion

_EXHAUSTED = "RESOURCE_EXHAUSTED"  # how JAX says that no more memory can be had
_REFUSALS = (ValueError, TypeError, ImportError, OSError, NotImplementedError)


def sentence(error: BaseException) -> str | None:
    """Return the sentence that reports a mistake in the configuration, or None for a bug."""
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, OverrideParseException):
        reason = str(error).strip().splitlines()[1:2] or ["it is not an override"]
        return f"The override {error.override!r} cannot be read: {reason[0].rstrip('.')}. Write key=value, in quotes."
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        return _omegaconf(error.__cause__, adding=str(error).startswith("Could not append"))
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf(error)
    if isinstance(error, RunFolderError):
        return str(error)
    if isinstance(error, HydraException):
        return _one_line(str(error))
    if isinstance(error, yaml.YAMLError):
        return f"A configuration file is not valid YAML: {_one_line(str(error))}."
    if isinstance(error, MemoryError) or (type(error).__name__.endswith("RuntimeError") and _EXHAUSTED in str(error)):
        return (
            f"The memory does not suffice: {_first_line(error)}. Choose a smaller resolution, or fewer pairs, episodes or "
            "steps."
        )
    if isinstance(error, _REFUSALS) and _on_purpose(error) and _is_ours(error):
        return _one_line(str(error))
    return None


def _instantiation(error: InstantiationException) -> str | None:
    """Return the message of the factory that raised, with the place in the configuration before it."""
    place = re.search(r"\nfull_key: (\S+)", str(error))
    prefix = f"{place[1]}: " if place else ""
    cause = error.__cause__
    if cause is None:
        return prefix + _one_line(str(error).partition("\nfull_key:")[0])
    if str(error).startswith("Error locating target"):
        return _locating(error, prefix)
    if isinstance(cause, HydraException | OmegaConfBaseException):
        inner = sentence(cause)
        return inner and prefix + inner
    if not isinstance(cause, _REFUSALS):
        return None
    if _on_purpose(cause):
        return prefix + _one_line(str(cause))
    if not _is_ours(cause):
        return None
    target = re.search(r"'([^']*)'", str(error))
    return f"{prefix}{_one_line(str(cause)).rstrip('.')}; check the values given to {target[1] if target else 'it'}."


def _locating(error: InstantiationException, prefix: str) -> str | None:
    """Describe a target that cannot be imported. A module that is found but fails on import has a bug: return None."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if not isinstance(root, ImportError | AttributeError | ValueError):
        return None
    target = re.search(r"target '([^']*)'", str(error))
    named = f"_target_ {target[1]!r}" if target else "The _target_"
    module, _, name = target[1].rpartition(".") if target else ("", "", "")
    if module in sys.modules and not hasattr(sys.modules[module], name):
        known = [entry for entry in vars(sys.modules[module]) if not entry.startswith("_")]
        return f"{prefix}{named} does not exist: {module} has no {name}{suggestion(name, known)}."
    return f"{prefix}{named} cannot be imported: {_one_line(str(root)).rstrip('.')}. The current folder is searched as well."


def _missing_config(error: MissingConfigException) -> str:
    if error.missing_cfg_file is None or error.options is None:
        return _one_line(str(error).partition("\nSearch path:")[0].partition("\nConfig search path:")[0])
    group, _, choice = error.missing_cfg_file.rpartition("/")
    options = ", ".join(sorted(error.options)) or "none"
    return f"{group}={choice} is not available{suggestion(choice, error.options)}; {group} can be: {options}."


def _omegaconf(error: OmegaConfBaseException, adding: bool = False) -> str:
    key = str(error.full_key or error.key or "The configuration")
    if isinstance(error, MissingMandatoryValue):
        return f"{key} has no value yet; give one with {key}=<value>."
    if isinstance(error, InterpolationKeyError):
        return f"{key} refers to a configuration key that does not exist: {_first_line(error)}."
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and not adding:
        known = [str(name) for name in error.parent_node or () if name != "hydra"]
        parent = key.rpartition(".")[0]
        return (
            f"There is no configuration key {key!r}{suggestion(key.rpartition('.')[2], known)}; "
            f"{parent or 'the configuration'} has: {', '.join(known) or 'no keys'}. Add a new key with +{key}=<value>."
        )
    return f"{key}: {_first_line(error)}."


def _on_purpose(error: BaseException) -> bool:
    """Return whether a `raise` statement threw the error: it is the last instruction of the innermost frame."""
    innermost = _innermost(error)
    return (
        innermost is not None and dis.opname[innermost.tb_frame.f_code.co_code[innermost.tb_lasti]] == "RAISE_VARARGS"
    )


def _is_ours(error: BaseException) -> bool:
    """Return whether the error comes from code of metalearn, of the experiment, or from Hydra's call of a factory."""
    innermost = _innermost(error)
    return innermost is not None and innermost.tb_frame.f_globals.get("__name__", "").partition(".")[0] in (
        "metalearn",
        "__main__",
        "hydra",
    )


def _innermost(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())
