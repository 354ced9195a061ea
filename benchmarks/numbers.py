"""Compute the numbers that paragraphs of the documentation quote, below <!-- numbers: NAME -->.

Each function returns the words that the paragraph or the table after its marker must contain. tests/test_tables.py
checks them.
"""

import re

import jax
import numpy as np

import metalearn as ml
from benchmarks.results import results
from benchmarks.table_makers import total

PARAGRAPH = re.compile(r"<!-- numbers: (\w+) -->\n\n?(.*?)(?=\n\n|\Z)", re.DOTALL)


def divergence():
    found = {(row["problem"], row["treatment"]): row for row in results("divergence")}
    digits = {treatment: row["loss"] for (problem, treatment), row in found.items() if problem == "digits"}
    best = min(digits, key=digits.__getitem__)
    others = [loss for treatment, loss in digits.items() if treatment != best]
    ratio = found["quartic", "leave out"]["loss"] / found["quartic", best]["loss"]
    return (
        f"{ratio:.1f} times the loss",
        f"{100 * found['quartic', 'leave out']['diverged']:.1f} %",
        f"{digits[best]:.3f} against {min(others):.3f} to {max(others):.3f}",
    )


def hysteresis():
    found = {
        (row["outer learning rate"], row["estimator"]): row for row in results("hysteresis") if row["problem"] == "toy"
    }
    paths = {rate: row["path of an episode / sigma"] for (rate, name), row in found.items() if name == "PES"}
    bias = lambda rate, name: f"{found[rate, name]['bias']:.2f}"
    return (
        *(f"{paths[rate]:.2g} σ" for rate in (0.003, 0.03, 0.3)),
        f"{bias(0.3, 'PES')} and {bias(0.3, 'NRES')}",
        f"{bias(0.03, 'PES')} and {bias(0.03, 'NRES')} of the target",
    )


def tiles():
    dimensions = results("dimensions")
    away = [row["dimension"] - row["paper"] for row in dimensions if row["rule"] == "published rule"]
    above = [one for one in away if one > 0]
    offset = {row["rule"]: row.get("dimension") for row in dimensions if row["condition"] == "offset"}
    return (
        f"up to {max(above):.2f} above the published number in {len(above)} rows and up to {-min(away):.2f} below it",
        f"{offset['published rule']:.2f} and {offset['nested boxes']:.2f} are close",
    )


def lstm():
    rows = [
        row
        for row in results("reproductions")
        if row["quantity"].startswith("PES, ") and row["quantity"].endswith("windows")
    ]
    middles = [(row["low"] + row["high"]) / 2 for row in rows]
    most = max(abs(row["mean"] / middle - 1) for row, middle in zip(rows, middles))
    return (f"within {np.ceil(100 * most):.0f} % of the band's middle in all {len(rows)} settings",)


def weights():
    """Return the number of weights of every learned optimiser."""
    names = ("nominal_optimizer", "mlp_optimizer", "factored_optimizer", "recurrent_optimizer")
    shapes = {name: jax.eval_shape(getattr(ml.learned, name)().init, jax.random.key(0)) for name in names}
    return tuple(f"| {sum(leaf.size for leaf in jax.tree.leaves(shape))} |" for shape in shapes.values())


def recommendations():
    found = total(results("recommendations"))
    fixed = {name: hits for name, hits in found["hits of one for all"].items() if name != "none of them"}
    best = max(fixed, key=fixed.__getitem__)
    return (
        f"{found['hits']} of {found['points']}",
        f"always {best}, {fixed[best]}",
        f"{found['hits that matter']} of {found['points that matter']}",
    )


NUMBERS = {one.__name__: one for one in (divergence, hysteresis, tiles, lstm, weights, recommendations)}


def missing(text):
    """Return `[(name, words)]` that the paragraphs of a document lack; line breaks count as spaces."""
    return [
        (name, words)
        for name, paragraph in PARAGRAPH.findall(text)
        for words in NUMBERS[name]()
        if words not in re.sub(r"\s+", " ", paragraph)
    ]
