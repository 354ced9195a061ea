"""`experiments/landscape.py` draws a condition, prints the dimensions and leaves the arrays."""

import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]


def run(folder, *arguments):
    command = [
        sys.executable,
        str(ROOT / "experiments" / "landscape.py"),
        f"folder={folder}",
        "tracker=none",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ)


def test_it_draws_measures_and_keeps_the_arrays(tmp_path):
    result = run(tmp_path, "condition=single", "window=full", "resolution=64", "num_steps=60")
    assert result.returncode == 0, result.stderr
    assert "converged" in result.stdout
    assert "3-point rule" in result.stdout
    (picture,) = tmp_path.glob("*/figures/landscape.png")
    assert picture.stat().st_size > 10_000
    (arrays,) = tmp_path.glob("*/arrays/landscape*.npz")
    stored = np.load(arrays)
    assert stored["measure"].shape == (64, 64)
    np.testing.assert_array_equal(stored["converged"], stored["measure"] < 0)


def test_mistakes_are_one_line_and_code_2(tmp_path):
    mistakes = {
        "condition=sigmoid": "condition must be one of",
        "window=half": "window must be one of",
        "resolution=0": "resolution must be at least 2",
    }
    for argument, words in mistakes.items():
        result = run(tmp_path, argument)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr
        assert "Traceback" not in result.stderr
