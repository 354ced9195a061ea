"""Trainability against the numbers of the published notebook (docs/theory.md §8.1) and data from its formulas."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane, condition, convergence_measure, edges, trainability
from metalearn.landscape.pixels import _advance
from tests.processes import FORKING, TIMEOUT

REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference" / "trainability.npz")
NAMES = ("tanh", "relu", "minibatch")
PUBLISHED = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_use_fusion_emitters": True,
}  # roundings are those of the data
STEPS = 500


def of_500_steps(name):
    return condition(name, ml.data.two_layer_data(num_steps=STEPS) if name == "minibatch" else None)


@pytest.fixture(scope="module", params=NAMES)
def rendered(request):
    chosen = of_500_steps(request.param)
    return request.param, trainability(chosen.problem, chosen.plane, num_steps=STEPS, resolution=24)


def test_labels_equal_the_published_ones_except_where_training_is_chaotic(rendered):
    name, found = rendered
    measure, last = REFERENCE[f"{name}_measure"], REFERENCE[f"{name}_last"]
    assert found.measure.dtype == np.float64
    assert np.all(np.isfinite(found.measure))
    assert np.median(np.abs(found.measure / measure - 1)) < 1e-9
    wrong = found.converged != (measure < 0)
    assert np.sum(wrong & (np.abs(last - 1) > 0.05)) <= 1
    assert np.sum(wrong) <= 3
    np.testing.assert_array_equal(found.converged, found.measure < 0)
    assert np.mean(found.escape == REFERENCE[f"{name}_escape"]) > 0.95
    assert found.pixel_steps < (24 * 24 + 16) * STEPS


def losses_of(problem, thetas, num_steps):
    """Return ℓ_t before step t, `[pixels, num_steps]`."""

    def one(theta):
        def body(state, _):
            return problem.step(state, theta, key), problem.loss(state, theta, key)

        key = jax.random.key(0)
        return jax.lax.scan(body, problem.init(theta, key), None, length=num_steps)[1]

    return np.asarray(jax.jit(jax.vmap(one), compiler_options=PUBLISHED)(thetas))


def notebook(data, activation, thetas, num_steps):
    """The same training in the published layout: examples first, x @ W."""

    def error(weights):
        outputs = activation(np.sqrt(2 / 16) * (data["X"] @ weights[0])) @ weights[1] / 16
        return jnp.mean(jnp.square(outputs - data["Y"]))

    def one(rates):
        def body(weights, _):
            loss, gradient = jax.value_and_grad(error)(weights)
            return tuple(w - rate * g for w, rate, g in zip(weights, rates, gradient)), loss

        return jax.lax.scan(body, (jnp.asarray(data["W0"]), jnp.asarray(data["W1"])), None, length=num_steps)[1]

    return np.asarray(jax.jit(jax.vmap(one))(thetas))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_ten_losses_equal_the_published_ones(name):
    """The losses agree to 1e-10 at four of five pixels, where ten steps do not amplify rounding beyond this."""
    problem, plane = of_500_steps(name)[:2]
    reference = REFERENCE[f"{name}_losses"].reshape(576, 10)
    with jax.enable_x64(True):
        x, y = np.meshgrid(plane.x.values(24), plane.y.values(24))
        found = losses_of(problem, plane.place(jnp.asarray(x.ravel()), jnp.asarray(y.ravel())), 10)
    calm = np.all(np.isfinite(reference) & (reference < 1e3 * reference[:, :1]), axis=1)
    difference = np.abs(found[calm] / reference[calm] - 1).max(axis=1)
    assert np.mean(difference < 1e-10) > 0.75
    np.testing.assert_allclose(found[:, :2], reference[:, :2], rtol=1e-10)


def test_the_published_layout_gives_the_published_losses_at_every_pixel():
    """The formulas are therefore the same, and the differences above are due to the order of sums."""
    process = FORKING.Process(target=compare_with_published_losses)
    process.start()
    process.join(TIMEOUT)
    assert process.exitcode == 0


def compare_with_published_losses():
    """Compare in a separate process with JAX's default options, which round differently from those of the suite."""
    os.environ["XLA_FLAGS"] = ""
    plane, data = of_500_steps("tanh").plane, ml.data.two_layer_data()
    with jax.enable_x64(True):
        rates = tuple(jnp.asarray(part.ravel()) for part in np.meshgrid(plane.x.values(24), plane.y.values(24)))
        found = notebook(data, jnp.tanh, rates, 10)
    reference = REFERENCE["tanh_losses"].reshape(576, 10)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(reference))
    finite = np.isfinite(reference)
    assert np.mean(np.abs(found[finite] / reference[finite] - 1) < 1e-10) > 0.99


