"""Make the tables of the documentation from result files.

    python -m benchmarks.tables [FILE ...]

A FILE is divergence.json, hysteresis.json, recommendations.json or coverage.json, written by the benchmark of this
name, or, in the folder of a run, tables/reproductions.json of experiments/reproduce.py, tables/dimensions.json of
experiments/gallery.py or tables/evaluation.json of experiments/meta_train.py, tables/mitigations.json and
example_weights.json of experiments/goodhart.py, or tables/rewards.json and learned_optimizer.json of
experiments/misgeneralisation.py. Its rows replace those of the same
subject in docs/results. Then every table between <!-- table: NAME --> and <!-- end of table --> is made again from
docs/results; a table without a result file says so. recorded.json was filled by hand: it contains tables whose commands
write no result file, with the command, the date and the machine.

Numbers in paragraphs cannot be generated. A paragraph below <!-- numbers: NAME --> is checked instead
(benchmarks/numbers.py).
"""

import argparse
import math
import pathlib
import re

from benchmarks import goals, table_makers
from benchmarks.results import RESULTS, ROOT, grid, percent, read, results, write
from metalearn.reproductions import table

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SUBJECT = {
    "divergence": ("problem", "treatment"),
    "hysteresis": ("problem", "outer learning rate", "estimator"),
    "reproductions": ("experiment", "quantity"),
    "dimensions": ("condition", "rule"),
    "recommendations": ("problem",),
    "coverage": ("number", "problem"),
    "evaluation": ("tuning", "benchmark", "optimizer"),
    "three_ways": ("contest", "equal", "method"),
    "mitigations": ("case",),
    "example_weights": ("case",),
    "rewards": ("method", "training"),
    "learned_optimizer": ("condition", "optimizer"),
    "benchmark": ("problem", "estimator"),
}
NOT_RUN = "Not run yet."
PLACE = re.compile(r"(<!-- table: (\w+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)
TILES = {
    "tanh": "tanh, full batch",
    "relu": "ReLU, full batch",
    "identity": "identity",
    "single": "tanh, one data point",
    "minibatch": "tanh, minibatch",
    "offset": "tanh, offset × learning rate",
}


def take_over(path, results=RESULTS):
    """Replace rows in docs/results by the rows of the same subject in a new file, and append its other rows."""
    if path.stem not in SUBJECT:
        raise ValueError(
            f"A result file must be named {', '.join(f'{name}.json' for name in SUBJECT)}; {path} was given."
        )
    subject, kept = lambda row: tuple(row[name] for name in SUBJECT[path.stem]), results / path.name
    rows = {subject(row): row for row in read(kept)} if kept.exists() else {}
    write(kept, (rows | {subject(row): row for row in read(path)}).values())


def divergence(rows):
    found = {(row["problem"], row["treatment"]): row for row in rows}
    loss = lambda row: f"{row['loss']:.4f} ± {row['error']:.4f}"

    def cells(treatment):
        quartic, *others = (found[problem, treatment] for problem in ("quartic", "fractal", "digits"))
        return (
            treatment,
            f"{quartic['theta']:.2f}, {percent(quartic['diverged'], 2)}, {loss(quartic)}",
            *map(loss, others),
        )

    head = ("treatment", "quartic: θ, diverged, loss", "fractal: loss", "digits (ReLU): loss")
    return grid(head, [cells(treatment) for treatment in dict.fromkeys(row["treatment"] for row in rows)])


def hysteresis(rows):
    found = {(row["problem"], row["outer learning rate"], row["estimator"]): row for row in rows}
    rates = sorted({row["outer learning rate"] for row in rows})
    names = list(dict.fromkeys((row["problem"], row["estimator"]) for row in rows))

    def cell(row):
        return f"{row['bias']:.2f}" + (f" ± {row['error']:.2f}" if row["error"] else "")

    lines = [
        (problem, name, *(cell(row) if (row := found.get((problem, rate, name))) else "not run" for rate in rates))
        for problem, name in names
    ]
    return grid(("problem", "estimator", "frozen", *(f"rate {rate:g}" for rate in rates[1:])), lines)


def tiles(rows):
    found = {(row["condition"], row["rule"]): row for row in rows}

    def cells(condition, title):
        published, nested, fit = (found[condition, rule] for rule in ("published rule", "nested boxes", "3-point rule"))
        boxes = (f"{row['dimension']:.2f}" for row in (published, nested))
        return title, f"{published['paper']:.2f}", *boxes, _fitted(fit), percent(fit["undecided"], 0)

    errors = "3-point rule ± statistical ± resolution ± horizon"
    head = ("condition", "published", "published rule, ours", "nested boxes", errors, "undecided")
    shown = {row["condition"] for row in rows}
    return grid(head, [cells(condition, title) for condition, title in TILES.items() if condition in shown])


def _fitted(row):
    if row["refused"]:
        return f"refused: {row['refused']}"
    errors = [row["statistical"], row["resolution"], row["horizon"]]
    known = "".join(f" ± {f'{error:.3f}'.removeprefix('0')}" for error in errors if not math.isnan(error))
    return f"{row['dimension']:.3f}{known}" + ", horizon unusable" * math.isnan(row["horizon"])


def reproductions(rows):
    names = list(dict.fromkeys(row["experiment"] for row in rows))
    shown = [row for row in rows if row["experiment"] not in ("LSTM variance", "rate decay, MNIST")]
    return table(sorted(shown, key=lambda row: names.index(row["experiment"])))


def mnist(rows):
    return table([row for row in rows if row["experiment"] == "rate decay, MNIST"])


def lstm(rows):
    found = {row["quantity"]: row for row in rows if row["experiment"] == "LSTM variance"}
    counts = (1, 2, 4, 8, 16, 32)
    ours = lambda row: f"{row['mean']:.0f}"
    middle = lambda row: f"{(row['low'] + row['high']) / 2:.0f}"

    def line(title, method, shown):
        return title, *(shown(found[name]) if (name := f"{method}, {n} windows") in found else "" for n in counts)

    lines = []
    for text, expected in (("repeated", "equal windows"), ("random", "closed form"), ("markov", "closed form")):
        name = f"{text.replace('markov', 'Markov')} text"
        lines += [
            line(f"{name}, {expected}", f"PES, {text} text", middle),
            line(f"{name}, ours", f"PES, {text} text", ours),
        ]
    return grid(("windows", *counts), [*lines, line("noise reuse, random text, ours", "NRES, random text", ours)])


RECORDED = (
    "adaptive", "convolutions", "faults", "fractal", "learned_digits", "matrix", "noisy_digits", "outer_speed",
    "picture_speed", "smooth_digits", "zoom",
)  # fmt: skip
TABLES = {
    "learned": ("evaluation", table_makers.learned),
    "divergence": ("divergence", divergence),
    "hysteresis": ("hysteresis", hysteresis),
    "tiles": ("dimensions", tiles),
    "reproductions": ("reproductions", reproductions),
    "mnist": ("reproductions", mnist),
    "lstm": ("reproductions", lstm),
    "recommendations": ("recommendations", table_makers.recommendations),
    "coverage": ("coverage", table_makers.coverage),
    "exponents": ("coverage", table_makers.exponents),
    "mitigations": ("mitigations", goals.mitigations),
    "example_weights": ("example_weights", goals.example_weights),
    "guided": ("rewards", goals.guided),
    "learned_goals": ("learned_optimizer", goals.learned_goals),
    "efforts": (None, table_makers.efforts),
    "three_ways": ("three_ways", table_makers.three_ways),
    "benchmark": ("benchmark", table_makers.benchmark),
    **{name: ("recorded", table_makers.recorded(name)) for name in RECORDED},
}


def filled(text):
    """Return a document with its tables made again."""

    def made(match):
        file, make = TABLES[match[2]]
        missing = file and not (RESULTS / f"{file}.json").exists()
        return match[1] + (NOT_RUN if missing else make(results(file))) + match[3]

    return PLACE.sub(made, text)


RESULTS_PAGE = ROOT / "docs" / "results.md"
RESULTS_HEAD = """# Results

Every measured table of this documentation, with the page that explains it. A table names its
command, its date and its machine, or a command wrote it to a file in `docs/results/`.
`python -m benchmarks.tables` makes the tables and this page, and a test compares them.
"""


def results_page():
    """Return the page that includes every table from the document in which it stands."""
    parts = [RESULTS_HEAD]
    for path in DOCUMENTS:
        names = [name for _, name, _ in PLACE.findall(path.read_text())]
        title = re.search(r"^# (.*)$", path.read_text(), re.MULTILINE)
        parts += [f"## [{title[1]}]({path.name})\n"] if names and title else []
        for name in names:
            ends = f':start-after: "table: {name} -->"\n:end-before: "<!-- end of table -->"'
            parts.append(f"### {name.replace('_', ' ').capitalize()}\n\n```{{include}} {path.name}\n{ends}\n```\n")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE")
    try:
        for path in parser.parse_args().files:
            take_over(path)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text()))
    RESULTS_PAGE.write_text(results_page())


if __name__ == "__main__":
    main()
