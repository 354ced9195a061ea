"""Every figure is drawn for any numbers, and states what it leaves out."""

import io
import itertools

import numpy as np
import pytest

from metalearn import figures, recording
from metalearn.dynamics import Lyapunov
from metalearn.figures.limits import axis_limits, bars, choose_colours, finite_limits
from metalearn.landscape import Axis, BorderDimension, Landscape, Plane
from metalearn.outer import Best, History, Snapshot
from metalearn.outer.comparison.report import Comparison, Measurement, Report
from metalearn.outer.diagnosis.anatomy import Anatomy, Law
from metalearn.outer.evaluation.results import Curves, Evaluation, Row
from metalearn.outer.search import Trials
from tests.figures.study_figures import STUDY_FIGURES

NASTY = {
    "nan": [np.nan],
    "inf": [np.inf],
    "-inf": [-np.inf],
    "zero": [0.0],
    "one value": [3.0],
    "one huge value": [1e300],
    "one infinite": [1.0, 2.0, 3.0, np.inf],
    "one huge": [1.0, 2.0, 3.0, -1e300],
    "float32": [1.0, 0.5, float(np.finfo(np.float32).max), np.nan],
    "smallest": [5e-324, 1e-300, 1.0, -0.0],
    "both ends": [-1.7e308, 1.7e308, -1e-300, 0.0],
    "everything": [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 1.0, -1.0, float(np.finfo(np.float32).max)],
}
PLANE = Plane(Axis("a", -1.0, 1.0), Axis("b", 0.0, 3.0), lambda x, y: (x, y))
SHAPE = 5, 4
DRAWN = ("nan", "inf", "both ends", "everything")  # all others are tried on the limits, which take no time


class Source:
    """Return the next numbers of a sequence as an array of any shape."""

    def __init__(self, values):
        self._values = itertools.cycle(values)

    def __call__(self, *shape):
        return np.reshape([next(self._values) for _ in range(int(np.prod(shape)))], shape)

    def measured(self):
        return Measurement(*map(float, self(2)))


def landscape(source):
    measure, none = source(*SHAPE), np.zeros(SHAPE, bool)
    return Landscape(measure, measure < 0, none, np.full(SHAPE, -1), PLANE, 500, 3000, ~none)


def report(source, name):
    vectors = {field: source(3) for field in ("mean", "mean_error", "target", "gradient")}
    measured = {
        field: source.measured() for field, kind in Report.__annotations__.items() if kind in (Measurement, "Measured")
    }
    others = {
        "fraction_diverged": 0.5,
        "fraction_capped": 0.0,
        "inner_steps": 1.0,
        "seconds": 1.0,
        "seconds_error": 0.1,
    }
    others |= {"memory": None, "num_episodes": 4}
    return Report(name=name, **vectors, **measured, **others)


def evaluation(source):
    row = lambda name, rate: Row(
        "digits", name, rate, *(source.measured() for _ in range(4)), 1.0,
        Curves(np.arange(6) * 10, source(2, 6), source(2), source(2), 0.0),
    )  # fmt: skip
    return Evaluation((row("learned", np.nan), row("tuned", np.nan), row("adam", 0.1)))


def anatomy(source):
    layers = {name: source(*SHAPE) for name in ("log_growth", "exponent", "exponent_error", "flip_fraction", "loss")}
    return Anatomy(
        plane=PLANE, num_steps=10, converged=np.ones(SHAPE, bool), log_gradient=source(*SHAPE),
        direction=source(*SHAPE, 2), **layers,
    )  # fmt: skip


def cut(source):
    found = {name: source(8) for name in ("loss", "exponent", "exponent_error", "log_gradient")}
    smoothed = {"places": np.linspace(-1, 1, 5), "length": source(5), "error": source(5)}
    return figures.draw_cut(np.linspace(-1, 1, 8), found | {"converged": np.arange(8) > 1}, name="a", smoothed=smoothed)


def history(source):
    seen = {"step": np.arange(3), "inner_steps": 10 * np.arange(3), "loss": source(3)}
    best = Best(source(2), source(), 1)
    return History(source(4, 2), {"loss": source(4)}, seen, Snapshot(4, source(2), (), (), best, -1, 40), np.arange(4))


def trials(source):
    return Trials(source(6, 2), source(6), 2)


def exponents(source):
    return Lyapunov(source(3), source(3), source(), source(), 1, 10, -1)


def zoom(source):
    fields = "dimension", "statistical", "control"
    rows = [
        {"rule": rule, "width": 10.0**-index, "refused": index == 1, **dict(zip(fields, map(float, source(3))))}
        for rule in ("3-point rule", "nested boxes")
        for index in range(3)
    ]
    shares = [dict(zip(("computed", "undecided", "rounding"), map(float, source(3)))) for _ in range(3)]
    return figures.draw_zoom(rows, [{"width": 10.0**-i} | one for i, one in enumerate(shares)])


