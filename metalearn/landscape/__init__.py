"""Floor 2: functions of θ drawn on a plane through θ-space.

A landscape is given what it draws as a function of θ, be it the meta-loss, an estimator's gradient or an exponent: this
package knows planes and grids, and nothing of estimators or dynamics.
"""

from metalearn.landscape.plane import Axis, Plane
from metalearn.landscape.render import render

__all__ = ["Axis", "Plane", "render"]
