"""The benchmark of all estimators: its numbers against closed forms, its folder, an interrupted run, and user errors."""

import functools
import re

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.results import read
from metalearn.outer.comparison import Measurement
from metalearn.outer.comparison.report import unmeasured
from metalearn.studies import benchmark
from tests.processes import ROOT, error_line, run_study

FEW = ("BPTT", "implicit, 20 terms", "implicit, GMRES", "full ES, ranks")
TINY = ("size=quick", "seed=3", "episodes=4", "pairs=2", "reference_pairs=16", "tracker=none")
TINY += ('estimators=["' + '","'.join(FEW) + '"]',)


run = functools.partial(run_study, "benchmark")


def influences(count):
    """The first entries of Σ_{k<count} A^k c of influence balancing, by hand."""
    A = 0.5 * (np.eye(23) + np.eye(23, k=1))
    c, total = np.where(np.arange(23) < 10, 1.0, -1.0), 0.0
    for _ in range(count):
        total, c = total + c[0], A @ c
    return total


def residual(count):
    """The residual of Σ_{k<count} (Aᵀ)^k b, which is (Aᵀ)^count b, over b, the first unit vector."""
    A, b = 0.5 * (np.eye(23) + np.eye(23, k=1)), np.eye(23)[0]
    return np.linalg.norm(np.linalg.matrix_power(A.T, count) @ b)


def test_the_bias_of_a_short_neumann_series_is_the_closed_form_and_an_interrupted_run_continues(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    assert max(map(len, re.findall(r"^.*∇.*$", result.stdout, re.MULTILINE))) <= 100
    (folder,) = tmp_path.iterdir()
    assert (folder / "figures" / "benchmark.png").stat().st_size > 0
    rows = {row["estimator"]: row for row in read(folder / "tables" / "benchmark.json")}
    assert tuple(rows) == FEW
    twenty, all_terms = influences(20), influences(100)
    assert rows["implicit, 20 terms"]["residual"] == pytest.approx(residual(20), rel=1e-3)
    assert "implicit, 20 terms: the linear system is solved to a relative residual of 0.4" in result.stdout
    assert rows["implicit, GMRES"]["residual"] < 1e-5
    assert np.isnan(rows["BPTT"]["residual"])
    assert twenty > 0 > all_terms  # steps that the series leaves out determine the sign
    assert rows["implicit, 20 terms"]["bias"] == pytest.approx(abs(twenty / all_terms - 1), rel=1e-3)
    assert rows["implicit, 20 terms"]["cosine"] == pytest.approx(-1, abs=1e-5)
    for name in ("BPTT", "implicit, GMRES"):
        assert rows[name]["bias"] < 1e-3
        assert rows[name]["variance"] == 0
        assert np.isnan(rows[name]["snr_per_step"])
    assert np.isnan(rows["full ES, ranks"]["bias"])
    assert rows["full ES, ranks"]["variance"] > 0
    kept = (folder / "arrays" / "influence-balancing.npz").read_bytes()
    (folder / "tables" / "benchmark.json").unlink()
    assert run(tmp_path, *TINY, f"resume={folder}").returncode == 0
    assert (folder / "arrays" / "influence-balancing.npz").read_bytes() == kept
    assert (folder / "tables" / "benchmark.json").exists()
    other = run(tmp_path, *TINY, "episodes=5", f"resume={folder}")
    assert "was run with episodes = 4" in other.stderr


def test_the_benchmark_contains_every_estimator_of_the_configurations():
    texts = [path.read_text() for path in (ROOT / "configs" / "estimator").glob("*.yaml")]
    names = {match for text in texts for match in re.findall(r"_target_: metalearn\.(\w+)$", text, re.MULTILINE)}
    assert len(names) == 11
    assert all(callable(getattr(benchmark, name)) for name in names)
    assert len(benchmark.CASES) == 6


def test_numbers_that_do_not_apply_are_nan_and_rounding_errors_are_not_reported_as_variance():
    report = unmeasured("PES", 2, "")
    one = lambda value: Measurement(value, 0.1)
    found = {"mean": np.array([3.0, 4.0]), "target": np.array([0.6, 0.8]), "bias": one(4.0), "cosine": one(1.0)}
    ratios = dict.fromkeys(("signal_to_noise_per_step", "signal_to_noise_per_second"), one(7.0))
    report = report.__class__(**(vars(report) | found | ratios | {"variance": one(2.0)}))
    numbers = benchmark.summarise(report, scaled=False)
    assert (numbers["bias"], numbers["variance"], numbers["snr_per_step"]) == pytest.approx((4.0, 2.0, 7.0))
    scaled = benchmark.summarise(report, scaled=True)
    assert np.isnan(scaled["bias"])
    assert scaled["variance"] == pytest.approx(2 / 25)  # relative to the mean: the target has another length
    still = benchmark.summarise(report.__class__(**(vars(report) | {"variance": one(1e-12)})), scaled=False)
    assert still["variance"] == 0
    assert np.isnan(still["snr_per_step"])


def test_forward_mode_and_implicit_differentiation_are_left_out_with_a_reason():
    case = benchmark.CASES["influence balancing"]()
    many = case._replace(theta=jnp.zeros(30))
    assert benchmark.misfit("RTRL", many, None, None)[0] == "one tangent for each of the 30 numbers of theta"  # type: ignore[arg-type]
    assert benchmark.misfit("RTRL", case, None, None)[0] == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pairs=0"], "pairs must be at least 1; 0 was given"),
        (["episodes=1"], "episodes must be at least 2"),
        (["problems=[digits]"], "Every one of problems must be one of digits schedule, fractal, in the chaos"),
        (["problems=[]"], "problems must name at least one of"),
        (["estimators=[pes]"], "Every one of estimators must be one of"),
        (["estimators=PES"], "estimators must be a list, such as estimators=["),
        (["size=tiny"], "size can be: full, quick"),
    ],
)
def test_an_invalid_setting_is_a_one_line_error_and_leaves_no_run_folder(tmp_path, arguments, words):
    assert words in error_line(run(tmp_path, *arguments, "tracker=none"), tmp_path)
