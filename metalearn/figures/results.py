"""Figures of each kind of result, and of schedules."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.dynamics import Lyapunov
from metalearn.figures.collected import draw_collected
from metalearn.figures.comparison import draw_comparison
from metalearn.figures.dimension import draw_dimension
from metalearn.figures.landscape import draw_landscape
from metalearn.figures.limits import axis_limits, bars, mark_beyond
from metalearn.figures.style import OKABE_ITO, legend, save_style
from metalearn.figures.training import draw_learning_curves
from metalearn.inner.checks import check_count
from metalearn.landscape import BorderDimension, Landscape
from metalearn.outer import Comparison, Evaluation, History
from metalearn.outer.diagnosis import Diagnosis
from metalearn.outer.search import Trials
from metalearn.recording.collected import Collected


def draw_result(result: Any, **settings: Any) -> Any:
    """Draw the figure of any result; the settings are those of the function for its kind.

    Args:
      result: the result of a function of metalearn.
      settings: arguments of the function that draws this kind of result, such as `title`.

    Raises:
      TypeError: there is no figure for this kind of result.
    """
    match result:
        case Comparison():
            return draw_comparison(result, **settings)
        case Diagnosis():
            return draw_comparison(result.comparison, **settings)
        case Evaluation():
            return draw_learning_curves(result, **{"benchmark": result.results[0].benchmark, **settings})
        case Landscape():
            return draw_landscape(result, **settings)
        case History():
            return draw_history(result, **settings)
        case Trials():
            return draw_trials(result, **settings)
        case Collected():
            return draw_collected(result, **settings)
        case Lyapunov():
            return draw_exponents(result, **settings)
        case BorderDimension():
            return draw_dimension(result, **settings)
    raise TypeError(f"There is no figure for a {type(result).__name__}.")


def draw_history(history: History, *, title: str = "") -> Any:
    """Draw evaluations and goals, or the estimator's losses, and θ of at most 32 numbers, against the outer steps.

    Args:
      history: the history that `ml.meta_train` returns.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    rows = history.rows()
    losses = _series(rows, ["evaluation", *history.watched]) or _series(rows, ["loss"])
    theta = _series(rows, dict.fromkeys(key for row in rows for key in row if key.split("/")[0] == "theta"))
    with save_style():
        figure = Figure(figsize=(7, 3.4 * (1 + bool(theta))))
        above, *below = np.ravel(figure.subplots(1 + bool(theta), 1, sharex=True))
        read = "reading" if history.watched else "meta-loss"
        _lines(above, losses, "mean loss of the estimator's particles" if "loss" in losses else read)
        above.set_title(title)
        for axes in below:
            _lines(axes, theta, "theta")
        (below or [above])[-1].set_xlabel("outer step")
        return figure


