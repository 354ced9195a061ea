"""Values of the wrong type in a configuration raise a one-line error before anything is computed."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application.value_types import check_kinds
from metalearn.landscape import Axis, Plane, condition, trainability, zoom
from tests.processes import run_here

TWO_NUMBERS = """
import jax.numpy as jnp
import metalearn as ml

def pull(omega):
    return ml.InnerProblem(
        lambda theta, key: jnp.ones(2), lambda state, theta, key: state - theta * state, lambda state, *_: jnp.sum(state**2)
    )
"""
KEY = jax.random.key(0)
PLANE = Plane(Axis("x", 0.3, 2.2), Axis("y", 0.0, 1.0), lambda x, y: jnp.stack([x, y]))


@pytest.mark.parametrize(
    ("experiment", "argument", "words"),
    [
        (
            "compare",
            "problem.repeat_randomness=abc",
            "problem.repeat_randomness must be true or false; 'abc' was given",
        ),
        ("compare", "problem.repeat_randomness=1", "problem.repeat_randomness must be true or false; 1 was given"),
        ("compare", "estimators.full_es.whole='yes'", "estimators.full_es.whole must be true or false"),
        (
            "compare",
            "+estimators.full_es.build.antithetic=no way",
            "estimators.full_es.build.antithetic must be true or",
        ),
        ("compare", "trajectories.length_factor=inf", "trajectories.length_factor must be finite"),
        ("compare", "trajectories.length_factor=[1]", "trajectories.length_factor must be a number, such as 1.0"),
        ("compare", "trajectories=5", "trajectories must have entries (pairs, length_factor); 5 was given"),
        ("landscape", "adaptive=yes please", "adaptive must be true or false; 'yes please' was given"),
        ("landscape", "resolution=nan", "resolution must be finite; nan was given"),
        ("gallery", "mark_undecided=maybe", "mark_undecided must be true or false"),
        ("zoom", "factor=-inf", "factor must be finite"),
        ("zoom", "centre=[1e300,1e300]", "x = 1e+300 is far from the plane"),
        ("zoom", "centre=[10,1e-300]", "y = 1e-300 is far from the plane"),
        ("zoom", "film=off", "film must have entries"),
        ("explain", "float64=double", "float64 must be true or false"),
        ("reproduce", "long=very", "long must be true or false"),
        ("zoom", "film=null", "film must have entries (size, images_per_frame, images_per_second); null was given"),
        ("zoom", "factor=1e300", "factor ** num_frames must be finite"),
        ("zoom", "centre=[[1,2],3]", "x must be one real number"),
        ("gallery", "conditions=5", "conditions must be a list, such as conditions=[5]"),
        ("reproduce", "only=[[1,2],[3]]", "Every one of only must be one of"),
        ("compare", "estimators.full_es=null", "estimators.full_es must have entries"),
        ("meta_train", "searches=5", "searches must be a list, such as searches=[5]"),
        ("meta_train", "outer.clip_norm={a: 1}", "outer.clip_norm must be one real number"),
        ("compare", "landscape.resolution=1000000000", "landscape.resolution must be at most 268435456 pixels"),
        ("compare", "+tracker.nope=1", "There is no setting tracker.nope"),
        ("compare", "resume=[]", "resume must be the folder of a run, auto, or null"),
        ("reproduce", "only=5", "only must be a list, such as only=[5]"),
        ("meta_train", "outer.learning_rate=01", "outer.learning_rate must be"),
        ("meta_train", "outer.learning_rate=.nan", "outer.learning_rate must be"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_one_line_error(tmp_path, experiment, argument, words):
    result = run_here(experiment, argument, f"folder={tmp_path}", "tracker=none")
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["full_es", "persistent_es"])
def test_a_number_may_be_a_call_and_theta_may_have_any_structure(name):
    own = {"problem": {"theta": 0.3, "sigma": 0.1}, "estimators": {name: {"build": {"num_pairs": 2}}}}
    call = {"_target_": "builtins.int", "_args_": [4]}
    for theta in ([0.1, 0.2], {"rate": 1, "w": [[0.5]]}, 1, -2.5):
        check_kinds(OmegaConf.create(own | {"problem": {"theta": theta, "sigma": 1}}), own)
    check_kinds(OmegaConf.create(own | {"estimators": {name: {"build": {"num_pairs": call}}}}), own)
    for wrong in (
        {"problem": {"sigma": [0.1]}},
        {"problem": {"sigma": call}},
        {"estimators": {name: {"build": {"num_pairs": {"a": 1}}}}},
    ):
        with pytest.raises(TypeError, match="must be a number"):
            check_kinds(OmegaConf.create(own | wrong), own)


def test_another_problem_accepts_theta_in_its_own_structure(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "two_numbers.py").write_text(TWO_NUMBERS)
    words = [
        "problem=phase_walk",
        "problem.build={_target_: two_numbers.pull}",
        "problem.theta=[0.1,0.2]",
        "trusted=[two_numbers]",
    ]
    tiny = ["estimator=[full_es]", "pairs=2", "judges=2", "held_out=1", "outer.num_steps=1", "chunk_length=1"]
    result = run_here("meta_train", *words, *tiny, "tracker=none", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = run_here("meta_train", *words[:2], words[3], "problem.theta=abc", *tiny, "tracker=none", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_point_far_from_the_plane_raises_an_error():
    chosen = condition("single").plane
    assert len(zoom(chosen, 10.0, 0.5, 3)) == 3
    with pytest.raises(ValueError, match=r"x = 1e\+12 is far from the plane, whose axis .* from 0\.001 to 1e\+06"):
        zoom(chosen, 1e12, 0.5, 3)
    with pytest.raises(ValueError, match="y must be positive"):
        zoom(chosen, 1.0, -0.5, 3)
    with pytest.raises(ValueError, match="x = -5 is far from the plane"):
        zoom(PLANE, -5, 0.5, 2)
    with pytest.raises(ValueError, match="must be below 308"):
        Axis("x", 0, 400, "log10")


def test_a_snapshot_with_a_non_finite_theta_raises_an_error():
    estimator = ml.persistent_es(ml.problems.noisy_linear_quadratic(), ml.Truncation(12, 3), sigma=0.1, num_pairs=2)
    arguments = (estimator, optax.sgd(0.02), jnp.float32(0.3), KEY)
    first = ml.outer.first_snapshot(*arguments)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="resume is a snapshot whose theta contains NaN or infinity"):
            ml.meta_train(*arguments, 2, resume=first._replace(theta=jnp.float32(value)))


@pytest.mark.parametrize("name", ["adaptive", "drop_diverged"])
def test_strings_are_not_accepted_as_booleans(name):
    settings = {"num_steps": 10, "resolution": 4, name: "no"}
    with pytest.raises(TypeError, match=f"{name} must be true or false; 'no' was given"):
        trainability(ml.problems.noisy_linear_quadratic(), PLANE, **settings)
