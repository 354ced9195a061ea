"""Help of an experiment and checks of its command line. Only YAML files are read; JAX and Hydra are not imported."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from metalearn.words import suggestion

PACKAGE = Path(__file__).resolve().parent
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir())
WIDTH = 100
_BENCHMARK = "which choose a benchmark of the library to tune on; leave out these or problem="
_FOLDERS = re.compile(r"(?:--config-dir|-cd)=(.*)")
_ELSEWHERE = re.compile(r"--config-(path|name)|-c[pn]$|hydra\.searchpath")
_OPTION = re.compile(r"[\w-]+")
_HELP = """\
{header}

Choose a part with group=option:

{parts}

Change a value with key=value, add one with +key=value, remove one with ~key:

{keys}

{more}  --cfg job            print all values of a run, including those of parts, and stop
  --multirun, -m       every combination of comma-separated values: -m seed=1,2,3
  --config-dir FOLDER  add a folder of your own configurations, with the same groups
  --info               show where the configuration comes from;  --hydra-help  all other options

Your own problem needs no registration. A function in a file that returns an ml.Study is used with
problem=my_file.py:my_problem and its arguments with problem.arguments.NAME=VALUE;
python -m metalearn new my_file.py writes such a file, and python -m metalearn problems lists
those of the library."""


def chooses_problem(words: list[str]) -> bool:
    """Return whether a command line has problem=..."""
    return any(re.match(r"\+{0,2}problem=", word) for word in words)


def configuration(name: str, words: list[str], folder: Path = CONFIGS) -> str:
    """Return the name of an experiment's configuration, which may differ with problem=..."""
    other = f"{name}_problem"
    return other if chooses_problem(words) and (folder / f"{other}.yaml").is_file() else name


def help_text(header: str, folder: Path, name: str, words: list[str]) -> str:
    """Return the text of `--help`: the groups of an experiment, and its keys with the comments of their file.

    Args:
      header: a description of the experiment.
      folder: the folder of the configurations.
      name: the name of the configuration.
      words: the command line; its choices of groups replace the defaults.
    """
    chosen = {part: option for part, option in read_groups(folder, name).items() if isinstance(option, str)}
    chosen |= {word.partition("=")[0]: word.partition("=")[2] for word in words if word.partition("=")[0] in chosen}
    place = lambda part: _place(folder, name, part)
    files = {part: place(part) / f"{option}.yaml" for part, option in chosen.items() if option != "none"}
    texts = [_without_defaults((folder / f"{name}.yaml").read_text(encoding="utf-8"))]
    for part, path in files.items():
        if path.is_file():
            text = textwrap.indent(_without_defaults(path.read_text(encoding="utf-8")), "  ")
            texts.append(f"with {part}={chosen[part]}:\n{text}")
    parts = [
        textwrap.fill(f"{part}: {', '.join(_options([place(part)]))}", WIDTH, subsequent_indent="  ")
        for part in sorted(read_groups(folder, name))
    ]
    more = ""
    if configuration(name, ["problem="], folder) != name:
        more = f"  {name} --help problem=NAME shows the settings for the theta of any problem.\n\n"
    keys = "\n".join(_narrow(line) for line in "\n\n".join(texts).splitlines())
    return _HELP.format(header=header, parts="\n".join(parts), keys=keys, more=more)


def choose_own_groups(words: list[str], folder: Path, name: str) -> list[str]:
    """Return the command line with NAME/size=quick in place of size=quick if the experiment has its own options."""
    own = {part for part in read_groups(folder, name) if (folder / name / part).is_dir()}

    def rewritten(word: str) -> str:
        key = word.lstrip("+~").partition("=")[0]
        return word.replace(key, f"{name}/{key}", 1) if key in own else word

    return [rewritten(word) for word in words]


