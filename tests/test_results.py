"""Every result as two lines, as a table that fits a terminal, and as LaTeX, CSV, HTML and pandas."""

import collections
import csv
import dataclasses
import math
import re
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.dynamics import Lyapunov
from metalearn.outer import Best, Comparison, Curves, Evaluation, History, Measurement, Report, Snapshot
from metalearn.outer.diagnosis.recommend import Recommendation
from metalearn.outer.evaluation.results import Row
from metalearn.outer.evaluation.speed_up import NO_ADAM, SpeedUp
from metalearn.typeset import escape, latex, rounded, text

NAMES = ("A & B_1", "100 % σ", "TBPTT")


def report(name, number=0.51234, **changed):
    vectors = {field: np.array([number, -2.0]) for field in ("mean", "mean_error", "target", "gradient")}
    measured = {
        field: Measurement(number, 0.0123) for field, kind in Report.__annotations__.items() if "Measure" in str(kind)
    }
    costs = {"inner_steps": 640.0, "seconds": 0.0123, "seconds_error": 0.0004, "memory": 5000, "num_episodes": 4}
    values = {"name": name, "fraction_diverged": 0.0, "fraction_capped": 0.0, **vectors, **measured, **costs}
    return Report(**(values | changed))


def comparison(names=NAMES, **changed):
    return Comparison({"a": np.zeros(2)}, tuple(report(name, **changed) for name in names))


def history(steps=500, first=0, size=2):
    seen = {"step": np.array([first, first + steps]), "inner_steps": np.array([0, 9]), "loss": np.array([2.0, 1.0])}
    theta = {"rate": np.arange(2.0 * steps).reshape(steps, 2), "w": np.ones((steps, size, size))}
    metrics = {"loss": np.linspace(2, 1, steps), "vector": np.zeros((steps, 3))}
    end = Snapshot(first + steps, {}, (), (), Best({}, 1.0, first + steps), -1, 9)
    return History(theta, metrics, seen, end, first + np.arange(steps))


def landscape():
    axes = ml.landscape.Axis("η_1 & more", -2.0, 2.0, "log10"), ml.landscape.Axis("η_2", 0.0, 3.0)
    measure = np.linspace(-1, 1, 30).reshape(6, 5)
    none = np.zeros_like(measure, bool)
    plane = ml.landscape.Plane(*axes, lambda x, y: (x, y))
    return ml.landscape.Landscape(measure, measure < 0, none, np.full(measure.shape, -1), plane, 500, 3000, ~none)


def evaluation():
    curves = Curves(np.arange(6) * 10, np.ones((2, 6)), np.ones(2), np.ones(2), 0.0)
    row = lambda name, rate, speed: Row("wine", name, rate, *[Measurement(0.5, 0.01)] * 4, speed, curves)
    return Evaluation((row("mine", np.nan, SpeedUp(2.0, 1.5, 2.5)), row("adam", 0.1, NO_ADAM)))


def diagnosis():
    found = dict.fromkeys(ml.diagnosis.Diagnosis.__annotations__, 0.3)
    found |= {"exponent": Measurement(0.1, 0.01), "smoothed_length": Measurement(2.0, 0.3), "comparison": comparison()}
    found |= {"predicted": {"PES": 3.0}, "left_out": ("a thing",), "spectrum": None, "sweep": []}
    found["recommendation"] = Recommendation("PES", 2, 0.1, 8, "it has the most signal")
    return ml.diagnosis.Diagnosis(**found)


RESULTS = {
    "comparison": comparison,
    "no comparison": lambda: comparison(()),
    "history": history,
    "landscape": landscape,
    "evaluation": evaluation,
    "diagnosis": diagnosis,
    "trials": lambda: ml.search.Trials({"a": np.linspace(0, 1, 40)}, np.linspace(2, 1, 40), 39),
    "dimension": lambda: ml.landscape.BorderDimension(1.5, 0.02, 0.01, math.nan, 0.3, 1.01, "no border & more"),
    "exponents": lambda: Lyapunov(*map(np.asarray, ([0.1, -0.2], [0.01, 0.02], 0.3, math.nan, 1, 100, -1))),
    "many exponents": lambda: Lyapunov(
        *map(np.asarray, (np.ones((3, 40)), np.ones((3, 40)), np.ones(3), np.ones(3), [1, 0, 2], [5, 5, 5], [-1] * 3))
    ),
}