def test_the_stored_data_equal_those_of_jaxs_old_generator():
    normal = jax.jit(jax.random.normal, static_argnums=1, compiler_options=PUBLISHED)
    with jax.enable_x64(True), jax.threefry_partitionable(False):
        key, first, second = jax.random.split(jax.random.PRNGKey(0), 3)[0], None, None
        key, first = jax.random.split(jax.random.PRNGKey(0))
        inner, outer = jax.random.split(first)
        key, second = jax.random.split(key)
        for count in (272, 16, 1):
            stored = ml.data.two_layer_data(count)
            np.testing.assert_array_equal(stored["W0"], normal(inner, (16, 16)))
            np.testing.assert_array_equal(stored["W1"], normal(outer, (16, 1)))
            np.testing.assert_array_equal(stored["X"], normal(second, (count, 16)))
            np.testing.assert_array_equal(stored["Y"], normal(jax.random.split(key)[1], (count, 1)))
        for steps in (500, 1000):
            keys = jax.random.split(jax.random.PRNGKey(42), steps)
            drawn = jax.vmap(lambda key: jax.random.randint(key, (16,), 0, 272))(keys[:3])
            np.testing.assert_array_equal(ml.data.two_layer_data(num_steps=steps)["batch_indices"][:3], drawn)


def naive_measure(losses):
    """The definition of docs/theory.md §8.2 as a loop over losses."""
    v = np.array([loss if np.isfinite(loss) else 1e6 for loss in losses])
    v = np.minimum(v / v[0], 1e6)
    return -v.sum() if v[-20:].mean() < 1 else (1 / v).sum()


def test_the_measure_equals_its_definition():
    generator = np.random.default_rng(0)
    losses = np.exp(np.cumsum(generator.normal(0, 2, (40, 60)), axis=1))
    losses[3, 30:], losses[4, 50:], losses[5, 10] = np.inf, np.nan, np.inf
    np.testing.assert_allclose(convergence_measure(losses), [naive_measure(row) for row in losses], rtol=1e-13)
    shaped = convergence_measure(losses.reshape(8, 5, 60))
    np.testing.assert_array_equal(shaped.ravel(), convergence_measure(losses))


def test_a_loss_of_zero_gives_a_finite_measure():
    assert np.isfinite(convergence_measure([0.0] * 30))
    assert np.isfinite(convergence_measure([1.0, 0.0] + [2.0] * 30))
    assert convergence_measure([0.0] + [1.0] * 30) > 0
    assert convergence_measure([1.0] + [0.0] * 30) == -1


def test_dropping_pixels_changes_no_label_and_saves_steps():
    chosen = of_500_steps("relu")
    few = {"num_steps": 130, "resolution": 8}
    dropped = trainability(chosen.problem, chosen.plane, **few)
    kept = trainability(chosen.problem, chosen.plane, **few, drop_diverged=False)
    np.testing.assert_allclose(dropped.measure, kept.measure, rtol=1e-13)
    np.testing.assert_array_equal(dropped.escape, kept.escape)
    np.testing.assert_array_equal(dropped.undecided, kept.undecided)
    assert dropped.pixel_steps < 0.7 * kept.pixel_steps


FLAT = Plane(Axis("x", 0.9, 0.97), Axis("y", 0, 1), lambda x, y: jnp.stack([x, y]))


def history_measure(problem, num_steps):
    with jax.enable_x64(True):
        x, y = np.meshgrid(FLAT.x.values(3), FLAT.y.values(2))
        losses = losses_of(problem, jnp.stack([jnp.asarray(x.ravel()), jnp.asarray(y.ravel())], axis=1), num_steps)
    return convergence_measure(losses).reshape(2, 3)


def test_a_state_that_recovers_from_nan_is_followed_if_no_pixel_is_dropped():
    """Its value is NaN from step 29 to 59 and finite afterwards."""
    gap = lambda v, count: jnp.where((count >= 29) & (count < 60), jnp.nan, v)
    problem = ml.InnerProblem(
        lambda theta, key: (jnp.ones(()), jnp.ones(()), jnp.zeros(())),
        lambda s, theta, key: (theta[0] * s[0], gap(theta[0] * s[0], s[2]), s[2] + 1),
        lambda s, theta, key: s[1],
    )
    found = trainability(problem, FLAT, num_steps=120, resolution=(3, 2), drop_diverged=False)
    np.testing.assert_allclose(found.measure, history_measure(problem, 120), rtol=1e-12)
    assert found.converged.all()
    assert np.all(found.escape == 30)
    assert not trainability(problem, FLAT, num_steps=120, resolution=(3, 2)).converged.any()


