"""Train a small network by backprop, by a policy gradient and by neuro-evolution, on losses with local minima."""

import importlib.util

import jax

from metalearn.application import application, open_parts, parse_seed, read_list
from metalearn.figures import draw_contests, later
from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.studies.three_ways import METHODS, compete, contests, judged, surface
from metalearn.words import table


def main(config):
    key, names = check(config)
    with open_parts(config, "three-ways") as parts:
        found, rows = {}, []
        for index, (name, contest) in enumerate(contests().items()):
            if name not in names:
                continue
            own = jax.random.fold_in(key, index)
            ground = parts.compute(f"{name}/surface", lambda contest=contest: surface(contest, config.resolution))
            runs = {}
            for method in METHODS:
                run = lambda contest=contest, method=method, own=own: compete(
                    contest, method, own, config.seeds, config.evaluations, config
                )
                runs[method] = parts.compute(f"{name}/{method.replace(' ', '-')}", run)
            solved = 1.2 * float(ground["loss"].min()) if contest.solved is None else contest.solved
            rows += [{"contest": name, **row, "below": solved} for row in judged(runs, solved, config.evaluations)]
            found[name] = {"surface": ground, "runs": runs, "names": contest.names}
        parts.run.table("three_ways", rows)
        parts.run.figure("three_ways", later(draw_contests, found, rows, config.evaluations))
        print(f"\n{said(rows, config)}\n\nfigure: {parts.run.folder}/figures/three_ways.png")


def check(config):
    """Check the configuration, and return the key and the losses of the experiment.

    Raises:
      ImportError: evosax is missing.
      TypeError, ValueError: a setting is out of range.
    """
    for name, low in (("seeds", 2), ("population", 4), ("resolution", 2)):
        check_count(name, config[name], low)
    check_count("evaluations", config.evaluations, config.population)
    for name in ("learning_rate", "sigma"):
        check_number(name, config[name], 0, open_low=True)
    names = read_list(config, "losses")
    for name in names:
        check_choice("Every one of losses", name, contests())
    if not names:
        raise ValueError(f"losses must name at least one of {', '.join(contests())}.")
    if importlib.util.find_spec("evosax") is None:
        raise ImportError("The genetic algorithm and CMA-ES come from evosax: pip install 'metalearn[search]'.")
    return parse_seed(config.seed), names


def said(rows, config):
    cells = [
        [row["contest"], row["equal"], row["method"], f"{row['evaluations']}", f"{row['milliseconds']:.1f}",
         f"{row['median']:.4f}", f"{row['lower_quartile']:.4f} … {row['upper_quartile']:.4f}", f"{row['solved']:.0%}"]
        for row in rows
    ]  # fmt: skip
    below = {row["contest"]: row["below"] for row in rows}
    foot = [
        f"{config.seeds} seeds; solved: the loss is below " + ", ".join(f"{below[name]:.3g} ({name})" for name in below)
    ]
    head = ["", "equal", "", "evaluations", "ms", "median", "quartiles", "solved"]
    return table(head, cells, foot)


if __name__ == "__main__":
    application(main, "three_ways")