@pytest.fixture(params=RESULTS.values(), ids=RESULTS)
def result(request):
    return request.param()


def unequal(one: Any, other: Any):
    """Return the places where two results differ in class, dtype or bits; functions are not compared."""
    if isinstance(one, tuple | list) and not hasattr(one, "_fields"):
        parts = list(zip(map(str, range(len(one))), one, other)) if len(one) == len(other) else [("length", 0, 1)]
    elif isinstance(one, dict):
        parts = [(key, one[key], other[key]) for key in one] if list(one) == list(other) else [("keys", 0, 1)]
    elif dataclasses.is_dataclass(one) or hasattr(one, "_fields"):
        names = getattr(one, "_fields", None)
        names = [field.name for field in dataclasses.fields(one)] if names is None else names
        parts = [(name, getattr(one, name), getattr(other, name)) for name in names]
    elif callable(one):
        return [] if isinstance(other, ml.recording.NotSaved) else ["a function"]
    elif isinstance(one, jax.Array) and jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
        return [] if one.dtype == other.dtype and bool((one == other).all()) else ["a key"]
    else:
        first, second = np.asarray(one), np.asarray(other)
        same = first.dtype == second.dtype and first.tobytes() == second.tobytes() and first.shape == second.shape
        return [] if same or one == other else [f"{one!r} is {other!r}"]
    differ = [] if type(one) is type(other) else [f"{type(one)} is {type(other)}"]
    return differ + [f"{name}: {found}" for name, *pair in parts for found in unequal(*pair)]


def test_a_result_is_saved_and_loaded(result, tmp_path):
    path = result.save(tmp_path / "result.npz")
    again = ml.recording.load(path)
    assert unequal(result, again) == []
    assert (repr(again), str(again)) == (repr(result), str(result))
    np.load(path, allow_pickle=False).close()
    with pytest.raises(FileNotFoundError, match="create it first"):
        result.save(tmp_path / "missing" / "result.npz")


def test_arrays_keep_their_type_and_values_that_cannot_be_saved_are_named(tmp_path):
    mine = collections.namedtuple("Mine", "a")
    kinds = {
        "jax": jnp.ones(2, jnp.bfloat16), "numpy": np.arange(3, dtype=np.int64), "scalar": np.float32(1.5),
        "key": jax.random.key(3), "odd": (math.inf, -math.inf, "inf", None, True, {1: "x"}, []),
        "optax": optax.adam(0.1).init(jnp.ones(2)), "mine": mine(2), "empty": np.zeros((0, 3)),
    }  # fmt: skip
    found = ml.search.Trials(kinds, np.array([np.nan, 1.0]), 1)
    again = ml.recording.load(found.save(tmp_path / "a"))
    assert math.isnan(again.loss[0])
    assert again.theta.pop("mine") == (kinds.pop("mine").a,)
    assert unequal(found, again) == []
    assert isinstance(again.theta["jax"], jax.Array)
    assert type(again.theta["numpy"]) is np.ndarray
    plane = ml.recording.load(landscape().save(tmp_path / "b")).plane
    with pytest.raises(ValueError, match="is a function, which is not saved"):
        plane.theta(0.0, 1.0)
    shown = landscape()
    assert unequal(shown.plane.x, plane.x) == []


def test_files_without_a_result_raise_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ml.recording.load(tmp_path / "missing")
    path = comparison().save(tmp_path / "a")
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:-30], content[:100]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="was not written by save, or is damaged"):
            ml.recording.load(path)
    write = lambda content: np.savez(tmp_path / "b.npz", content=np.frombuffer(content.encode(), np.uint8))
    for content in (
        '{"format": 1, "result": {"class": ["metalearn.tabular", "save"], "fields": {}}}',
        '{"format": 9}',
        "[]",
    ):
        write(content)
        with pytest.raises(ValueError, match=r"damaged|has format 9"):
            ml.recording.load(tmp_path / "b.npz")
    write('{"format": 1, "result": {"class": ["os", "system"], "fields": {"command": "ls"}}}')
    assert ml.recording.load(tmp_path / "b.npz") == ("ls",), "a named tuple, and nothing is imported"


def test_the_repr_has_two_lines_and_rows_are_plain(result):
    lines = repr(result).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(type(result).__name__)
    assert max(map(len, lines)) <= 200
    for row in result.rows():
        assert all(value is None or type(value) in (int, float, bool, str) for value in row.values()), row


