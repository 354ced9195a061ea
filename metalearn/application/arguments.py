"""What the command line says beyond Hydra: problem=FILE:FUNCTION, and refusals of what nothing reads."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from metalearn.application.studies import as_the_study_says
from metalearn.words import suggestion

WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
_PROBLEM = re.compile(r"\+{0,2}problem=(.*:.*)", re.DOTALL)
_BENCHMARK = "which choose a benchmark of the library to tune on; leave out these or problem="


def put_options_last(words: list[str]) -> list[str]:
    """Hydra reads values in one place only, and would refuse a key=value behind `--config-dir FOLDER` or `--multirun`."""
    length = lambda word: 2 if word in WITH_VALUE else word in ("-m", "--multirun")
    moved = {place for index, word in enumerate(words) for place in range(index, index + length(word))}
    pick = lambda last: [word for index, word in enumerate(words) if (index in moved) == last]
    return pick(False) + pick(True)


def check_options() -> None:
    """Refuse an unknown option in our one line: argparse would print all of Hydra's options before it.

    Raises:
      ValueError: an option is unknown or lacks its value.
    """
    from hydra._internal.utils import get_args_parser

    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            get_args_parser().parse_args()
        except SystemExit as stop:
            if stop.code:
                reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
                raise ValueError(f"The command line cannot be read: {reason}; values are given as key=value.") from None


def chooses_problem(words: list[str]) -> bool:
    """Whether a command line has problem=..."""
    return any(re.match(r"\+{0,2}problem=", word) for word in words)


def offer_problem_files(words: list[str]) -> list[str]:
    """The command line with every FILE:FUNCTION as an option of the group `problem`, which Hydra then knows."""
    sweep, found = {"-m", "--multirun"} & set(words), {}

    def option(address: str) -> str:
        address = address.strip()
        if address[:1] in "'\"" and address[:1] == address[-1:]:
            address = address[1:-1]
        if ":" not in address:
            return address
        name = re.sub(r"[^\w.:-]", "_", address, flags=re.ASCII).strip("_.") or "study"
        name += "_" * sum(other != address and one == name for other, one in found.items())
        found[address] = name
        node = as_the_study_says(address)
        ConfigStore.instance().store(group="problem", name=name, node=node, provider="metalearn")
        return name

    def rewritten(word: str) -> str:
        if word.startswith("problem.arguments."):
            return f"++{word}"
        given = _PROBLEM.fullmatch(word)
        if not given or given[1].startswith("{"):
            return word
        parts = given[1].split(",") if sweep else [given[1]]
        return "problem=" + ",".join(map(option, parts))

    return [rewritten(word) for word in words]


def choose_own_groups(words: list[str], folder: Path, name: str) -> list[str]:
    """The command line with size=quick as NAME/size=quick, where the experiment has options of its own in NAME/size."""
    own = {part.removeprefix(f"{name}/") for part in _parts(folder, name) if part.startswith(f"{name}/")}

    def rewritten(word: str) -> str:
        key = word.lstrip("+~").partition("=")[0]
        return word.replace(key, f"{name}/{key}", 1) if key in own else word

    return [rewritten(word) for word in words]


def check_parts(words: list[str], folder: Path, name: str) -> None:
    """Refuse group=option where the experiment has no such part.

    Raises:
      ValueError: it has not.
    """
    parts = [part.removeprefix(f"{name}/") for part in _parts(folder, name)]
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    for word in words:
        key = word.lstrip("+~").partition("=")[0].partition("@")[0]
        if "=" in word and key in groups - set(parts):
            if name == "meta_train_problem":
                raise ValueError(f"A problem is tuned without {word.lstrip('+')} and such, {_BENCHMARK}.")
            raise ValueError(
                f"{name} has no part {key!r}, and takes no {word.lstrip('+')}; its parts are: {', '.join(parts)}."
            )


def check_read(config: Any, folder: Path, name: str) -> None:
    """Refuse keys that no file of the configuration has: nothing would read them.

    Raises:
      ValueError: there are some.
    """
    text = OmegaConf.to_yaml(config)
    for place, key, known in _unread(config, _written(folder, name)):
        if f"${{{place}{key}" not in text:
            raise ValueError(
                f"Nothing reads {place}{key}{suggestion(key, known)}; {place.rstrip('.') or name} has: {', '.join(known)}."
            )


def _unread(config: Mapping, written: Mapping, place: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Keys of a configuration that are not written, with their place and those that are."""
    for key in config:
        if key not in written:
            yield place, str(key), list(written)
        elif isinstance(written[key], Mapping) and written[key] and isinstance(config[key], Mapping):
            yield from _unread(config[key], written[key], f"{place}{key}.")


def _written(folder: Path, name: str) -> dict[str, Any]:
    """The keys of a configuration; what groups fill is checked by whoever reads it."""
    keys = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    for part in _parts(folder, name):
        for path in (folder / part).glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            package = re.match(r"# @package ([\w.]+)", text)
            filled = (
                yaml.safe_load(text)
                if package and package[1] == "_global_"
                else {(package[1] if package else part).partition(".")[0]: None}
            )
            keys |= {key: None for key in filled if key not in keys or not keys[key]}
    return {key: value for key, value in keys.items() if key != "defaults"}


def _parts(folder: Path, name: str) -> list[str]:
    """The groups that a configuration has."""
    entries = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]
    return [next(iter(entry)) for entry in entries if isinstance(entry, dict)]
