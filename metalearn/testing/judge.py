"""Check whether an estimator estimates the gradient that it claims, and if not, find the mistake that fits."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.stats import norm

from metalearn.inner.checks import check_choice, check_number
from metalearn.inner.problem import check_key
from metalearn.inner.unroll import Truncation
from metalearn.testing import battery, predicted_means
from metalearn.testing.battery import CASES, DIRECTION, DIVERGING, HORIZON, LENGTH, SIGMA, SMALL_SIGMA
from metalearn.testing.measures import LIMIT, Means, check_mean, check_ratio, check_share, episode_means, spread
from metalearn.testing.naming import find_nearest, is_normalised, measure_distances
from metalearn.testing.predicted_means import CLAIMS, EPISODES, METHODS, SPREADS, predict_mean
from metalearn.testing.sampling import Samples, Setting, sample_cases, sample_toy
from metalearn.testing.subjects import Subject, count_particles, parse_subject
from metalearn.testing.verdict import Check, Verdict
from metalearn.types import Key

SAMPLES, TOY_SAMPLES, FEWEST, PAIRS = 40_000, 16_000, 2_000, 4  # FEWEST pairs have normal means in chaos
WHOLE, WINDOWS = Truncation(HORIZON, HORIZON), Truncation(HORIZON, LENGTH)
MOST, PAIRED = 3, 1.5  # ratios of variances that are a mistake, and that antithetic pairs do not exceed
QUADRATIC = ("linear-quadratic", "noisy linear-quadratic")


def verify(
    make_estimator: Callable[..., Any], *, claim: str = "smoothed", budget: float = 1.0, key: Key | None = None
) -> Verdict:
    """Check whether an estimator estimates the gradient that it claims, on problems with known gradients.

        verdict = ml.testing.verify(my_persistent_es, claim="windowwise")
        print(verdict)

    The estimator runs with θ frozen on a phase walk, linear maps with quadratic losses with and without noise,
    influence balancing, a start that depends on θ, a problem that restarts in the middle of a window, one whose last
    window is cut short, staggered starts, and toy regression (docs/check_your_estimator.md). Its mean over an episode
    is compared with a closed form in the first and in the second episode, and with the means of common mistakes.
    Spreads are compared with each other: those of one pair and of four, of two values of σ, and of the two episodes.

    The horizon is 12 steps and a window 3. Losses are means over the horizon, so the mean of the estimates over the
    windows of an episode must be the gradient.

    Args:
      make_estimator: one of
        * `(problem, truncation, sigma, num_pairs) -> GradientEstimator`, such as `ml.persistent_es`;
        * the same, returning a pair of functions: `init(theta, key) -> state` and `estimate(theta, state, key) ->
          (gradient, state)`, which may return more;
        * `gradient(problem, theta, key) -> gradient` of a whole episode, of `problem.horizon` steps. Arguments named
          `truncation`, `sigma` and `num_pairs` are passed to it as well.
        θ is an array `[2]`. Functions that JAX cannot trace run in a Python loop with fewer samples. num_pairs may
        count other particles.
      claim: "smoothed" for ∇L_σ, where a perturbation lasts an episode (full ES, noise reuse); "windowwise" for
        perturbations that are independent between windows (persistent ES); "unsmoothed" for ∇L.
      budget: multiplies the number of samples. 1 takes less than a minute on two cores.
      key: the key of the random numbers; by default `jax.random.key(0)`.

    Returns:
      A verdict, which prints as a table. A correct estimator is rejected with the probability `false_rejection`.

    Raises:
      TypeError: `make_estimator` is not such a function, or does not return an estimator; `budget` is not a number,
        or `key` not a typed key.
      ValueError: `claim` is another name, `budget` is not in (0, 1000], or a plain function without an argument σ
        claims a smoothed gradient.
      RuntimeError: the estimator raised an error.
    """
    check_choice("claim", claim, tuple(CLAIMS))
    check_number("budget", budget, 0, 1000, open_low=True)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    judge = _Judge(parse_subject(make_estimator, claim), claim, budget, key)
    judge.means()
    judge.staggered()
    judge.several_pairs()
    judge.small_sigma()
    judge.toy()
    return judge.verdict()


class _Judge:
    """The checks of one estimator."""

    def __init__(self, subject: Subject, claim: str, budget: float, key: Key):
        self.subject, self.claim, self.budget, self.key = subject, claim, budget, key
        self.windows, self.per_episode = self._windows()
        self.own = METHODS[CLAIMS[claim]]
        self.checks: list[Check] = []
        self.skipped: list[str] = []
        self.found: dict[str, Means] = {}
        self.predicted: dict[str, dict[str, np.ndarray]] = {}
        self.flaws: list[str] = []

    def _windows(self) -> tuple[Truncation, int]:
        """Return the windows, or whole episodes if nothing else is supported, and the estimates of an episode."""
        if self.subject.whole:
            return WHOLE, 1
        problem = battery.build_problem(CASES["phase walk"])
        try:
            self.subject.build(problem, WINDOWS, SIGMA, 1)
        except Exception:
            self.subject.build(problem, WHOLE, SIGMA, 1)
            return WHOLE, 1
        return WINDOWS, WINDOWS.num_windows

    def sample(self, place: int, cases, *setting) -> Samples:
        setting = Setting(*setting)
        count = max(int(self.budget * SAMPLES / setting.num_pairs), 64)
        return sample_cases(self.subject, cases, setting, count, jax.random.fold_in(self.key, place))

    def means(self) -> None:
        """Compare the means of two episodes on all problems, and their spreads."""
        count = EPISODES * self.per_episode
        self.samples = self.sample(0, list(CASES.values()), self.windows, SIGMA, 1, count)
        self.episodes = episode_means(self.samples.gradients, self.per_episode)
        if not self.samples.traced:
            pairs = f" with {self.samples.pairs} pairs in each sample" if self.subject.counts else ""
            self.skipped.append(f"JAX cannot trace the estimator; it ran in a Python loop{pairs}.")
        others = predicted_means.predictions(self.claim)
        for (name, case), found in zip(CASES.items(), self.episodes):
            exact = np.tile(predict_mean(case, self.own), (EPISODES, 1))
            self._mean(name, found, exact, {other: predict(case) for other, predict in others.items()})
        first, second = (spread(self.episodes[0][:, episode]) for episode in range(EPISODES))
        self._ratio("spread of episode 2 : 1", second, first, 1.2, "resetting")

    def staggered(self) -> None:
        """Compare the mean of staggered particles, each at its own window."""
        if self.per_episode == 1:
            return
        windows = Truncation(HORIZON, LENGTH, stagger=True)
        try:
            found = self.sample(1, [CASES["phase walk"]], windows, SIGMA, 1, self.per_episode)
        except (RuntimeError, NotImplementedError) as error:
            self.skipped.append(f"Not checked: staggered starts. {error}")
            return
        case = CASES["phase walk"]
        exact = np.tile(predict_mean(case, self.own), (1, 1))
        others = {name: predict(case)[:1] for name, predict in predicted_means.predictions(self.claim).items()}
        self._mean("staggered starts", episode_means(found.gradients, self.per_episode)[0], exact, others)

    def several_pairs(self) -> None:
        """Compare the spread of four pairs with that of one, and measure the effect of diverging episodes."""
        if not self.subject.counts:
            self.skipped.append("Not checked: whether pairs share their noise, because it does not take their number.")
            return
        case, several = CASES["phase walk"], PAIRS * (self.samples.pairs if not self.samples.traced else 1)
        found = self.sample(2, [case, DIVERGING], self.windows, SIGMA, PAIRS, self.per_episode)
        plain, diverging = episode_means(found.gradients, self.per_episode)
        problem = battery.build_problem(case)
        count = lambda pairs: count_particles(self.subject, problem, self.windows, SIGMA, pairs)
        gain = count(several) / count(several // PAIRS)
        mean, error = spread(plain[:, 0])
        one = spread(self.episodes[0][:, 0])
        self._ratio(f"spread of {PAIRS} pairs × {PAIRS} : 1 pair", (gain * mean, gain * error), one, 2, "sharing")
        self._divergence(diverging[:, 0], predict_mean(case, self.own))

    def small_sigma(self) -> None:
        """Compare the spreads of two values of σ: on quadratic losses antithetic pairs have equal ones."""
        cases = [CASES[name] for name in QUADRATIC]
        found = self.sample(3, cases, self.windows, SMALL_SIGMA, 1, self.per_episode)
        small = [spread(one[:, 0]) for one in episode_means(found.gradients, self.per_episode)]
        large = [spread(self.episodes[list(CASES).index(name)][:, 0]) for name in QUADRATIC]
        (small_plain, small_noisy), (large_plain, large_noisy) = small, large
        growth = check_ratio("", small_plain, large_plain, MOST)
        fall = check_ratio("", large_plain, small_plain, PAIRED)
        if growth and not growth.passed:
            self.skipped.append(
                f"At a small sigma the variance is {growth.found:.2g} times as large: the members are not antithetic pairs."
            )
        elif fall is None or fall.passed:
            self._ratio("spread at small sigma : large, noisy", small_noisy, large_noisy, MOST, "common")

    def toy(self) -> None:
        """Compare the mean on toy regression, in chaos for smoothed claims."""
        calm = self.claim == "unsmoothed"
        place, known = (battery.CALM, battery.TOY_CALM) if calm else (battery.CHAOTIC, battery.TOY)
        horizon = battery.TOY_HORIZON
        length = horizon if self.per_episode == 1 else battery.TOY_LENGTH
        setting = Setting(Truncation(horizon, length), battery.TOY_SIGMA, 1, horizon // length)
        count = max(int(self.budget * TOY_SAMPLES), 64 if calm else FEWEST)
        pairs = self.samples.pairs if self.subject.counts else 1
        if not calm and not self.samples.traced and pairs * self.samples.gradients.shape[1] < FEWEST:
            self.skipped.append("Not checked: toy regression, because of too few samples.")
            return
        found = sample_toy(self.subject, place, setting, count, jax.random.fold_in(self.key, 4))
        own, error = (np.array([part]) for part in known[CLAIMS[self.claim]])
        others = {name: np.array([mean]) for name, (mean, _) in known.items() if name != CLAIMS[self.claim]}
        if not calm:  # the other factors are made of the windows of the other problems
            names = ("wrong sign", "sigma^2 for 2 sigma^2", "one-sided noise")
            others |= {name: predicted_means.FACTORS[name] * own for name in names}
        means = episode_means(found.gradients, setting.num_estimates)[0]
        self._mean("toy regression", means, own, others, error)

    def _mean(self, name, samples, exact, others, error: np.ndarray | float = 0.0) -> None:
        means = Means.of(samples, error)
        along = DIRECTION if name != "toy regression" else exact[0]
        self.checks.append(check_mean(name, means, exact, along))
        self.found[name], self.predicted[name] = means, others

    def _ratio(self, name, numerator, denominator, most, flaw) -> None:
        check = check_ratio(name, numerator, denominator, most)
        if check is None:
            return
        self.checks.append(check)
        if not check.passed:
            self.flaws.append(SPREADS[flaw])

    def _divergence(self, samples, exact) -> None:
        """Note the share of the gradient that is left where a quarter of the episodes has infinite losses."""
        check = check_share("share left if 1 of 4 diverges", samples, exact, 1 - battery.UNLUCKY)
        self.checks.append(check)
        if not np.isfinite(check.found):
            self.skipped.append(
                "Diverged particles make an estimate infinite or NaN. This does not change the verdict."
            )
        elif check.distance > LIMIT:
            self.skipped.append(
                f"Diverged particles: their losses dominate an estimate, of which the share {check.found:.2g} is left; it "
                f"should be between {check.expected:g} and 1. This does not change the verdict."
            )

    def _normalised(self) -> bool:
        """Return whether the mean does not depend on the scale of the losses."""
        case = CASES["phase walk"]
        found = self.sample(5, [case._replace(wave=2 * case.wave)], self.windows, SIGMA, 1, self.per_episode)
        doubled = Means.of(episode_means(found.gradients, self.per_episode)[0])
        return is_normalised(Means(*(part[:1] for part in self.found["phase walk"])), doubled)

    def verdict(self) -> Verdict:
        away = measure_distances(self.found, self.predicted)
        means = [one for one in self.checks if one.kind == "mean"]
        sound = all(one.passed for one in means)
        like = self.flaws[0] if self.flaws else None
        if not sound:
            like = find_nearest(away) or (predicted_means.NORMALISED if self._normalised() else None)
        components = sum(found.mean.size for found in self.found.values())
        tails = 2 * components + sum(one.kind == "spread" for one in self.checks)
        return Verdict(
            claim=self.claim,
            consistent=sound and not self.flaws,
            looks_like=like,
            checks=tuple(self.checks),
            rejected={name: far for name, (_, far) in away.items()},
            limit=LIMIT,
            false_rejection=float(tails * norm.sf(LIMIT)),
            num_samples=self.samples.gradients.shape[1],
            skipped=tuple(self.skipped),
        )