def test_the_latex_is_a_complete_table(result):
    lines = result.to_latex().splitlines()
    assert lines[0].startswith(r"\begin{tabular}{")
    assert (lines[1], lines[3], *lines[-2:]) == (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}")
    count = len(lines[0].removeprefix(r"\begin{tabular}{").removesuffix("}"))
    for line in (lines[2], *lines[4:-2]):
        assert len(re.findall(r"(?<!\\)&", line)) == count - 1
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
    assert "nan" not in result.to_latex()


def test_the_csv_file_contains_all_rows_and_digits(result, tmp_path):
    path = result.to_csv(tmp_path / "rows.csv")
    rows = result.rows()
    assert path == tmp_path / "rows.csv"
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    for one, row in zip(read, rows):
        assert {key: one[key] for key in row} == {k: "" if v is None else str(v) for k, v in row.items()}
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        result.to_csv(tmp_path / "missing" / "rows.csv")


def test_the_html_representation_is_a_table():
    trials = ml.search.Trials({"<b>": np.ones(3)}, np.array([1.0, 3.0, 2.0]), 0)
    for result in (trials, RESULTS["dimension"]()):
        page = result._repr_html_()
        assert page.count("<table>") == page.count("</table>") == 1
        assert "<b>" not in page
        assert "data:image/png" in page


def test_every_result_has_a_figure(result):
    assert hasattr(result.plot(title="here"), "savefig")


def test_a_figure_of_something_else_is_refused():
    with pytest.raises(TypeError, match="no figure for a dict"):
        ml.figures.draw_result({})


def test_pandas_is_needed_only_for_data_frames(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda rows: ("frame", rows)))
    assert comparison().to_dataframe()[1][0]["estimator"] == NAMES[0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^to_dataframe needs pandas, which is not installed[^\n]*$"):
        comparison().to_dataframe()


@pytest.mark.parametrize("length", [3, 32, 33, 90])
@pytest.mark.parametrize("number", [0.5, -123456.789, 3.3e-12, 1e300])
def test_a_comparison_fits_a_terminal_and_explains_its_columns(length, number):
    names = [letter * length for letter in "xyz"]
    lines = str(comparison(names, number=number, exploded=1e9, fraction_diverged=0.5)).splitlines()
    assert max(map(len, lines)) <= 100
    assert [line[:length] for line in lines[2 : 2 + 3 * (1 + (length > 32)) : 1 + (length > 32)]] == names
    legend = lines[lines.index("") + 1 :]
    for header in re.split(r"\s{2,}", lines[0].strip())[1 - (length > 32) :]:
        assert any(line.startswith(header + "  ") for line in legend) or header == "estimator", header
    assert "has exploded" in "\n".join(lines)


def test_an_evaluation_fits_a_terminal_too():
    lines = str(evaluation()).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split()[:3] == ["benchmark", "optimiser", "rate"]
    assert "2 (1.5 … 2.5)" in lines[2]
    assert lines[3].split()[:3] == ["wine", "adam", "0.1"]


def test_a_diagnosis_fits_a_terminal_too():
    found = diagnosis()
    found = (
        dataclasses.replace(found, left_out=("a reason of many words, " * 9,))
        if dataclasses.is_dataclass(found)
        else found
    )
    assert max(map(len, str(found).splitlines())) <= 100


def test_cells_that_do_not_apply_are_blank_and_unknown_ones_are_not():
    unknown = Measurement(math.nan, math.nan)
    exact = report("exact", variance=Measurement(0.0, 0.0), signal_to_noise_per_step=unknown, bias=unknown)
    lines = str(Comparison(0.0, (report("noisy"), exact))).splitlines()
    place = lines[0].index("SNR"), lines[0].index("bias")
    assert lines[2][place[0]] != " "
    assert lines[3][place[0]] == " "
    assert lines[3][place[1]] == "–"
    assert any(line.startswith("(blank)") for line in lines)
    untimed = str(comparison(seconds=math.nan, seconds_error=math.nan, gradient=np.full(2, math.nan)))
    assert "ms" not in untimed.splitlines()[0].split()
    assert "∇L" not in untimed
    assert "(blank)" not in untimed


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.51234, 0.0123, ("0.512", "0.012", 0)),
        (0.51234, 0.0996, ("0.51", "0.10", 0)),
        (1234.5, 345.0, ("1230", "340", 0)),  # 345 is rounded to even
        (-3.14159, 0.0, ("-3.14", "", 0)),
        (-3.14159, math.nan, ("-3.14", "", 0)),
        (123456.0, 7890.0, ("1.235", "0.079", 5)),
        (1.5e-7, 2e-9, ("1.500", "0.020", -7)),
        (0.0, 0.25, ("0.00", "0.25", 0)),
        (0.0, 0.0, ("0", "", 0)),
        (2.0, 1e6, ("0.0", "1.0", 6)),
        (12345.0, 0.0, ("12345", "", 0)),
    ],
)
def test_numbers_are_rounded_to_their_errors(value, error, expected):
    assert rounded(value, error) == expected


