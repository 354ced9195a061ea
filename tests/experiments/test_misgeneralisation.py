"""The study of goals that generalise wrongly from the command line: its folder, an interrupted run, and user errors."""

import functools
import json
import shutil

import numpy as np
import pytest

from tests.processes import error_line, run_study

TINY = (
    "size=quick", "world.size=3", "world.hidden=1", "world.places=2", "horizon=4", "length=2", "pairs=2", "episodes=10",
    "tests=2", "probe.seeds=0", "tracker=none",
)  # fmt: skip


run = functools.partial(run_study, "misgeneralisation")


def test_a_run_records_its_results_and_a_resumed_run_computes_only_the_missing_parts(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    for name in ("methods", "mixtures"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 0
    assert next(folder.glob("episodes.*")).stat().st_size > 0
    rows = json.loads((folder / "tables" / "rewards.json").read_text())
    assert [row["training"] for row in rows] == ["right guides", "20 % wrong"]
    kept = np.load(folder / "arrays" / "NRES.npz")
    assert kept["reward"].shape == (2, 2, 21, 4)
    np.testing.assert_array_equal(kept["reward"][0, :, 0], kept["reward"][1, :, 0])  # the same first weights and tests
    before = (folder / "arrays" / "NRES.npz").read_bytes()
    shutil.rmtree(folder / "figures")
    assert run(tmp_path, *TINY, f"resume={folder}").returncode == 0
    assert (folder / "arrays" / "NRES.npz").read_bytes() == before
    assert (folder / "figures" / "mixtures.png").exists()
    other = run(tmp_path, *TINY, "tests=3", f"resume={folder}")
    assert "was run with tests = 2" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seeds=0"], "seeds must be at least 1; 0 was given"),
        (["length=3"], "horizon 40 is not a multiple of length 3"),
        (["methods=[BPTT]"], "Every one of methods must be one of"),
        (["mixed_by=ES"], "mixed_by must be one of NRES"),
        (["sigma=0"], "sigma must be a number in (0, inf)"),
        (["world.hidden=0"], "hidden must be at least 1"),
        (["world.places=25"], "places must be fewer than the 25 cells"),
        (["+mixtures.half.right=0.5"], "must sum to 1"),
        (["probe.num_steps=15"], "probe.num_steps must be a multiple of 10; 15 was given"),
        (["probe.outer_steps=0"], "probe.outer_steps must be at least 1"),
        (["problem=digits"], "has no part 'problem'"),
    ],
)
def test_an_invalid_setting_is_a_one_line_error_and_leaves_no_run_folder(tmp_path, arguments, words):
    assert words in error_line(run(tmp_path, "size=quick", *arguments, "tracker=none"), tmp_path)
