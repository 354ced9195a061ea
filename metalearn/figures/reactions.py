"""Figures of worlds that react to a prediction: gradients, end points of training, and incentives of a score."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.curves import Curve, draw_curves, draw_level
from metalearn.figures.style import OKABE_ITO, legend, save_style

COLOURS = {"backprop": OKABE_ITO[3], "truncated ES": OKABE_ITO[1], "PES": OKABE_ITO[0], "NRES": OKABE_ITO[2]}
COLOURS |= {"ES": OKABE_ITO[2], "retraining": OKABE_ITO[1], "gradient": OKABE_ITO[3], "full": OKABE_ITO[2]}
STYLES = {"alone": "-", "zero-sum": "--"}
GREY, SHOWN = "0.5", 0.2


def draw_reactions(shot: Mapping, sequence: Mapping, rounds: Mapping, reports: Mapping) -> Any:
    """Draw the single-shot and the sequential gradients, the rounds of three rules, and the Brier score of each report.

    Args:
      shot, sequence, rounds, reports: the arrays of the parts of `experiments/performative.py`.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(12, 8.4))
        (one, many), (ends, scores) = figure.subplots(2, 2)
        _gradients(one, shot)
        wrong = np.sign(shot["line/backprop"]) != np.sign(shot["line/ES"])
        one.fill_between(shot["fine"], *one.get_ylim(), where=wrong, color=COLOURS["backprop"], alpha=0.12, linewidth=0)
        one.set(title="1. Where the world reacts, backprop has the wrong sign (shaded)", xlabel="prediction θ",
                ylabel="gradient of the loss")  # fmt: skip
        legend(one, title="lines: exact\ndots: measured, ± 2 s.e.", loc="lower left")
        _gradients(many, sequence)
        many.set(title="2. If actions move the world, every family has its own target", xlabel="prediction θ",
                 ylabel="gradient of the mean loss")  # fmt: skip
        legend(many, loc="lower right")
        _rounds(ends, rounds)
        _scores(scores, reports)
        return figure