def test_a_pixel_is_dropped_only_if_its_loss_is_not_finite():
    """An array of the state that is all NaN, or empty, has no effect while the loss is finite."""
    problem = ml.InnerProblem(
        lambda theta, key: (jnp.ones(()), jnp.full(2, jnp.nan), jnp.zeros((0, 3))),
        lambda s, theta, key: (theta[0] * s[0], *s[1:]),
        lambda s, theta, key: s[0],
    )
    found = trainability(problem, FLAT, num_steps=100, resolution=(3, 2))
    np.testing.assert_allclose(found.measure, history_measure(problem, 100), rtol=1e-12)
    assert found.converged.all()
    assert np.all(found.escape == -1)


@pytest.mark.parametrize("num_steps", [1, 2, 19, 41])
def test_the_sign_of_the_measure_is_the_label_also_for_short_runs_and_negative_losses(num_steps):
    problem = ml.InnerProblem(
        lambda theta, key: jnp.ones(()), lambda s, theta, key: theta[0] * s, lambda s, theta, key: s - 0.7
    )
    for adaptive in (False, True):
        found = trainability(problem, FLAT, num_steps=num_steps, resolution=(3, 2), adaptive=adaptive)
        np.testing.assert_array_equal(found.converged, found.measure < 0)
        np.testing.assert_array_equal(found.converged, num_steps > 1)
        assert num_steps > 1 or not found.undecided.any()


