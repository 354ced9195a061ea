"""The conditions of "The boundary of neural network trainability is fractal", and the windows of its pictures."""

from typing import NamedTuple

from metalearn.brief import brief_help
from metalearn.inner.checks import check_choice
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.two_layer import Arrays, Offset, two_layer_data, two_layer_training
from metalearn.landscape.plane import Axis, Plane


@brief_help
class Condition(NamedTuple):
    """The problem and the windows of a published picture.

    Attributes:
      problem: the inner problem.
      plane: the full window, [−3, 6]² in log10.
      num_steps: T.
      tile: the window in which the paper measures the dimension.
      published_dimension: the dimension in the paper; None if there is none.
    """

    problem: InnerProblem
    plane: Plane
    num_steps: int
    tile: Plane
    published_dimension: float | None


class _Setting(NamedTuple):
    activation: str
    num_examples: int
    num_steps: int
    offset: Offset
    dimension: float | None
    x: tuple[float, float]
    y: tuple[float, float]


SETTINGS = {
    "tanh": _Setting("tanh", 272, 500, "none", 1.66, (13.29976231, 13.29978604), (200.3582269, 200.3585844)),
    "relu": _Setting("relu", 272, 500, "none", 1.20, (0.577622737, 0.577625590), (81.4432439, 81.4436463)),
    "identity": _Setting("identity", 16, 500, "none", 1.17, (190.010080, 190.011840), (4.77745244, 4.77749670)),
    "single": _Setting("tanh", 1, 500, "none", 1.41, (48.298735, 48.299146), (18.2066141, 18.2067690)),
    "minibatch": _Setting(
        "tanh", 272, 1000, "none", 1.55,
        (0.267398835471957, 0.267398835475071), (174.269509700711, 174.269509702741),
    ),
    "offset": _Setting(
        "tanh", 272, 500, "drift", 1.98,
        (0.1960618282403, 0.1960618285243), (39.0254607863, 39.0254608429),
    ),
    "offset_once": _Setting(
        "tanh", 272, 500, "once", None,
        (0.1960618282403, 0.1960618285243), (39.0254607863, 39.0254608429),
    ),
}  # fmt: skip


def condition(name: str, data: Arrays | None = None) -> Condition:
    """Return one of the published conditions.

    Args:
      name: "tanh", "relu", "identity" (deep linear, 16 examples), "single" (one example), "minibatch" (16 of 272, 1000
        steps), "offset" (a constant is added to the first layer at every step, as in the published picture) or
        "offset_once" (the constant is added to the initial weights, as the text of the paper says; this window has no
        boundary).
      data: other data and initial weights, `X`, `Y`, `W0`, `W1` and, for the minibatch condition, `batch_indices`; by
        default the published ones.

    Raises:
      ValueError: `name` is unknown, or an array of `data` is missing, is not finite, or has another shape.

    References:
      Sohl-Dickstein 2024, arXiv 2402.06184; windows and dimensions from its notebook and its table.
    """
    check_choice("condition", name, SETTINGS)
    setting = SETTINGS[name]
    minibatches = name == "minibatch"
    data = two_layer_data(setting.num_examples) if data is None else data
    problem = two_layer_training(data, setting.activation, minibatches=minibatches, offset=setting.offset)
    place = _rates if setting.offset == "none" else _offset
    labels = ("learning rate of the input layer", "learning rate of the output layer")
    if setting.offset != "none":
        labels = ("offset of the first layer's weights", "learning rate of both layers")
    whole = Plane(Axis(labels[0], -3, 6, "log10"), Axis(labels[1], -3, 6, "log10"), place)
    tile = Plane(Axis.between(labels[0], *setting.x), Axis.between(labels[1], *setting.y), place)
    return Condition(problem, whole, setting.num_steps, tile, setting.dimension)


def _rates(x, y):
    return {"input_rate": x, "output_rate": y}


def _offset(x, y):
    return {"offset": x, "rate": y}
