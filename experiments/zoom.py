"""Zoom into the border of trainability down to the rounding of float64, measure every window, and make a film."""

import tempfile
from pathlib import Path

import jax
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application import application, need_plane, open_experiment, parse_seed, read_study, show_progress
from metalearn.application.program_cache import cache_folder
from metalearn.figures import check_film, check_norm, draw_landscapes, draw_zoom, later, write_film, zoom_images
from metalearn.landscape.render import check_resolution
from metalearn.recording import LandscapeFolder, PixelStore
from metalearn.recording.files import part_name
from metalearn.recording.processes import is_first
from metalearn.words import percent

PIXELS_KEEP_APART = 100  # the least distance of neighbouring pixels, in roundings of θ
MOST_FRAMES = 64
SHOWN = 8


def main(config):
    check_norm(config.norm)
    if config.film.size:
        check_film(**config.film)
    condition, name, num_steps, key = chosen(config)
    check_resolution(config.resolution)
    zoom_to(config, condition, *(given_centre(config) or middle(condition.plane)))  # raises before training
    settings = {name: config[name] for name in ("condition", "centre", "factor", "resolution", "adaptive")}
    if config.get("problem") is not None:
        settings |= {"problem": config.problem, "seed": config.seed}
    with (
        open_experiment(config, f"zoom-{name}", may_differ=("norm", "film", "tiles")) as run,
        show_progress() as progress,
    ):
        planes = windows(config, condition, num_steps, key)
        folder = LandscapeFolder(run.folder / "landscapes", settings | {"num_steps": num_steps})
        store = shared_pixels(config.tiles)
        frames, rows, checks = [], [], []
        for index, plane in enumerate(planes):
            title = f"frame {index + 1} of {len(planes)}"
            found = folder.landscape(
                f"frame-{index:02d}",
                plane,
                lambda keep, plane=plane, title=title: ml.landscape.trainability(
                    condition.problem,
                    plane,
                    num_steps=num_steps,
                    resolution=config.resolution,
                    key=key,
                    adaptive=config.adaptive,
                    known=frames[-1] if frames else None,
                    keep=keep if store is None else store.after(keep),
                    progress=progress,
                    name=title,
                ),
            )
            if store is not None:
                store.flush()
            frames.append(found)
            checks.append(look(condition.problem, found, key))
            table = ml.landscape.dimension_table(found.measure, found.undecided)
            rows += [{"frame": index, "width": checks[-1]["width"]} | row for row in table]
            run.log(checks[-1] | {row["rule"]: row["dimension"] for row in table if not row["refused"]}, step=index)
        record(run, config, name, frames, rows, checks, condition.published_dimension)


def chosen(config):
    """Return the condition or problem to zoom into, its name, its steps and its episode key (None for a condition)."""
    if config.get("problem") is None:
        condition = ml.landscape.condition(config.condition)
        steps = condition.num_steps if config.num_steps is None else config.num_steps
        return condition, config.condition, steps, None
    study = read_study(config)
    plane = need_plane(study, "zoom")
    if config.num_steps is not None:
        raise ValueError("The number of steps of a problem is its horizon; give problem.horizon instead of num_steps.")
    found = ml.landscape.Condition(study.problem, plane, study.horizon, plane, None)
    return found, study.name, study.horizon, parse_seed(config.seed)


def windows(config, condition, num_steps, key):
    """Return the planes of the frames, which zoom to a point of the border."""
    x, y = given_centre(config) or found_centre(condition, num_steps, key)
    planes = zoom_to(config, condition, x, y)
    if config.frames is None:
        apart = lambda plane: min(plane.pitch_in_roundings(config.resolution, config.resolution))
        planes = [plane for plane in planes if apart(plane) >= PIXELS_KEEP_APART]
    ml.landscape.check_zoom(condition.problem, planes, num_steps=num_steps, key=key)
    return planes