def test_the_pitch_in_roundings_is_relative_to_theta():
    x, y = Axis("x", -1e-14, 1e-14), Axis("y", -1.0, 1.0)
    plane = ml.landscape.plane_through(np.array([1.0, 1.0]), x, y, np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    across, along = plane.pitch_in_roundings(129, 129)
    assert across == 0
    assert along > 1e13
    wider = ml.landscape.plane_through(np.array([1.0, 0.0]), x, y, np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    assert wider.pitch_in_roundings(129, 129)[0] > 1  # the entry that is zero keeps its digits


def test_a_pixel_has_the_same_bits_in_every_picture_and_a_zoom_is_one_program():
    chosen = of_500_steps("tanh")
    whole = trainability(chosen.problem, chosen.plane, num_steps=60, resolution=9)
    programs = _advance._cache_size()
    part = Plane(Axis("x", -3, 1.5, "log10"), Axis("y", 1.5, 6, "log10"), chosen.plane.place)
    corner = trainability(chosen.problem, part, num_steps=60, resolution=5)
    np.testing.assert_array_equal(whole.measure[4:, :5], corner.measure)
    assert _advance._cache_size() == programs


def test_axes_keep_their_digits_in_a_deep_zoom():
    axis = Axis.around("rate", 200.3584, 1e-13, "log10")
    values = axis.values(5)
    np.testing.assert_allclose(np.diff(values), 200.3584 * np.log(10) * 0.5e-13, rtol=0.2)
    ends = Axis.between("rate", 174.269509700711, 174.269509702741).values(3)
    np.testing.assert_allclose(ends[[0, 2]], [174.269509700711, 174.269509702741], rtol=3e-16)


def test_a_zoom_below_rounding_warns():
    chosen = of_500_steps("tanh")
    deep = Plane(Axis.around("x", 13.3, 1e-15, "log10"), Axis("y", 0, 1, "log10"), chosen.plane.place)
    with pytest.warns(UserWarning, match="roundings"):
        trainability(chosen.problem, deep, num_steps=2, resolution=4)


def test_an_offset_at_the_start_differs_from_an_offset_in_every_step():
    drift, once = (condition(name).problem for name in ("offset", "offset_once"))
    theta, key = {"offset": jnp.array(0.1), "rate": jnp.array(0.0)}, jax.random.key(0)
    states = []
    for problem in (drift, once):
        state = problem.init(theta, key)
        assert problem.loss(state, theta, key) == pytest.approx(
            float(once.loss(once.init(theta, key), theta, key)), rel=1e-6
        )
        states.append(problem.step(problem.step(state, theta, key), theta, key))
    moved = [np.asarray(state["layer_0"]["weight"]) - ml.data.two_layer_data()["W0"].T for state in states]
    np.testing.assert_allclose(moved[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(moved[1], 0.1, atol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "relu", "identity", "single", "minibatch", "offset", "offset_once"])
def test_every_condition_has_a_picture_without_nan(name):
    chosen = condition(name)
    for plane in (chosen.plane, chosen.tile):
        found = trainability(chosen.problem, plane, num_steps=30, resolution=4)
        assert np.all(np.isfinite(found.measure))


def test_edges_are_the_cells_with_both_labels():
    measure = np.array([[-1.0, -2.0, 3.0], [-1.0, -2.0, -3.0]])
    np.testing.assert_array_equal(edges(measure), [[False, True]])
    np.testing.assert_array_equal(edges(measure < 0), edges(measure))


DATA = ml.data.two_layer_data(1)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: condition("sigmoid"), "condition must be one of"),
        (lambda: condition("tanh", {"X": DATA["X"]}), "Y, W0, W1 is missing"),
        (lambda: condition("tanh", DATA | {"Y": np.ones((3, 1))}), r"must have shape \(1, 1\)"),
        (lambda: condition("tanh", DATA | {"X": DATA["X"] * np.nan}), "not finite"),
        (lambda: condition("minibatch", DATA), "must be in 0 … 0"),
        (lambda: ml.data.two_layer_data(100), "272, 16 or 1"),
        (lambda: convergence_measure(3.0), "at least 1"),
        (lambda: edges(np.ones((1, 4))), "2 × 2"),
        (lambda: edges(np.full((3, 3), np.nan)), "NaN"),
        (
            lambda: trainability(condition("single").problem, condition("single").plane, num_steps=0, resolution=4),
            "num_steps",
        ),
        (
            lambda: trainability(condition("single").problem, condition("single").plane, num_steps=5, resolution=0),
            "resolution",
        ),
        (lambda: Axis.between("x", 2.0, 1.0), "in order"),
        (lambda: Axis("x", -1, 1, "log10", centre=-1.0), "positive on a log10"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_weights_created_in_float32_are_trained_in_float64():
    start = jnp.asarray([0.3, -0.7], jnp.float32)
    step = lambda s, theta, key: s - theta["input_rate"] * s * (1 + 1e-9 * theta["output_rate"])
    double = ml.InnerProblem(lambda t, k: jnp.asarray(np.asarray(start), float), step, lambda s, t, k: jnp.sum(s**2))
    single = double._replace(init=lambda t, k: start)
    plane = ml.landscape.condition("tanh").plane
    found = [ml.landscape.trainability(one, plane, num_steps=20, resolution=9).measure for one in (single, double)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (
            lambda problem, plane: ml.landscape.render(lambda t: 0.0, ((-1, 1), (-1, 1)), 4),
            "plane must be an ml.landscape",
        ),
        (
            lambda problem, plane: ml.landscape.trainability(problem, plane, num_steps=2, resolution=4, keep="tiles"),
            "keep must be a function",
        ),
        (lambda problem, plane: ml.landscape.Axis("a", "0", 1), "must be real numbers; '0' was given"),
    ],
)
def test_arguments_of_the_wrong_type_raise_a_clear_error(mistake, words):
    chosen = ml.landscape.condition("tanh")
    with pytest.raises(TypeError, match=words):
        mistake(chosen.problem, chosen.plane)


def test_a_plane_through_a_non_finite_theta_raises_an_error():
    axis = ml.landscape.Axis("a", 0, 1)
    with pytest.raises(ValueError, match="theta must be finite"):
        ml.landscape.plane_through(np.array([np.nan, 1]), axis, axis, np.array([1.0, 0]), np.array([0, 1.0]))


def test_a_dimension_of_a_landscape_instead_of_labels_raises_a_clear_error():
    chosen = ml.landscape.condition("single")
    found = ml.landscape.trainability(chosen.problem, chosen.plane, num_steps=3, resolution=4)
    with pytest.raises(ValueError, match=r"such as landscape\.converged"):
        ml.landscape.border_dimension(found)


def test_a_diverged_run_is_labelled_diverged_under_a_cap():
    """w ← w (1 − rate), ℓ = w² diverges beyond a rate of 2, and the cap of a training does not hide any step of it."""
    task = ml.Task(lambda key: jnp.ones(()), lambda params, key: params**2 / 2)
    plane = Plane(Axis("rate", 1.0, 101.0), Axis("nothing", 0, 1), lambda x, y: jnp.stack([x, y]))
    ends = [
        trainability(
            ml.training(task, ml.sgd(lambda theta: theta[0]), cap=cap), plane, num_steps=400, resolution=(3, 2)
        )
        for cap in ("start", None)
    ]
    np.testing.assert_array_equal(ends[0].converged, ends[1].converged)
    assert np.all(ends[0].escape[:, 1:] > 0)
    assert ends[0].pixel_steps <= ends[1].pixel_steps


def test_a_diverged_run_of_a_task_distribution_is_labelled_diverged_under_a_cap():
    task = lambda size: ml.Task(lambda key: size * jnp.ones(()), lambda params, key: params**2 / 2)
    drawn = ml.task_distribution(
        lambda size: ml.training(task(size), ml.sgd(lambda theta: theta[0])), lambda key: 1 + jax.random.uniform(key)
    )
    plane = Plane(Axis("rate", 1.0, 101.0), Axis("nothing", 0, 1), lambda x, y: jnp.stack([x, y]))
    found = trainability(drawn, plane, num_steps=400, resolution=(3, 2))
    assert np.all(found.escape[:, 1:] > 0)
    assert not found.converged[:, 1:].any()
