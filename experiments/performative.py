"""Measure estimators in worlds that react to a prediction: the sign of the gradient, and where training ends."""

import numpy as np

import metalearn as ml
from metalearn.application import application, open_parts, parse_seed
from metalearn.figures import draw_reactions, draw_reports, later
from metalearn.inner.checks import check_count, check_number
from metalearn.studies.performative import (
    build_game,
    coin,
    human_choice,
    incentives,
    redeployments,
    self_plays,
    sequential,
    single_shot,
)
from metalearn.words import table


def main(config):
    key = check(config)
    with open_parts(config, "performative") as parts:
        shot = parts.compute("single_shot", lambda: single_shot(config, key))
        sequence = parts.compute("sequential", lambda: sequential(config, key))
        rounds = parts.compute("rounds", lambda: redeployments(config, key))
        reports = parts.compute("reports", lambda: incentives(config))
        choice = parts.compute("choice", lambda: human_choice(config, key))
        game = parts.compute("game", lambda: self_plays(config, key))
        rows = gradient_rows(shot, "single-shot") + gradient_rows(sequence, "sequential")
        parts.run.table("gradients", rows + gradient_rows(choice, "human's choice"))
        ends = end_rows(config, rounds, game)
        parts.run.table("ends", ends)
        parts.run.figure("performative", later(draw_reactions, shot, sequence, rounds, reports))
        parts.run.figure("reports", later(draw_reports, reports, choice, game))
        print(
            f"\n{worst(rows + gradient_rows(choice, 'choice'))}\n\n{said(ends)}\n\nfigures: {parts.run.folder}/figures"
        )


def check(config):
    """Check the configuration, and return the key of the experiment.

    Raises:
      TypeError, ValueError: a setting is out of range.
    """
    for name, low in (("seeds", 2), ("pairs", 1), ("points", 2), ("outer_steps", 5)):
        check_count(name, config[name], low)
    for place in ("coin", "game"):
        check_number(f"{place}.learning_rate", config[place].learning_rate, 0, open_low=True)
    check_number("game.start", config.game.start, 0, 1, open_low=True, open_high=True)
    ml.problems.performative_targets(0.0, config.sigma, config.horizon, config.length, **config.world)
    coin(config, "full")
    ml.problems.coin_flip(config.coin.bias, config.coin.feedback)
    check_number(
        "coin.bias + coin.feedback · coin.start", config.coin.bias + config.coin.feedback * config.coin.start, -0.5, 0.5
    )
    build_game(config, "brier")
    return parse_seed(config.seed)


def gradient_rows(part, problem):
    """Return a row for each estimator and place: the mean over seeds, its standard error, and the exact mean."""
    rows = []
    for name in (key.removeprefix("measured/") for key in part if key.startswith("measured/")):
        samples = part[f"measured/{name}"].astype(float)
        error = samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
        for theta, mean, one, exact in zip(part["theta"], samples.mean(axis=1), error, part[f"exact/{name}"]):
            rows.append({"problem": problem, "estimator": name, "theta": float(theta), "gradient": float(mean),
                         "standard_error": float(one), "exact": float(exact)})  # fmt: skip
    return rows


def worst(rows):
    """Return the largest distance of estimators from their exact means, and how often their signs are right."""
    kinds = dict.fromkeys((row["problem"], row["estimator"]) for row in rows)
    cells = []
    for problem, name in kinds:
        mine = [row for row in rows if (row["problem"], row["estimator"]) == (problem, name)]
        away = [abs(row["gradient"] - row["exact"]) / max(row["standard_error"], 1e-5) for row in mine]
        cells.append([problem, name, f"{np.mean(np.array(away) < 2):.0%}", f"{max(away):.1f}"])
    foot = ["standard errors from the exact mean, over all places"]
    return table(["", "", "within 2", "largest"], cells, foot)


def end_rows(config, rounds, game):
    """Return a row for each rule and training: mean and spread over seeds of the last fifth, and the closed form."""
    rows = [
        {"what": f"coin, {name}", "end": float(rounds[f"rule/{name}"][-1]), "spread": 0.0, "closed_form": closed}
        for name, closed in zip(("retraining", "gradient", "full"), rounds_closed(rounds))
    ]
    honest, paid = best_reports(config.game.bias, config.game.feedback)
    closed = {f"coin, {name}": one for name, one in zip(("backprop", "ES"), rounds_closed(rounds)[1:])}
    closed |= {f"{name}": honest if "zero-sum" in name else paid if "brier" in name else np.nan for name in game}
    paths = {f"coin, {name}": rounds[f"descent/{name}"] for name in ("backprop", "ES")} | dict(game)
    for name, path in paths.items():
        ends = path[:, -max(path.shape[1] // 5, 1) :].mean(axis=1)
        rows.append(
            {"what": name, "end": float(ends.mean()), "spread": float(ends.std(ddof=1)), "closed_form": closed[name]}
        )
    return rows


def best_reports(bias, feedback):
    """Return the honest report and the one with the best Brier score; NaN if it is not inside of (0, 1)."""
    honest = bias / (1 - feedback) if feedback < 1 else np.nan
    paid = (bias - feedback / 2) / (1 - 2 * feedback) if feedback < 0.5 else np.nan  # a minimum from 1/2 on
    return tuple(report if 0 < report < 1 else np.nan for report in (honest, paid))


def rounds_closed(rounds):
    return [float(rounds["stable"])] * 2 + [float(rounds["optimal"])]


def said(ends):
    cells = [[row["what"], f"{row['end']:.4f}", f"{row['spread']:.2g}", f"{row['closed_form']:.4f}"] for row in ends]
    return table(["where it ends", "mean", "spread over seeds", "closed form"], cells, [])


if __name__ == "__main__":
    application(main, "performative")
