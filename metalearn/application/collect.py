"""Collect the results of runs, collect runs/..., in one table with medians and quartiles over seeds, and in figures."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from metalearn.figures import draw_collected, later
from metalearn.recording import Collection, RunFolderError, collect_runs, open_run
from metalearn.recording.run_records import COLLECTED
from metalearn.words import suggestion

MISTAKE = 2
MODES = {"none": "disabled", "offline": "offline", "online": "online"}
SETTINGS = {"folder": "runs", "tracker": "offline"}
USAGE = """\
usage: python -m metalearn collect FOLDER ... [folder=runs] [tracker=offline]

FOLDER is the folder of a run, of a sweep or of several runs, also with wildcards: collect runs
'runs/*compare*'. All runs of one experiment go into one table, with a row for each run, or for each
estimator, optimiser or rule of a run. Groups of runs that differ in the seed only get a median and
quartiles. Tables (CSV, JSON, LaTeX) and a figure for each measured number go into a new run folder.

  folder=FOLDER                  parent of the new run folder
  tracker=none|offline|online    whether to record the tables in Weights & Biases as well"""


class CollectSweep(Callback):
    """A callback of Hydra, which collects the jobs of a sweep after the last one has ended."""

    def on_multirun_end(self, config: Any, **settings: Any) -> None:
        """Collect the jobs of the sweep, in the folder of the sweep."""
        folder = Path(os.path.relpath(config.hydra.sweep.dir))
        mode = config.tracker.mode if "tracker" in config else "disabled"
        try:
            collect([folder], folder, mode)
        except (RunFolderError, ValueError) as error:
            print(f"The sweep was not collected: {error}", file=sys.stderr)


def collect(paths: Sequence[str | Path], folder: str | Path, mode: str) -> Collection:
    """Collect runs, record tables and figures in a new run folder, and print the groups.

    Args:
      paths: as in `collect_runs`.
      folder: the parent of the new run folder.
      mode: the mode of the tracker.

    Raises:
      RunFolderError: there is no run with results, or the folder cannot be written.
    """
    found = collect_runs(paths)
    config = {COLLECTED: sorted({str(row["run"]) for row in found.rows()}), "skipped": list(found.skipped)}
    with open_run(folder, config, name="collect", mode=mode) as run:
        run.table("runs", _complete(found.rows()))
        for experiment, table in found.tables.items():
            print(f"\n{table.title}\n\n{table}\n")
            run.table(f"{experiment}-groups", _complete(table.groups))
            path = run.folder / "tables" / f"{experiment}-groups.tex"
            path.write_text(table.to_latex() + "\n", encoding="utf-8")
            for measure in table.measures:
                run.figure(f"{experiment}-{measure}", later(draw_collected, table, measure=measure))
        for sentence in found.skipped:
            print(f"skipped: {sentence}")
        print(f"tables and figures: {run.folder}")
    return found


def _complete(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that have all columns, as W&B requires; values that do not apply are None."""
    rows = list(rows)
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def read_words(words: Sequence[str]) -> tuple[list[str], str, str]:
    """Return folders, the folder of the result and the mode of the tracker.

    Raises:
      ValueError: no folder is given, or a setting is unknown.
    """
    given = dict(SETTINGS)
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("-") or (equals and key.isidentifier() and key not in SETTINGS and not Path(word).exists()):
            raise ValueError(
                f"collect has no setting {word.partition('=')[0]!r}{suggestion(key, SETTINGS)}; it has: {', '.join(SETTINGS)}."
            )
        if equals and key in SETTINGS:
            given[key] = value
    paths = [word for word in words if word.partition("=")[0] not in SETTINGS or "=" not in word]
    if not paths:
        raise ValueError("collect needs folders of runs, such as python -m metalearn collect runs")
    if given["tracker"] not in MODES:
        raise ValueError(f"tracker must be one of {', '.join(MODES)}; {given['tracker']!r} was given.")
    return paths, given["folder"], MODES[given["tracker"]]


def main() -> None:
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(USAGE)
        return
    try:
        collect(*read_words(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