def test_cells_have_powers_intervals_and_signs():
    row = {
        "a": 123456.0,
        "a_error": 7890.0,
        "b": 2.0,
        "b_low": 1.5,
        "b_high": 2.5,
        "c": -math.inf,
        "d": 12,
        "e": "50 %",
    }
    assert [text(row, key) for key in "abcdef"] == ["(1.235 ± 0.079)e5", "2 (1.5 … 2.5)", "-∞", "12", "50 %", ""]
    assert [latex(row, key) for key in "abcdef"] == [
        r"$(1.235 \pm 0.079) \times 10^{5}$", "$2$ [1.5, 2.5]", r"-$\infty$", "$12$", r"50 \%", "",
    ]  # fmt: skip


def test_text_is_escaped_in_latex_and_html():
    assert escape(r"a_b & 5% #1 {x} $ ~^\ ") == (
        r"a\_b \& 5\% \#1 \{x\} \$ \textasciitilde{}\textasciicircum{}\textbackslash{} "
    )
    assert escape("‖∇L_σ‖ λ 10⁻⁶ $σ") == r"$\|\nabla$L\_$\sigma\|$ $\lambda$ 10$^{-}^{6}$ \$$\sigma$"


def test_columns_can_be_selected():
    lines = comparison().to_latex(["estimator", "variance", "inner_steps"]).splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[4] == r"A \& B\_1 & $0.512 \pm 0.012$ & $640$ \\"
    with pytest.raises(ValueError, match="no column 'colour'; the columns are estimator"):
        comparison().to_latex(["colour"])


def test_results_without_numbers_have_a_repr_too():
    """Named tuples are pytrees: what is inside may be traced, or no array at all."""
    shapes = jax.tree.map(np.shape, history())
    assert repr(shapes) == str(shapes) == "History(theta, metrics, evaluations, snapshot, steps)"
    seen = []
    jax.jit(lambda values: seen.append(repr(RESULTS["exponents"]()._replace(exponents=values))))(jnp.ones(2))
    assert seen[0].startswith("Lyapunov(")


def test_the_rows_of_a_history_are_its_outer_steps_also_after_resuming():
    rows = history(steps=3, first=7).rows()
    assert [row["step"] for row in rows] == [7, 8, 9, 10]
    assert [row.get("evaluation") for row in rows] == [2.0, None, None, 1.0]
    assert rows[1]["theta/rate/1"] == 3.0
    assert rows[2]["loss"] == 1.0
    assert "vector" not in rows[0]
    assert not any(key.startswith("theta") for key in history(steps=3, size=6).rows()[0])
    many = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), history(steps=3))
    with pytest.raises(ValueError, match="Rows are those of one run"):
        many.rows()
    assert len(str(history()).splitlines()) < 30


def test_a_history_is_logged_step_by_step():
    logged = []
    run = types.SimpleNamespace(log=lambda metrics, step: logged.append((step, metrics)))
    ml.recording.log_history(run, history(steps=2))
    ml.recording.log_history(run, history(steps=2), prefix="PES")
    assert [step for step, _ in logged] == [0, 1, 2] * 2
    assert logged[1][1]["theta/rate/0"] == 2.0
    assert logged[2][1] == {"evaluation": 1.0, "inner_steps_spent": 9}
    assert logged[3][1]["PES"] == logged[0][1]
    with pytest.raises(TypeError, match="dict was given"):
        ml.recording.log_history(run, {})


def lines_of(figure):
    return {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}