def shared_pixels(tiles):
    """Return the store of trained pixels that the explorer shares; None if there is none, or several processes."""
    if tiles is False or jax.process_count() > 1:
        return None
    return PixelStore(cache_folder() / "tiles" if tiles is None else Path(tiles).expanduser())


def given_centre(config):
    """Return the point of the configuration as a pair, or None if there is none."""
    if config.centre is None:
        return None
    if not OmegaConf.is_list(config.centre) or len(config.centre) != 2:
        raise ValueError(f"centre must be [x, y]; {config.centre} was given.")
    return tuple(config.centre)


def middle(plane):
    """Return a point of the plane as values."""
    return tuple(float(axis.values(3)[1]) for axis in plane[:2])


def zoom_to(config, condition, x, y):
    """Return the planes of all frames around a point."""
    count = MOST_FRAMES if config.frames is None else config.frames
    return ml.landscape.zoom(condition.plane, x, y, count, factor=config.factor)


def found_centre(condition, num_steps, key):
    """Return a point of the border in the published tile, or in the full window if the tile has no border."""
    try:
        return ml.landscape.border_point(condition.problem, condition.tile, num_steps=num_steps, key=key)
    except ValueError:
        return ml.landscape.border_point(condition.problem, condition.plane, num_steps=num_steps, key=key)


def look(problem, found, key):
    """Return the width of a frame, and measures of its reliability."""
    settings = {"num_steps": found.num_steps, "resolution": found.measure.shape[::-1], "key": key}
    precision = ml.landscape.precision(problem, found.plane, **settings)
    shares = {name: float(getattr(found, name).mean()) for name in ("converged", "undecided", "computed")}
    return {"width": found.plane.x.high - found.plane.x.low, "pixel_steps": found.pixel_steps} | shares | {
        "checked": found.checked,
        "wrong": found.wrong,
        "rounding": precision.differing / precision.checked,
        "rounding_checked": precision.checked,
        "pitch_in_roundings": precision.pitch_in_roundings,
    }  # fmt: skip


def record(run, config, name, frames, rows, checks, published):
    """Record tables, arrays, figures and the film."""
    for index, found in enumerate(frames):
        run.arrays(f"frame-{index:02d}", {"measure": found.measure, "undecided": found.undecided})
    run.table("dimensions", rows)
    run.table("windows", checks)
    shown = sorted({round(index * (len(frames) - 1) / (SHOWN - 1)) for index in range(SHOWN)})
    panels = {f"{checks[index]['width']:.1e} wide": frames[index] for index in shown}
    run.figure("frames", later(draw_landscapes, panels, title=f"{name}: zoom", norm=config.norm, columns=4))
    run.figure("dimensions", later(draw_zoom, rows, checks, title=f"{name}: zoom", published=published))
    if config.film.size and is_first():
        images = zoom_images(
            frames, size=config.film.size, images_per_frame=config.film.images_per_frame, norm=config.norm
        )
        with tempfile.TemporaryDirectory(dir=run.folder, prefix=".", suffix=part_name("film")) as folder:
            path = write_film(Path(folder) / "zoom", images, images_per_second=config.film.images_per_second)
            run.file(path.name, path)
    print(f"\n{'width':>9s}  {'trained':>7s}  {'wrong':>9s}  {'rounding':>8s}  dimension by the 3-point rule")
    said = {row["width"]: row["summary"] for row in rows if row["rule"] == "3-point rule"}
    for check in checks:
        wrong = f"{check['wrong']}/{check['checked']}"
        rounding = f"{round(check['rounding'] * check['rounding_checked'])}/{check['rounding_checked']}"
        print(
            f"{check['width']:9.1e}  {percent(check['computed']):>7s}  {wrong:>9s}  {rounding:>8s}  "
            f"{said.get(check['width'], '')}"
        )
    print(f"\nfigures: {run.folder}/figures" + (f"   film: {run.folder}/files" if config.film.size else ""))


if __name__ == "__main__":
    application(main, "zoom")
