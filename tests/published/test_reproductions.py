"""The table of reproductions states whether a number is inside its band, and why not."""

import json
import re

import numpy as np
import pytest

from metalearn.application import downloads
from metalearn.inner.training.benchmark import wine_benchmark
from metalearn.recording.values import finite, plain, restore
from metalearn.reproductions import (
    DOWNLOADED,
    LONG,
    QUICK,
    Picture,
    Result,
    digits,
    influence,
    lorenz,
    lstm_variance,
    rate_decay,
    row,
    table,
    toy,
    weight_decay,
)


def test_a_result_is_inside_its_band_if_every_seed_is():
    inside = Result("a", "b", 1.0, 2.0, (1.0, 2.0), 3.0, "1.7 (Table 2)")
    below = Result("a", "b", -np.inf, 2.0, (1.5, 2.1), 3.0, "no number found")
    assert (inside.inside, below.inside) == (True, False)
    assert not inside._replace(values=(np.nan,)).inside
    rows = [row(inside), row(below)]
    text = table(rows)
    assert "| a | b | 1.7 (Table 2) | 1 … 2 | 1.5 | 1, 2 | 1 | 3 | inside |" in text
    assert "| no number found | ≤ 2 | 1.8 | 1.5, 2.1 | 0.6 | 3 | **outside** |" in text
    assert table(restore(json.loads(json.dumps(finite(plain(rows)))))) == text, "from the file of a run too"


def test_names_of_experiments_are_unique():
    assert len(QUICK | LONG | DOWNLOADED) == len(QUICK) + len(LONG) + len(DOWNLOADED) == 12


def test_every_result_cites_the_published_number_or_states_that_there_is_none(monkeypatch):
    monkeypatch.setattr(toy, "descend", lambda *_: (np.ones(3), np.ones(3), None))
    monkeypatch.setattr(toy, "heat_map", lambda paths: Picture("toy", None))
    monkeypatch.setattr(influence, "descend", lambda *_: np.ones(3))
    monkeypatch.setattr(lorenz, "descend", lambda *_: (np.ones(3), np.ones(3), None))
    monkeypatch.setattr(weight_decay, "descend", lambda *_, **__: np.ones(3))
    monkeypatch.setattr(digits, "tuned", lambda *_: ([np.ones(2)] * 3, [1.0] * 3, 0.0))
    for name in ("curve", "predicted"):
        monkeypatch.setattr(lstm_variance, name, lambda kind: np.ones(6))
    monkeypatch.setattr(lstm_variance, "setting", lambda kind: (None, None, None, 1.0))
    monkeypatch.setattr(lstm_variance, "measured", lambda *_: 1.0)
    monkeypatch.setattr(lstm_variance, "picture", lambda: Picture("lstm_variance", None))
    makes = {**QUICK, **LONG}
    del makes["rate_decay"]  # this compiles; the same is tested below
    for name, make in makes.items():
        results = [one for one in make() if isinstance(one, Result)]
        assert results, name
        assert all(map(says_what_is_published, results)), results


def says_what_is_published(result):
    return result.published.startswith("no number") or bool(re.search(r"\d.* \(.+\)", result.published))


def test_influence_balancing_is_reproduced():
    results = list(influence.results())
    assert len(results) == 6
    assert all(result.inside for result in results), results


@pytest.mark.slow
def test_the_heat_map_has_a_picture_and_a_number_for_every_estimator():
    benchmark = wine_benchmark((4,), num_steps=100)
    error = {"mean error": rate_decay.OBJECTIVES["mean error"]}
    found = list(rate_decay.results(benchmark, "wine", error, resolution=3, num_steps=4, seeds=(0,)))
    pictures = [one.name for one in found if isinstance(one, Picture)]
    assert pictures == ["wine_mean_error"]
    results = {one.quantity: one for one in found if isinstance(one, Result)}
    assert len(results) == 3
    stays = results["truncated backprop, mean error: distance from the start"]
    assert stays.inside, stays
    assert not results["PES: mean error"].inside, "four steps cannot be enough"
    assert set(rate_decay.OBJECTIVES) == set(rate_decay.RATES)


def test_every_objective_has_numbers_and_a_picture(monkeypatch):
    monkeypatch.setattr(rate_decay, "heat_map", lambda problem, horizon, resolution: np.arange(1.0, 10.0).reshape(3, 3))
    monkeypatch.setattr(rate_decay, "descents", lambda *_: np.full((1, 4, 2), rate_decay.START))
    found = list(rate_decay.results(wine_benchmark((4,), num_steps=50), resolution=3, seeds=(0,)))
    pictures = [one.name for one in found if isinstance(one, Picture)]
    assert pictures == ["rate_decay_mean_loss", "rate_decay_loss_at_the_end", "rate_decay_mean_error"]
    assert sum(isinstance(one, Result) for one in found) == 7
    assert all(says_what_is_published(one) for one in found if isinstance(one, Result))


def test_a_failed_download_of_mnist_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "MNIST", downloads.MNIST._replace(mirrors=()))
    with pytest.raises(ConnectionError, match="MNIST"):
        list(rate_decay.mnist_results())
