"""What the command line says beyond Hydra: problem=FILE:FUNCTION, and refusals of what nothing reads."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from metalearn.application.studies import OF_FILE, as_the_study_says
from metalearn.usage import written
from metalearn.words import suggestion

WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
_FIELD = re.compile(rf"problem\.({'|'.join(OF_FILE)})\b.*", re.DOTALL)  # a file of the group can leave it to a function
_PROBLEM = re.compile(r"\+{0,2}problem=(.*:.*)", re.DOTALL)


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
        if _FIELD.fullmatch(word):
            return f"++{word}"
        given = _PROBLEM.fullmatch(word)
        if not given or given[1].startswith("{"):
            return word
        parts = given[1].split(",") if sweep else [given[1]]
        return "problem=" + ",".join(map(option, parts))

    return [rewritten(word) for word in words]


def check_read(config: Any, folder: Path, name: str) -> None:
    """Refuse keys that no file of the configuration has: nothing would read them.

    Raises:
      ValueError: there are some.
    """
    text = OmegaConf.to_yaml(config)
    for place, key, known in _unread(config, written(folder, name)):
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
