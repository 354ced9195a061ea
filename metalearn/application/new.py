"""Write a template of a problem file: new my_file.py for a network, or with --kind map for an iterated map."""

import shlex
import sys
from pathlib import Path

from metalearn.exit_codes import MISTAKE

TEMPLATES = Path(__file__).resolve().parent / "templates"
USAGE = "usage: python -m metalearn new my_file.py [--kind network|map]"


def write_template(words: list[str]) -> str:
    """Write the requested file, and print the next command.

    Raises:
      ValueError: no file name is given, or the file already exists.
    """
    kinds = sorted(path.stem for path in TEMPLATES.glob("*.txt"))
    kind, rest = "network", []
    left = iter(words)
    for word in left:
        if word == "--kind" or word.startswith("--kind="):
            kind = word.partition("=")[2] or next(left, "")
        else:
            rest.append(word)
    if len(rest) != 1 or not rest[0].endswith(".py"):
        raise ValueError(
            f"new needs the name of one file that ends in .py; {' '.join(rest) or 'nothing'} was given. {USAGE}"
        )
    if kind not in kinds:
        raise ValueError(f"--kind must be one of {', '.join(kinds)}; {kind!r} was given.")
    path = Path(rest[0])
    address = shlex.quote(f"{path}:my_problem")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent}.")
    text = (TEMPLATES / f"{kind}.txt").read_text(encoding="utf-8").format(address=address)
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ValueError(f"{path} already exists and was not changed; choose another name.") from None
    return f"wrote {path}; next: python -m metalearn check {address}"


def main() -> None:
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(USAGE)
        return
    try:
        print(write_template(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
