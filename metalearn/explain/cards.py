"""The diagnosis at up to three places of the plane."""

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy
from metalearn.explain.smoothing import nearest
from metalearn.figures import Section
from metalearn.outer.diagnosis.diagnose import diagnose
from metalearn.types import Progress


def cards(study: PlaneStudy, progress: Progress) -> Part | None:
    """Diagnose the best place after smoothing, and a place with a small and one with a large exponent."""
    chosen = list(choose_places(study).items())[: study.settings.cards]
    if not chosen:
        return None
    texts, rows = [], []
    for index, (name, place) in enumerate(chosen):
        key = jax.random.fold_in(study.key, 300 + index)
        card = diagnose(study.problem, jnp.array(place), study.sigma, study.windows, key)
        texts.append(f"{name}: ({place[0]:.3g}, {place[1]:.3g})\n\n{card}")
        row = {"place": name, "x": place[0], "y": place[1], "exponent": card.exponent.value, "kappa": card.kappa}
        rows.append(row | card.recommendation._asdict())
        progress("cards", index + 1, len(chosen))
    number = lambda value: f"{value:.3g}" if not np.isnan(value) else "unknown"
    advice = [
        f"at {row['place']} use {row['method']} (λ = {number(row['exponent'])}, κ = {number(row['kappa'])})"
        for row in rows
    ]
    sentence = "; ".join(advice) + "."
    return Part(Section("What to use", sentence[0].upper() + sentence[1:], text="\n\n\n".join(texts)), rows=rows)


def choose_places(study: PlaneStudy) -> dict[str, tuple[float, float]]:
    """Return the place of the smallest smoothed value, and places with the quartiles of the exponent."""
    found = study.anatomy
    best = study.smooth[nearest(study.smooth, study.sigma)].value if study.smooth else study.landscape
    name = "the best place after smoothing" if study.smooth else "a corner"
    places = {name: _place(study.plane, best, np.argmin(best))}
    exponent = np.where(found.converged & np.isfinite(found.exponent), found.exponent, np.nan)
    for name, share in {"a place with a small exponent": 0.25, "a place with a large exponent": 0.75}.items():
        if not np.all(np.isnan(exponent)):
            away = np.abs(exponent - np.nanquantile(exponent, share))
            places[name] = _place(study.plane, exponent, np.nanargmin(away))
    return places


def _place(plane, layer, flat) -> tuple[float, float]:
    index = np.unravel_index(flat, layer.shape)
    x, y = plane.x.points(layer.shape[1]), plane.y.points(layer.shape[0])
    return float(x[index[1]]), float(y[index[0]])
