"""Runs collected from folders made by hand: columns, groups, medians, and folders that are skipped."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import yaml

import metalearn as ml
from metalearn.application.collect import collect, read_words
from metalearn.recording.files import RunFolderError

BASE = {"seed": 0, "pairs": 2, "problem": {"name": "walk", "build": {"omega": 1.0}}, "tracker": {"mode": "disabled"}}


def record(folder, name, rows, *overrides, experiment="compare", table="comparison", status="finished", **config):
    """Write what a run records, as far as a collection reads it."""
    place = folder / name
    (place / "tables").mkdir(parents=True)
    (place / "config.yaml").write_text(yaml.safe_dump(BASE | {"folder": str(folder)} | config))
    command = " ".join([f"experiments/{experiment}.py", *overrides, "tracker=none"])
    (place / "provenance.json").write_text(json.dumps({"command": command}))
    (place / "status.json").write_text(json.dumps({"status": status, "reason": "ValueError: sigma"}))
    (place / "tables" / f"{table}.json").write_text(json.dumps(rows))
    return place


def estimators(pes, nres, **more):
    return [{"estimator": "PES", "bias": pes, **more}, {"estimator": "NRES", "bias": nres, **more}]


@pytest.fixture
def sweep(tmp_path):
    """Three seeds for two numbers of pairs; NRES is unknown once."""
    for pairs in (2, 4):
        for seed in range(3):
            nres = "nan" if (pairs, seed) == (4, 1) else 10.0 * pairs
            config = {"pairs": pairs, "seed": seed, "estimators": {"pes": {"num_pairs": pairs}}}
            rows = estimators(pairs + seed**2, nres, fraction_diverged=0.0)
            record(tmp_path, f"{pairs}{seed}-compare", rows, f"seed={seed}", f"pairs={pairs}", "problem=walk", **config)
    return tmp_path


def test_each_estimator_of_each_run_is_a_row_with_overrides_and_seed(sweep):
    (table,) = ml.recording.collect_runs([sweep]).tables.values()
    assert len(table.rows()) == 12
    assert table.rows()[0] == {
        "run": "20-compare", "experiment": "compare", "seed": 0, "pairs": 2, "problem": "walk", "estimator": "PES",
        "bias": 2, "fraction_diverged": 0.0,
    }  # fmt: skip
    assert table.varied == ("estimator", "pairs"), "that num_pairs differs follows from pairs"
    assert table.fixed == {"problem": "walk"}


def test_groups_differ_in_more_than_the_seed(sweep):
    (table,) = ml.recording.collect_runs([sweep]).tables.values()
    found = {(group["estimator"], group["pairs"]): group for group in table.groups}
    assert len(found) == len(table.groups) == 4
    for pairs in (2, 4):
        values = np.array([pairs, pairs + 1, pairs + 4])
        group = found["PES", pairs]
        assert (group["runs"], group["bias"]) == (3, np.median(values))
        assert [group["bias_low"], group["bias_high"]] == np.quantile(values, [0.25, 0.75]).tolist()
    assert found["NRES", 4]["bias_known"] == 2
    assert found["NRES", 4]["bias"] == 40.0
    assert "bias_known" not in found["NRES", 2]
    assert "Not known in every run of a group: bias" in str(table)


def test_differences_without_an_override_separate_groups_and_are_a_column(tmp_path):
    record(tmp_path, "1", estimators(1.0, 2.0))
    record(tmp_path, "2", estimators(1.0, 2.0), seed=1, problem={"name": "walk", "build": {"omega": 2.0}})
    (table,) = ml.recording.collect_runs([tmp_path]).tables.values()
    assert table.varied == ("estimator", "problem.build.omega")
    assert [group["runs"] for group in table.groups] == [1] * 4


def test_a_part_and_an_override_of_one_name_are_two_columns(tmp_path):
    record(tmp_path, "1", estimators(1.0, 2.0), "estimator=[pes,nres]")
    row = ml.recording.collect_runs([tmp_path]).rows()[1]
    assert (row["estimator"], row["given/estimator"]) == ("NRES", "[pes,nres]")


def test_meta_trainings_within_a_run_are_seeds_too(tmp_path):
    labels = ["start", *(f"PES {seed}, {end}" for seed in range(2) for end in ("last", "best")), "Adam 7"]
    rows = [{"label": label, "loss": index} for index, label in enumerate(labels)]
    record(tmp_path, "1", rows, experiment="meta_train", table="evaluation", seeds=2)
    (table,) = ml.recording.collect_runs([tmp_path]).tables.values()
    groups = {group["label"]: (group["runs"], group["loss"]) for group in table.groups}
    assert groups == {"start": (1, 0), "PES, last": (2, 2), "PES, best": (2, 3), "Adam 7": (1, 5)}
    assert table.rows()[3]["repeat"] == 1


def test_ends_of_trajectories_and_missing_dimensions_are_collected(tmp_path):
    place = record(tmp_path, "1", estimators(1.0, 2.0))
    ends = [{"estimator": "PES", "inner_steps": 9, "start 1": 1.0, "start 2": "inf"}, {"estimator": "NRES"}]
    (place / "tables" / "trajectories.json").write_text(json.dumps(ends))
    rules = [{"rule": "a", "dimension": 1.5, "refused": ""}, {"rule": "b", "dimension": 1.9, "refused": "no border"}]
    record(tmp_path, "2", rules, experiment="landscape", table="dimensions")
    found = ml.recording.collect_runs([tmp_path])
    assert [row.get("end_loss") for row in found.tables["compare"].rows()] == [math.inf, None]
    assert [group["dimension"] for group in found.tables["landscape"].groups] == pytest.approx(
        [1.5, math.nan], nan_ok=True
    )
    assert len(found.rows()) == 4


def damaged(folder):
    """Folders that cannot be collected: name -> the words that say why."""
    for name, file, text in (
        ("a", "status.json", '{"status": "fini'),
        ("b", "tables/comparison.json", "[{"),
        ("c", "tables/comparison.json", '{"bias": 1}'),
        ("d", "config.yaml", "seed: [1"),
        ("e", "config.yaml", "- 1"),
        ("f", "provenance.json", "{}"),
        ("g", "provenance.json", '{"command": "a \'b"}'),
        ("h", "status.json", "[]"),
    ):
        (record(folder, name, estimators(1, 2)) / file).write_text(text)
    (record(folder, "i", estimators(1, 2)) / "status.json").unlink()
    record(folder, "j", estimators(1, 2), status="running")
    record(folder, "k", estimators(1, 2), status="failed")
    record(folder, "l", estimators(1, 2), status=None)
    record(folder, "m", [], table="other")
    record(folder, "n", estimators(1, 2), collected=["x"])
    (folder / "o" / "deep").mkdir(parents=True)
    words = dict.fromkeys("abcdefghil", "damaged") | {"j": "unfinished", "k": "failed: ValueError: sigma"}
    return words | {"m": "no table with results", "n": "a collection of other runs", "o": "holds no run"}


def test_folders_without_a_finished_run_are_named_and_skipped(tmp_path):
    words = damaged(tmp_path)
    record(tmp_path, "whole", estimators(1.0, 2.0))
    found = ml.recording.collect_runs([tmp_path])
    assert {row["run"] for row in found.rows()} == {"whole"}
    assert len(found.skipped) == len(words)
    for name, why in words.items():
        (sentence,) = (one for one in found.skipped if f"/{name} " in one)
        assert why in sentence
        assert sentence.endswith(".")


def test_folders_are_given_by_name_by_parent_and_by_wildcards_and_count_once(sweep):
    count = lambda *paths: len(ml.recording.collect_runs(paths).rows())
    assert count(sweep) == count(sweep / "*compare", sweep / "20-compare") == 12
    assert count(sweep / "20-compare") == count(f"{sweep}/20*", sweep / "nothere") == 2
    shutil.copytree(sweep / "20-compare", sweep / "99-compare")
    again = ml.recording.collect_runs([sweep])
    assert len(again.rows()) == 12
    assert again.skipped == ("20-compare has the settings and the seed of 99-compare, which is used.",)


def test_finding_no_run_is_a_clear_error(tmp_path, capsys):
    damaged(tmp_path)
    for paths in ([tmp_path], [tmp_path / "nothere"], []):
        with pytest.raises(RunFolderError, match=r"^No finished run with results was found in [^\n]*\.$"):
            ml.recording.collect_runs(paths)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(RunFolderError):
            collect(paths, tmp_path / "new", "disabled")
        assert sorted(tmp_path.iterdir()) == before
    assert capsys.readouterr().out == ""


def test_tables_and_figures_are_recorded_and_printed(sweep, tmp_path, capsys):
    record(tmp_path, "z", [{"rule": "a", "dimension": 1.5}], experiment="landscape", table="dimensions")
    collect([sweep], tmp_path / "new", "disabled")
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 100 + len(str(tmp_path))
    assert "compare: 6 runs in 4 groups" in told
    (run,) = (tmp_path / "new").iterdir()
    names = {str(path.relative_to(run)) for path in run.rglob("*")}
    for name in ("tables/runs.csv", "tables/runs.json", "tables/compare-groups.csv", "tables/landscape-groups.tex"):
        assert name in names
    for name in ("compare-bias", "compare-fraction_diverged", "landscape-dimension"):
        assert f"figures/{name}.png" in names
    with open(run / "tables" / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert rows[-1]["bias"] == ""
    assert (run / "tables" / "compare-groups.tex").read_text().startswith(r"\begin{tabular}")


@pytest.mark.parametrize("values", [[1.0, 2.0], [math.nan, math.inf], [1e-9, 1e9], [math.nan, math.nan], [0.0, 0.0]])
@pytest.mark.parametrize("setting", [["a", "b"], [1, 1000], [0.5, None]])
def test_every_measure_is_drawn(tmp_path, values, setting):
    for seed in range(2):
        for value, pairs in zip(values, setting):
            rows = estimators(value, -1.0)
            record(tmp_path, f"{seed}-{pairs}", rows, f"pairs={pairs}", seed=seed, pairs=pairs)
    (table,) = ml.recording.collect_runs([tmp_path]).tables.values()
    assert hasattr(table.plot(), "savefig")
    with pytest.raises(ValueError, match="measure must be one of bias"):
        table.plot(measure="colour")


def test_arguments_of_the_collect_command_are_checked():
    assert read_words(["runs"]) == (["runs"], "runs", "offline")
    assert read_words(["a", "b*", "folder=c=d", "tracker=none"]) == (["a", "b*"], "c=d", "disabled")
    for words, why in (
        ([], "needs folders"), (["tracker=none"], "needs folders"), (["a", "traker=none"], "did you mean tracker"),
        (["a", "--all"], "no setting"), (["a", "tracker=wandb"], "tracker must be one of"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            read_words(words)
