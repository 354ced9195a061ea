"""Arguments of the command line beyond Hydra: problem=FILE:FUNCTION, and checks of options and keys."""

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
_FIELD = re.compile(rf"problem\.({'|'.join(OF_FILE)})\b.*", re.DOTALL)  # may be missing in a file of the group
_PROBLEM = re.compile(r"\+{0,2}problem=(.*:.*)", re.DOTALL)


def put_options_last(words: list[str]) -> list[str]:
    """Move options to the end: Hydra does not accept a key=value after `--config-dir FOLDER` or `--multirun`."""
    length = lambda word: 2 if word in WITH_VALUE else word in ("-m", "--multirun")
    moved = {place for index, word in enumerate(words) for place in range(index, index + length(word))}
    pick = lambda last: [word for index, word in enumerate(words) if (index in moved) == last]
    return pick(False) + pick(True)


def check_options() -> None:
    """Check the options, so that an error has one line; argparse would also print all of Hydra's options.

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
    """Return the command line with every FILE:FUNCTION registered in Hydra as an option of the group `problem`."""
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
    """Check that the files of the configuration have all keys; other keys would have no effect.

    Raises:
      ValueError: a key is unknown.
    """
    text = OmegaConf.to_yaml(config)
    for place, key, known in _unread(config, written(folder, name)):
        if f"${{{place}{key}" not in text:
            raise ValueError(
                f"There is no setting {place}{key}{suggestion(key, known)}; {place.rstrip('.') or name} has: "
                f"{', '.join(known)}."
            )


def _unread(config: Mapping, written: Mapping, place: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Return the unknown keys of a configuration, with their place and the known keys there."""
    for key in config:
        if key not in written:
            yield place, str(key), list(written)
        elif isinstance(written[key], Mapping) and written[key] and isinstance(config[key], Mapping):
            yield from _unread(config[key], written[key], f"{place}{key}.")
