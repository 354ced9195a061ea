"""The report from the command line, with the smallest settings."""

import json
import re

from tests.processes import run_experiment, run_here

TINY = (
    "size=quick",
    "problem=toy_regression",
    "problem.horizon=20",
    "problem.length=10",
    "layers=[5,4]",
    "smoothing=[12,13]",
    "sigmas=[0.6,1.0]",
    "cut={points:6,smoothed:2,pairs:32}",
    "trajectories.length_factor=0.02",
    "estimator=[full_es]",
    "zoom={frames:1,resolution:33}",
    "comparison={points:2,pairs:2,episodes:4}",
    "tracker=none",
)


def run(folder, *arguments, how=run_experiment):
    return how("explain", *arguments, f"folder={folder}", cwd=folder)


def test_the_report_contains_every_part(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    page = (folder / "report.html").read_text(encoding="utf-8")
    headings = (
        "not differentiable",
        "Lyapunov law",
        "One cut",
        "Smoothing",
        "Outer trajectories",
        "Signal to noise",
        "border",
    )
    for words in (*headings, "What to use"):
        assert words in page
    for link in re.findall(r'href="([^"]*)"', page):
        assert (folder / link).is_file()
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert len(list((folder / "figures").glob("*.png"))) >= 10


def test_user_errors_are_one_line(tmp_path):
    for arguments, words in (
        (("problem=phase_walk",), "has no plane"),
        (("size=huge",), "size can be: full, half, quick"),
        (("seed=x",), "seed must be a number, such as 0"),
        (("cut.points=2",), "cut.points at least 4"),
        (("+problem.plane.x.scale=log10",), "give problem.plane.sigma"),
        (("sigmas=[]",), "sigmas needs at least one entry"),
    ):
        result = run(tmp_path, *arguments, "tracker=none", how=run_here)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr
        assert "Traceback" not in result.stderr
