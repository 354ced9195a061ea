"""Every problem of the library in every experiment, at a tiny size: it works, or a one-line error explains why not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

import metalearn as ml
from metalearn.application import need_plane, read_study
from tests.experiments.test_problem_files import NO_BORDER, NO_PLANE, TINY, one_line, runs
from tests.processes import ROOT, run_here

NAMES = sorted(path.stem for path in (ROOT / "configs/problem").glob("*.yaml"))
FLAT = {"cubic_loss", "digits_hyperparameters", "influence_balancing", "l2_tuning", "phase_walk"}  # no plane
STEPS = {"phase_walk": 6}
QUICK = {("landscape", "ridge_regression"), ("meta_train", "l2_tuning")}
TABLE = [
    pytest.param(experiment, name, marks=[] if (experiment, name) in QUICK else pytest.mark.long)
    for experiment in TINY
    for name in NAMES
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for runs."""
    monkeypatch.setattr("warnings.showwarning", lambda *_: None)
    return tmp_path


def study(name, *words):
    """The study of problem=name."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return read_study(compose("landscape", [f"problem={name}", *words]))


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_of_the_library_is_a_study(name):
    found = study(name)
    assert found.name == name
    assert found.horizon % found.windows(jax.random.key(0)).length == 0
    if name in FLAT:
        with pytest.raises(ValueError, match=NO_PLANE):
            need_plane(found, "landscape")
    else:
        assert need_plane(found, "landscape") is found.plane
        assert found.sigma_on_plane() is not None, "explain and compare smooth in the units of the axes"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("experiment", "name"), TABLE)
def test_every_experiment_accepts_every_problem_or_explains_why_not(place, experiment, name):
    steps = f"++problem.horizon={STEPS.get(name, 10)}", f"++problem.length={STEPS.get(name, 10) // 2}"
    settings = (f"problem={name}", *steps, *TINY[experiment], "tracker=none", f"folder={place / 'runs'}")
    result = run_here(experiment, *settings, cwd=place)
    if name in FLAT and experiment in ("landscape", "zoom", "explain"):
        assert NO_PLANE in one_line(result)
        assert not runs(place), "refused before a folder is made"
        return
    if result.returncode == 2 and experiment == "zoom":
        assert NO_BORDER in one_line(result)
        return
    assert result.returncode == 0, result.stderr
    (folder,) = runs(place)
    assert folder.name.endswith(f"{experiment.replace('_', '-')}-{name}")
    if experiment == "landscape":
        assert (folder / "figures/meta_loss.png").is_file()
    assert not (folder / "problem.py").exists(), "files of the library are not copied"


def test_ridge_regression_converges_to_its_closed_form():
    n, features, theta = 30, 4, jnp.array([-1.0, -0.5])
    problem = ml.problems.ridge_regression(n, features, seed=3, cap=None)
    rng = np.random.default_rng(3)
    truth = rng.standard_normal(features) / 2
    inputs = rng.standard_normal((2, n, features))
    targets = inputs @ truth + rng.standard_normal((2, n))
    exact = np.linalg.solve(inputs[0].T @ inputs[0] / n + 10**-0.5 * np.eye(features), inputs[0].T @ targets[0] / n)
    end, losses = ml.unroll(problem, problem.init(theta, None), theta, jax.random.key(0), 400)
    np.testing.assert_allclose(end, exact, rtol=1e-4)
    expected = np.mean((inputs[1] @ exact - targets[1]) ** 2) / np.mean(targets[1] ** 2)
    np.testing.assert_allclose(losses[-1], expected, rtol=1e-4)


def test_a_condition_of_the_library_is_the_published_one_with_axes_in_decades():
    found, published = study("fractal_single", "++problem.horizon=4"), ml.landscape.condition("single")
    point, key = jnp.array([0.5, -0.25]), jax.random.key(0)
    theta = {"input_rate": 10.0 ** point[0], "output_rate": 10.0 ** point[1]}
    losses = ml.unroll(found.problem, found.problem.init(point, key), point, key, 4)[1]
    start = published.problem.init(theta, key)
    plain = ml.unroll(published.problem, start, theta, key, 4)[1] / published.problem.loss(start, theta, key)
    np.testing.assert_allclose(losses, np.minimum(plain, 1), rtol=1e-4)


def test_the_plane_of_a_learned_optimiser_goes_through_adam_and_through_trained_weights(tmp_path):
    found = study("learned_optimizer", "problem.horizon=4")
    centre = found.plane.theta(0.0, 0.0)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), centre, found.theta))
    optimizer = ml.learned.nominal_optimizer((3,))
    theta = jax.tree.map(lambda leaf: leaf + 0.1, optimizer.init(jax.random.key(1)))
    ml.recording.save_optimizer(tmp_path / "trained.msgpack", optimizer, theta)
    words = ("problem.horizon=4", f"problem.arguments.weights={tmp_path / 'trained.msgpack'}")
    trained = study("learned_optimizer", *words, "problem.arguments.normalise=filter")
    assert jax.tree.structure(trained.theta) == jax.tree.structure(theta)
    np.testing.assert_array_equal(trained.theta["network"]["layer_0"]["bias"], theta["network"]["layer_0"]["bias"])
    with pytest.raises(ValueError, match="raised FileNotFoundError"):
        study("learned_optimizer", f"problem.arguments.weights={tmp_path / 'missing'}")
