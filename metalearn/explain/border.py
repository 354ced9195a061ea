"""A zoom into the border of trainability, its dimension, and a smooth control."""

import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy
from metalearn.figures import Section, draw_landscapes, later
from metalearn.landscape import border_point, dimension_table, trainability, zoom
from metalearn.types import Progress


def border(study: PlaneStudy, progress: Progress) -> Part | None:
    """Zoom to a point of the border, with windows that shrink by a factor ten, and measure the dimension."""
    settings, heading = study.settings.zoom, "The border"
    if not settings.frames:
        return None
    steps = {"num_steps": study.horizon, "key": study.episode}
    deepest = min(axis.high - axis.low for axis in study.plane[:2]) / 10.0 ** (settings.frames - 1)
    tolerance = deepest / settings.resolution / 4  # a quarter of a pixel
    try:
        x, y = border_point(study.problem, study.plane, tolerance=tolerance, **steps)
    except ValueError as error:
        return Part(Section(heading, f"No zoom: {error}"))
    figures, rows, arrays = {}, [], {}
    for index, plane in enumerate(zoom(study.plane, x, y, settings.frames, factor=10.0)):
        found = trainability(
            study.problem,
            plane,
            resolution=settings.resolution,
            adaptive=True,
            **steps,
            progress=progress,
            name=f"frame {index + 1}",
        )
        width = plane.x.high - plane.x.low
        table = dimension_table(found.measure, found.undecided)
        row = next(row for row in table if row["rule"] == "3-point rule")
        names = {"dimension": "dimension", "error": "statistical", "control": "control", "summary": "summary"}
        rows.append({"width": width} | {name: row[key] for name, key in names.items()})
        arrays[f"measure_{index}"] = found.measure
        figures[f"frame {index + 1}"] = later(draw_landscapes, {f"{width:.1e} wide": found})
    shown = [{name: value for name, value in row.items() if name != "control"} for row in rows]
    return Part(Section(heading, _sentence(rows, x, y), figures, shown, arrays="arrays/border.npz"), arrays, rows)


def _sentence(rows, x, y):
    known = [
        f"{row['dimension']:.2f} ± {row['error']:.2f}" if np.isfinite(row["dimension"]) else "none" for row in rows
    ]
    if not np.isfinite([row["dimension"] for row in rows]).any():
        return f"The border about ({x:.6g}, {y:.6g}) has no dimension that could be measured: {rows[0]['summary']}."
    widths = ", ".join(f"{row['width']:.1e}" for row in rows)
    control = f"; a circle in the same pixels has {rows[0]['control']:.2f}" if np.isfinite(rows[0]["control"]) else ""
    return (
        f"The border about ({x:.6g}, {y:.6g}) has, by the 3-point rule, the dimension {', '.join(known)} in windows "
        f"{widths} wide{control}."
    )
