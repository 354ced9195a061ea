"""User-defined problems in a file: every experiment accepts them, or a one-line error explains why not."""

import json

import numpy as np
import pytest
import yaml

from metalearn.application.new import write_template
from tests.processes import ROOT, run_here

STRANGERS = '''
import jax
import jax.numpy as jnp
import numpy as np
import metalearn as ml

Axis, Plane = ml.landscape.Axis, ml.landscape.Plane
AXES = Axis("a", -2.0, 1.0), Axis("b", -1.0, 1.0)


def tree(width=3):
    """Theta is a nested dictionary."""
    def step(state, theta, key):
        return state - jnp.exp(theta["rates"]["log"]) * (state - theta["goal"])
    theta = {"rates": {"log": np.array(-1.0)}, "goal": np.array([0.3], np.float32)}
    place = lambda x, y: {"rates": {"log": x}, "goal": jnp.stack([y])}
    problem = ml.InnerProblem(lambda theta, key: jax.random.normal(key, (width,)), step, lambda s, theta, key: jnp.sum(s**2))
    return ml.Study(problem, theta, 6, 2, name="a tree", plane=Plane(*AXES, place), labels={"goal/0": "goal (metres)"})


def scalar():
    """Theta is one number: no plane."""
    problem = ml.InnerProblem(lambda theta, key: 0 * theta + 1.0, lambda s, t, k: s * (1 - t), lambda s, t, k: s**2)
    return ml.Study(problem, 0.5, 6, box=(0.0, 1.0))


def integers():
    """The state holds whole numbers only."""
    def step(state, theta, key):
        return state + (jax.random.uniform(key) < jax.nn.sigmoid(theta[0])).astype(int)
    problem = ml.InnerProblem(lambda theta, key: jnp.array(0), step, lambda s, t, k: (s - 2.0) ** 2 + 0 * t[1])
    return ml.Study(problem, jnp.zeros(2), 6, 3, plane=Plane(*AXES, lambda x, y: jnp.stack([x, y])))


def loop():
    """A while loop in the step: no reverse mode."""
    def step(state, theta, key):
        halve = lambda x: x / (1.5 + jax.nn.sigmoid(theta[0]))
        return jax.lax.while_loop(lambda x: jnp.abs(x) > 0.1, halve, state + theta[1])
    problem = ml.InnerProblem(lambda theta, key: jnp.ones(()), step, lambda s, t, k: s**2)
    return ml.Study(problem, jnp.array([0.1, 0.5]), 6, 3, plane=Plane(*AXES, lambda x, y: jnp.stack([x, y])))


def diverging():
    """Every run overflows."""
    problem = ml.InnerProblem(
        lambda theta, key: jnp.ones(()), lambda s, t, k: jnp.exp(s + 90 + 0 * t[0]) * 10.0 ** (s + t[1]), lambda s, t, k: s
    )
    return ml.Study(problem, jnp.zeros(2), 6, 3, plane=Plane(*AXES, lambda x, y: jnp.stack([x, y])))


def errors():
    """The loss is an error rate: piecewise constant."""
    def loss(state, theta, key):
        return jnp.mean((jax.random.normal(key, (8,)) > state).astype(float))
    problem = ml.InnerProblem(lambda theta, key: jnp.zeros(()), lambda s, t, k: s + t[0] - 0.1 * t[1], loss)
    return ml.Study(problem, jnp.zeros(2), 6, 3, plane=Plane(*AXES, lambda x, y: jnp.stack([x, y])))
'''
ODD = """
import metalearn as ml
walk = ml.problems.phase_walk
def raises(): raise RuntimeError("boom")
def nothing(): pass
def wide(width, depth=1): return ml.Study(walk(), 0.3, 6)
def inner(): return walk()
def cut(): return ml.Study(walk(), 0.3, 6, length=4)
def good(sigma=0.2): return ml.Study(walk(), 0.3, 6, sigma=sigma)
def leaves(): raise SystemExit(0)
"""
NAMES = ("tree", "scalar", "integers", "loop", "diverging", "errors")
FLAT = ("scalar",)
TINY = {
    "compare": ("estimator=[truncated_es]", "episodes=3", "pairs=2", "reference_pairs=4", "landscape.resolution=3",
                "trajectories.length_factor=0.01", "trajectories.pairs=2"),
    "meta_train": ("estimator=[truncated_es]", "outer.num_steps=2", "chunk_length=1", "pairs=2", "held_out=2", "judges=2"),
    "landscape": ("resolution=4",),
    "zoom": ("resolution=5", "frames=2", "film.size=0"),
    "explain": ("size=quick", "layers=[5,4]", "smoothing=[12,13]", "sigmas=[0.6,1.0]", "cut={points:6,smoothed:2,pairs:32}",
                "trajectories.length_factor=0.02", "estimator=[full_es]", "zoom={frames:1,resolution:33}",
                "comparison={points:2,pairs:2,episodes:4}"),
}  # fmt: skip
NO_PLANE = "has no plane"
NO_BORDER = "There is no border to zoom into"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a user's folder with problem files."""
    (tmp_path / "my problems.py").write_text(STRANGERS)
    (tmp_path / "odd.py").write_text(ODD)
    (tmp_path / "broken.py").write_text("import math\ndef f(:\n")
    (tmp_path / "gone.py").write_text("import sys\nsys.exit()\n")
    monkeypatch.setattr("warnings.showwarning", lambda *_: None)
    return tmp_path


