"""`verify` accepts correct estimators, including foreign code, and names the mistakes of the others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import metalearn as ml
from metalearn.testing import battery, predicted_means
from metalearn.testing.battery import CASES
from metalearn.testing.measures import Means, distance_to
from tests import reference_numpy as ref
from tests.testing import foreign

ES = ("evolution_strategies", "persistent_es", "noise_reuse_es")


def whole(truncation):
    return ml.Truncation(truncation.horizon, truncation.horizon, stagger=truncation.stagger)


def with_mistake(mistake):
    return lambda problem, truncation, sigma, num_pairs: foreign.persistent_es(
        problem, truncation, sigma, num_pairs, mistake
    )


CORRECT = {
    "full ES": (lambda p, t, s, n: ml.evolution_strategies(p, whole(t), sigma=s, num_pairs=n), "smoothed"),
    "single members": (
        lambda p, t, s, n: ml.evolution_strategies(p, whole(t), sigma=s, num_pairs=n, antithetic=False),
        "smoothed",
    ),
    "noise-reuse ES": (ml.noise_reuse_es, "smoothed"),
    "orthogonal": (functools.partial(ml.noise_reuse_es, directions="orthogonal"), "smoothed"),
    "perturbed backprop": (lambda p, t, s, n: ml.backprop(p, whole(t), sigma=s, num_particles=n), "smoothed"),
    "persistent ES": (ml.persistent_es, "windowwise"),
    "generalised persistent ES, every window": (
        lambda p, t, s, n: ml.generalized_persistent_es(p, t, sigma=s, num_pairs=n, noise_period=t.length),
        "windowwise",
    ),
    "generalised persistent ES, every episode": (
        lambda p, t, s, n: ml.generalized_persistent_es(p, t, sigma=s, num_pairs=n, noise_period=t.horizon),
        "smoothed",
    ),
    "combination": (
        lambda p, t, s, n: ml.combine(
            [
                ml.evolution_strategies(p, whole(t), sigma=s, num_pairs=4 * n),
                ml.backprop(p, whole(t), sigma=s, num_particles=4 * n),
            ]
        ),
        "smoothed",
    ),
    "mixture": (
        lambda p, t, s, n: ml.mixture({name: ml.noise_reuse_es(p, t, sigma=s, num_pairs=n) for name in "ab"}),
        "smoothed",
    ),
    "backprop": (lambda p, t, s, n: ml.backprop(p, whole(t), num_particles=n), "unsmoothed"),
    "forward mode": (lambda p, t, s, n: ml.forward_mode(p, t, num_particles=n), "unsmoothed"),
    "forward gradient": (lambda p, t, s, n: ml.forward_gradient(p, t, num_directions=n), "unsmoothed"),
    "UORO": (lambda p, t, s, n: ml.uoro(p, t, num_particles=n), "unsmoothed"),
    "ARTBP": (lambda p, t, s, n: ml.estimators.artbp(p, whole(t), cut_probability=0.1, num_particles=n), "unsmoothed"),
    "by hand": (with_mistake(""), "windowwise"),
}
OTHERS = {  # estimators of the library with another target, and the name that they get
    "truncated ES": (ml.evolution_strategies, "windowwise", "truncated ES"),
    "truncated backprop": (lambda p, t, s, n: ml.backprop(p, t, num_particles=n), "unsmoothed", "truncated backprop"),
    "noise reuse for persistent": (ml.noise_reuse_es, "windowwise", "noise-reuse ES"),
    "persistent for noise reuse": (ml.persistent_es, "smoothed", "persistent ES"),
    "blocks of two windows": (
        lambda p, t, s, n: ml.generalized_persistent_es(p, t, sigma=s, num_pairs=n, noise_period=2 * t.length),
        "windowwise",
        "generalised persistent ES",
    ),
    "signs": (
        functools.partial(ml.noise_reuse_es, directions="rademacher"),
        "smoothed",
        "perturbations of signs (Rademacher)",
    ),
    "sphere": (
        functools.partial(ml.persistent_es, directions="sphere"),
        "windowwise",
        "perturbations on a sphere",
    ),
    "ranks": (functools.partial(ml.noise_reuse_es, fitness="ranks"), "smoothed", predicted_means.NORMALISED),
    "guided": (
        lambda p, t, s, n: ml.guided_es(p, t, sigma=s, num_pairs=n, alpha=0.5, rank=1),
        "smoothed",
        None,
    ),
}

BUILT = ml.persistent_es(battery.build_problem(CASES["phase walk"]), ml.Truncation(12, 3), sigma=1, num_pairs=1)


@pytest.fixture(scope="module")
def accepted():
    return ml.testing.verify(with_mistake(""), claim="windowwise", budget=0.1)


def test_handwritten_persistent_es_is_consistent(accepted):
    assert accepted.consistent
    assert accepted.looks_like is None
    text = str(accepted)
    assert max(map(len, text.splitlines())) <= 100
    for words in ("Consistent with the gradient of the meta-loss that is smoothed window by window", "truncated ES ("):
        assert words in text.replace("\n", " ")
    assert accepted.rejected["no accumulator"] > accepted.limit
    assert 0 < accepted.false_rejection < 1e-3
    assert accepted.smallest_bias < 0.5
    assert len(accepted.rows()) == len(accepted.checks) == 14


def test_an_estimator_with_a_mistake_is_rejected_and_the_mistake_named():
    found = ml.testing.verify(with_mistake("last loss credited to the newest window"), claim="windowwise", budget=0.2)
    assert not found.consistent
    assert found.looks_like == "last loss credited to the newest window"
    assert "It looks like: last loss credited" in str(found).replace("\n", " ")


@pytest.mark.long
@pytest.mark.parametrize("name", CORRECT)
def test_estimators_of_the_library_are_consistent_with_their_claims(name):
    make, claim = CORRECT[name]
    verdict = ml.testing.verify(make, claim=claim, budget=0.5)
    assert verdict.consistent, str(verdict)
    assert verdict.looks_like is None


@pytest.mark.long
@pytest.mark.parametrize("mistake", foreign.MEANS + foreign.SPREADS)
def test_every_twin_is_rejected_and_its_mistake_named(mistake):
    verdict = ml.testing.verify(with_mistake(mistake), claim="windowwise", budget=0.3)
    assert not verdict.consistent
    assert verdict.looks_like == mistake, str(verdict)


@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_estimators_with_another_target_are_rejected_and_named(name):
    make, claim, expected = OTHERS[name]
    verdict = ml.testing.verify(make, claim=claim, budget=0.5)
    assert not verdict.consistent
    assert verdict.looks_like == expected, str(verdict)


@pytest.mark.long
def test_verify_accepts_a_plain_function_and_code_that_jax_cannot_trace():
    exact = lambda problem, theta, key: jax.grad(ml.meta_loss, 1)(problem, theta, key, problem.horizon)
    assert ml.testing.verify(exact, claim="unsmoothed", budget=0.1).consistent
    half = ml.testing.verify(lambda problem, theta, key: exact(problem, theta, key) / 2, claim="unsmoothed", budget=0.1)
    assert (half.consistent, half.looks_like) == (False, "half the gradient")

    def untraceable(problem, truncation, sigma, num_pairs):
        inner = ml.persistent_es(problem, truncation, sigma=sigma, num_pairs=num_pairs)
        return inner.init, lambda theta, state, key: (
            np.asarray((found := inner.estimate(theta, state, key))[0]),
            found[1],
        )

    verdict = ml.testing.verify(untraceable, claim="windowwise", budget=0.1)
    assert verdict.consistent, str(verdict)
    assert "Python loop" in " ".join(verdict.skipped)


def test_predicted_means_equal_the_closed_forms():
    """The phase walk and the linear map with one parameter, by the formulas of tests/reference_numpy.py."""
    walk, noises = CASES["phase walk"], {12: "noise-reuse ES", 3: "persistent ES", 6: "generalised persistent ES"}
    size = np.linalg.norm(battery.DIRECTION)
    place = battery.DIRECTION @ battery.THETA
    for period, name in noises.items():
        weights = ref.phase_walk_noise(12, 3, period)
        exact = ref.phase_walk_gradients(0.5, place, size * battery.SIGMA, *weights, 3).mean()
        found = predicted_means.predict_mean(walk, predicted_means.METHODS[name])
        np.testing.assert_allclose(found, exact * battery.DIRECTION, rtol=1e-12)
    full, cut = ref.linear_quadratic_gradients(0.9, 1.0, 1.0, 0.0, place, 12, 3)
    for name, exact in (("persistent ES", full), ("truncated backprop", cut), ("truncated ES", cut)):
        found = predicted_means.predict_mean(CASES["linear-quadratic"], predicted_means.METHODS[name])
        np.testing.assert_allclose(found, exact.mean() * battery.DIRECTION, rtol=1e-12)


@pytest.mark.parametrize("law", predicted_means.LAWS)
@pytest.mark.parametrize("method", ["noise-reuse ES", "persistent ES"])
def test_other_perturbations_have_the_predicted_means(law, method):
    """Samples drawn in NumPy, on a wave and on a square; normal perturbations fail the same test."""
    member, far = predicted_means.METHODS[method], {}
    for case in (CASES["loss depends on theta"], CASES["linear-quadratic"]._replace(wave=2.0)):
        exact = predicted_means.predict_mean_of_law(case, member, predicted_means.LAWS[law])
        for name in (law, "normal"):
            far[name] = max(far.get(name, 0), np.max(np.abs(drawn(case, member, name, exact))))
    assert far[law] < 5 < far["normal"]


def drawn(case, member, law, exact):
    """Return the distance from a mean in standard errors, for pairs of perturbations with this law."""
    table, states = battery.responses(case, battery.HORIZON)
    noise = np.random.default_rng(1).normal(size=(40_000, member.noise.shape[1], 2))
    if "signs" in law:
        noise = np.sign(noise)
    elif law != "normal":
        noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
        noise *= 2**0.5 if "sphere" in law else 1
    moved = battery.SIGMA * np.einsum("tj,njd,d->nt", table @ member.noise, noise, battery.DIRECTION)
    credit = np.einsum("tj,njd->ntd", member.credit.astype(float), noise) / battery.SIGMA
    loss = lambda x: case.wave * np.sin(case.omega * x) + case.square * (x - case.target) ** 2 / 2
    found = np.mean(((loss(states + moved) - loss(states - moved)) / 2)[..., None] * credit, axis=1)
    return (found.mean(axis=0) - exact) / (found.std(axis=0) / len(found) ** 0.5)


def test_means_of_zero_and_of_few_samples():
    zero = Means(np.zeros((1, 2)), np.zeros((1, 2)))
    assert np.all(distance_to(zero, np.zeros((1, 2))) == 0)
    assert np.all(distance_to(zero, np.ones((1, 2))) > 5)
    draws = np.random.default_rng(0).normal(size=(8, 1, 2))
    assert np.all(Means.of(draws).error > 2 * np.std(draws, axis=0, ddof=1) / 8**0.5)  # Student's t, 7 degrees


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_without_smoothing_equal_the_derivatives(name, float64):
    problem, theta = battery.build_problem(CASES[name]._replace(noise=0.0)), jnp.asarray(battery.THETA)
    exact = jax.grad(lambda theta: ml.meta_loss(problem, theta, jax.random.key(0), battery.HORIZON))(theta)
    found = predicted_means.predict_mean(CASES[name], predicted_means.METHODS["unsmoothed gradient"])
    np.testing.assert_allclose(found, exact, rtol=2e-6)


@pytest.mark.parametrize("claim", predicted_means.CLAIMS)
def test_predictions_differ_from_the_claim_and_from_each_other(claim):
    """Two mistakes with equal means on all problems could not be distinguished."""
    others = predicted_means.predictions(claim)
    own = predicted_means.METHODS[predicted_means.CLAIMS[claim]]
    table = {name: np.array([f(case) for case in CASES.values()]) for name, f in others.items()}
    table["claim"] = np.array([np.tile(predicted_means.predict_mean(case, own), (2, 1)) for case in CASES.values()])
    scale = np.abs(table["claim"])
    names = list(table)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert np.max(np.abs(table[one] - table[other]) / scale) > 0.05, (one, other)


def test_the_rate_of_false_rejections_is_the_stated_one():
    """Means of exact samples of persistent ES on the phase walk, drawn in NumPy, at limits of one to three errors."""
    case, member = CASES["phase walk"], predicted_means.METHODS["persistent ES"]
    table, states = battery.responses(case, battery.HORIZON)
    exact = predicted_means.predict_mean(case, member)
    draw, far = np.random.default_rng(0).normal, []
    for _ in range(400):
        noise = draw(size=(1000, 4, 2))
        moved = battery.SIGMA * np.einsum("tj,njd,d->nt", table @ member.noise, noise, battery.DIRECTION)
        credit = np.einsum("tj,njd->ntd", member.credit.astype(float), noise) / battery.SIGMA
        slope = np.cos(case.omega * states) * np.sin(case.omega * moved)
        far.append(distance_to(Means.of(np.mean(slope[..., None] * credit, axis=1)[:, None]), exact[None]))
    for limit in (1, 2, 3):
        share, stated = np.mean(np.array(far) > limit), 2 * norm.sf(limit)
        assert abs(share - stated) < 5 * np.sqrt(stated / 400), limit


@pytest.mark.parametrize(
    ("make", "settings", "error", "sentence"),
    [
        (ml.persistent_es, {"claim": "unbiased"}, ValueError, "claim must be one of"),
        (ml.persistent_es, {"budget": 0}, ValueError, "budget must be a number in"),
        (ml.persistent_es, {"key": 0}, TypeError, "typed key"),
        (3, {}, TypeError, "verify needs make_estimator"),
        (BUILT, {}, TypeError, "a function that builds one"),
        (ml.backprop, {}, TypeError, "Adapt it, for example"),
        (lambda problem, theta, key: theta, {}, ValueError, "does not take the standard deviation"),
        (lambda theta, problem: theta, {"claim": "unsmoothed"}, TypeError, r"must be gradient\(problem, theta, key\)"),
        (lambda p, t, s, n: None, {}, TypeError, "a pair of functions"),
        (lambda p, t, s, n: (lambda theta, key: (), lambda theta, state, key: theta), {}, RuntimeError, "estimate must return"),
        (lambda p, t, s, n: (lambda theta, key: (), lambda theta, state, key: (1.0, state)), {}, RuntimeError, "shape of theta"),
        (lambda p, t, s, n: (lambda theta, key: 1 / 0, lambda theta, state, key: (theta, state)), {}, RuntimeError, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise_a_clear_error(make, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        ml.testing.verify(make, **settings)
