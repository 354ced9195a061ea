"""Outer trajectories of all estimators from the same starts."""

import jax
import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy
from metalearn.figures import Section, draw_trajectories, later
from metalearn.outer import end_points, run_descents
from metalearn.types import Progress

STUCK = 0.05  # a trajectory that moved less than this, in the units of the axes, counts as not moved


def trajectories(study: PlaneStudy, progress: Progress) -> Part | None:
    """Run outer trajectories of the study's descents over the landscape."""
    if not study.descents:
        return None
    paths, rows, figures, refused = {}, [], {}, []
    key = jax.random.fold_in(study.key, 4)
    for name, descent, found in run_descents(study.descents, study.problem, study.plane, study.starts, key, progress):
        if isinstance(found, str):
            refused.append(f" {descent.label} cannot be followed: {found.rstrip('.')}.")
            continue
        thetas, metrics = found
        paths[name] = np.asarray(thetas)
        paths[f"{name}_loss"] = losses = end_losses(study, thetas)
        rows.append(_row(descent.label, thetas, losses, metrics, study.starts))
        figures[descent.label] = later(
            draw_trajectories,
            study.landscape,
            study.plane,
            {descent.label: thetas},
            value_name="meta-loss",
            title="squares start, dots end",
        )
    sentence = (_sentence(rows) if rows else "No estimator can be followed here.") + "".join(refused)
    return Part(Section("Outer trajectories", sentence, figures, rows, arrays="arrays/trajectories.npz"), paths, rows)


def end_losses(study: PlaneStudy, thetas) -> np.ndarray:
    """Return the meta-loss at the end points; infinite where it is NaN."""
    losses = np.array([float(study.measured(end)) for end in end_points(thetas)])
    return np.where(np.isnan(losses), np.inf, losses)


def _row(label, thetas, losses, metrics, starts):
    moved = np.linalg.norm(end_points(thetas) - np.asarray(starts), axis=1)
    return {
        "estimator": label,
        "best end": losses.min(),
        "worst end": losses.max(),
        "starts that did not move": int(np.sum(moved < STUCK)),
        **{f"start {i + 1}": float(loss) for i, loss in enumerate(losses)},
        "inner steps a start": float(np.mean(np.sum(np.asarray(metrics["inner_steps"], np.float64), axis=1))),
    }


def _sentence(rows):
    rows = sorted(rows, key=lambda row: row["worst end"])
    starts = sum(name.startswith("start ") for name in rows[0])
    ends = ", ".join(f"{row['best end']:.3g} and {row['worst end']:.3g} ({row['estimator']})" for row in rows)
    still = " and ".join(
        f"{row['starts that did not move']} of {row['estimator']}" for row in rows if row["starts that did not move"]
    )
    stuck = f" Of the starts {still} did not move." if still else ""
    return (
        f"From {starts} starts the meta-loss ends between {ends}.{stuck} Gradients that are not finite count as zero."
    )
