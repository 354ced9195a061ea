"""Figures of worlds that react to a prediction: gradients, end points of training, and incentives of a score."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.style import OKABE_ITO, save_style

COLOURS = {"backprop": OKABE_ITO[3], "truncated ES": OKABE_ITO[1], "PES": OKABE_ITO[0], "NRES": OKABE_ITO[2]}
COLOURS |= {"ES": OKABE_ITO[2], "retraining": OKABE_ITO[1], "gradient": OKABE_ITO[3], "full": OKABE_ITO[2]}
GREY = "0.5"


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
        one.legend(title="lines: exact\ndots: measured, ± 2 s.e.", loc="lower left")
        _gradients(many, sequence)
        many.set(title="2. If actions move the world, every family has its own target", xlabel="prediction θ",
                 ylabel="gradient of the mean loss")  # fmt: skip
        many.legend(loc="lower right")
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
        for name, colour in (("brier", OKABE_ITO[0]), ("log", OKABE_ITO[1])):
            best.plot(
                reports["feedback"],
                reports[f"best/{name}"],
                color=colour,
                label=f"best, {name.replace('b', 'B')} score",
            )
        best.axhline(float(reports["belief"]), color="black", linestyle="--", label="honest report")
        best.set(xlabel="feedback: how far a report moves the probability", ylabel="report", ylim=(0, 1))
        best.set_title("1. The incentive to misreport")
        best.legend()
        styles = {"alone": "-", "zero-sum": "--"}
        for key in (key for key in choice if key.startswith("exact/")):
            method, name = key.removeprefix("exact/").split(", ")
            if (method, name) != ("backprop", "zero-sum"):  # the same as alone
                label = f"{method}, {name}" if method == "ES" else "backprop, alone or zero-sum"
                _line(jump, choice, f"{method}, {name}", styles[name], COLOURS[method], label)
        jump.axhline(0, color=GREY, linewidth=0.8)
        jump.set(xlabel="report p", ylabel="gradient of the score (up: report more)")
        jump.set_title("2. A human's choice jumps at one report")
        jump.legend()
        for key, paths in game.items():
            score, name, method = key.split(", ")
            if score == "brier":
                how = {"linewidth": 5, "alpha": 0.4} if method == "backprop" else {}
                label = f"{method}, {name}"
                _band(play, np.arange(paths.shape[1]), paths, COLOURS[method], styles[name], label, **how)
        play.axhline(float(reports["honest"]), color="black", linewidth=0.9, linestyle=":", label="honest report")
        play.set(
            xlabel="outer step", ylabel="report p", ylim=(0, 1), title="3. In self-play, the zero-sum game is honest"
        )
        play.legend()
        return figure


def _gradients(axes, part) -> None:
    for key in (key for key in part if key.startswith("exact/")):
        name = key.removeprefix("exact/")
        _line(axes, part, name, "-", COLOURS[name])
    axes.axhline(0, color=GREY, linewidth=0.8)


def _line(axes, part, name, style, colour, label=None) -> None:
    """Draw the exact mean as a line, and the measured mean as dots with two standard errors."""
    axes.plot(part["fine"], part[f"line/{name}"], style, color=colour, label=label or name)
    samples = part[f"measured/{name}"].astype(float)
    error = samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
    axes.errorbar(part["theta"], samples.mean(axis=1), 2 * error, fmt="o", color=colour, markersize=3.5, linewidth=1)


def _band(axes, steps, paths, colour, style, label, **how) -> None:
    axes.plot(steps, paths.mean(axis=0), style, color=colour, label=label, **how)
    axes.fill_between(steps, paths.min(axis=0), paths.max(axis=0), color=colour, alpha=0.2, linewidth=0)


def _rounds(axes, rounds) -> None:
    names = {"retraining": "repeated retraining", "gradient": "gradient, world held", "full": "full derivative"}
    shown = len(rounds["rule/full"])
    for rule, name in names.items():
        axes.plot(rounds[f"rule/{rule}"], color=COLOURS[rule], label=name)
    for name in ("backprop", "ES"):
        paths = rounds[f"descent/{name}"]
        picked = paths[:, np.linspace(0, paths.shape[1] - 1, shown).astype(int)]
        _band(axes, np.arange(shown), picked, COLOURS[name], ":", f"{name} on sampled labels")
    for place, name in (("stable", "performatively stable"), ("optimal", "performatively optimal")):
        axes.axhline(float(rounds[place]), color="black", linewidth=0.9, linestyle="--")
        axes.annotate(name, (shown - 1, float(rounds[place])), (0, 14), textcoords="offset points", ha="right")
    axes.set(xlabel="round (samples: the whole training)", ylabel="prediction θ")
    axes.set_title("3. Three rules, two ends")
    axes.legend()


def _scores(axes, reports) -> None:
    names = {
        "belief": "the world does not react",
        "alone": "the world reacts",
        "zero-sum": "it reacts, zero-sum game",
    }
    styles = {"belief": ("--", GREY), "alone": ("-", COLOURS["backprop"]), "zero-sum": ("-", COLOURS["ES"])}
    for kind, name in names.items():
        curve = reports[f"score/brier, {kind}"]
        style, colour = styles[kind]
        shifted = curve - curve.max()
        axes.plot(reports["report"], shifted, style, color=colour, label=name)
        axes.plot(reports["report"][np.argmax(curve)], 0, "o", color=colour, markersize=8)
    axes.axvline(float(reports["honest"]), color="black", linewidth=0.9, linestyle=":", label="honest report")
    axes.set(xlabel="report p", ylabel="Brier score below its best", ylim=(-0.2, 0.012))
    axes.set_title("4. A proper score pays for a report that moves the world")
    axes.legend(title="dots: the best report", loc="lower left")
