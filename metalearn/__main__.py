"""`python -m metalearn EXPERIMENT key=value ...`, and the `metalearn` command: every experiment, wherever the package is installed."""

import ast
import runpy
import sys
from pathlib import Path

from metalearn.words import suggestion

PACKAGE = Path(__file__).resolve().parent
MISTAKE = 2  # the exit code of `metalearn.application`, which is not imported here: a list needs no JAX
COMMANDS = {
    "check": "application/check.py",
    "new": "application/new.py",
    "problems": "application/problems.py",
}  # commands that are no experiments: name -> file of the package, run as a script

USAGE = """\
usage: python -m metalearn EXPERIMENT key=value ...

{commands}

python -m metalearn EXPERIMENT --help lists the values of one and what they can be."""


def find_commands() -> dict[str, Path]:
    """The file of every experiment and command. Experiments lie in the package when it is installed, beside it in a checkout."""
    folder = next(path for path in (PACKAGE / "experiments", PACKAGE.parent / "experiments") if path.is_dir())
    experiments = {path.stem: path for path in sorted(folder.glob("*.py"))}
    return experiments | {name: PACKAGE / file for name, file in COMMANDS.items()}


def usage(commands: dict[str, Path]) -> str:
    """The commands with the first line of their documentation."""
    width = max(map(len, commands))
    first_line = lambda path: (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    lines = (f"  {name:{width}s}  {first_line(path)}" for name, path in commands.items())
    return USAGE.format(commands="\n".join(lines))


def main() -> None:
    """Run the command that the first argument names, as `python experiments/<name>.py` with the others."""
    commands, (name, *others) = find_commands(), sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(usage(commands))
    elif name in commands:
        sys.argv[1:] = others
        runpy.run_path(str(commands[name]), run_name="__main__")
    else:
        known = ", ".join(commands)
        print(
            f"error: There is no experiment {name!r}{suggestion(name, commands)}; there are: {known}.", file=sys.stderr
        )
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