def run(place, experiment, *arguments):
    return run_here(experiment, *arguments, "tracker=none", f"folder={place / 'runs'}", cwd=place)


def runs(place):
    """Return the run folders."""
    return list((place / "runs").glob("*"))


def one_line(result):
    """Return the one-line error message of a run."""
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return line


QUICK = {
    ("meta_train", "tree"),
    ("meta_train", "loop"),
    ("compare", "scalar"),
    ("landscape", "diverging"),
    ("zoom", "integers"),
}
TABLE = [
    pytest.param(
        experiment,
        name,
        marks=[]
        if (experiment, name) in QUICK or (name in FLAT and experiment in ("zoom", "landscape", "explain"))
        else pytest.mark.long,
    )
    for experiment in TINY
    for name in NAMES
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("experiment", "name"), TABLE)
def test_every_experiment_accepts_a_problem_file_or_explains_why_not(place, experiment, name):
    result = run(place, experiment, f"problem=my problems.py:{name}", *TINY[experiment])
    if name in FLAT and experiment in ("landscape", "zoom", "explain"):
        assert NO_PLANE in one_line(result)
        assert not runs(place), "refused before a folder is made"
        return
    if result.returncode == 2 and experiment == "zoom":
        assert NO_BORDER in one_line(result)
        return
    assert result.returncode == 0, result.stderr
    (folder,) = (place / "runs").iterdir()
    assert folder.name.endswith(f"{experiment.replace('_', '-')}-{name if name != 'tree' else 'a_tree'}")
    recorded = yaml.safe_load((folder / "config.yaml").read_text())["problem"]
    assert recorded["study"] == f"my problems.py:{name}"
    assert recorded["horizon"] == 6
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


def test_meta_training_tunes_the_theta_of_the_file(place):
    settings = ("problem.arguments.width=2", "problem.sigma=0.05", "problem.box=[-1,1]", "searches=[random_search]")
    settings += ("problem.theta={rates: {log: -0.5}, goal: [0.1]}",)
    result = run(place, "meta_train", "problem=my problems:tree", *settings, *TINY["meta_train"])
    assert result.returncode == 0, result.stderr
    (folder,) = (place / "runs").iterdir()
    rows = json.loads((folder / "tables/theta.json").read_text())
    assert [(row["name"], row["label"]) for row in rows] == [("goal/0", "goal (metres)"), ("rates/log", "rates/log")]
    assert [round(row["start"], 4) for row in rows] == [0.1, -0.5]
    assert all(-1 <= row["random search"] <= 1 for row in rows)
    assert "goal (metres)" in result.stdout
    assert "diverged: none" in result.stdout.splitlines()[-2]
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    assert recorded["problem"]["arguments"] == {"width": 2}
    assert [one["build"]["sigma"] for one in recorded["estimators"].values()] == [0.05]
    judged = json.loads((folder / "tables/evaluation.json").read_text())
    assert judged[0]["label"] == "start"
    assert all(row["episodes"] == 2 for row in judged)
    assert (folder / "figures/descent.png").exists()


def test_meta_training_stops_when_the_evaluation_no_longer_improves(place):
    """An outer step of 1e-12 does not change a theta of 0.3, so no evaluation is smaller than the first."""
    settings = ("outer.stop_on=evaluate", "outer.patience=2", "outer.learning_rate=1e-12", "outer.num_steps=9")
    settings = ("problem=odd:good", *TINY["meta_train"], *settings)
    result = run(place, "meta_train", *settings)
    assert result.returncode == 0, result.stderr
    assert "2 readings before outer step 2" in result.stdout
    (folder,) = (place / "runs").iterdir()
    steps = lambda: [np.load(path)["step"].tolist() for path in folder.glob("*.evaluations.npz")]
    assert steps() == [[0, 1, 2]]
    again = run(place, "meta_train", *settings, f"resume={folder}")
    assert again.returncode == 0, again.stderr
    assert steps() == [[0, 1, 2]]
    for wrong, words in (
        ("outer.stop_on=goal", "must be null or evaluate"),
        ("chunk_length=9", "readings during training"),
    ):
        assert words in one_line(run(place, "meta_train", *settings, wrong))


