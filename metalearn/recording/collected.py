"""The results of several runs of one experiment in one table, with medians and quartiles over seeds."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metalearn import tabular
from metalearn.recording.files import RunFolderError, short
from metalearn.recording.run_records import RunRecord, find_runs, read_run
from metalearn.words import counted

TABLES = ("comparison", "evaluation", "reproductions", "dimensions", "signal")  # the first existing one is collected
PARTS = (
    "benchmark",
    "optimizer",
    "label",
    "estimator",
    "condition",
    "rule",
    "width",
    "place",
)  # of a run, with one row for each
PARTS += ("result/experiment", "quantity")
MEASURES = {  # key -> header, and meaning
    "bias": ("bias", "of the estimator, relative to its own target"),
    "cosine": ("cosine", "between mean estimate and target"),
    "signal_to_noise_per_step": ("SNR", "signal to noise per million inner steps"),
    "end_loss": ("end loss", "meta-loss at the ends of the outer trajectories, mean over the starts"),
    "loss": ("loss", "meta-loss on fresh episodes"),
    "mean_loss": ("mean loss", "validation loss, mean over the training"),
    "final_loss": ("final loss", "validation loss at the end"),
    "test_error": ("test error", "share of wrong test examples at the end"),
    "dimension": ("dimension", "of the border; unknown if it cannot be determined"),
    "snr": ("SNR", "signal to noise per million inner steps"),
    "mean": ("mean", "of the published quantity"),
    "fraction_diverged": ("diverged", "share of the particles, or of the seeds of a training, that diverged"),
}
RUNS = ("runs", "seeds in the group; a value is the median over them, the brackets are the quartiles")
SEEDS = ("seed", "repeat")


@dataclasses.dataclass(frozen=True)
class Collected:
    """The results of several runs of one experiment.

    Attributes:
      experiment: the name of the experiment.
      results: a flat dictionary for each run, or for each estimator (optimiser, rule, …) of each run: the folder, every
        override, the seed, and all numbers. `repeat` numbers the meta-trainings within a run.
      groups: a flat dictionary for each group of results that differ in the seed only: the number of `runs`, the median
        `x` and the quartiles `x_low` and `x_high` over runs with a known x, and their number `x_known` if x is unknown
        in some.
      varied: the columns in which the groups differ; fixed: the other overrides.
    """

    experiment: str
    results: tuple[dict[str, Any], ...]
    groups: tuple[dict[str, Any], ...]
    varied: tuple[str, ...]
    fixed: dict[str, Any]

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text

    @property
    def measures(self) -> list[str]:
        """Return the names of the measured numbers that are summarised."""
        return [key for key in MEASURES if any(_is_number(row.get(key)) for row in self.results)]

    @property
    def title(self) -> str:
        """Return a one-line description."""
        runs = len({row["run"] for row in self.results})
        return f"{self.experiment}: {counted(runs, 'run')} in {counted(len(self.groups), 'group')}"

    def rows(self) -> list[dict[str, Any]]:
        """Return `results`."""
        return list(self.results)

    def _table(self) -> tabular.Table:
        same = ", ".join(f"{key}={value}" for key, value in self.fixed.items())
        partly = [MEASURES[key][0] for key in self.measures if any(f"{key}_known" in group for group in self.groups)]
        notes = [f"All runs have {same}."] * bool(same)
        notes += [f"Not known in every run of a group: {', '.join(partly)}. Medians are over the others."] * bool(
            partly
        )
        columns = {key: (key, "") for key in (*self.varied, *([] if self.varied else ["experiment"]))}
        columns |= {"runs": RUNS} | {key: MEASURES[key] for key in self.measures}
        return tabular.Table(self.title, [_shown(group) for group in self.groups], columns, notes)


class Collection(NamedTuple):
    """The result of `collect_runs`.

    Attributes:
      tables: experiment -> its results.
      skipped: a sentence for each folder that was left out.
    """

    tables: dict[str, Collected]
    skipped: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the results of all experiments."""
        return [row for table in self.tables.values() for row in table.results]


def collect_runs(paths: Iterable[str | Path]) -> Collection:
    """Read run folders into one table for each experiment.

    Args:
      paths: run folders, folders of them, such as "runs" or a sweep, or either with wildcards.

    Raises:
      RunFolderError: there is no run with results.
    """
    paths = list(paths)
    folders, skipped = find_runs(paths)
    records: dict[str, list[tuple[RunRecord, list[dict[str, Any]]]]] = {}
    for record, rows in _read(folders, skipped):
        records.setdefault(record.experiment, []).append((record, rows))
    if not records:
        given = ", ".join(map(str, paths)) or "no folder"
        raise RunFolderError(
            f"No finished run with results was found in {given}. {' '.join(skipped[:3])} Give folders in runs/, or runs."
        )
    return Collection({name: _collected(name, found) for name, found in records.items()}, tuple(skipped))


