"""Read the sweep files of Weights & Biases without it, and list the runs that a file describes."""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from metalearn.inner.checks import check_count
from metalearn.usage import CONFIGS
from metalearn.words import suggestion

METHODS = ("grid", "random")
KEYS = ("program", "method", "metric", "parameters", "command", "run_cap", "name", "description", "project", "entity")
KEYS += ("early_terminate",)
ARGUMENTS = "${args_no_hyphens}"  # in `command`: the place of key=value of every parameter
_FIELDS = ("value", "values", "probabilities", "distribution", "min", "max", "q")
_DISTRIBUTIONS = {  # name -> a number from u, uniform on [0, 1), and the ends
    "uniform": lambda u, low, high: low + u * (high - low),
    "log_uniform_values": lambda u, low, high: math.exp(math.log(low) + u * (math.log(high) - math.log(low))),
    "int_uniform": lambda u, low, high: int(low + math.floor(u * (high - low + 1))),
}


class Sweep(NamedTuple):
    """A sweep.

    Attributes:
      program: the file of the experiment.
      method: "grid" or "random".
      parameters: name -> the description of the parameter in the file.
      words: further words of every command line.
      run_cap: the largest number of runs; None for all of a grid.
    """

    program: Path
    method: str
    parameters: dict[str, Any]
    words: tuple[str, ...]
    run_cap: int | None


def read_sweep(path: str | Path, method: str | None = None) -> Sweep:
    """Read a sweep file: https://docs.wandb.ai/guides/sweeps/sweep-config-keys.

    Args:
      path: the file; a name alone is also looked for in the sweeps of the library.
      method: the method to use instead of that in the file.

    Raises:
      ValueError: the file is missing, is not a sweep file, or needs a feature that only Weights & Biases has.
    """
    found = _read(path)
    program = _program(found["program"])
    method = found["method"] if method is None else method
    if method not in METHODS:
        raise ValueError(
            f"{path} has method {method!r}, which needs Weights & Biases: wandb sweep {path}. Without it, method=random "
            "draws from the same parameters."
        )
    for name, field in found["parameters"].items():
        _check_parameter(str(name), field, method)
    cap = found.get("run_cap")
    if cap is not None:
        check_count("run_cap", cap)
    return Sweep(program, method, dict(found["parameters"]), _fixed_words(path, found.get("command")), cap)


def points(sweep: Sweep, count: int | None, seed: int) -> Iterator[dict[str, Any]]:
    """Yield name -> value of every run.

    Args:
      sweep: the result of `read_sweep`.
      count: the largest number of runs; by default `run_cap`.
      seed: the seed of random parameters. A longer sweep with the same seed begins with the runs of a shorter one.

    Raises:
      ValueError: the method is random and no number of runs is given.
    """
    count = sweep.run_cap if count is None else count
    names = list(sweep.parameters)
    if sweep.method == "grid":
        choices = [_choices(sweep.parameters[name]) for name in names]
        yield from (dict(zip(names, point)) for point in itertools.islice(itertools.product(*choices), count))
        return
    if count is None:
        raise ValueError("A random sweep needs a number of runs: give run_cap in the file, or count=10.")
    for run in range(count):
        drawn = np.random.default_rng([seed, run]).random(len(names))
        yield {name: _draw(sweep.parameters[name], u) for name, u in zip(names, drawn)}


def _read(path) -> dict[str, Any]:
    place = next((one for one in (Path(path), CONFIGS / "sweeps" / Path(path).name) if one.is_file()), None)
    if place is None:
        known = sorted(one.name for one in (CONFIGS / "sweeps").glob("*.yaml"))
        raise ValueError(
            f"There is no sweep file {path}{suggestion(Path(path).name, known)}; the library has: {', '.join(known)}."
        )
    try:
        found = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML ({type(error).__name__}).") from None
    needed = ("program", "method", "parameters")
    if not isinstance(found, dict) or set(needed) - set(found):
        raise ValueError(f"{path} is not a sweep file: it needs {', '.join(needed)}.")
    for key in found:
        if key not in KEYS:
            raise ValueError(
                f"There is no setting {key} of {path}{suggestion(str(key), KEYS)}; it can have: {', '.join(KEYS)}."
            )
    if not isinstance(found["parameters"], dict) or not found["parameters"]:
        raise ValueError(f"parameters of {path} must have entries, such as seed: {{values: [0, 1]}}.")
    return found


def _program(given: Any) -> Path:
    """Return the file of a program: a path from the current folder, or an experiment of the library."""
    places = [Path(str(given)), CONFIGS.parent / "experiments" / Path(str(given)).name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"There is no program {given}; give a path from the current folder, or an experiment.")
    return found


def _fixed_words(path, command) -> tuple[str, ...]:
    """Return the words of a command other than the interpreter, the program and the parameters."""
    if command is None:
        raise ValueError(
            f"{path} has no command, and Weights & Biases would give --key=value to the program, which reads key=value: "
            f'add command: ["${{env}}", "${{interpreter}}", "${{program}}", "{ARGUMENTS}"].'
        )
    words = [str(word) for word in command] if isinstance(command, list) else []
    if ARGUMENTS not in words:
        raise ValueError(f'command of {path} must be a list that contains "{ARGUMENTS}".')
    return tuple(word for word in words if not word.startswith("${") and "=" in word)


def _check_parameter(name: str, field: Any, method: str) -> None:
    """Check one parameter.

    Raises:
      ValueError: the parameter has no values, or its distribution is unknown, or infinite in a grid.
    """
    if not isinstance(field, Mapping) or not {"value", "values", "min"} & set(field):
        raise ValueError(f"Parameter {name} must have a value, values, or min and max; it is {field!r}.")
    for key in field:
        if key not in _FIELDS:
            raise ValueError(f"There is no setting {key} of parameter {name}; it can have: {', '.join(_FIELDS)}.")
    if "value" in field:
        return
    if "values" in field:
        if not isinstance(field["values"], list) or not field["values"]:
            raise ValueError(f"values of parameter {name} must be a list; {field['values']!r} was given.")
        return
    kind = _kind(field)
    if kind not in _DISTRIBUTIONS:
        raise ValueError(
            f"distribution of parameter {name} must be one of {', '.join(_DISTRIBUTIONS)}; {kind!r} was given."
        )
    low: Any = field.get("min")
    high: Any = field.get("max")
    if not _is_real(low) or not _is_real(high) or not low < high or (kind == "log_uniform_values" and low <= 0):
        raise ValueError(
            f"min and max of parameter {name} must be numbers, min below max; {low!r} and {high!r} were given."
        )
    if method == "grid" and kind != "int_uniform":
        raise ValueError(f"A grid needs values of parameter {name}; it has a range.")


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(field: Mapping) -> str:
    whole = all(isinstance(field.get(end), int) for end in ("min", "max"))
    return field.get("distribution") or ("int_uniform" if whole else "uniform")


def _choices(field: Mapping) -> list[Any]:
    if "value" in field:
        return [field["value"]]
    return list(field["values"]) if "values" in field else list(range(field["min"], field["max"] + 1))


def _draw(field: Mapping, u: float) -> Any:
    if "value" in field:
        return field["value"]
    if "values" not in field:
        return _DISTRIBUTIONS[_kind(field)](u, field["min"], field["max"])
    values = field["values"]
    shares = np.cumsum(field.get("probabilities") or [1 / len(values)] * len(values))
    return values[min(int(np.searchsorted(shares, u, side="right")), len(values) - 1)]
