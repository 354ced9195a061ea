"""Results as tables: for a terminal, LaTeX, CSV, pandas and a notebook.

A result has `rows()`, all that it holds as flat dictionaries, and `_table()`, the `Table` that is shown of it. The
functions here are assigned in its class body (`METHODS`), and need nothing else.
"""

import csv
import html
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.typeset import escape, latex, text
from metalearn.words import table

WIDTH, NAME = 100, 32  # columns of a terminal, and of a name that stands in the same line as its numbers
MOST_ENTRIES, MOST_ROWS = 32, 12  # numbers of θ that have columns of their own, and rows of a long table that are shown
HINT = "print(...) shows more; .rows(), .to_dataframe(), .to_latex() and .to_csv(path) have the numbers"
BLANK = "(blank)", "does not apply to this row"


class Table(NamedTuple):
    """What is shown of a result.

    Attributes:
      title: the result in a line.
      rows: flat dictionaries. `x_error` beside `x` is its standard error, `x_low` and `x_high` are the ends of its
        interval; None is blank.
      columns: key -> (header, meaning), the most important first. Where they do not fit, the last ones are left out.
      notes: sentences below the table.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, tuple[str, str]]
    notes: Sequence[str] = ()


def to_text(self) -> str:
    """Return a table of at most 100 columns, with a legend below it."""
    found = _make_table(self)
    if found is None:
        return repr(self)
    keys = _fitting(found)
    cells = [[text(row, key) for key in keys] for row in found.rows]
    beside = all(len(row[0]) <= NAME for row in cells)
    header = [found.columns[key][0] for key in keys]
    lines = table(header, [[row[0] if beside else "", *row[1:]] for row in cells]).splitlines()
    if not beside:
        named = ((row[0], line) for row, line in zip(cells, lines[2:]))
        lines = [*lines[:2], *itertools.chain.from_iterable(named)]
    legend = [found.columns[key] for key in keys if found.columns[key][1]]
    legend += [BLANK] * any("" in row for row in cells)
    left_out = [found.columns[key][0] for key in found.columns if key not in keys and _is_filled(found, key)]
    legend += [("(no room)", f"{', '.join(left_out)}: see rows()")] if left_out else []
    indent = max((len(name) for name, _ in legend), default=0) + 2
    notes = [textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in found.notes]
    explained = [
        textwrap.fill(
            meaning, WIDTH, initial_indent=name.ljust(indent), subsequent_indent=" " * indent, break_on_hyphens=False
        )
        for name, meaning in legend
    ]
    return "\n".join([*lines, *notes, *([""] if explained else []), *explained])


def short_repr(self) -> str:
    """Return two lines: what it is, and how to get at the numbers."""
    found = _make_table(self)
    if found is None:
        return f"{type(self).__name__}({', '.join(self._fields)})"
    return f"{textwrap.shorten(f'{type(self).__name__}: {found.title}', 2 * WIDTH, placeholder=' …')}\n{HINT}"


def to_dataframe(self) -> Any:
    """Return `rows()` as a pandas data frame.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore
    except ImportError:
        raise ImportError(
            "to_dataframe needs pandas, which is not installed (pip install pandas); rows() gives the same as dictionaries."
        ) from None
    return pandas.DataFrame(self.rows())


