"""The table of reproductions says inside or outside, and why."""

import numpy as np

from metalearn.reproductions import LONG, QUICK, Result, influence, table


def test_a_result_is_inside_where_every_seed_is():
    inside, below = Result("a", "b", 1.0, 2.0, (1.0, 2.0), 3.0), Result("a", "b", -np.inf, 2.0, (1.5, 2.1), 3.0)
    assert (inside.inside, below.inside) == (True, False)
    assert not inside._replace(values=(np.nan,)).inside
    text = table([inside, below])
    assert "| a | b | 1 … 2 | 1.5 | 1, 2 | 1 | 3 | inside |" in text
    assert "| ≤ 2 | 1.8 | 1.5, 2.1 | 0.6 | 3 | **outside** |" in text


def test_every_experiment_has_a_name_of_its_own():
    assert not set(QUICK) & set(LONG)
    assert len(QUICK | LONG) == 7


def test_influence_balancing_is_reproduced():
    results = list(influence.results())
    assert len(results) == 6
    assert all(result.inside for result in results), results