def signal(source):
    rows = [
        {"place": float(place), "estimator": name, **dict(zip(("snr", "error", "floor"), map(float, source(3))))}
        for name in ("ES", "PES")
        for place in range(4)
    ]
    return figures.draw_signal(rows, name="a")


def layer(source, logarithmic=False):
    values = source(*SHAPE)
    points = {"best": source(1, 2), "minima": source(4, 2)}
    how = {"limits": tuple(source(2)), "contours": {0.5: "level"}, "points": points, "logarithmic": logarithmic}
    return figures.draw_layer(values, PLANE, label="loss", **how)


def goals(source, count=2):
    read = lambda: {"step": np.arange(4), "proxy": source(3, 4), "goal": source(3, 4)}
    return {f"case {index}": read() for index in range(count)}


def mitigations(source):
    return figures.draw_mitigations(goals(source), [{"end": float(source()), "recovered": float(source())}] * 2)


def features(source):
    return figures.draw_features({"counts": np.array([1, 10, 100]), "training": source(4, 3), "test": source(4, 3)})


def walks(source):
    panels = {name: source(2, 3, 4) for name in ("ES", "PES")}
    return figures.draw_walks(panels, np.arange(3), ("right", "absent", "random", "wrong"), float(source()))


def probe(source):
    adams = lambda: {name: source(3, 2, 3) for name in ("Adam, swept", "Adam, as tuned")}
    read = lambda: {"step": np.arange(3), "learned": source(2, 3, 2, 3)} | adams()
    return figures.draw_probe({"one": read(), "two": read()})


FIGURES = {
    "draw_comparison": lambda s: figures.draw_comparison(Comparison(0.0, (report(s, "ES"), report(s, "PES")))),
    "draw_trajectories": lambda s: figures.draw_trajectories(
        s(*SHAPE), PLANE, {"ES": s(2, 4, 2), "PES": s(2, 4, 2)}, value_name="loss"
    ),
    "draw_landscape": lambda s: figures.draw_landscape(landscape(s), trajectories={"ES": s(2, 4, 2)}),
    "draw_landscape, linear": lambda s: figures.draw_landscape(landscape(s), norm="linear"),
    "draw_landscapes": lambda s: figures.draw_landscapes({"one": landscape(s), "two": landscape(s)}),
    "draw_layer": layer,
    "draw_layer, logarithmic": lambda s: layer(s, logarithmic=True),
    "draw_law": lambda s: figures.draw_law(
        anatomy(s), {name: Law(*map(float, s(2)), 4) for name in ("growth", "gradient")}
    ),
    "draw_cut": cut,
    "draw_signal": signal,
    "draw_descents": lambda s: figures.draw_descents(
        {name: {"loss": s(5), "inner_steps": 1000 * np.arange(5)} for name in ("ES", "PES")}
    ),
    "draw_learning_curves": lambda s: figures.draw_learning_curves(evaluation(s), "digits"),
    "draw_matrix": lambda s: figures.draw_matrix(evaluation(s)),
    "draw_zoom": zoom,
    "draw_dimension": lambda s: figures.draw_dimension(
        BorderDimension(float(s()), *map(float, np.abs(s(4))), float(s()), "")
    ),
    "draw_goals": lambda s: figures.draw_goals(goals(s)),
    "draw_goals, one": lambda s: figures.draw_goals(goals(s, 1)),
    "draw_mitigations": mitigations,
    "draw_features": features,
    "draw_walks": walks,
    "draw_probe": probe,
    "draw_history": lambda s: figures.draw_history(history(s)),
    "draw_trials": lambda s: figures.draw_trials(trials(s)),
    "draw_exponents": lambda s: figures.draw_exponents(exponents(s)),
    "draw_result": lambda s: figures.draw_result(history(s)),
    "draw_schedule": lambda s: figures.draw_schedule(lambda theta: lambda count: s(), 0.0, 5),
    "draw_schedule, several": lambda s: figures.draw_schedule(
        {name: lambda theta, value=value: lambda count: value for name, value in zip("ab", s(2))}, 0.0, 5
    ),
} | STUDY_FIGURES


def drawn(figure, written=True):
    """Return the text of a small figure that was written to a file, or only drawn, which takes half of the time."""
    figure.set_layout_engine("none")
    figure.set_size_inches(2, 1.5)
    figure.set_dpi(30)
    if written:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
    else:
        figure.canvas.draw()
    legends = [axes.get_legend() for axes in figure.axes]
    texts = [text.get_text() for one in legends if one for text in one.get_texts()]
    return "\n".join([*texts, *(axes.get_ylabel() for axes in figure.axes), figure.get_suptitle()])


def test_every_public_drawing_function_is_tested():
    public = {name for name in figures.__all__ if name.startswith("draw_")}
    assert public == {name.partition(",")[0] for name in FIGURES}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_any_values_are_drawn_within_finite_axes(draw, name):
    figure = draw(Source(NASTY[name]))
    drawn(figure, written=name == "everything")
    for axes in figure.axes:
        ends = np.array([axes.get_xlim(), axes.get_ylim()])
        assert np.all(np.isfinite(ends))
        assert np.all(np.ptp(ends, axis=1) > 0)