def _read(folders: Iterable[Path], skipped: list[str]) -> list[tuple[RunRecord, list[dict[str, Any]]]]:
    """Return runs with their results. If runs have the same settings and seed, only the last is kept."""
    kept: dict[str, tuple[RunRecord, list[dict[str, Any]]]] = {}
    for folder in folders:
        try:
            record = read_run(folder)
        except RunFolderError as error:
            skipped.append(str(error))
            continue
        if not (rows := _results(record)):
            skipped.append(f"{short(folder)} has no table with results: {', '.join(TABLES)}.")
            continue
        settings = json.dumps([record.experiment, record.config], sort_keys=True, default=str)
        if settings in kept:
            first, later = sorted([kept[settings], (record, rows)], key=lambda one: one[0].name)
            skipped.append(f"{first[0].name} has the settings and the seed of {later[0].name}, which is used.")
            kept[settings] = later
        else:
            kept[settings] = record, rows
    return list(kept.values())


def _results(record: RunRecord) -> list[dict[str, Any]]:
    """Return the rows of a run that are collected."""
    name = next((one for one in TABLES if record.tables.get(one)), "")
    rows = [_repeat(row, record.config.get("seeds", 1)) for row in record.tables.get(name, [])]
    ends = {row.get("estimator"): row for row in record.tables.get("trajectories", [])}
    for row in rows:
        starts = [value for key, value in ends.get(row.get("estimator"), {}).items() if key.startswith("start ")]
        if starts:
            row["end_loss"] = float(np.mean(starts))
        if row.get("refused"):
            row["dimension"] = math.nan
    return rows


def _repeat(row: Mapping[str, Any], seeds: Any) -> dict[str, Any]:
    """Return a row with the number of the meta-training in a column instead of in the label, as in "PES 1, best"."""
    key = "label" if "label" in row else "optimizer"
    found = re.fullmatch(r"(.*) (\d+)(, last|, best)?", str(row.get(key, "")))
    if not found or not isinstance(seeds, int) or not int(found[2]) < seeds or seeds == 1:
        return dict(row)
    return {**row, key: found[1] + (found[3] or ""), "repeat": int(found[2])}


def _collected(experiment: str, found: Sequence[tuple[RunRecord, list[dict[str, Any]]]]) -> Collected:
    records = [record for record, _ in found]
    columns = _columns(records)
    results, members = [], {}
    for record, rows in found:
        settings = {key: _cell(columns[key](record)) for key in columns}
        same = {key: value for key, value in record.config.items() if key != "seed"}
        for row in rows:
            result = {"run": record.name, "experiment": experiment}
            result |= {f"given/{key}" if key in row and key in PARTS else key: value for key, value in settings.items()}
            result |= {f"result/{key}" if key in result else key: value for key, value in row.items()}
            results.append(result)
            place = json.dumps([same, [result.get(part) for part in PARTS]], sort_keys=True, default=str)
            members.setdefault(place, []).append(result)
    given = [name for key in columns if key not in SEEDS for name in (key, f"given/{key}")]
    groups = [_group(rows, given) for rows in members.values()]
    among = [key for key in dict.fromkeys([*PARTS, *given]) if any(key in group for group in groups)]
    varied = [key for key in among if len({str(group.get(key)) for group in groups}) > 1]
    fixed = {key: groups[0][key] for key in among if key not in varied}
    return Collected(experiment, tuple(results), tuple(groups), tuple(varied), fixed)


def _columns(records: Sequence[RunRecord]) -> dict[str, Callable[[RunRecord], Any]]:
    """Return the settings that are columns: overrides, the seed, and other independent settings that differ."""
    columns: dict[str, Callable[[RunRecord], Any]] = {}
    for record in records:
        for key in record.overrides:
            columns.setdefault(key, lambda one, key=key: one.config.get(key, one.overrides.get(key)))
    columns.pop("seed", None)
    for key in dict.fromkeys(key for record in records for key in record.config if key != "seed"):
        seen: dict[str, set[str]] = {}
        for one in records:
            seen.setdefault(str([get(one) for get in columns.values()]), set()).add(str(one.config.get(key)))
        if any(len(values) > 1 for values in seen.values()):
            columns[key] = lambda one, key=key: one.config.get(key)
    return {"seed": lambda one: one.config.get("seed")} | columns


def _group(rows: Sequence[Mapping[str, Any]], settings: Iterable[str]) -> dict[str, Any]:
    """Return median and quartiles of every measure over the rows of a group."""
    group = {key: rows[0][key] for key in ("experiment", *PARTS, *settings) if key in rows[0]}
    group["runs"] = len(rows)
    for key in MEASURES:
        numbers = [row[key] for row in rows if _is_number(row.get(key))]
        if not numbers:
            continue
        values = np.array([number for number in numbers if not math.isnan(number)], float)
        method = "linear" if np.isfinite(values).all() else "inverted_cdf"
        quartiles = np.quantile(values, (0.5, 0.25, 0.75), method=method) if len(values) else [math.nan] * 3
        group[key] = float(quartiles[0])
        if len(values) > 1:
            group |= {f"{key}_low": float(quartiles[1]), f"{key}_high": float(quartiles[2])}
        if 0 < len(values) < len(rows):
            group[f"{key}_known"] = len(values)
    return group


def _shown(group: dict[str, Any]) -> dict[str, Any]:
    """Return a group for printing, without quartiles if all runs are equal."""
    same = [key for key in MEASURES if f"{key}_low" in group and group[f"{key}_low"] == group[f"{key}_high"]]
    hidden = {f"{key}_{end}" for key in same for end in ("low", "high")}
    return {key: value for key, value in group.items() if key not in hidden}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
