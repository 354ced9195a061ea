"""Results as tables: for a terminal, LaTeX, CSV, pandas and a notebook.

A result has `rows()`, which returns all its numbers as flat dictionaries, and `_table()`, which returns the `Table` to
show. The functions here are assigned in its class body (`METHODS`) and use only these two.
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

WIDTH, NAME = 100, 32  # width of a terminal, and of a name on the same line as its numbers
MOST_ENTRIES, MOST_ROWS = 32, 12  # most numbers of θ with their own columns, and most rows shown of a long table
HINT = "print(...) shows more; .rows(), .to_dataframe(), .to_latex() and .to_csv(path) have the numbers"
BLANK = "(blank)", "does not apply to this row"


class Table(NamedTuple):
    """The table that shows a result.

    Attributes:
      title: the result in a line.
      rows: flat dictionaries. `x_error` is the standard error of `x`, and `x_low` and `x_high` are the ends of its
        interval. None is blank.
      columns: key -> (header, meaning), the most important first. The last ones are left out if there is no room.
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
    """Return two lines: a description, and the ways to access the numbers."""
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
            "to_dataframe needs pandas, which is not installed (pip install pandas); rows() returns the same "
            "numbers as dictionaries."
        ) from None
    return pandas.DataFrame(self.rows())


def to_csv(self, path: str | Path) -> Path:
    """Write `rows()` to a file, numbers with all their digits, and return its path.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist; create it first.")
    rows = self.rows()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def to_latex(self, columns: Sequence[str] | None = None) -> str:
    r"""Return a complete `tabular`, for `\\usepackage{booktabs}`: value ± error, rounded to the error.

    Args:
      columns: keys of `rows()` in the desired order; by default those that `print` shows.

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
      settings: arguments of that function, such as `title`.
    """
    return _figures().draw_result(self, **settings)


METHODS = short_repr, to_dataframe, to_latex, to_csv, to_html, save, plot


def _make_table(self) -> Table | None:
    """Return the table, or None for a named tuple that holds tracers, shapes or several runs, as pytrees may."""
    try:
        return self._table()
    except Exception:
        if hasattr(self, "_fields"):
            return None
        raise


def _figures() -> Any:
    """Return `metalearn.figures`, which depends on this module and is therefore imported on first use."""
    from metalearn import figures

    return figures


def plain(value: Any) -> Any:
    """Convert a number of NumPy or JAX to a Python number; return other values unchanged."""
    return value.item() if isinstance(value, (np.generic, np.ndarray, jax.Array)) else value


def entries(name: str, tree: Any) -> dict[str, Any]:
    """Return the numbers of a tree by path, {"theta/rate/0": 1.0}, or {} if there are more than 32."""
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
    """Return at most 12 evenly spaced indices below `count`, including the first and the last."""
    return sorted(set(np.linspace(0, count - 1, min(count, MOST_ROWS)).round().astype(int).tolist()))


def _fitting(found: Table) -> list[str]:
    """Return the columns that are not empty, as many as fit into a terminal; the first is always included."""
    first, *others = found.columns
    width = lambda key: max(map(len, [found.columns[key][0], *(text(row, key) for row in found.rows)]))
    keys, room = [first], WIDTH - min(width(first), NAME)
    for key in others:
        if _is_filled(found, key) and (needed := width(key) + 2) <= room:
            keys.append(key)
            room -= needed
    return keys


def _is_filled(found: Table, key: str) -> bool:
    """Return whether any row has a value in a column."""
    return any(text(row, key) for row in found.rows)