def test_a_yaml_file_of_the_user_can_name_a_problem_file(place):
    (place / "mine/problem").mkdir(parents=True)
    (place / "mine/problem/half.yaml").write_text("study: odd.py:good\nsigma: 0.5\nhorizon: null\n")
    assert "trusted=[odd.py]" in one_line(run(place, "compare", "--config-dir", "mine", "problem=half"))
    chosen = ("compare", "--config-dir", "mine", "problem=half", "trusted=[odd.py]")
    result = run(place, *chosen, "--cfg", "job", "problem.sigma=2")
    assert result.returncode == 0, result.stderr
    assert "study: odd.py:good" in result.stdout
    assert "horizon 6 is not a multiple of length 4" in one_line(run(place, *chosen, "+problem.length=4"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["problem=missing.py:f"], "There is no file missing.py"),
        (["problem=od.py:good"], "did you mean odd.py?"),
        (["problem=no_such_module:f"], "no module of that name"),
        (["problem=odd.py:god"], "did you mean good?"),
        (["problem=odd.py:"], "problem must be FILE:FUNCTION"),
        (["problem=broken.py:f"], "SyntaxError: invalid syntax (line 2)"),
        (["problem=odd.py:raises"], "raised RuntimeError: boom (line 4)"),
        (["problem=odd.py:nothing"], "it returned nothing"),
        (["problem=odd.py:inner"], "it returned an InnerProblem, without theta and horizon"),
        (["problem=odd.py:wide"], "missing a required argument: 'width'"),
        (["problem=odd.py:wide", "problem.arguments.widht=2"], "did you mean width?"),
        (["problem=odd.py:cut"], "horizon 6 is not a multiple of length 4"),
        (["problem=odd:good", "problem.horizon=0"], "horizon must be at least 1"),
        (["problem=odd:good", "problem.length=4"], "horizon 6 is not a multiple of length 4"),
        (["problem=odd:good", "problem.sigma=-1"], "sigma must be positive"),
        (["problem=odd:good", "problem.theta=[1,2]"], "problem.theta must have the shape ()"),
        (["problem=odd:good", "problem.theta={rate: 1}"], "problem.theta must be a number"),
        (["problem=odd:good", "problem.arguments=3"], "problem.arguments must have entries"),
        (["problem=odd:good", "problem.outer=3"], "problem.outer must have entries"),
        (["problem=odd:good", "+problem.outer.persistent.num_steps=3"], "did you mean persistent_es?"),
        (["problem=odd:good", "+problem.outer.full_es.steps=3"], "did you mean num_steps?"),
        (
            ["problem=odd:good", "+problem.outer.full_es.num_steps=0"],
            "problem.outer.full_es.num_steps must be at least 1",
        ),
        (["problem=odd.py:leaves"], "raised SystemExit: 0 (line 10)"),
        (["problem=gone.py:f"], "gone.py cannot be imported: SystemExit"),
        (["problem=odd:good", "problem.starts=[[0,0]]"], "starts are coordinates of a plane"),
        (["problem=odd:good", "problem.box=[1,0]"], "low must nowhere be above high"),
        (["problem=odd:good", "problem.repeat_randomness=maybe"], "repeat_randomness must be true or false"),
        (["problem=odd:good", "problem.sgma=1"], "did you mean sigma?"),
        (["problem=odd:good", "+problem.sgma=1"], "did you mean sigma?"),
        (["problem=phase_walk", "+problem.sgma=1"], "There is no setting problem.sgma"),
        (["+problem._target_=odd.good"], "There is no setting problem._target_"),
        (["+trajectories.lenght=1"], "There is no setting trajectories.lenght"),
        (["+epsodes=1"], "did you mean episodes?"),
    ],
)
def test_an_invalid_problem_file_is_a_one_line_error_and_leaves_no_run_folder(place, arguments, words):
    assert words in one_line(run(place, "compare", *arguments))
    assert not runs(place)