def draw_reports(reports: Mapping, choice: Mapping, game: Mapping) -> Any:
    """Draw the best report against the feedback, gradients where the human's response jumps, and self-play.

    Args:
      reports, choice, game: the arrays of the parts of `experiments/performative.py`.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(15, 4.6))
        best, jump, play = figure.subplots(1, 3)
        scores = {"brier": "Brier", "log": "log"}
        found = [
            Curve(
                reports["feedback"], reports[f"best/{name}"], {"color": colour, "label": f"best, {scores[name]} score"}
            )
            for name, colour in zip(scores, OKABE_ITO)
        ]
        draw_curves(best, found, limits=(0, 1))
        draw_level(best, float(reports["belief"]), "honest report", color="black", linestyle="--")
        best.set(xlabel="feedback: how far a report moves the probability", ylabel="report")
        best.set_title("1. The incentive to misreport")
        legend(best)
        _jump(jump, choice)
        _play(play, game, float(reports["honest"]))
        return figure


def _jump(axes, choice) -> None:
    found = []
    for key in (key for key in choice if key.startswith("exact/")):
        method, name = key.removeprefix("exact/").split(", ")
        if (method, name) != ("backprop", "zero-sum"):  # the same as alone
            label = f"{method}, {name}" if method == "ES" else "backprop, alone or zero-sum"
            found += _line_and_dots(choice, f"{method}, {name}", COLOURS[method], STYLES[name], label)
    draw_curves(axes, found)
    draw_level(axes, 0, "_zero", color=GREY, linewidth=0.8)
    axes.set(xlabel="report p", ylabel="gradient of the score (up: report more)")
    axes.set_title("2. A human's choice jumps at one report")
    legend(axes)


def _play(axes, game, honest) -> None:
    found = []
    for key, paths in game.items():
        score, name, method = key.split(", ")
        if score == "brier":
            how = {"linewidth": 5, "alpha": 0.4} if method == "backprop" else {}
            how |= {"color": COLOURS[method], "linestyle": STYLES[name], "label": f"{method}, {name}"}
            found.append(_band(np.arange(paths.shape[1]), paths, how))
    draw_curves(axes, found, limits=(0, 1))
    draw_level(axes, honest, "honest report", color="black", linewidth=0.9, linestyle=":")
    axes.set(xlabel="outer step", ylabel="report p", title="3. In self-play, the zero-sum game is honest")
    legend(axes)


def _gradients(axes, part) -> None:
    names = [key.removeprefix("exact/") for key in part if key.startswith("exact/")]
    draw_curves(axes, [one for name in names for one in _line_and_dots(part, name, COLOURS[name], "-", name)])
    draw_level(axes, 0, "_zero", color=GREY, linewidth=0.8)


def _line_and_dots(part, name, colour, style, label) -> list[Curve]:
    """Return the exact mean as a line, and the measured mean as dots with two standard errors."""
    samples = np.asarray(part[f"measured/{name}"], float)
    error = samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
    line = Curve(part["fine"], part[f"line/{name}"], {"color": colour, "linestyle": style, "label": label})
    return [line, Curve(part["theta"], samples.mean(axis=1), {"color": colour}, error=2 * error)]


def _band(steps, paths, style) -> Curve:
    """Return the mean over seeds in a band from the smallest to the largest."""
    return Curve(steps, paths.mean(axis=0), style, paths.min(axis=0), paths.max(axis=0))


def _rounds(axes, rounds) -> None:
    names = {"retraining": "repeated retraining", "gradient": "gradient, world held", "full": "full derivative"}
    steps, found = np.arange(len(rounds["rule/full"])), []
    for rule, name in names.items():
        found.append(Curve(steps, rounds[f"rule/{rule}"], {"color": COLOURS[rule], "label": name}))
    for name in ("backprop", "ES"):
        paths = rounds[f"descent/{name}"]
        picked = paths[:, np.linspace(0, paths.shape[1] - 1, len(steps)).astype(int)]
        how = {"color": COLOURS[name], "linestyle": ":", "label": f"{name} on sampled labels"}
        found.append(_band(steps, picked, how))
    draw_curves(axes, found)
    low, high = axes.get_ylim()
    for place, name in (("stable", "performatively stable"), ("optimal", "performatively optimal")):
        value = float(rounds[place])
        shown = low <= value <= high
        draw_level(axes, value, f"_{name}" if shown else name, color="black", linewidth=0.9, linestyle="--")
        if shown:
            axes.annotate(name, (steps[-1], value), (0, 14), textcoords="offset points", ha="right")
    axes.set(xlabel="round (samples: the whole training)", ylabel="prediction θ")
    axes.set_title("3. Three rules, two ends")
    legend(axes)


def _scores(axes, reports) -> None:
    kinds = {
        "belief": ("the world does not react", "--", GREY),
        "alone": ("the world reacts", "-", COLOURS["backprop"]),
        "zero-sum": ("it reacts, zero-sum game", "-", COLOURS["ES"]),
    }
    found, tops = [], []
    for kind, (name, style, colour) in kinds.items():
        curve = np.asarray(reports[f"score/brier, {kind}"], float)
        top = int(np.argmax(np.where(np.isfinite(curve), curve, -np.inf)))
        below = curve - curve[top]
        shown = ~(below < -SHOWN)  # the label of the axis says so
        how = {"color": colour, "linestyle": style, "label": name}
        found.append(Curve(np.asarray(reports["report"])[shown], below[shown], how))
        tops.append((reports["report"][top], colour))
    draw_curves(axes, found, limits=(-SHOWN, 0.06 * SHOWN))
    for place, colour in tops:
        axes.plot(np.clip(place, *axes.get_xlim()), 0, "o", color=colour, markersize=8)
    axes.axvline(float(reports["honest"]), color="black", linewidth=0.9, linestyle=":", label="honest report")
    axes.set(xlabel="report p", ylabel=f"Brier score minus its best, from −{SHOWN} on")
    axes.set_title("4. A proper score pays for a report that moves the world")
    legend(axes, title="dots: the best report", loc="lower left")