EMPTY = {
    "draw_comparison": lambda: figures.draw_comparison(Comparison(0.0, ())),
    "draw_trajectories": lambda: figures.draw_trajectories(np.ones(SHAPE), PLANE, {}, value_name="loss"),
    "draw_signal": lambda: figures.draw_signal([], name="a"),
    "draw_cut": lambda: figures.draw_cut(
        [], dict.fromkeys(("loss", "converged", "exponent", "exponent_error", "log_gradient"), ()), name="a"
    ),
    "draw_trajectories, no starts": lambda: figures.draw_trajectories(
        np.ones(SHAPE), PLANE, {"ES": np.zeros((0, 3, 2)), "PES": np.zeros((2, 0, 2))}, value_name="loss"
    ),
    "draw_descents": lambda: figures.draw_descents({}),
    "draw_zoom": lambda: figures.draw_zoom([], []),
}


@pytest.mark.parametrize("draw", EMPTY.values(), ids=EMPTY)
def test_empty_data_give_an_empty_picture(draw):
    drawn(draw())


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros(3), np.zeros((2, 2, 3))])
def test_data_of_the_wrong_shape_raise_an_error(values):
    with pytest.raises(ValueError, match=r"A picture needs values \[height, width\]; the shape"):
        figures.draw_layer(values, PLANE, label="loss")


SAYS = {
    "grey: not finite, 25.0%": lambda s: figures.draw_layer(s(*SHAPE), PLANE, label="loss"),
    "pink: not finite, 25.0%": FIGURES["draw_trajectories"],
    "not finite, 25.0%": lambda s: figures.draw_landscape(landscape(s)),
    "above the axis, or infinite: 2": FIGURES["draw_descents"],
    "ES: above the axis, or infinite: 1": FIGURES["draw_signal"],
    "crosses: not finite beyond": FIGURES["draw_trajectories"],
}


@pytest.mark.parametrize(("words", "draw"), SAYS.items(), ids=SAYS)
def test_values_that_are_left_out_are_named_and_counted(words, draw):
    assert words in drawn(draw(Source([1.0, 2.0, 3.0, np.inf])))


def test_a_film_accepts_any_values_and_explains_its_grey_pixels():
    (plain,), (nasty,) = (
        figures.zoom_images([landscape(Source(values))], size=256, images_per_frame=1)
        for values in ([1.0, -1.0], [1.0, -1.0, np.nan, -np.inf])
    )
    caption = lambda image: (image[240:].min(axis=-1) == 255).sum()
    assert caption(nasty) > 1.5 * caption(plain)


def test_colour_limits_contain_the_values_without_outliers():
    shown = choose_colours([[1.0, 2.0], [3.0, 1e300]])
    assert (shown.norm.vmin, shown.norm.vmax, shown.extend) == (1.0, 3.0, "max")
    assert shown.note == "arrow: beyond the colours, 25.0%"
    assert choose_colours([[0.0] * 97 + [1.0] * 3]).norm.vmax == 1.0
    assert choose_colours([[1.0] * 97 + [0.01] * 3], logarithmic=True).norm.vmin == 0.01
    np.testing.assert_array_equal(shown.values, [[1, 2], [3, 3]])


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", NASTY.values(), ids=NASTY)
def test_axis_limits_are_finite_and_distinct(values, logarithmic):
    for low, high in (function(values, logarithmic=logarithmic) for function in (finite_limits, axis_limits)):
        assert low < high
        assert np.isfinite(high - low)
        assert low > 0 or not logarithmic


def test_error_bars_stay_within_the_axes_and_unknown_ones_are_left_out():
    span = bars([1.0, 2.0, np.nan, np.inf], [np.inf, np.nan, 1.0, 1.0], 0.5, 4.0)
    np.testing.assert_array_equal(span, [[0.5, 0, 0, 0], [3.0, 0, 0, 0]])


def broken():
    raise RuntimeError("no such colour\nand more")


def test_a_picture_that_cannot_be_drawn_stops_neither_the_run_nor_the_page(tmp_path, capsys):
    with recording.open_run(tmp_path, {}, mode="disabled") as run:
        run.figure("bad", figures.later(broken))
        run.figure("unsavable", type("Figure", (), {"savefig": lambda *_, **__: broken()})())
        run.figure("good", figures.later(figures.draw_descents, {}))
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" could not be drawn")[0] for line in said] == ["The figure 'bad'", "The figure 'unsavable'"]
    assert all(line.endswith("without it: no such colour") for line in said)
    assert [path.name for path in (run.folder / "figures").iterdir()] == ["good.png"]
    section = figures.Section("Here", "Seen.", {"a < b": figures.later(broken)})
    page = figures.write_report(tmp_path / "page.html", "title", "lead", [section]).read_text()
    assert "a &lt; b could not be drawn: no such colour" in page
