"""Run an experiment by name: `python -m metalearn EXPERIMENT key=value ...`, or the console command `metalearn`."""

import ast
import runpy
import sys
from pathlib import Path

from metalearn.exit_codes import MISTAKE
from metalearn.usage import CONFIGS, check_line, configuration, help_text
from metalearn.words import suggestion

PACKAGE = Path(__file__).resolve().parent
COMMANDS = {
    "check": "application/check.py",
    "collect": "application/collect.py",
    "new": "application/new.py",
    "problems": "application/problems.py",
    "sweep": "application/sweep.py",
    "verify": "application/verify.py",
}  # commands other than experiments: name -> file in the package, run as a script

USAGE = """\
usage: python -m metalearn EXPERIMENT key=value ...

{commands}

python -m metalearn EXPERIMENT --help lists the settings of an experiment and their allowed values."""


def find_commands() -> dict[str, Path]:
    """Return the file of every experiment and command, by name.

    An installed package contains the folder of experiments; in a checkout it is next to the package.
    """
    folder = next(path for path in (PACKAGE / "experiments", PACKAGE.parent / "experiments") if path.is_dir())
    experiments = {path.stem: path for path in sorted(folder.glob("*.py"))}
    return experiments | {name: PACKAGE / file for name, file in COMMANDS.items()}


def documentation(path: Path) -> str:
    """Return the docstring of a file without running it."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def answers(name: str, path: Path, words: list[str]) -> bool:
    """Print the help of an experiment if the words ask for it, and check the words, in milliseconds.

    Raises:
      ValueError: a word is not valid for this experiment.
    """
    chosen = configuration(name, words)
    if not (CONFIGS / f"{chosen}.yaml").is_file():
        return False
    if {"--help", "-h"} & set(words):
        print(help_text(documentation(path), CONFIGS, chosen, words))
        return True
    check_line(words, CONFIGS, chosen)
    return False


def usage(commands: dict[str, Path]) -> str:
    """Return the help text: every command with the first line of its docstring."""
    width = max(map(len, commands))
    first_line = lambda path: documentation(path).partition("\n")[0]
    lines = (f"  {name:{width}s}  {first_line(path)}" for name, path in commands.items())
    return USAGE.format(commands="\n".join(lines))


def main() -> None:
    """Run the command named by the first argument, and pass the other arguments to it."""
    commands, (name, *others) = find_commands(), sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(usage(commands))
    elif name in commands:
        sys.argv[1:] = others
        try:
            if answers(name, commands[name], others):
                return
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(MISTAKE)
        runpy.run_path(str(commands[name]), run_name="__main__")
    else:
        known = ", ".join(commands)
        print(
            f"error: There is no experiment {name!r}{suggestion(name, commands)}; there are: {known}.", file=sys.stderr
        )
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
