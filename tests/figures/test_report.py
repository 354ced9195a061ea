"""The report is a self-contained HTML page."""

import re

import numpy as np
from matplotlib.figure import Figure

from metalearn.figures import Section, write_report


def page(tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    rows = [{"σ": 0.1, "minima": 3, "said": "D < 2 & more"}, {"σ": np.float64(1 / 3), "minima": 1, "said": ""}]
    sections = [
        Section(
            "First <one>", "A sentence & its numbers.", {"line": figure, "other": figure}, rows, arrays="arrays/a.npz"
        ),
        Section("Second", "Only words.", text="λ      0.1\nκ < 3"),
    ]
    return write_report(tmp_path / "report.html", "Why", "Because.", sections, "made today").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    text = page(tmp_path)
    assert re.findall(r'(?:src|href)="(?!data:|arrays/)', text) == []
    assert "http" not in text
    assert "<script" not in text
    assert text.count('src="data:image/png;base64,') == 2


def test_text_is_escaped_and_numbers_are_short(tmp_path):
    text = page(tmp_path)
    for words in (
        "First &lt;one&gt;",
        "A sentence &amp; its numbers.",
        "D &lt; 2 &amp; more",
        "κ &lt; 3",
        ">0.333<",
        ">3<",
    ):
        assert words in text


def test_the_page_fits_any_width_and_dark_mode(tmp_path):
    text = page(tmp_path)
    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert '<html lang="en">' in text
    assert 'alt="line"' in text
