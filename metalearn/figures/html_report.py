"""Write a report as one HTML file that needs neither a network nor other files."""

import base64
import dataclasses
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.files import replacing
from metalearn.recording.weights_and_biases import first_line

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5b6069; --paper: #ffffff; --card: #ffffff; --line: #d9dce1; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9eb; --faint: #a5abb5; --paper: #15171a; --card: #ffffff; --line: #383c43; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin: 2.6rem 0 .3rem; }
p { max-width: 46rem; margin: .4rem 0 1rem; } .faint, .faint a { color: var(--faint); font-size: .85rem; }
.figures { display: flex; flex-wrap: wrap; gap: 14px; }
.figures img { flex: 1 1 370px; min-width: 0; max-width: min(100%, 600px); height: auto; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
pre { overflow-x: auto; font-size: .85rem; line-height: 1.4; border: 1px solid var(--line); border-radius: 6px; padding: .7rem; }
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a report.

    Attributes:
      heading: the heading.
      sentence: a description of the result, written from the numbers.
      figures: name -> matplotlib figure, or a function that draws it (see `later`); each can be read on its own.
      table: rows with the same keys.
      text: text in a fixed-width font.
      arrays: the path of the figures' numbers, relative to the report.
    """

    heading: str
    sentence: str
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    table: Sequence[Mapping[str, Any]] = ()
    text: str = ""
    arrays: str = ""


def write_report(path: str | Path, title: str, lead: str, sections: Sequence[Section], foot: str = "") -> Path:
    """Write a page that can be opened from disk without a network, with a light and a dark style, on any screen width.

    Args:
      path: the path of the .html file, which exists only when it is complete.
      title: the heading.
      lead: the paragraph below the heading.
      sections: the sections in order.
      foot: a line about the origin of the report.

    Returns:
      The path.
    """
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(lead)}</p>"]
    for section in sections:
        body += _section(section)
    body.append(f'<p class="faint">{html.escape(foot)}</p>')
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )
    with replacing(Path(path)) as file:
        file.write_text(page, encoding="utf-8")
    return Path(path)


def _section(section):
    yield f"<h2>{html.escape(section.heading)}</h2>"
    yield f"<p>{html.escape(section.sentence)}</p>"
    if section.figures:
        yield '<div class="figures">' + "\n".join(map(image, section.figures, section.figures.values())) + "</div>"
    if section.table:
        yield _table(section.table)
    if section.text:
        yield f"<pre>{html.escape(section.text)}</pre>"
    if section.arrays:
        link = html.escape(section.arrays, quote=True)
        yield f'<p class="faint">The numbers: <a href="{link}">{link}</a></p>'


def image(name, figure) -> str:
    """Return a figure, or the figure that a function draws, as an HTML element; a sentence if drawing fails.

    Args:
      name: the alternative text of the image.
      figure: a matplotlib figure, or a function that returns one.
    """
    file = io.BytesIO()
    try:
        drawn: Any = figure() if callable(figure) else figure
        drawn.savefig(file, format="png")
    except Exception as error:  # the page is still written, without this picture
        return f"<p>The figure {html.escape(name)} could not be drawn: {html.escape(first_line(error))}</p>"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(name, quote=True)}" src="data:image/png;base64,{data}">'


def _table(rows):
    cell = lambda kind, value: f"<{kind}>{html.escape(_short(value))}</{kind}>"
    head = "".join(cell("th", name) for name in rows[0])
    lines = "".join("<tr>" + "".join(cell("td", value) for value in row.values()) + "</tr>" for row in rows)
    return f'<div class="table"><table><tr>{head}</tr>{lines}</table></div>'


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)
