"""The figures of the studies, drawn with any numbers: name -> a function of a source of numbers."""

import numpy as np

from metalearn import figures
from metalearn.landscape import Axis, Plane, Smoothed
from metalearn.recording.collected import Collected

METHODS = ("backprop", "policy gradient", "genetic algorithm", "CMA-ES")
GAMES = ("alone", "zero-sum")


def gradients(source, names):
    part = {"theta": source(3), "fine": source(4)}
    for name in names:
        part |= {f"exact/{name}": source(3), f"line/{name}": source(4), f"measured/{name}": source(3, 5)}
    return part


def reports(source):
    part = {"report": source(4), "honest": source(), "belief": source(), "feedback": source(3)}
    part |= {f"best/{name}": source(3) for name in ("brier", "log")}
    return part | {f"score/brier, {kind}": source(4) for kind in ("belief", "alone", "zero-sum")}


def reactions(source):
    rounds = {f"rule/{rule}": source(5) for rule in ("retraining", "gradient", "full")}
    rounds |= {f"descent/{name}": source(3, 7) for name in ("backprop", "ES")}
    rounds |= {"stable": source(), "optimal": source()}
    families = gradients(source, ("backprop", "truncated ES", "PES", "NRES"))
    return figures.draw_reactions(gradients(source, ("backprop", "ES")), families, rounds, reports(source))


def game_of_reports(source):
    names = [f"{method}, {name}" for method in ("backprop", "ES") for name in GAMES]
    game = {f"brier, {name}, {method}": source(2, 5) for method in ("backprop", "ES") for name in GAMES}
    return figures.draw_reports(reports(source), gradients(source, names), game)


def contests(source):
    surface = {"x": np.linspace(0, 1, 4), "y": np.linspace(0, 2, 3), "loss": source(3, 4)}
    run = lambda: {"evaluations": np.arange(4) * 5, "loss": source(6, 4), "theta": source(6, 4, 2)}
    rows = [
        {
            "contest": "one",
            "equal": kind,
            "method": name,
            "solved": float(source()),
            "solved_low": float(source()),
            "solved_high": float(source()),
        }
        for kind in ("evaluations", "time")
        for name in METHODS
    ]
    one = {"surface": surface, "runs": {name: run() for name in METHODS}, "names": ("a", "b")}
    return figures.draw_contests({"one": one}, rows, 12)


def collected(source, *, along):
    groups, results = [], []
    for value in (1, 2, 3):
        name = {"rate": value} if along else {"optimizer": "abc"[value - 1]}
        numbers = [float(source()) for _ in range(3)]
        groups.append({**name, "runs": 3, **dict(zip(("loss", "loss_low", "loss_high"), map(float, source(3))))})
        results += [{**name, "loss": number} for number in numbers]
    return figures.draw_collected(Collected("compare", tuple(results), tuple(groups), tuple(name), {}))


def meta_loss(source):
    plane = Plane(Axis("a", -1.0, 1.0), Axis("b", 0.0, 3.0), lambda x, y: (x, y))
    smoothed = Smoothed(source(5, 4), source(5, 4, 2), source(5, 4), (float(source()), float(source())))
    return figures.draw_meta_loss(source(5, 4), plane, smoothed)


def benchmark(source):
    numbers = ("bias", "bias_error", "snr_per_step", "snr_per_second")
    rows = [
        {"problem": problem, "estimator": name, "scaled": name == "ES", "reason": ""}
        | dict(zip(numbers, map(float, source(4))))
        for problem in ("one", "two")
        for name in ("ES", "PES", "NRES")
    ]
    return figures.draw_benchmark(rows)


STUDY_FIGURES = {
    "draw_benchmark": benchmark,
    "draw_reactions": reactions,
    "draw_reports": game_of_reports,
    "draw_contests": contests,
    "draw_collected": lambda s: collected(s, along=True),
    "draw_collected, rows": lambda s: collected(s, along=False),
    "draw_meta_loss": meta_loss,
    "draw_turning_point": lambda s: figures.draw_turning_point(
        np.arange(4), {"proxy": s(3, 4), "goal": s(3, 4)}, "goal"
    ),
}
