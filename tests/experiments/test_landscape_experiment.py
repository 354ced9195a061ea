"""The landscape experiments from the command line: pictures, dimensions, films, resumed runs, one-line errors."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import tables
from metalearn.recording.values import shell_override
from tests.processes import ROOT, run_experiment, run_here


def command(experiment, folder, *arguments):
    script = str(ROOT / "experiments" / f"{experiment}.py")
    return [sys.executable, script, *arguments, f"folder={folder}", "tracker=none"]


def run(experiment, folder, *arguments, how=run_experiment):
    return how(experiment, *arguments, f"folder={folder}", "tracker=none", cwd=folder)


def refused(result, words):
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


SMALL = ("condition=single", "window=full", "resolution=130", "num_steps=100")  # five tiles


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    result = run("landscape", folder, *SMALL)
    assert result.returncode == 0, result.stderr
    return next(folder.iterdir()), result


def test_a_landscape_run_draws_its_figures_and_saves_its_arrays(finished):
    folder, result = finished
    for words in ("converged", "3-point rule", "roundings apart", "published rule"):
        assert words in result.stdout
    assert (folder / "figures/landscape.png").stat().st_size > 10_000
    stored = np.load(folder / "arrays/landscape.npz")
    assert stored["measure"].shape == (130, 130)
    np.testing.assert_array_equal(stored["converged"], stored["measure"] < 0)
    rows = json.loads((folder / "tables/dimensions.json").read_text())
    assert [row["rule"] for row in rows] == ["published rule", "nested boxes", "3-point rule"]


def test_a_rejected_resume_does_not_change_a_finished_run(tmp_path):
    small = ("conditions=[single]", "resolution=33", "num_steps=20")
    assert run("gallery", tmp_path, *small, how=run_here).returncode == 0
    (folder,) = tmp_path.iterdir()
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    larger = ("conditions=[single]", "resolution=34", f"resume={folder}")
    refused(run("gallery", tmp_path, *larger, how=run_here), "was run with")
    refused(run("landscape", tmp_path, f"resume={folder}", how=run_here), "is a run of another experiment")
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before


def test_a_stopped_run_prints_how_to_continue(tmp_path):
    long = command("landscape", tmp_path, "condition=single", "window=full", "resolution=4096", "num_steps=100")
    process = subprocess.Popen(long, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if list(tmp_path.glob("*/status.json")):
            break
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    said, _ = process.communicate()
    assert process.returncode == 130
    (folder,) = tmp_path.iterdir()
    assert shell_override("resume", folder.name) in said.decode()
    assert json.loads((folder / "status.json").read_text())["reason"].startswith("KeyboardInterrupt")


def test_a_killed_run_continues_with_the_remaining_tiles(tmp_path, finished):
    process = subprocess.Popen(command("landscape", tmp_path, *SMALL), cwd=tmp_path, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        tiles = list(tmp_path.glob("*/landscapes/landscape.tiles/*.npz"))
        if len(tiles) >= 2 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = tmp_path.iterdir()
    if not (folder / "landscapes/landscape.npz").exists():
        assert tiles
    before = {path: path.stat().st_mtime_ns for path in tiles}
    other = (*SMALL, "adaptive=true", f"resume={folder}")
    refused(run("landscape", tmp_path, *other, how=run_here), "was run with adaptive = False")
    assert {path: path.stat().st_mtime_ns for path in tiles} == before
    result = run("landscape", tmp_path, *SMALL, f"resume={folder}")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    expected = np.load(finished[0] / "arrays/landscape.npz")
    found = np.load(folder / "arrays/landscape.npz")
    for name in expected.files:
        np.testing.assert_array_equal(found[name], expected[name])
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


SMALL_FILES = (
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def test_a_full_disk_is_a_one_line_error(tmp_path):
    line = [sys.executable, "-c", SMALL_FILES, *command("landscape", tmp_path, *SMALL)]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    refused(result, "cannot be written: file too large. Finished files are kept")
    (status,) = tmp_path.glob("*/status.json")
    assert json.loads(status.read_text())["status"] == "failed"


def test_a_user_defined_problem_has_a_landscape(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\nimport metalearn as ml\n"
        "def powers():\n"
        "    step = lambda s, theta, key: theta['rate'][0] * theta['rate'][1] * s\n"
        "    return ml.InnerProblem(lambda theta, key: jnp.ones(()), step, lambda s, theta, key: s * s)\n"
    )
    (tmp_path / "configs/problem").mkdir(parents=True)
    (tmp_path / "configs/problem/powers.yaml").write_text(
        "name: powers\nbuild: {_target_: mine.powers}\nhorizon: 60\ntheta: {rate: [1.0, 1.0]}\nplane:\n"
        "  x: {_target_: metalearn.landscape.Axis, name: first, low: -0.5, high: 0.51}\n"
        "  y: {_target_: metalearn.landscape.Axis, name: second, low: -0.5, high: 0.51}\n"
        "  directions: {x: {rate: [1.0, 0.0]}, y: {rate: [0.0, 1.0]}}\n"
    )
    result = run("landscape", tmp_path, "--config-dir", "configs", "problem=powers", "resolution=64", "trusted=[mine]")
    assert result.returncode == 0, result.stderr
    (arrays,) = tmp_path.glob("*/arrays/landscape.npz")
    stored = np.load(arrays)
    products = (1 + stored["x"]) * (1 + stored["y"])[:, None]
    np.testing.assert_array_equal(stored["converged"], np.abs(products) < 1)


def test_a_zoom_writes_frames_dimensions_and_a_film(tmp_path):
    arguments = (
        "condition=single",
        "frames=3",
        "resolution=65",
        "num_steps=100",
        "film.images_per_frame=3",
        "film.size=64",
    )
    result = run("zoom", tmp_path, *arguments, how=run_here)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.glob("landscapes/*")} == {
        "settings.json",
        *(f"frame-0{i}.npz" for i in range(3)),
    }
    assert {path.name for path in folder.glob("figures/*")} == {"frames.png", "dimensions.png"}
    assert (folder / "files/zoom.mp4").stat().st_size > 1000
    windows = json.loads((folder / "tables/windows.json").read_text())
    assert [row["width"] for row in windows] == [9, 4.5, 2.25]
    assert windows[1]["pixel_steps"] < windows[0]["pixel_steps"] * 1.5
    (folder / "landscapes/frame-02.npz").unlink()
    kept = (folder / "landscapes/frame-01.npz").stat().st_mtime_ns
    assert run("zoom", tmp_path, *arguments, f"resume={folder}", how=run_here).returncode == 0
    assert (folder / "landscapes/frame-01.npz").stat().st_mtime_ns == kept


def test_a_gallery_draws_conditions_side_by_side(tmp_path):
    result = run("gallery", tmp_path, "conditions=[single,identity]", "resolution=65", "num_steps=40", how=run_here)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob("*/figures/gallery.png"))) == 1
    assert "identity, 40 steps: paper 1.17" in result.stdout
    (written,) = tmp_path.glob("*/tables/dimensions.json")
    assert len(tables.tiles(tables.read(written)).splitlines()) == 4, "the documentation's table is made from it"


@pytest.mark.parametrize(
    ("experiment", "arguments", "words"),
    [
        ("landscape", ["condition=sigmoid"], "condition must be one of"),
        ("landscape", ["window=half"], "window must be one of"),
        ("landscape", ["resolution=0"], "resolution must be at least 2"),
        ("landscape", ["problem=phase_walk"], "has no plane"),
        ("landscape", ["resume=nowhere"], "'nowhere' is not the folder of a run"),
        ("zoom", ["centre=[0.01,0.01]", "frames=6", "resolution=9", "num_steps=50"], "is not on the border"),
        ("zoom", ["centre=[1]"], r"centre must be [x, y]"),
        ("zoom", ["frames=0"], "num_frames must be at least 1; 0 was given"),
        ("zoom", ["factor=0.5"], "factor must be a number in (1, inf); 0.5 was given"),
        ("landscape", ["resolution=1"], "resolution must be at least 2; 1 was given"),
        ("zoom", ["centre=48.3"], r"centre must be [x, y]"),
        ("zoom", ["frames=0"], "num_frames must be at least 1"),
        ("zoom", ["film.size=33"], "size of a film must be even"),
        ("landscape", ["seed=x"], "seed must be a number, such as 0"),
        ("landscape", ["norm=log"], "norm must be one of"),
        ("landscape", ["problem=digits", "num_steps=50"], "give problem.horizon"),
        ("landscape", ["problem=phase_walk", "problem.plane={x:[-3,1],y:[-1,1]}"], "problem.plane must have two axes"),
        ("gallery", ["conditions=single"], "conditions=[single]"),
        ("gallery", ["conditions=[gelu]"], "condition must be one of"),
    ],
)
def test_user_errors_are_one_line_with_exit_code_2(tmp_path, experiment, arguments, words):
    refused(run(experiment, tmp_path, *arguments, how=run_here), words)
