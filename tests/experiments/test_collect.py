"""Small runs of several experiments are collected into one table, and into W&B."""

import json

import pytest

from tests.processes import run_package

FRACTAL = ["condition=single", "num_steps=30", "resolution=64", "tracker=none"]
WALK = ["problem=phase_walk", "estimator=[persistent_es]", "pairs=2", "tracker=none"]
COMMANDS = [
    ["compare", "-m", "seed=0,1", *WALK, "episodes=3", "reference_pairs=4"],
    ["meta_train", *WALK, "outer.num_steps=4", "chunk_length=2", "seeds=2", "judges=4"],
    ["landscape", *FRACTAL],
    ["zoom", *FRACTAL, "frames=2", "film.size=0"],
]


@pytest.mark.slow
def test_collect_reads_the_runs_of_all_experiments(tmp_path):
    for command in COMMANDS:
        run = run_package(*command, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
    result = run_package("collect", "runs", "folder=all", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "wandb sync" in result.stdout
    (run,) = (tmp_path / "all").iterdir()
    rows = json.loads((run / "tables" / "runs.json").read_text())
    assert {row["experiment"] for row in rows} == {"compare", "meta_train", "landscape", "zoom"}
    assert len({row["run"] for row in rows}) == 5
    assert {row["width"] is None for row in rows if row["experiment"] == "zoom"} == {False}
    assert len(list(run.glob("tables/*-groups.tex"))) == 4
    assert list(run.glob("figures/zoom-dimension*.png"))
    assert list(run.glob("wandb/*/**/*.table.json"))
    assert list((tmp_path / "runs").glob("*-sweep/*-collect"))