@pytest.mark.parametrize(
    ("experiment", "arguments", "words"),
    [
        ("meta_train", ["problem=digits", "tuning=hyperparameters"], "is tuned without tuning=hyperparameters"),
        ("meta_train", ["problem=odd:good", "matrix=all"], "is tuned without matrix=all"),
        ("meta_train", ["+problem._target_=odd.good"], "There is no setting problem._target_"),
        ("meta_train", ["problem=odd:good", "+problem._target_=odd.good"], "There is no setting problem._target_"),
        ("meta_train", ["problem=odd:good", "searches=[random_search]"], "has none; give problem.box"),
        ("meta_train", ["problem=odd:good", "searches=[bayes]"], "Every one of searches must be one of"),
        ("meta_train", ["problem=odd:good", "baselines=true"], "baselines"),
        ("meta_train", ["problem=odd:good", "estimator=[]"], "No method is given"),
        ("meta_train", ["problem=nothing"], "problem=nothing is not available"),
        ("meta_train", ["+outer.momentum=1"], "There is no setting outer.momentum"),
        ("compare", ["estimator=[full_es,persistent]"], "did you mean persistent_es?"),
        ("compare", ["estimator=full_es,persistent", "-m"], "did you mean persistent_es?"),
        ("compare", ["problem=odd:good", "problem.horizon=7", "problem.length=2"], "such as 1"),
        ("compare", ["problem=odd:good", "episodes=1"], "episodes must be at least 2"),
        ("compare", ["problem=odd:good", "reference_pairs=1"], "reference_pairs must be at least 2"),
        ("compare", ["problem=odd:good,odd:wide"], "Several are a sweep: add -m"),
        ("meta_train", ["problem=odd:good", "+estimators.persistent_es.build.sgma=1"], "unexpected keyword argument"),
        ("landscape", ["+problem._target_=odd.good"], "There is no setting problem._target_"),
        ("zoom", ["+problem._target_=odd.good"], "There is no setting problem._target_"),
        ("gallery", ["problem=odd:good"], "gallery has no part 'problem'"),
    ],
)
def test_unknown_problems_and_settings_are_one_line_errors_and_leave_no_run_folder(place, experiment, arguments, words):
    assert words in one_line(run(place, experiment, *arguments))
    assert not runs(place)


def test_a_run_copies_its_problem_file_and_a_resume_with_a_changed_file_raises_an_error(place):
    tiny = ("landscape", "problem=my problems:tree", "meta_loss=false", *TINY["landscape"])
    assert run(place, *tiny).returncode == 0
    (folder,) = runs(place)
    assert (folder / "problem.py").read_text() == STRANGERS
    assert run(place, *tiny, f"resume={folder}").returncode == 0
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    (place / "my problems.py").write_text(STRANGERS.replace("state - theta", "2 * state - theta"))
    for resume in (folder, "auto"):
        line = one_line(run(place, *tiny, f"resume={resume}"))
        assert "my problems.py differs from line 14 on" in line
        assert "Restore that file" in line
        assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    assert run(place, *tiny).returncode == 0
    assert run(place, *tiny, "resume=auto").returncode == 0
    assert len(runs(place)) == 2
    (place / "my problems.py").write_text(STRANGERS)
    assert run(place, *tiny, "resume=auto").returncode == 0, "the earlier run, with the earlier file"
    assert len(runs(place)) == 2


def test_a_problem_imports_its_own_neighbour_and_not_one_of_the_current_folder(place):
    (place / "aside").mkdir()
    (place / "neighbour.py").write_text("SIGMA = 0.1\n")
    (place / "aside/neighbour.py").write_text("SIGMA = 0.7\n")
    (place / "aside/mine.py").write_text("import neighbour" + ODD.replace("sigma=0.2", "sigma=neighbour.SIGMA"))
    result = run_here("../metalearn/application/check", "aside/mine.py:good", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "0.7" in result.stdout.split("sigma", 1)[1].splitlines()[0]


@pytest.mark.parametrize("kind", ["map", pytest.param("network", marks=pytest.mark.long)])
def test_a_file_from_a_template_passes_the_check(place, monkeypatch, kind):
    monkeypatch.chdir(place)
    assert "check mine.py:my_problem" in write_template(["mine.py", "--kind", kind])
    result = run_here("../metalearn/application/check", "mine.py:my_problem", cwd=place)
    assert result.returncode == 0, result.stderr
    for words in ("2 numbers in", "in reverse and forward mode", "inner steps a second", "compiled in", "one estimate"):
        assert words in result.stdout
    assert not runs(place)
    for arguments, words in (
        (["mine.py"], "already exists"),
        (["mine.txt"], "ends in .py"),
        ([], "nothing was given"),
        (["other.py", "--kind", "x"], "must be one of map, network"),
        (["no/folder.py"], "no folder"),
    ):
        with pytest.raises(ValueError, match=words):
            write_template(arguments)


def test_the_check_command_lists_what_is_missing(place):
    result = run_here("../metalearn/application/check", "my problems.py:scalar", cwd=place)
    assert "landscape, zoom and explain need a plane" in result.stdout
    result = run_here("../metalearn/application/check", "my problems.py:loop", cwd=place)
    assert "cannot be differentiated in reverse mode" in result.stdout
    assert "problem" in one_line(run_here("../metalearn/application/check", cwd=place))


def test_the_problems_command_lists_all_problems(capsys):
    import runpy

    runpy.run_path(str(ROOT / "metalearn/application/problems.py"), run_name="__main__")
    printed = capsys.readouterr().out
    listed = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert max(map(len, printed.splitlines())) <= 100
    assert listed == sorted(path.stem for path in (ROOT / "configs/problem").glob("*.yaml"))