def test_schedules_and_the_steps_of_optimisers_are_drawn():
    theta = {"log_rate": jnp.log(0.5)}
    rate = ml.hyperparameters.linear_schedule(ml.hyperparameters.exp("log_rate"), 0.1, 4)
    expected = [0.5, 0.4, 0.3, 0.2, 0.1, 0.1]
    drawn = {"rate": rate, "sgd": ml.sgd(rate), "momentum": ml.sgd(0.1, momentum=0.5)}
    lines = lines_of(ml.figures.draw_schedule(drawn, theta, 6))
    np.testing.assert_allclose(lines["rate"], expected, rtol=1e-5)
    np.testing.assert_allclose(lines["sgd"], expected, rtol=1e-5)
    np.testing.assert_allclose(lines["momentum"], 0.2 * (1 - 0.5 ** np.arange(1, 7)), rtol=1e-5)
    lines = lines_of(ml.figures.draw_schedule(ml.sgd(rate), theta, 3, params={"a": jnp.ones(2), "b": jnp.ones(3)}))
    np.testing.assert_allclose(lines["b"], expected[:3], rtol=1e-5)
    with pytest.raises(TypeError, match="the function returned a float"):
        ml.figures.draw_schedule(lambda theta: 0.1, theta, 3)
    with pytest.raises(ValueError, match="num_steps"):
        ml.figures.draw_schedule(rate, theta, 0)


WEIGHTS = {
    "mine": {"weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "bias": np.ones(3, np.float32)},
    "flax": {"kernel": np.random.default_rng(1).normal(size=(2, 2, 3, 5)).astype(np.float32), "scale": np.float32(2)},
}


def filter_norms(leaf, axis):
    """The norms of the filters of a leaf, one by one."""
    leaf = np.asarray(leaf)
    return [math.sqrt(sum(float(x) ** 2 for x in np.take(leaf, i, axis).ravel())) for i in range(leaf.shape[axis])]


def test_random_directions_have_the_norms_of_the_filters():
    first, second = ml.landscape.random_directions(WEIGHTS, jax.random.key(3))
    raw, _ = ml.landscape.random_directions(WEIGHTS, jax.random.key(3), normalise="none")
    for one in (first, second):
        for path, axis in ((("mine", "weight"), 0), (("flax", "kernel"), 3)):
            d, w, drawn = (tree[path[0]][path[1]] for tree in (one, WEIGHTS, raw))
            np.testing.assert_allclose(filter_norms(d, axis), filter_norms(w, axis), rtol=1e-5)
            if one is first:
                factors = np.array(filter_norms(w, axis)) / filter_norms(drawn, axis)
                by_hand = np.stack([f * np.take(np.asarray(drawn), i, axis) for i, f in enumerate(factors)], axis)
                np.testing.assert_allclose(d, by_hand, rtol=1e-4)
        assert not np.any(one["mine"]["bias"])
        assert not np.any(one["flax"]["scale"])
    assert np.any(raw["mine"]["bias"])
    assert not np.allclose(first["mine"]["weight"], second["mine"]["weight"])
    axes = ml.landscape.Axis("x", -1.0, 1.0), ml.landscape.Axis("y", -1.0, 1.0)
    assert ml.landscape.plane_through(WEIGHTS, *axes, first, second).theta(0.0, 1.0)["mine"]["bias"].shape == (3,)


def test_directions_may_scale_layers_and_other_axes():
    layer, _ = ml.landscape.random_directions(WEIGHTS, jax.random.key(0), normalise="layer")
    np.testing.assert_allclose(
        np.linalg.norm(layer["mine"]["weight"]), np.linalg.norm(WEIGHTS["mine"]["weight"]), rtol=1e-5
    )
    other, _ = ml.landscape.random_directions(WEIGHTS, jax.random.key(0), filter_axis=1)
    np.testing.assert_allclose(
        filter_norms(other["mine"]["weight"], 1), filter_norms(WEIGHTS["mine"]["weight"], 1), rtol=1e-5
    )
    empty = {"weight": np.array([[0.0, 0.0], [1.0, 2.0]], np.float32)}
    found, _ = ml.landscape.random_directions(empty, jax.random.key(0))
    assert not np.any(found["weight"][0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"theta": {"rate": jnp.ones(3)}}, 'no matrix with a nonzero weight.*normalise="none"'),
        ({"normalise": "row"}, "normalise must be"),
        ({"filter_axis": 2}, "filter_axis is 2, and weight has the shape"),
        ({"key": 0}, "typed key"),
        ({"theta": {"w": jnp.ones((2, 2), int)}}, "dtype int"),
    ],
)
def test_invalid_directions_raise_an_error(arguments, sentence):
    given = {"theta": {"weight": jnp.ones((2, 2))}, "key": jax.random.key(0)} | arguments
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.landscape.random_directions(**given)
