"""Tables in messages."""

import pytest

from metalearn.words import fitting, table


@pytest.mark.parametrize(
    ("columns", "expected"), [(1, 2), (8, 9), (9, 9), (30, 9)], ids=["one", "all", "one too many", "far too many"]
)
def test_as_many_columns_as_fit_into_a_terminal(columns, expected):
    """The first column has 14 characters, and each other one 8 and a gap of two: 14 + 8 · 10 = 94."""
    header, rows = ["", *["PES, old"] * columns], [["params/l0/bias", *["1.234"] * columns]]
    count = fitting(header, rows)
    assert count == expected
    assert max(map(len, table(header[:count], [row[:count] for row in rows]).splitlines())) <= 100