def to_csv(self, path: str | Path) -> Path:
    """Write `rows()` to a file, numbers with all their digits, and return its path.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist; make it first.")
    rows = self.rows()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def to_latex(self, columns: Sequence[str] | None = None) -> str:
    r"""Return a complete `tabular`, for `\\usepackage{booktabs}`: value ± error, rounded to the error.

    Args:
      columns: keys of `rows()`, in their order; by default those that `print` shows.

    Raises:
      ValueError: the rows have no such column.
    """
    found = self._table()
    known = list(dict.fromkeys(key for row in found.rows for key in row))
    if columns is not None and (missing := [key for key in columns if key not in known]):
        raise ValueError(f"There is no column {missing[0]!r}; the columns are {', '.join(known)}.")
    keys = _fitting(found) if columns is None else list(columns)
    words = [any(isinstance(row.get(key), str) for row in found.rows) for key in keys]
    header = [escape(found.columns.get(key, (key,))[0]) for key in keys]
    lines = [" & ".join(latex(row, key) for key in keys) + r" \\" for row in found.rows]
    kinds = "".join("l" if word else "r" for word in words)
    top = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    return "\n".join([*top, *lines, r"\bottomrule", r"\end{tabular}"])


def to_html(self) -> str:
    """Return the table and the figure as HTML, for a notebook."""
    found = self._table()
    keys = _fitting(found)
    cell = lambda kind, words: f"<{kind}>{html.escape(words)}</{kind}>"
    line = lambda kind, words: "<tr>" + "".join(cell(kind, one) for one in words) + "</tr>"
    lines = [line("td", [text(row, key) for key in keys]) for row in found.rows]
    head = line("th", [found.columns[key][0] for key in keys])
    legend = [f"{found.columns[key][0]}: {found.columns[key][1]}" for key in keys if found.columns[key][1]]
    below = "".join(cell("li", sentence) for sentence in [*found.notes, *legend])
    drawn = _figures().image(type(self).__name__, self.plot) if hasattr(self, "plot") else ""
    return f"{cell('p', found.title)}<table>{head}{''.join(lines)}</table><ul>{below}</ul>{drawn}"


def save(self, path: str | Path) -> Path:
    """Save the result to one file, which `ml.recording.load(path)` reads, and return its path.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    from metalearn.recording import save_result

    return save_result(path, self)


def plot(self, **settings: Any) -> Any:
    """Draw a matplotlib figure with the function of `ml.figures` for this kind of result.

    Args:
      settings: of that function, such as `title`.
    """
    return _figures().draw_result(self, **settings)


METHODS = short_repr, to_dataframe, to_latex, to_csv, to_html, save, plot


def _make_table(self) -> Table | None:
    """The table; None for a named tuple, which is a pytree, of tracers, of shapes or of several runs."""
    try:
        return self._table()
    except Exception:
        if hasattr(self, "_fields"):
            return None
        raise


def _figures() -> Any:
    """The floor that draws, which is above this one: imported when a figure is asked for."""
    from metalearn import figures

    return figures


def plain(value: Any) -> Any:
    """A number of Python where it is one of NumPy or JAX; the rest as it is."""
    return value.item() if isinstance(value, (np.generic, np.ndarray, jax.Array)) else value


def entries(name: str, tree: Any) -> dict[str, Any]:
    """The numbers of a small tree by their paths, {"theta/rate/0": 1.0}; nothing where there are more than 32."""
    leaves = [(path, np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    if sum(leaf.size for _, leaf in leaves) > MOST_ENTRIES:
        return {}
    found = {}
    for path, leaf in leaves:
        for place, number in np.ndenumerate(leaf):
            words = [name, jax.tree_util.keystr(path, simple=True, separator="/"), *map(str, place)]
            found["/".join(filter(None, words))] = plain(number)
    return found


def thinned(count: int) -> list[int]:
    """At most 12 indices of so many, evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, MOST_ROWS)).round().astype(int).tolist()))


def _fitting(found: Table) -> list[str]:
    """The columns in which something stands, as many as a terminal has room for, the first in any case."""
    first, *others = found.columns
    width = lambda key: max(map(len, [found.columns[key][0], *(text(row, key) for row in found.rows)]))
    keys, room = [first], WIDTH - min(width(first), NAME)
    for key in others:
        if _is_filled(found, key) and (needed := width(key) + 2) <= room:
            keys.append(key)
            room -= needed
    return keys


def _is_filled(found: Table, key: str) -> bool:
    """Whether any row has something in a column."""
    return any(text(row, key) for row in found.rows)
