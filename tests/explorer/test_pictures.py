"""Pictures of windows: one program for all windows, work that stops, stored pixels, and files with their numbers."""

import itertools
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image

import metalearn as ml
from metalearn.explorer import AbandonedError, Link, Worker, named_scene, problem_scene, read_link, refine, view_of
from metalearn.explorer.layers import local_roughness
from metalearn.explorer.picture import colour, legend, save_png
from metalearn.explorer.tour import film_tour, flight, tour_views
from metalearn.explorer.view import offset
from metalearn.outer.diagnosis.anatomy import anatomy
from metalearn.recording import PixelStore
from tests.explorer.test_readings import PLANE, disc, nothing

SCENE = problem_scene(disc(), PLANE, 60, name="disc")
WHOLE = view_of(PLANE)


def last(view, layer="trainability", finest=33, check=nothing, keep=None, scene=SCENE):
    *_, found = refine(scene, view, layer, finest, check, keep)
    return found


@pytest.mark.parametrize("layer", ["trainability", "exponent", "meta-loss"])
def test_a_zoom_compiles_no_program(layer):
    last(WHOLE, layer)
    before = len(ml.compiled_programs())
    view = WHOLE
    for _ in range(6):
        view = view.zoomed(PLANE, 3.0, 0.7 * view.half_width, 0.7 * view.half_height)
        last(view, layer)
    assert len(ml.compiled_programs()) == before
    other = problem_scene(disc(1.2), PLANE, 60)
    last(WHOLE, layer, scene=other)
    assert len(ml.compiled_programs()) > before


def test_the_levels_agree_with_one_picture_of_the_finest():
    pictures = list(refine(SCENE, WHOLE, "trainability", 65, nothing))
    assert [one.resolution for one in pictures] == [17, 33, 65]
    assert [one.final for one in pictures] == [False, False, True]
    plane = WHOLE.plane(PLANE)
    whole = ml.landscape.trainability(SCENE.problem, plane, num_steps=60, resolution=65)
    np.testing.assert_array_equal(pictures[-1].landscape.converged, whole.converged)
    mine = pictures[-1].landscape
    np.testing.assert_array_equal(mine.measure[mine.computed], whole.measure[mine.computed])


def test_layers_are_those_of_anatomy():
    with jax.enable_x64(True):
        found = anatomy(SCENE.problem, PLANE, 17, SCENE.episode, num_steps=60)
    for layer, expected in (("gradient", found.log_gradient), ("exponent", found.exponent), ("meta-loss", found.loss)):
        shown = last(WHOLE, layer, 17).values
        inside = np.isfinite(shown) & np.isfinite(expected)
        assert inside.sum() >= 44  # points of the grid inside of the circle, except its centre
        np.testing.assert_allclose(shown[inside], expected[inside], rtol=1e-9)


def test_the_local_roughness_of_smooth_and_of_independent_values():
    x = np.linspace(-1, 1, 65)
    assert np.all(local_roughness(x[:, None] ** 2 + 3 * x**2) == 1)
    noise = np.random.default_rng(0).normal(size=(65, 65))
    assert np.nanmean(local_roughness(noise)) < 0.1
    assert np.all(np.isnan(local_roughness(np.zeros((33, 33)))))


def test_ten_quick_zooms_leave_no_work_and_the_last_is_finished():
    failures, finished, begun = [], [], threading.Event()
    worker = Worker(failures.append)

    def slow(number):
        def work(check):
            begun.set()
            for _ in range(200):
                check()
                time.sleep(0.005)
            finished.append(number)

        return work

    for number in range(10):
        worker.submit(slow(number))
        begun.wait(1)
        begun.clear()
    assert worker.idle(5)
    assert finished == [9]
    assert not failures
    assert worker.begun == worker.finished + worker.abandoned
    worker.submit(slow(10))
    worker.cancel()
    assert worker.idle(1)
    assert finished == [9]
    worker.submit(lambda check: 1 / 0)
    assert worker.idle(1)
    assert isinstance(failures[0], ZeroDivisionError)
    worker.close()


def test_abandoned_work_trains_no_further_pixels():
    trained, allowed = [], 3

    def check():
        if len(trained) >= allowed:
            raise AbandonedError

    def keep(compute, values, program):
        def one(some):
            trained.append(len(some))
            return compute(some)

        return one(values)

    with pytest.raises(AbandonedError):
        last(WHOLE, finest=257, check=check, keep=keep)
    assert len(trained) == allowed


def test_stored_pixels_are_used_again_and_damaged_files_are_not(tmp_path):
    store = PixelStore(tmp_path / "tiles")
    first = last(WHOLE, keep=store)
    store.flush()
    trained = store.computed
    assert trained == 33 * 33
    assert store.read == 0
    again = PixelStore(tmp_path / "tiles")
    np.testing.assert_array_equal(last(WHOLE, keep=again).values, first.values)
    assert again.computed == 0
    deeper = PixelStore(tmp_path / "tiles")
    last(WHOLE.zoomed(PLANE, 2.0), keep=deeper)
    assert deeper.read == 17 * 17  # every second pixel of every second row is known
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(b"nonsense")
    broken = PixelStore(tmp_path / "tiles")
    np.testing.assert_array_equal(last(WHOLE, keep=broken).values, first.values)
    assert broken.computed == trained