def check_line(words: list[str], folder: Path, name: str) -> None:
    """Check that the configuration has the groups, options and keys of a command line.

    Raises:
      ValueError: the configuration does not have a group, an option or a key.
    """
    parts, groups = read_groups(folder, name), {path.name for path in folder.iterdir() if path.is_dir()}
    folders, elsewhere = [folder, *_config_folders(words)], any(map(_ELSEWHERE.match, words))
    for word in words:
        key, equals, value = word.partition("=")
        key = key.lstrip("+~").partition("@")[0]
        if not equals or word.startswith("-") or key.partition(".")[0] == "hydra":
            continue
        if key in groups - set(parts):
            if name == "meta_train_problem":
                raise ValueError(f"A problem is tuned without {word.lstrip('+')} and such, {_BENCHMARK}.")
            raise ValueError(
                f"{name} has no part {key!r}, and takes no {word.lstrip('+')}; its parts are: {', '.join(parts)}."
            )
        if elsewhere or word.startswith(("~", "+")):
            continue
        if key in parts:
            _check_options(key, value, _options([_place(one, name, key) for one in folders]))
        elif len(folders) == 1:
            _check_key(key, written(folder, name))


def written(folder: Path, name: str) -> dict[str, Any]:
    """Return the keys of a configuration; the contents of groups are checked when they are read."""
    keys = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    for part in read_groups(folder, name):
        for path in _place(folder, name, part).glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            package = re.match(r"# @package ([\w.]+)", text)
            filled = (
                yaml.safe_load(text)
                if package and package[1] == "_global_"
                else {(package[1] if package else part).partition(".")[0]: None}
            )
            keys |= {key: None for key in filled if key not in keys or not keys[key]}
    return {key: value for key, value in keys.items() if key != "defaults"}


def read_groups(folder: Path, name: str) -> dict[str, Any]:
    """Return the groups of a configuration and their defaults; NAME/size is called size."""
    entries = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")).get("defaults", [])
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    group = lambda part: str(part).removeprefix("override ").lstrip("/").removeprefix(f"{name}/")
    return {group(part): option for part, option in pairs}


def _place(folder: Path, name: str, part: str) -> Path:
    """Return the folder of the options of a group: that of the experiment if there is one, else the common one."""
    own = folder / name / part
    return own if own.is_dir() else folder / part


def _options(places: list[Path]) -> list[str]:
    return sorted({path.stem for place in places for path in place.glob("*.yaml")})


def _config_folders(words: list[str]) -> Iterator[Path]:
    """Return the folders given by --config-dir."""
    for word, following in zip(words, [*words[1:], ""]):
        given = _FOLDERS.fullmatch(word)
        place = given[1] if given else following if word in ("--config-dir", "-cd") else None
        if place is None:
            continue
        if not Path(place).is_dir():
            raise ValueError(f"--config-dir must be a folder of configurations; there is no folder {place or 'named'}.")
        yield Path(place)


def _check_options(part: str, value: str, known: list[str]) -> None:
    if value.lstrip("'\"").startswith("{"):
        return
    for option in re.split(r"[\[\],]", value.strip("'\" ")):
        option = option.strip("'\" ")
        if _OPTION.fullmatch(option) and option not in (*known, "null"):
            raise ValueError(
                f"{part}={option} is not available{suggestion(option, known)}; {part} can be: {', '.join(known)}."
            )


def _check_key(key: str, known: Mapping) -> None:
    place = ""
    for part in key.split("."):
        if part not in known:
            raise ValueError(
                f"There is no configuration key {key!r}{suggestion(part, known)}; {place or 'the configuration'} has: "
                f"{', '.join(map(str, known))}."
            )
        known, place = known[part], f"{place}.{part}".lstrip(".")
        if not isinstance(known, Mapping) or not known:
            return


def _without_defaults(text: str) -> str:
    """Return the lines of a YAML file without its first comment and its list of defaults."""
    return re.sub(r"\A(#.*\n)*", "", re.sub(r"^defaults:\n(  .*\n)*", "", text, flags=re.MULTILINE)).strip("\n")


def _narrow(line: str) -> str:
    """Return a line of YAML, with its comment continued on the next lines if it is too long."""
    code, mark, comment = line.partition("  # ")
    if len(line) <= WIDTH or not mark:
        return line
    return textwrap.fill(
        comment, WIDTH, initial_indent=f"{code}{mark}", subsequent_indent=" " * len(code) + mark, break_on_hyphens=False
    )
