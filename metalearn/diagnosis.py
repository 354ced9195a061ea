"""Why meta-gradients work or fail, `ml.diagnosis.*`.

| function | answers |
|---|---|
| `diagnose` (also `ml.diagnose`) | which estimator to use at a point of θ-space, and why |
| `anatomy`, `on_plane`, `lyapunov_law` | where training is chaotic on a plane, and what that does to the gradient |
| `window_jacobians`, `predicted_variance`, `truncation_spectrum` | how θ in a window acts on other windows; what follows |
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
