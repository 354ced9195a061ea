"""List the problems that problem=NAME chooses, in compare, landscape, zoom, explain and meta_train."""

import textwrap

from metalearn.usage import CONFIGS, WIDTH


def main() -> None:
    """A name and the first line of each file of the group."""
    files = sorted((CONFIGS / "problem").glob("*.yaml"))
    first = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in files}
    width = max(map(len, first))
    for name, line in first.items():
        indent = " " * (width + 4)
        print(
            textwrap.fill(
                line.removeprefix("# "), WIDTH, initial_indent=f"  {name:{width}s}  ", subsequent_indent=indent
            )
        )
    print("\nA problem of your own is problem=FILE:FUNCTION; python -m metalearn new my_file.py writes one.")


if __name__ == "__main__":
    main()
