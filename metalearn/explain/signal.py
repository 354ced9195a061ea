"""The signal-to-noise ratio per inner step along the cut."""

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.explain.plane_study import Part, PlaneStudy
from metalearn.figures import Section, draw_signal, later
from metalearn.inner.unroll import Truncation
from metalearn.outer.comparison.compare import compare
from metalearn.types import Progress

FULL, RAW = "full ES, NRES", "perturbed backprop"
SEEN = 3  # times the ratio of noise alone; a larger signal counts as detected


def signal(study: PlaneStudy, progress: Progress) -> Part | None:
    """Measure the signal-to-noise ratio of four estimators along the cut, and the ratio that noise alone would give."""
    settings, x = study.settings.comparison, study.plane.x
    if not settings.points:
        return None
    rows = []
    for index, place in enumerate(np.linspace(x.low, x.high, settings.points + 2)[1:-1]):
        rows += signal_at(study, place, jax.random.fold_in(study.key, 200 + index))
        progress("signal to noise", index + 1, settings.points)
    figure = later(draw_signal, rows, name=x.name, title=f"{study.plane.y.name} = {study.height:g}")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    section = Section("Signal to noise", describe_signal(rows), {"signal": figure}, arrays="arrays/signal.npz")
    return Part(section, columns, rows)


def signal_at(study: PlaneStudy, place: float, key) -> list[dict]:
    """Return rows of place, estimator, signal-to-noise ratio per 10⁶ inner steps, error, and ratio of pure noise."""
    episodes = study.settings.comparison.episodes
    estimators = _estimators(study)
    nothing = dict.fromkeys(estimators, jnp.zeros(2))
    found = compare(
        estimators, study.at(place), key, num_episodes=episodes, reference=nothing, reference_pairs=2, unsmoothed=False
    )
    rows = []
    for report in found.reports:
        snr, floor = report.signal_to_noise_per_step, 1e6 / report.inner_steps / episodes
        rows.append({"place": place, "estimator": report.name, "snr": snr.value, "error": snr.error, "floor": floor})
    return rows


def _estimators(study):
    if study.compared is None:
        whole = Truncation(study.horizon, study.horizon, key=study.episode)
        pairs = study.settings.comparison.pairs
        smooth = {"sigma": study.sigma, "num_pairs": pairs}
        particles = {"sigma": study.sigma, "num_particles": 2 * pairs, "rematerialise": True}
        raw = {} if study.undifferentiable else {RAW: backprop(study.problem, whole, **particles)}
        study.compared = raw | {
            FULL: noise_reuse_es(study.problem, study.windows, **smooth),
            "PES": persistent_es(study.problem, study.windows, **smooth),
            "truncated ES": evolution_strategies(study.problem, study.windows, **smooth),
        }
    return study.compared


def describe_signal(rows) -> str:
    """Summarise the rows of all places in words."""
    of = lambda name: [row for row in rows if row["estimator"] == name and np.isfinite(row["snr"])]
    es, raw = of(FULL), of(RAW)
    if not es:
        return "The signal of full ES could not be measured anywhere on the cut, because its losses are not finite."
    values, places = [row["snr"] for row in es], {row["place"] for row in rows}
    words = f"The signal-to-noise ratio of full ES per 10⁶ inner steps is between {min(values):.3g} and {max(values):.3g} along the cut."
    if not any(row["estimator"] == RAW for row in rows):
        return words
    seen = [row for row in raw if row["snr"] > SEEN * row["floor"]]
    at = {row["place"]: row["snr"] for row in es}
    gains = [row["snr"] / at[row["place"]] for row in seen if at.get(row["place"], 0) > 0]
    gain = f"is up to {max(gains):.3g} times as large, and " if gains else ""
    return f"{words} That of backprop at perturbed places {gain}is distinguishable from noise at {len(seen)} of {len(places)} places."
