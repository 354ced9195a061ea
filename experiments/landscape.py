"""Draw where training converges and where it diverges, and measure the dimension of the border."""

import time

import metalearn as ml
from metalearn.landscape import border_dimension, box_counting_dimension, edges, published_dimension
from metalearn.recording import application, draw_landscape, open_run, output_folder, show_progress

WINDOWS = ("tile", "full")


def main(config):
    chosen = ml.landscape.condition(config.condition)
    if config.window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(WINDOWS)}; {config.window!r} was given.")
    plane = chosen.tile if config.window == "tile" else chosen.plane
    num_steps = chosen.num_steps if config.num_steps is None else config.num_steps
    name = f"landscape-{config.condition}-{config.window}"
    with open_run(output_folder(), config, name=name, **config.tracker) as run, show_progress() as progress:
        began = time.perf_counter()
        found = ml.landscape.trainability(
            chosen.problem,
            plane,
            num_steps=num_steps,
            resolution=config.resolution,
            progress=lambda done, total: progress("pixels", done, total),
        )
        seconds = time.perf_counter() - began
        fields = ("measure", "converged", "undecided", "escape")
        axes = {"x": plane.x.values(found.measure.shape[1]), "y": plane.y.values(found.measure.shape[0])}
        run.arrays("landscape", {field: getattr(found, field) for field in fields} | axes)
        rows = dimensions(found, chosen.published_dimension if config.window == "tile" else None)
        run.table("dimensions", rows)
        title = f"{config.condition}, {config.window}, {num_steps} steps"
        run.figure("landscape", draw_landscape(found, title=title, norm=config.norm))
        print(f"\n{title}: {found.converged.mean():.1%} converged, {found.undecided.mean():.1%} undecided")
        print(f"{found.pixel_steps:,} pixel-steps in {seconds:.1f} s, {found.pixel_steps / seconds:,.0f} a second\n")
        for row in rows:
            print(f"  {row['estimator']:28s}{row['said']}")
        print(f"\nfigure: {run.folder}/figures/landscape.png")


def dimensions(found, published):
    """The dimension of the border by every estimator, a row each."""
    rows = [{"estimator": "published", "dimension": published, "said": f"{published}"}] if published else []
    side = min(found.measure.shape)
    border = edges(found.measure)
    for name, fit, smallest in (
        ("published estimator", published_dimension, 17),
        ("nested boxes", box_counting_dimension, 33),
    ):
        if side >= smallest:
            result = fit(border)
            said = result.refused or f"{result.dimension:.3f} ± {result.standard_error:.3f}"
            rows.append({"estimator": name, "dimension": result.dimension, "said": said})
    if side >= 64:
        report = border_dimension(found.converged, before=found.converged ^ found.undecided)
        rows.append({"estimator": "3-point rule", "dimension": report.dimension, "said": str(report)})
    return rows


if __name__ == "__main__":
    application(main, "landscape")
