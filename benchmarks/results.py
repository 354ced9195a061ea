"""Read and write the result files of docs/results, and format tables."""

import json
import pathlib

from metalearn.recording.values import finite, plain, restore

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"


def read(path):
    return restore(json.loads(path.read_text()))


def results(name):
    """Return the rows of a file of docs/results."""
    return read(RESULTS / f"{name}.json") if name else []


def write(path, rows):
    """Write one row per line."""
    lines = ",\n".join(json.dumps(finite(plain(row)), ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


def grid(head, rows):
    line = lambda row: f"| {' | '.join(map(str, row))} |"
    return "\n".join((line(head), "|" + "---|" * len(head), *map(line, rows)))


def percent(share, decimals):
    return f"{100 * share:.{decimals}f} %"