def draw_trials(trials: Trials, *, title: str = "") -> Any:
    """Draw the losses of a search in the order of its trials, the smallest so far, and a ring at the best.

    Args:
      trials: the trials that a search of `ml.search` returns.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    loss, places = np.asarray(trials.loss, float), np.arange(len(trials.loss))
    with save_style():
        figure = Figure(figsize=(7, 4.2))
        axes = figure.subplots()
        limits = axis_limits(loss)
        axes.set(xlabel="trial", ylabel="loss", title=title, ylim=limits, xlim=axis_limits(places))
        axes.plot(places, np.clip(loss, *limits), "o", color=OKABE_ITO[0], markersize=4, label="trials")
        smallest = np.fmin.accumulate(np.where(np.isfinite(loss), loss, np.nan)) if len(loss) else loss
        axes.plot(places, np.clip(smallest, *limits), color=OKABE_ITO[3], label="smallest so far")
        best = [trials.best] if len(loss) else []
        axes.plot(best, np.clip(loss[best], *limits), "o", markersize=11, markerfacecolor="none", color="black")
        mark_beyond(axes, [(places, loss, OKABE_ITO[0])])
        legend(axes)
        return figure


def draw_exponents(found: Lyapunov, *, title: str = "") -> Any:
    """Draw Lyapunov exponents with their errors, the largest first; a line for each orbit.

    Args:
      found: the result of `ml.dynamics.lyapunov`, of one orbit or of several.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    values, errors = (np.asarray(one, float) for one in (found.exponents, found.standard_errors))
    values, errors = (one.reshape(-1, one.shape[-1]) for one in (values, errors))
    with save_style():
        figure = Figure(figsize=(6, 4))
        axes = figure.subplots()
        limits, places = axis_limits([values - errors, values + errors]), 1 + np.arange(values.shape[1])
        axes.set(xlabel="index", ylabel="Lyapunov exponent per step", title=title, ylim=limits)
        axes.set_xticks(places[:: 1 + len(places) // 10])
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_ylim(limits)
        for index, (line, error) in enumerate(zip(values, errors)):
            style = {"fmt": "o-", "capsize": 3, "color": OKABE_ITO[index % len(OKABE_ITO)]}
            axes.errorbar(places, np.clip(line, *limits), bars(line, error, *limits), **style)
        mark_beyond(axes, [(places, line, OKABE_ITO[index % len(OKABE_ITO)]) for index, line in enumerate(values)])
        legend(axes)
        return figure


def draw_schedule(schedules: Any, theta: Any, num_steps: int, *, params: Any = None, title: str = "") -> Any:
    """Draw schedules at θ against the steps of a training run.

    Args:
      schedules: a schedule `theta -> (count -> value)`, such as `ml.hyperparameters.cosine_schedule(...)`, or an
        optimiser `theta -> optax transformation`, such as `ml.adam(...)`; or a dictionary of them, with one line each.
        For an optimiser the figure shows the step for gradients of 1 and parameters of 0: the learning rate of SGD and
        of Adam, including momentum.
      theta: the meta-parameters.
      num_steps: the number of steps, at least 1.
      params: the parameters for an optimiser that treats tensors differently; each tensor has a line.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      TypeError: an entry is neither a schedule nor an optimiser.
    """
    from matplotlib.figure import Figure

    check_count("num_steps", num_steps)
    named = schedules if isinstance(schedules, Mapping) else {"": schedules}
    lines: dict[str, Any] = {}
    with save_style():
        for name, one in named.items():
            lines |= {key: (np.arange(num_steps), y) for key, y in _values(name, one, theta, num_steps, params).items()}
        figure = Figure(figsize=(7, 4))
        axes = figure.subplots()
        _lines(axes, lines, "value" if len(named) > 1 else "schedule")
        axes.set(xlabel="inner step", title=title)
        return figure


def _values(name: str, schedule: Any, theta: Any, num_steps: int, params: Any) -> dict[str, np.ndarray]:
    """Return the lines of a schedule, or of an optimiser."""
    found = schedule(theta) if callable(schedule) else schedule
    if hasattr(found, "init") and hasattr(found, "update"):
        sizes = _step_sizes(found, jnp.zeros(()) if params is None else params, num_steps)
        paths = jax.tree_util.tree_leaves_with_path(sizes)
        joined = lambda path: "/".join(filter(None, (name, jax.tree_util.keystr(path, simple=True, separator="/"))))
        return {joined(path): np.asarray(leaf, float) for path, leaf in paths}
    if not callable(found):
        raise TypeError(
            f"draw_schedule takes a schedule theta -> (count -> value) or an optimiser theta -> optax transformation; "
            f"{name or 'the function'} returned a {type(found).__name__}."
        )
    return {name: np.broadcast_to(np.asarray(jax.vmap(found)(jnp.arange(num_steps)), float), (num_steps,))}


def _step_sizes(optimizer, params, num_steps):
    """Return the mean size of the update of each tensor, step by step, for gradients of ones."""
    params = jax.tree.map(jnp.zeros_like, params)
    gradients = jax.tree.map(jnp.ones_like, params)

    def step(state, _):
        updates, state = optimizer.update(gradients, state, params)
        return state, jax.tree.map(lambda update: jnp.mean(-update), updates)

    return jax.lax.scan(step, optimizer.init(params), length=num_steps)[1]


def _series(rows, keys) -> dict[str, Any]:
    """Return key -> (steps, values) of the rows with this key."""
    having = {key: [row for row in rows if key in row] for key in keys}
    return {key: tuple(np.array([[r["step"], r[key]] for r in some], float).T) for key, some in having.items() if some}


def _lines(axes, series: Mapping[str, Any], label: str) -> None:
    """Draw lines by name within finite limits, and mark values beyond them."""
    limits = axis_limits(np.concatenate([*(values for _, values in series.values()), []]))
    axes.set(ylabel=label, ylim=limits, xlim=axis_limits(np.concatenate([*(x for x, _ in series.values()), []])))
    few, drawn = len(series) <= 10, []
    for index, (name, (x, values)) in enumerate(series.items()):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        shown = {"label": name} if name and few and len(series) > 1 else {}
        axes.plot(x, np.clip(values, *limits), "-" if len(x) > 20 else ".-", color=colour, **shown)
        drawn.append((x, values, colour))
    mark_beyond(axes, drawn)
    legend(axes, fontsize=9)
