"""Diagnose why meta-gradients work or fail at a point of θ-space, and which estimator to use there.

`ml.diagnosis` lists the public names.
"""

# ruff: noqa: F401

from metalearn.outer.diagnosis.anatomy import Anatomy, Law, anatomy, lyapunov_law, on_plane
from metalearn.outer.diagnosis.diagnose import Diagnosis, diagnose
from metalearn.outer.diagnosis.recommend import Recommendation
from metalearn.outer.diagnosis.window_jacobians import (
    Spectrum,
    predicted_variance,
    truncation_spectrum,
    window_jacobians,
)
