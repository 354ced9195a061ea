"""The parts of the report: their numbers against other derivatives, and their text if there is nothing to show."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn import explain
from metalearn.explain.cut import measure_line, smoothed_along
from metalearn.explain.layers import shares
from metalearn.explain.signal import FULL, RAW, describe_signal
from metalearn.explain.smoothing import bounded
from metalearn.outer import end_points

SILENT = lambda name, done, total: None


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def bowl():
    """The map s ← s − θ₀ s + θ₁ with ℓ = s², which converges for 0 < θ₀ < 2."""
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


def descent(target, **settings):
    whole = ml.Truncation(24, 24, key=EPISODE)
    return ml.outer.Descent(lambda problem: target(problem, whole, **settings), 0.02, 10)


EPISODE = jax.random.fold_in(jax.random.key(0), 2)
RATE, PUSH = ml.landscape.Axis("rate", 0.2, 1.5), ml.landscape.Axis("push", 0.0, 0.15)
TINY = explain.Settings(
    layers=(6, 5),
    smoothing=(8, 7),
    sigmas=(0.15,),
    cut=explain.CutSettings(6, 2, 64),
    comparison=explain.SignalSettings(1, 2, 4),
    zoom=explain.ZoomSettings(1, 16),
    cards=0,
)


def arguments(build, x=RATE, horizon=24, length=8, descents=None, **settings):
    """Return the arguments of `explain` for the smallest problem."""
    plane = ml.landscape.Plane(x, PUSH, lambda a, b: jnp.stack([a, b]))
    if descents is None:
        es = descent(ml.evolution_strategies, sigma=0.05, num_pairs=2)
        descents = {"BPTT": descent(ml.backprop, num_particles=1), "full ES": es}
    return (build(), plane, horizon, length, 0.05, jax.random.key(0)), {
        "height": 0.1,
        "descents": descents,
        "starts": [[0.3, 0.1], [1.2, 0.1]],
        "settings": TINY._replace(**settings),
    }


def study(build, **changes):
    (problem, plane, horizon, length, *rest), named = arguments(build, **changes)
    return explain.build_plane_study(problem, plane, ml.Truncation(horizon, length), *rest, **named)


def parts(seen, *chosen):
    return {part.__name__: part(seen, SILENT) for part in chosen or explain.PARTS}


def test_gradients_along_the_cut_are_those_of_the_meta_loss():
    seen = study(bowl)
    places = np.linspace(0.2, 1.5, 6)
    line = measure_line(seen, places)
    slope = jax.grad(lambda x: seen.value(jnp.stack([x, seen.height])))
    np.testing.assert_allclose(line["log_gradient"], [np.log(abs(slope(x))) for x in places], rtol=1e-9)
    np.testing.assert_allclose(line["loss"], [seen.value(seen.at(x)) for x in places], rtol=1e-12)
    assert np.all(line["disagreement"] < 1e-12)
    assert line["converged"].all()


def test_smoothed_gradients_along_the_cut_are_those_of_the_smoothed_loss():
    seen = study(bowl, cut=explain.CutSettings(6, 2, 1024))
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


def test_a_smooth_problem_is_described_as_smooth():
    found = parts(study(bowl))
    assert "gradients do not fail anywhere on this plane" in found["layers"].section.sentence
    assert "hardly any chaos on this plane" in found["law"].section.sentence
    assert "No zoom" in found["border"].section.sentence
    (usable,) = re.findall(
        r"At (\d+)% of the points that converge the raw gradient can be used", found["smoothing"].section.sentence
    )
    assert int(usable) > 60
    assert found["cards"] is None
    ends = [row["worst end"] for row in found["trajectories"].rows]
    assert max(ends) < 0.2


def test_a_plane_on_which_everything_diverges_has_a_report():
    found = parts(study(explode))
    assert "converges nowhere" in found["layers"].section.sentence
    assert "nothing to smooth" in found["smoothing"].section.sentence
    assert "No zoom" in found["border"].section.sentence
    assert "could not be measured" in found["signal"].section.sentence


def test_a_problem_without_derivatives_has_a_report():
    with jax.enable_x64(False):  # a callback runs on another thread, in the precision of the process
        in_float32()


def in_float32():
    whole = ml.Truncation(8, 8, key=EPISODE)
    descents = {
        "BPTT": ml.outer.Descent(lambda problem: ml.backprop(problem, whole, num_particles=1), 0.02, 2),
        "ES": ml.outer.Descent(
            lambda problem: ml.evolution_strategies(problem, whole, sigma=0.05, num_pairs=2), 0.02, 2, "full ES"
        ),
    }
    seen = study(
        outside,
        cards=1,
        horizon=8,
        length=4,
        descents=descents,
        cut=explain.CutSettings(6, 2, 16),
        zoom=explain.ZoomSettings(0),
    )
    found = parts(seen)
    assert "cannot be differentiated" in found["layers"].section.sentence
    assert found["cut"] is None
    assert "BPTT cannot be followed" in found["trajectories"].section.sentence
    assert [row["estimator"] for row in found["trajectories"].rows] == ["full ES"]
    assert "perturbed backprop" not in str(found["signal"].rows)
    assert "Left out" in found["cards"].section.text


def test_a_sigma_too_small_for_the_grid_is_left_out_and_reported():
    seen = study(bowl, sigmas=(0.01, 0.15))
    assert seen.sigmas == (0.15,)
    found = parts(seen, explain.layers, explain.smoothing)
    assert "σ = 0.01 is left out" in found["smoothing"].section.sentence


def test_explain_returns_every_part_and_writes_the_page(tmp_path):
    """The report has every part that the settings ask for, in order, and its links lead to the arrays."""
    positional, named = arguments(bowl, zoom=explain.ZoomSettings(0), descents={}, comparison=explain.SignalSettings(0))
    told = []
    found = explain.explain(*positional, **named, progress=lambda name, done, total: told.append(name))
    assert list(found.parts) == ["layers", "law", "cut", "smoothing"]
    assert {"layers", "cut", "landscape"} <= set(told)
    assert "computed in float64" in str(found)
    assert "The Lyapunov law: " in str(found)
    page = found.write(tmp_path / "mine", "A bowl")
    assert "<h1>A bowl</h1>" in page.read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]*)"', page.read_text(encoding="utf-8"))
    assert len(links) >= 3
    for link in links:
        with np.load(page.parent / link) as arrays:
            assert arrays.files


@pytest.mark.parametrize(
    ("place", "value", "error", "words"),
    [
        (0, None, TypeError, "problem must be"),
        (1, (RATE, PUSH), TypeError, "plane must be an ml.landscape.Plane"),
        (2, 24.5, TypeError, "horizon must be a whole number"),
        (3, 7, ValueError, "horizon 24 is not a multiple of length 7"),
        (4, -0.1, ValueError, "sigma must be a number in"),
        (5, 0, TypeError, "key must be a typed key"),
        ("height", float("nan"), ValueError, "height must be"),
        ("descents", {"ES": ml.backprop}, TypeError, r"descents\['ES'\] must be an ml.outer.Descent"),
        ("descents", [ml.backprop], TypeError, "descents must be a mapping from names to ml.outer.Descent"),
        ("starts", None, ValueError, "starts must be pairs of coordinates"),
        ("starts", [0.3, 0.1], ValueError, "starts must be pairs of coordinates"),
        ("starts", [["a", "b"]], ValueError, "starts must be pairs of coordinates"),
        ("settings", {"cards": 1}, TypeError, "settings must be an ml.explain.Settings"),
        ("settings", TINY._replace(layers=(1, 4)), ValueError, "layers must be at least 2"),
        ("settings", TINY._replace(smoothing=(8, 7, 3)), ValueError, "smoothing must be"),
        ("settings", TINY._replace(sigmas=(-1.0,)), ValueError, "Every one of sigmas"),
        ("settings", TINY._replace(sigmas=()), ValueError, "sigmas needs at least one entry"),
        ("settings", TINY._replace(sigmas=(0.01,)), ValueError, "sigma must be at least half the distance"),
        ("settings", TINY._replace(cut=explain.CutSettings(points=2)), ValueError, "cut.points at least 4"),
        ("settings", TINY._replace(zoom=explain.ZoomSettings(frames=-1)), ValueError, "zoom.frames must be at least 0"),
        ("settings", TINY._replace(cut={"points": 8}), TypeError, "cut must be an ml.explain.CutSettings"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(place, value, error, words):
    positional, named = arguments(bowl)
    if isinstance(place, int):
        positional = (*positional[:place], value, *positional[place + 1 :])
    else:
        named[place] = value
    with pytest.raises(error, match=words):
        explain.explain(*positional, **named)


def test_a_non_scalar_loss_raises_an_error():
    with pytest.raises(TypeError, match="float"):
        study(counted)


def test_a_landscape_is_bounded_by_the_initial_loss_only_if_needed():
    values = np.array([[1.0, 2.0], [np.inf, 5.0]])
    same, said = bounded(values, 3.0)
    assert same.max() == 5
    assert said == ""
    capped, said = bounded(np.array([[1.0, 2.0], [1e300, np.nan]]), 3.0)
    np.testing.assert_array_equal(capped, [[1, 2], [3, 3]])
    assert "Values above 3" in said


def test_the_end_of_a_trajectory_is_the_mean_of_its_last_tenth():
    thetas = np.zeros((1, 101, 2))
    thetas[:, -10:] = 1.0
    np.testing.assert_array_equal(end_points(thetas), np.ones((1, 2)))


def test_the_threshold_for_long_gradients_does_not_depend_on_units():
    """A gradient is long above 100 times the span of the loss across the plane, in any unit of the loss or an axis."""
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


def test_the_sentence_on_signal_compares_ratios_at_the_same_place():
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
