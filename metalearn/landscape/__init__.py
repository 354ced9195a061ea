"""Functions of θ on a plane through θ-space.

`render` evaluates any function of θ on a grid, for example the meta-loss, an estimator's gradient or a Lyapunov
exponent. `trainability` measures where training converges, and the dimension of the border can be estimated. This
package does not import estimators or dynamics.
"""

from metalearn.landscape.box_counting import box_counting_dimension, published_dimension
from metalearn.landscape.conditions import Condition, condition
from metalearn.landscape.dimension import BorderDimension, border_dimension, dimension_table
from metalearn.landscape.directions import random_directions
from metalearn.landscape.fit import DimensionFit
from metalearn.landscape.gradient_map import GradientMap, gradient_map
from metalearn.landscape.measure import convergence_measure, edges
from metalearn.landscape.pixels import PixelMeasures, measure_pixels
from metalearn.landscape.plane import Axis, Plane, plane_through
from metalearn.landscape.precision import Precision, precision
from metalearn.landscape.render import escape_time, render
from metalearn.landscape.roughness import Roughness, roughness
from metalearn.landscape.smoothing import Smoothed, local_minima, smooth, smoothing_pyramid
from metalearn.landscape.trainability import Landscape, trainability
from metalearn.landscape.uncertainty import uncertainty_dimension
from metalearn.landscape.zoom import border_point, check_zoom, zoom

__all__ = [
    "Axis",
    "BorderDimension",
    "Condition",
    "DimensionFit",
    "GradientMap",
    "Landscape",
    "PixelMeasures",
    "Plane",
    "Precision",
    "Roughness",
    "Smoothed",
    "border_dimension",
    "border_point",
    "box_counting_dimension",
    "check_zoom",
    "condition",
    "convergence_measure",
    "dimension_table",
    "edges",
    "escape_time",
    "gradient_map",
    "local_minima",
    "measure_pixels",
    "plane_through",
    "precision",
    "published_dimension",
    "random_directions",
    "render",
    "roughness",
    "smooth",
    "smoothing_pyramid",
    "trainability",
    "uncertainty_dimension",
    "zoom",
]
