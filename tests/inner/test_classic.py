"""The published inner problems against known numbers from NumPy loops or closed forms."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.inner.problem import check_problem
from metalearn.inner.problems import chaotic, known
from metalearn.inner.unroll import meta_loss, unroll
from metalearn.reproductions import weight_decay

KEY = jax.random.key(0)
REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
TOY_POINTS = {(-4.0, -4.0): 2487.77, (-1.0, -1.0): 2429.1838, (0.0, 0.0): 2423.47}


def orbit(problem, theta, num_steps, read=lambda state: state):
    """Return the states s_1 … s_T."""

    def body(state, index):
        state = problem.step(state, theta, jax.random.fold_in(KEY, index))
        return state, read(state)

    run = jax.jit(lambda theta: jax.lax.scan(body, problem.init(theta, KEY), jnp.arange(num_steps))[1])
    return np.asarray(run(theta))


def losses(problem, theta, num_steps, key=KEY):
    run = jax.jit(lambda theta: unroll(problem, problem.init(theta, key), theta, key, num_steps)[1])
    return np.asarray(run(theta))


def gradient(problem, theta, horizon):
    return np.asarray(jax.jit(jax.grad(lambda theta: meta_loss(problem, theta, KEY, horizon)))(theta))


PROBLEMS = {
    "phase walk": (known.phase_walk, 0.3),
    "linear quadratic": (known.linear_quadratic, 0.3),
    "linear quadratic, vector": (lambda: known.linear_quadratic(b=np.array([1.0, -2.0])), [0.3, 0.1]),
    "noisy linear quadratic": (known.noisy_linear_quadratic, 0.3),
    "influence balancing": (known.influence_balancing, 0.5),
    "toy regression": (chaotic.toy_regression, [-4.0, -4.0]),
    "l2 tuning": (lambda: known.l2_tuning(*weight_decay.data()), 3.0),
    "logistic map": (chaotic.logistic_map, 3.8),
    "cubic loss": (chaotic.cubic_loss, 2.8),
    "cubic loss, log": (lambda: chaotic.cubic_loss(log_learning_rate=True), 1.0),
    "double well": (chaotic.double_well, 1.9),
    "double well, log": (lambda: chaotic.double_well(log_learning_rate=True), 0.6),
    "henon": (chaotic.henon, [1.4, 0.3]),
    "lorenz": (lambda: chaotic.lorenz(noise=1.0), [2.3, 3.3]),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_and_loss_follow_the_dtype_of_theta(name, dtype):
    make, theta = PROBLEMS[name]
    problem = make()
    with jax.enable_x64(dtype == "float64"):
        theta = jnp.asarray(theta, dtype)
        check_problem(problem, theta)
        state = jax.eval_shape(problem.init, theta, KEY)
        kinds = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert kinds == {jnp.dtype(dtype)}
        assert jax.eval_shape(problem.loss, state, theta, KEY).dtype == dtype


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_mapped_and_differentiated_under_jit(name):
    make, theta = PROBLEMS[name]
    problem, theta = make(), jnp.asarray(theta)
    thetas = jnp.stack([theta, theta * 1.01])
    slope = jax.jit(jax.vmap(jax.grad(lambda theta: meta_loss(problem, theta, KEY, 4))))
    gradients = slope(thetas)
    assert gradients.shape == thetas.shape
    assert np.all(np.isfinite(gradients))


@pytest.mark.parametrize("name", [name for name in PROBLEMS if "quadratic" not in name])
def test_a_theta_of_the_wrong_shape_raises_a_clear_error(name):
    with pytest.raises(TypeError, match="could not be traced with this theta"):
        check_problem(PROBLEMS[name][0](), jnp.zeros((3,)))


def test_the_gradient_of_phase_walk_is_the_closed_form(float64, closed_form):
    walk = closed_form["C_phase"]
    found = 6 * gradient(known.phase_walk(omega=1.0), 0.3, 6)
    np.testing.assert_allclose(found, walk["expect"]["true"], rtol=1e-12)
    np.testing.assert_allclose(found, 4.910742, atol=1e-6)
    np.testing.assert_allclose(losses(known.phase_walk(2.0, 0.1), 0.3, 3), np.sin(2 * (0.1 + 0.3 * np.arange(1, 4))))


def test_the_gradient_of_linear_quadratic_is_the_closed_form(float64, closed_form):
    found = 12 * gradient(known.linear_quadratic(0.9, 1.0, 1.0, 0.0), 0.3, 12)
    np.testing.assert_allclose(found, closed_form["A_linear_quadratic"]["rows"][0]["full"], rtol=1e-12)
    np.testing.assert_allclose(found, 115.555310, atol=1e-6)


def test_linear_quadratic_components_do_not_interact(float64):
    a, b, theta = np.array([0.9, 0.5]), np.array([1.0, -2.0]), jnp.array([0.3, 0.7])
    together = gradient(known.linear_quadratic(a, b, 1.0, 0.2), theta, 7)
    alone = [gradient(known.linear_quadratic(a[i], b[i], 1.0, 0.2), theta[i], 7) for i in range(2)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_noise_moves_the_state_by_its_own_standard_deviation(float64):
    quiet, noisy = known.linear_quadratic(), known.noisy_linear_quadratic(noise=0.5)
    step = jax.vmap(lambda key: noisy.step(jnp.float64(2.0), 0.3, key) - quiet.step(jnp.float64(2.0), 0.3, key))
    shift = np.asarray(step(jax.random.split(KEY, 4000)))
    assert abs(shift.mean()) < 5 * 0.5 / np.sqrt(4000)
    assert abs(shift.std() - 0.5) < 5 * 0.5 / np.sqrt(8000)
    again = known.noisy_linear_quadratic(noise=0.0)
    np.testing.assert_array_equal(losses(again, 0.3, 9), losses(quiet, 0.3, 9))


def test_the_influence_of_influence_balancing_is_the_closed_form(float64, closed_form):
    table = closed_form["B_influence"]["a_h"]
    problem = known.influence_balancing()
    influence = np.asarray(jax.jacfwd(lambda theta: _first_components(problem, theta, 500))(0.5))
    for steps, value in table.items():
        np.testing.assert_allclose(influence[int(steps) - 1], value, atol=1e-7)
    assert np.argmax(influence) + 1 == 19
    np.testing.assert_allclose(influence.max(), 16.476, atol=1e-3)
    assert np.flatnonzero(influence < 0)[0] + 1 == 41


def _first_components(problem, theta, num_steps):
    def body(state, _):
        state = problem.step(state, theta, KEY)
        return state, state[0]

    return jax.lax.scan(body, problem.init(theta, KEY), length=num_steps)[1]


@pytest.mark.parametrize(("n", "p", "optimum"), [(23, 10, -1 / 6), (5, 3, 1 / 2)])
def test_the_gradient_of_influence_balancing_is_zero_at_its_optimum(float64, n, p, optimum):
    problem = known.influence_balancing(n, p)
    run = jax.jit(jax.vmap(lambda theta: unroll(problem, problem.init(theta, KEY), theta, KEY, 400)[1][-1]))
    at_optimum, beside = run(optimum + jnp.array([0.0, 0.01]))
    assert at_optimum < 1e-20
    assert beside > 1e-4


def toy_sum(theta, horizon):
    """Return Σ_t f(x_t) from a NumPy loop with a gradient derived by hand."""
    x, total = np.ones(2), 0.0
    for t in range(horizon):
        rate = (1 - t / horizon) * np.exp(theta[0]) + t / horizon * np.exp(theta[1])
        bell = np.exp(-5 * x[0] ** 2)
        slope = [
            x[0] / np.sqrt(x[0] ** 2 + 5) - 10 * x[0] * np.sin(x[1]) ** 2 * bell,
            np.sin(2 * x[1]) * bell + 0.25 * np.sign(x[1] - 100),
        ]
        x = x - rate * np.array(slope)
        ripple = np.sin(x[1]) ** 2 * np.exp(-5 * x[0] ** 2)
        total += np.sqrt(x[0] ** 2 + 5) - np.sqrt(5) + ripple + 0.25 * abs(x[1] - 100)
    return total


def test_toy_regression_has_the_published_losses():
    expected = [toy_sum(theta, 100) for theta in TOY_POINTS]
    np.testing.assert_allclose(expected, list(TOY_POINTS.values()), atol=0.01)
    mean, total = chaotic.toy_regression(), chaotic.toy_regression(objective="sum")
    both = jax.jit(jax.vmap(lambda theta: [meta_loss(problem, theta, KEY, 100) for problem in (mean, total)]))
    means, totals = both(jnp.array(list(TOY_POINTS)))
    np.testing.assert_allclose(100 * means, expected, rtol=1e-5)
    np.testing.assert_allclose(totals, expected, rtol=1e-5)


def test_toy_regression_equals_the_numpy_loop_in_float64(float64):
    found = losses(chaotic.toy_regression(40), jnp.array([-1.0, -2.0]), 40)
    np.testing.assert_allclose(found.sum(), toy_sum((-1.0, -2.0), 40), rtol=1e-10)


def test_toy_regression_has_the_stored_gradient(float64):
    np.testing.assert_allclose(
        100 * gradient(chaotic.toy_regression(), jnp.array([-4.0, -4.0]), 100)[0], -3.911, atol=1e-3
    )


def fixed_point(log_decay):
    x, y, *_ = weight_decay.data()
    return np.linalg.solve(x.T @ x + np.exp(log_decay) * np.eye(x.shape[1]), x.T @ y)


def validation_error(log_decay):
    *_, x, y = weight_decay.data()
    return np.mean((x @ fixed_point(log_decay) - y) ** 2)


def test_l2_tuning_has_the_closed_form_of_its_fixed_point_and_the_published_optimum(float64):
    problem = known.l2_tuning(*weight_decay.data())
    state, read = unroll(problem, problem.init(jnp.float64(3.82), KEY), 3.82, KEY, 2000)
    np.testing.assert_allclose(state, fixed_point(3.82), rtol=1e-9)
    np.testing.assert_allclose(read[-1], validation_error(3.82), rtol=1e-9)
    grid = np.linspace(3.7, 3.9, 201)
    np.testing.assert_allclose(grid[np.argmin([validation_error(value) for value in grid])], 3.82, atol=0.005)


def test_l2_tuning_truncated_to_one_step_has_another_stationary_point(float64):
    problem = known.l2_tuning(*weight_decay.data())

    def truncated(log_decay):
        w = jnp.asarray(fixed_point(log_decay))
        one_step = lambda theta: problem.loss(problem.step(w, theta, KEY), theta, KEY)
        return float(jax.grad(one_step)(log_decay))

    assert truncated(3.58) * truncated(3.59) < 0
    assert truncated(3.82) * truncated(3.58) < 0


def test_descent_on_the_cubic_loss_is_the_logistic_map(float64):
    for rate in (0.5, 2.8):
        x = orbit(chaotic.cubic_loss(0.3), jnp.float64(rate), 12)
        y = orbit(chaotic.logistic_map(rate * 0.7 / (1 + rate)), jnp.float64(1 + rate), 12)
        np.testing.assert_allclose(rate * (1 - x) / (1 + rate), y, atol=1e-11)


def test_the_steps_are_gradient_descent_on_their_losses(float64):
    for problem, rate in ((chaotic.cubic_loss(), 0.7), (chaotic.double_well(), 0.4)):
        for x in (-0.8, 0.1, 1.7):
            slope = jax.grad(problem.loss)(jnp.float64(x), rate, KEY)
            np.testing.assert_allclose(problem.step(jnp.float64(x), rate, KEY), x - rate * slope, rtol=1e-12)


@pytest.mark.parametrize("make", [chaotic.cubic_loss, chaotic.double_well])
def test_the_parametrisation_by_the_logarithm_of_the_rate_is_the_same_map(float64, make):
    direct, by_logarithm = make(0.4), make(0.4, log_learning_rate=True)
    np.testing.assert_allclose(
        orbit(direct, jnp.float64(0.7), 20), orbit(by_logarithm, jnp.log(jnp.float64(0.7)), 20), rtol=1e-12
    )


def test_cubic_loss_at_three_has_the_exact_orbit(float64):
    angle, steps = 0.7, np.arange(1, 17)
    problem = chaotic.cubic_loss(1 - 4 / 3 * np.sin(angle) ** 2)
    exact = 1 - 4 / 3 * np.sin(2.0**steps * angle) ** 2
    np.testing.assert_allclose(orbit(problem, jnp.float64(3.0), 16), exact, atol=1e-9)


def test_double_well_at_two_has_the_exact_orbit(float64):
    angle, steps = 0.7, np.arange(1, 12)
    problem = chaotic.double_well(np.sqrt(2) * np.sin(angle))
    exact = np.sqrt(2) * np.sin(3.0**steps * angle)
    np.testing.assert_allclose(orbit(problem, jnp.float64(2.0), 11), exact, atol=1e-9)


def test_cubic_loss_at_three_has_the_exact_tangent(float64):
    angle, steps = 0.7, 20
    problem, theta = chaotic.cubic_loss(), jnp.float64(3.0)

    def last(start):
        return jax.lax.fori_loop(0, steps, lambda _, x: problem.step(x, theta, KEY), start)

    tangent = jax.jvp(last, (jnp.float64(1 - 4 / 3 * np.sin(angle) ** 2),), (jnp.float64(1.0),))[1]
    np.testing.assert_allclose(tangent, 2**steps * np.sin(2 ** (steps + 1) * angle) / np.sin(2 * angle), rtol=1e-8)
    np.testing.assert_allclose(tangent, 166121.667, rtol=1e-8)


@pytest.mark.parametrize(
    ("problem", "theta", "exponent", "tolerance"),
    [
        (chaotic.logistic_map(), 4.0, np.log(2), 2 / 4000),
        (chaotic.logistic_map(), 2.5, np.log(0.5), 2e-3),
        (chaotic.cubic_loss(), 3.0, np.log(2), 2 / 4000),
        (chaotic.double_well(), 2.0, np.log(3), 2 / 4000),
        (chaotic.double_well(), 0.9, np.log(0.8), 2e-3),
        (chaotic.henon(), (1.4, 0.3), 0.419217, 0.02),
    ],
)
def test_lyapunov_exponents_equal_the_known_values(float64, problem, theta, exponent, tolerance):
    theta = jnp.asarray(theta, jnp.float64)

    def body(carry, _):
        state, tangent = carry
        state, tangent = jax.jvp(lambda state: problem.step(state, theta, KEY), (state,), (tangent,))
        growth = jnp.linalg.norm(jnp.atleast_1d(tangent))
        return (state, tangent / growth), jnp.log(growth)

    start = problem.init(theta, KEY)
    rates = jax.lax.scan(body, (start, jnp.ones_like(start)), length=4000)[1]
    np.testing.assert_allclose(np.mean(rates), exponent, atol=tolerance)


def test_henon_contracts_areas_by_b(float64):
    problem, theta = chaotic.henon(), jnp.array([1.4, 0.3])
    for point in ((0.1, 0.1), (-1.2, 0.3)):
        matrix = jax.jacfwd(lambda point: problem.step(point, theta, KEY))(jnp.array(point))
        np.testing.assert_allclose(np.linalg.det(matrix), -0.3, rtol=1e-12)
    x, y = 0.1, 0.1
    for _ in range(20):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
    np.testing.assert_allclose(orbit(problem, theta, 20)[-1], [x, y], atol=1e-9)


def lorenz_losses(start, log_a, log_r, num_steps):
    """Return (z − z_true)² from a NumPy loop; the starts are `[3, N]`."""

    def move(point, a, r):
        x, y, z = point
        return point + 0.005 * np.array([a * (y - x), x * (r - z) - y, x * y - 8 / 3 * z])

    point, true_point, found = start, start, []
    for _ in range(num_steps):
        point, true_point = move(point, np.exp(log_a), np.exp(log_r)), move(true_point, 10.0, 28.0)
        found.append((point[2] - true_point[2]) ** 2)
    return np.array(found)


def test_lorenz_equals_the_numpy_loop_in_float64(float64):
    found = losses(chaotic.lorenz(), jnp.array([3.116, 3.7]), 300)
    expected = lorenz_losses(np.array([1.2, 1.3, 1.6]), 3.116, 3.7, 300)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def lorenz_test_losses(theta, count):
    problem, keys = chaotic.lorenz(noise=1.0), jax.random.split(KEY, count)
    return np.asarray(jax.jit(jax.vmap(lambda key: meta_loss(problem, theta, key, 2000)))(keys))


def test_lorenz_has_the_published_test_losses():
    start = lorenz_test_losses(jnp.array([3.116, 3.7]), 400)
    draws = np.array([1.2, 1.3, 1.6])[:, None] + np.random.default_rng(0).normal(size=(3, 400))
    expected = lorenz_losses(draws, 3.116, 3.7, 2000).mean(axis=0)
    spread = np.hypot(start.std(), expected.std()) / np.sqrt(400)
    assert abs(start.mean() - expected.mean()) < 5 * spread
    assert abs(start.mean() - 312) < 5 * spread
    truth = lorenz_test_losses(jnp.log(jnp.array([10.0, 28.0])), 400)
    assert 0 < truth.mean() < 0.1
    assert np.median(truth) < 0.001


def test_no_tangent_passes_through_the_true_lorenz_trajectory():
    problem, theta = chaotic.lorenz(), jnp.array([2.3, 3.3])
    state = problem.init(theta, KEY)
    push = lambda state: problem.step(state, theta, KEY)
    _, tangent = jax.jvp(push, (state,), (jax.tree.map(jnp.ones_like, state),))
    assert np.all(tangent.true_point == 0)
    assert np.all(tangent.point != 0)


REFUSED = {
    "horizon must be at least 1": lambda: chaotic.toy_regression(0),
    "objective must be one of mean, sum": lambda: chaotic.toy_regression(objective="total"),
    "p must be at most n": lambda: known.influence_balancing(3, 4),
    "n must be at least 1": lambda: known.influence_balancing(0, 0),
    "noise must be a number in": lambda: known.noisy_linear_quadratic(noise=-1.0),
    "a must be a finite number": lambda: known.linear_quadratic(a=np.inf),
    "start must be finite numbers of shape": lambda: chaotic.henon((0.1, 0.2, 0.3)),
    "dt must be a number in": lambda: chaotic.lorenz(dt=0.0),
    "omega must be a finite number": lambda: known.phase_walk(omega=np.nan),
    "x_val 3; they must be the same": lambda: known.l2_tuning(np.ones((5, 2)), np.ones(5), np.ones((5, 3)), np.ones(5)),
    "x_train must be": lambda: known.l2_tuning(np.ones((5, 2)), np.ones(4), np.ones((5, 2)), np.ones(5)),
    "x_val and y_val must be finite": lambda: known.l2_tuning(
        np.ones((5, 2)), np.ones(5), np.full((5, 2), np.nan), np.ones(5)
    ),
    "learning_rate must be a number in": lambda: known.l2_tuning(
        np.ones((5, 2)), np.ones(5), np.ones((5, 2)), np.ones(5), 0.0
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_invalid_arguments_raise_a_clear_error(sentence):
    with pytest.raises(ValueError, match=sentence):
        REFUSED[sentence]()