def test_a_zoom_and_the_explorer_share_pixels(tmp_path):
    store, settings = PixelStore(tmp_path / "tiles"), {"problem": "disc"}
    tiles = ml.recording.Tiles(tmp_path / "run", settings)
    frame = ml.landscape.zoom(PLANE, 0.6, 0.8, 3)[-1]
    found = ml.landscape.trainability(SCENE.problem, frame, num_steps=60, resolution=33, keep=store.after(tiles))
    store.flush()
    other = PixelStore(tmp_path / "tiles")
    picture = last(view_of(frame), keep=other)
    assert other.computed == 0
    np.testing.assert_array_equal(picture.values, found.measure)


def test_the_oldest_files_are_removed_above_the_size(tmp_path):
    store = PixelStore(tmp_path)
    for shift in (0.0, 0.1):
        last(WHOLE.moved(PLANE, shift, 0.0), finest=17, keep=store)
        store.flush()
    files = sorted(tmp_path.rglob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    PixelStore(tmp_path, max_bytes=files[1].stat().st_size)
    assert list(tmp_path.rglob("*.npz")) == files[1:]


@pytest.mark.parametrize("norm", ["rank", "linear"])
@pytest.mark.parametrize("layer", ["trainability", "gradient", "exponent"])
def test_a_png_contains_its_numbers_and_link(tmp_path, layer, norm):
    picture = last(WHOLE, layer, 17)
    link = Link("disc", WHOLE, layer, norm)
    save_png(tmp_path / "view.png", picture, SCENE, link)
    with Image.open(tmp_path / "view.png") as image:
        notes = getattr(image, "text")  # noqa: B009 (only PNG images have it)
        assert image.size == (527, 527)
    again, said = read_link(notes["metalearn:link"], {"disc": PLANE}, "disc")
    assert (again, said) == (link, [])
    assert float(notes["metalearn:width"]) == 4.0
    assert notes["metalearn:steps"] == "60"
    assert float(notes["metalearn:largest"]) == np.nanmax(picture.values[np.isfinite(picture.values)])
    assert colour(picture, norm, "cividis").shape == (17, 17, 4)
    assert "linear-gradient" in legend(picture, norm, "automatic")


def test_a_flight_ends_at_the_view_and_keeps_the_common_point():
    deep = WHOLE.zoomed(PLANE, 1000.0, 0.6, 0.8)
    views = list(flight(WHOLE, deep, PLANE, 9))
    assert views[-1] == deep
    ratios = [b.half_width / a.half_width for a, b in itertools.pairwise(views)]
    np.testing.assert_allclose(ratios, 1000 ** (-1 / 9), rtol=1e-9)
    for view in views:  # (0.6, 0.8) stays at the same share of the window
        np.testing.assert_allclose(offset(PLANE.x, view.x, 0.6) / view.half_width, 0.3, atol=1e-9)
    panned = list(flight(WHOLE, WHOLE.moved(PLANE, 0.5, 0.0), PLANE, 5))
    np.testing.assert_allclose([view.x for view in panned], [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-12)


def test_a_tour_is_written_as_a_film(tmp_path):
    links = [Link("disc", WHOLE), Link("disc", WHOLE.zoomed(PLANE, 4.0, 1.0, 0.0), "meta-loss")]
    homes = lambda name: SCENE
    assert len(list(tour_views(links, homes))) == 13
    told = []
    found = film_tour(
        tmp_path / "tour", links, homes, 17, nothing, None, lambda done, total: told.append((done, total))
    )
    assert found.stat().st_size > 1000
    assert told[-1] == (13, 13)
    with pytest.raises(ValueError, match="The tour is empty"):
        film_tour(tmp_path / "other", [], homes, 17, nothing)


@pytest.mark.parametrize("name", ["mandelbrot", "julia", "burning_ship", "newton", "magnet", "lyapunov_logistic"])
def test_classical_fractals_have_both_outcomes(name):
    scene = named_scene(name)
    labels = last(view_of(scene.plane), finest=33, scene=scene).values < 0
    assert 0.02 < labels.mean() < 0.98
    if name == "mandelbrot":
        plane = view_of(scene.plane).plane(scene.plane)
        c = plane.x.values(33) + 1j * plane.y.values(33)[:, None]
        z = np.zeros_like(c)
        with np.errstate(all="ignore"):
            for _ in range(scene.num_steps):
                z = z**2 + c
        assert np.mean(labels != (np.abs(z) <= 2)) < 0.005


def test_unknown_names_and_missing_steps_are_sentences():
    with pytest.raises(ValueError, match="problem"):
        named_scene("mandelbrod")
    with pytest.raises(ValueError, match="num_steps"):
        problem_scene(disc(), PLANE)
    with pytest.raises(ValueError, match="on a plane"):
        ml.explore(disc())
    with pytest.raises(ValueError, match="port"):
        ml.explore("tanh", port=70000)
    with pytest.raises(TypeError, match="open"):
        ml.explore("tanh", open="no")
