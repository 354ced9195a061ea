"""Diagnosis of why meta-gradients work or fail, `ml.diagnosis.*`.

| function | question |
|---|---|
| `diagnose` (also `ml.diagnose`) | which estimator to use at a point of θ-space, and why |
| `anatomy`, `on_plane`, `lyapunov_law` | where training is chaotic on a plane, and how this affects the gradient |
| `window_jacobians`, `predicted_variance`, `truncation_spectrum` | how θ in one window affects the losses of others |
"""

from metalearn.outer.diagnosis import (
    Anatomy,
    Diagnosis,
    Law,
    Recommendation,
    Spectrum,
    anatomy,
    diagnose,
    lyapunov_law,
    on_plane,
    predicted_variance,
    truncation_spectrum,
    window_jacobians,
)

__all__ = [
    "Anatomy",
    "Diagnosis",
    "Law",
    "Recommendation",
    "Spectrum",
    "anatomy",
    "diagnose",
    "lyapunov_law",
    "on_plane",
    "predicted_variance",
    "truncation_spectrum",
    "window_jacobians",
]
