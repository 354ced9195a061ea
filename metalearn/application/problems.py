"""List the problems that problem=NAME chooses, in compare, landscape, zoom, explain and meta_train."""

from metalearn.usage import CONFIGS


def main() -> None:
    """Print the name and the first line of each file of the group."""
    files = sorted((CONFIGS / "problem").glob("*.yaml"))
    first = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in files}
    for name, line in first.items():
        print(f"  {name:{max(map(len, first))}s}  {line.removeprefix('# ')}")
    print("\nYour own problem is problem=FILE:FUNCTION; python -m metalearn new my_file.py writes one.")


if __name__ == "__main__":
    main()
