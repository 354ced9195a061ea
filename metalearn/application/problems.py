"""List the problems that problem=NAME chooses, in compare, landscape, zoom, explain and meta_train."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def main() -> None:
    """A name and the first line of each file of the group."""
    folder = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir()) / "problem"
    first = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in sorted(folder.glob("*.yaml"))}
    for name, line in first.items():
        print(f"  {name:{max(map(len, first))}s}  {line.removeprefix('# ')}")
    print(
        "\nA problem of your own is problem=FILE:FUNCTION; python -m metalearn new my_file.py writes one to start from."
    )


if __name__ == "__main__":
    main()
