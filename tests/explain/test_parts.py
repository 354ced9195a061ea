"""The parts of the report: their numbers against derivatives taken another way, and what they say where there is nothing."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn import explain
from metalearn.application import end_points
from metalearn.explain.cut import measure_line, smoothed_along
from metalearn.explain.layers import shares
from metalearn.explain.signal import FULL, RAW, describe_signal
from metalearn.explain.smoothing import bounded

SILENT = lambda name, done, total: None


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def bowl():
    """Gradient descent with momentum-like θ: s ← s − θ₀ s + θ₁, ℓ = s²; converges for 0 < θ₀ < 2."""
    return ml.InnerProblem(
        lambda theta, key: jnp.ones(()),
        lambda s, theta, key: s - theta[0] * s + theta[1],
        lambda s, theta, key: jnp.square(s),
    )


def explode():
    return bowl()._replace(step=lambda s, theta, key: 1e300 * s * s * (1 + theta[0] ** 2))


def outside():
    """A step in NumPy, which has no derivative."""

    def step(s, theta, key):
        halve = lambda s, theta: np.asarray(s - theta[..., 0] * s + theta[..., 1], s.dtype)
        return jax.pure_callback(halve, jax.ShapeDtypeStruct((), s.dtype), s, theta, vmap_method="expand_dims")

    return bowl()._replace(step=step)


def counted():
    return bowl()._replace(loss=lambda s, theta, key: (s > 0.5).astype(jnp.int32))


def configuration(build, **changes):
    axis = lambda name, low, high: {
        "_target_": "metalearn.landscape.Axis", "name": name, "low": low, "high": high
    }  # fmt: skip
    plane = {"x": axis("rate", 0.2, 1.5), "y": axis("push", 0.0, 0.15), "starts": [[0.3, 0.1], [1.2, 0.1]]}
    estimator = lambda label, target, whole, **more: {
        "label": label,
        "whole": whole,
        "outer": {"learning_rate": 0.02, "num_steps": 10},
        "build": {"_target_": f"metalearn.{target}", "_partial_": True, **more},
    }
    settings = {
        "seed": 0,
        "float64": True,
        "problem": {
            "name": "bowl",
            "build": {"_target_": f"{__name__}.{build.__name__}"},
            "horizon": 24,
            "length": 8,
            "repeat_randomness": True,
            "sigma": 0.05,
            "theta": [0.8, 0.1],
            "plane": plane,
        },
        "estimators": {
            "full_backprop": estimator("BPTT", "backprop", True, num_particles=1),
            "full_es": estimator("full ES", "evolution_strategies", True, sigma=0.05, num_pairs=2),
        },
        "layers": [6, 5],
        "smoothing": [8, 7],
        "sigmas": [0.15],
        "cut": {"points": 6, "smoothed": 2, "pairs": 64},
        "trajectories": {"pairs": 2, "length_factor": 1.0},
        "comparison": {"points": 1, "pairs": 2, "episodes": 4},
        "zoom": {"frames": 1, "resolution": 16},
        "cards": 0,
    }
    return OmegaConf.merge(OmegaConf.create(settings), changes)


def study(build, **changes):
    return explain.build_study(configuration(build, **changes))


def parts(seen, *chosen):
    return {part.__name__: part(seen, SILENT) for part in chosen or explain.PARTS}


def test_the_cut_has_the_derivatives_of_the_meta_loss():
    seen = study(bowl)
    places = np.linspace(0.2, 1.5, 6)
    line = measure_line(seen, places)
    slope = jax.grad(lambda x: seen.value(jnp.stack([x, seen.height])))
    np.testing.assert_allclose(line["log_gradient"], [np.log(abs(slope(x))) for x in places], rtol=1e-9)
    np.testing.assert_allclose(line["loss"], [seen.value(seen.at(x)) for x in places], rtol=1e-12)
    assert np.all(line["disagreement"] < 1e-12)
    assert line["converged"].all()


def test_smoothed_gradients_of_the_cut_are_those_of_the_smoothed_loss():
    seen = study(bowl, cut={"pairs": 1024})
    found = smoothed_along(seen, [0.8])
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    slope = jax.jit(jax.grad(seen.value))
    grid = [
        (w1 * w2 / (2 * np.pi), slope(seen.at(0.8) + seen.sigma * jnp.array([a, b])))
        for a, w1 in zip(nodes, weights)
        for b, w2 in zip(nodes, weights)
    ]
    exact = abs(sum(weight * float(gradient[0]) for weight, gradient in grid))
    assert abs(found["length"][0] - exact) < 5 * found["error"][0]
    assert found["error"][0] < 0.2 * exact


def test_a_smooth_problem_is_said_to_be_smooth():
    found = parts(study(bowl))
    assert "nowhere on this plane do gradients fail" in found["layers"].section.sentence
    assert "hardly any chaos to see" in found["law"].section.sentence
    assert "No zoom" in found["border"].section.sentence
    (usable,) = re.findall(
        r"At (\d+)% of the points that converge the raw gradient can be used", found["smoothing"].section.sentence
    )
    assert int(usable) > 60
    assert found["cards"].section is None
    ends = [row["worst end"] for row in found["trajectories"].rows]
    assert max(ends) < 0.2


def test_a_plane_on_which_everything_diverges():
    found = parts(study(explode))
    assert "converges nowhere" in found["layers"].section.sentence
    assert "nothing to smooth" in found["smoothing"].section.sentence
    assert "No zoom" in found["border"].section.sentence
    assert "could not be measured" in found["signal"].section.sentence


def test_a_problem_without_derivatives():
    with jax.enable_x64(False):  # a callback runs on a thread of its own, in the precision of the process
        in_float32()


def in_float32():
    seen = study(
        outside,
        cards=1,
        problem={"horizon": 8, "length": 4},
        trajectories={"length_factor": 0.2},
        cut={"pairs": 16},
        zoom={"frames": 0},
    )
    found = parts(seen)
    assert "cannot be differentiated" in found["layers"].section.sentence
    assert found["cut"].section is None
    assert "BPTT cannot be followed" in found["trajectories"].section.sentence
    assert [row["estimator"] for row in found["trajectories"].rows] == ["full ES"]
    assert "perturbed backprop" not in str(found["signal"].rows)
    assert "Left out" in found["cards"].section.text


def test_a_sigma_too_narrow_for_the_grid_is_left_out_and_said_to_be():
    seen = study(bowl, sigmas=[0.01, 0.15])
    assert seen.sigmas == (0.15,)
    found = parts(seen, explain.layers, explain.smoothing)
    assert "σ = 0.01 is left out" in found["smoothing"].section.sentence


def test_mistakes_are_sentences():
    with pytest.raises(TypeError, match="float"):
        study(counted)
    with pytest.raises(ValueError, match="sigma must be at least half the distance"):
        study(bowl, sigmas=[0.01])
    logarithmic = {"problem": {"plane": {"x": {"scale": "log10", "low": -1.0, "high": 0.0}}}}
    with pytest.raises(ValueError, match=r"give problem\.plane\.sigma"):
        study(bowl, **logarithmic)
    logarithmic["problem"]["plane"]["sigma"] = 0.2
    assert study(bowl, **logarithmic).sigma == 0.2


def test_a_landscape_is_bounded_by_a_start_only_where_it_must():
    values = np.array([[1.0, 2.0], [np.inf, 5.0]])
    same, said = bounded(values, 3.0)
    assert same.max() == 5
    assert said == ""
    capped, said = bounded(np.array([[1.0, 2.0], [1e300, np.nan]]), 3.0)
    np.testing.assert_array_equal(capped, [[1, 2], [3, 3]])
    assert "Values above 3" in said


def test_a_trajectory_ends_where_its_last_tenth_is():
    thetas = np.zeros((1, 101, 2))
    thetas[:, -10:] = 1.0
    np.testing.assert_array_equal(end_points(thetas), np.ones((1, 2)))


def test_what_is_a_long_gradient_depends_on_no_unit():
    """Of the loss, or of an axis: a hundred times the span of the loss across the plane is long."""
    size = (2, 3)
    plane = ml.landscape.Plane(ml.landscape.Axis("x", 0.0, 1.0), ml.landscape.Axis("y", 0.0, 1.0), lambda x, y: x)
    direction = np.broadcast_to(np.array([1.0, 0.0]), (*size, 2))
    found = ml.diagnosis.Anatomy(
        plane=plane, num_steps=10, loss=np.linspace(0, 1, 6).reshape(size), converged=np.ones(size, bool),
        log_gradient=np.linspace(-4, 14, 6).reshape(size), direction=direction, log_growth=np.zeros(size),
        exponent=np.zeros(size), exponent_error=np.zeros(size), flip_fraction=np.zeros(size),
    )  # fmt: skip
    once = shares(found)
    assert 0 < once["long gradient"] < 1
    louder = found._replace(loss=1e6 * found.loss, log_gradient=found.log_gradient + np.log(1e6))
    assert shares(louder) == once
    wider = found._replace(
        plane=plane._replace(x=ml.landscape.Axis("x", 0.0, 1e3)), log_gradient=found.log_gradient - np.log(1e3)
    )
    assert shares(wider) == once
    assert shares(found._replace(log_gradient=found.log_gradient + np.log(1e6))) != once


def test_the_sentence_on_signal_takes_ratios_at_the_same_place():
    row = lambda place, name, snr: {"place": place, "estimator": name, "snr": snr, "error": 0.0, "floor": 1.0}
    rows = [
        row(0.0, FULL, 10.0),
        row(1.0, FULL, 1000.0),
        row(0.0, RAW, 50.0),
        row(1.0, RAW, 2000.0),
        row(2.0, RAW, 2.0),
    ]
    said = describe_signal(rows)
    assert "between 10 and 1e+03" in said
    assert "up to 5 times as large" in said
    assert "at 2 of 3 places" in said
