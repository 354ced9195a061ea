"""The study of worlds that react from the command line: its folder, an interrupted run, and user errors."""

import functools
import json
import shutil

import numpy as np
import pytest

from experiments.performative import best_reports
from tests.processes import error_line, run_study

TINY = ("size=quick", "seeds=5", "pairs=40", "points=4", "outer_steps=80", "tracker=none")


run = functools.partial(run_study, "performative")


def test_a_run_records_its_results_and_a_resumed_run_computes_only_the_missing_parts(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    for name in ("performative", "reports"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 0
    rows = json.loads((folder / "tables" / "gradients.json").read_text())
    away = [abs(row["gradient"] - row["exact"]) / max(row["standard_error"], 1e-4) for row in rows]
    assert max(away) < 12  # five seeds: t has heavy tails
    assert np.mean(np.array(away) < 3) > 0.8
    held = [row for row in rows if row["problem"] == "single-shot" and row["estimator"] == "backprop"]
    assert all(row["gradient"] == pytest.approx(0.2) for row in held)
    assert min(row["exact"] for row in rows if row["problem"] == "single-shot") < -0.1
    ends = {row["what"]: row for row in json.loads((folder / "tables" / "ends.json").read_text())}
    for name in ("coin, retraining", "coin, full", "brier, alone, backprop", "brier, zero-sum, ES"):
        assert ends[name]["end"] == pytest.approx(ends[name]["closed_form"], abs=0.03)
    kept = (folder / "arrays" / "rounds.npz").read_bytes()
    (folder / "arrays" / "reports.npz").unlink()
    shutil.rmtree(folder / "figures")
    assert run(tmp_path, *TINY, f"resume={folder}").returncode == 0
    assert (folder / "arrays" / "rounds.npz").read_bytes() == kept
    assert (folder / "arrays" / "reports.npz").exists()
    assert (folder / "figures" / "performative.png").exists()
    other = run(tmp_path, *TINY[:-2], "outer_steps=81", "tracker=none", f"resume={folder}")
    assert "was run with outer_steps = 80" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seeds=0"], "seeds must be at least 2; 0 was given"),
        (["world.harm=nan"], "world.harm must be finite; nan was given"),
        (["coin.feedback=0.6"], "feedback must be a number in (-inf, 0.5); 0.6 was given"),
        (["game.bias=inf"], "game.bias must be finite"),
        (["game.feedback=0.9"], "response must return a finite number in [0, 1]; response("),
        (["game.start=1"], "game.start must be a number in (0, 1); 1 was given"),
        (["length=4"], "length must divide horizon; length 4 and horizon 6 were given"),
        (["sigma=0"], "sigma must be a number in (0, inf); 0 was given"),
        (["size=huge"], "size can be: full, quick"),
        (["sizes=quick"], "sizes"),
        (["problem=digits"], "performative has no part 'problem', and takes no problem=digits; its parts are: size, tracker"),
        (["world.speed=1"], "speed"),
    ],
)  # fmt: skip
def test_an_invalid_setting_is_a_one_line_error_and_leaves_no_run_folder(tmp_path, arguments, words):
    assert words in error_line(run(tmp_path, *arguments, "tracker=none"), tmp_path)


@pytest.mark.parametrize(
    ("bias", "feedback", "paid"),
    [(0.25, 0.3, 0.25), (0.1, 0.3, np.nan), (0.2, 0.6, np.nan), (0.25, 0.5, np.nan), (0.4, 0.0, 0.4)],
)
def test_the_best_report_is_given_only_if_it_is_a_maximum_inside_the_interval(bias, feedback, paid):
    assert best_reports(bias, feedback)[1] == pytest.approx(paid, nan_ok=True)
