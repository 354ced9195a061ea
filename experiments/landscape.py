"""Draw where training converges and where it diverges, and measure the dimension of the border."""

import time

import metalearn as ml
from metalearn.application import AXIS, application, open_experiment, parse_seed, read_study, show_progress
from metalearn.figures import check_norm, draw_landscape, later
from metalearn.landscape.render import check_resolution
from metalearn.recording import LandscapeFolder
from metalearn.words import percent

WINDOWS = ("tile", "full")


def main(config):
    check_norm(config.norm)
    check_resolution(config.resolution)
    key = parse_seed(config.seed)
    name, problem, plane, num_steps, published = chosen(config)
    title = f"{name}, {num_steps} steps"
    settings = {"picture": title, "resolution": config.resolution, "adaptive": config.adaptive, "seed": config.seed}
    settings |= {"problem": config.get("problem")}
    with (
        open_experiment(config, f"landscape-{name.replace(', ', '-')}", may_differ=("norm",)) as run,
        show_progress() as progress,
    ):
        began = time.perf_counter()
        found = LandscapeFolder(run.folder / "landscapes", settings).landscape(
            "landscape",
            plane,
            lambda keep: ml.landscape.trainability(
                problem,
                plane,
                num_steps=num_steps,
                resolution=config.resolution,
                key=key,
                adaptive=config.adaptive,
                keep=keep,
                progress=progress,
            ),
        )
        seconds = time.perf_counter() - began
        precision = ml.landscape.precision(problem, plane, num_steps=num_steps, resolution=config.resolution, key=key)
        rows = ml.landscape.dimension_table(found.measure, found.undecided)
        run.arrays("landscape", to_arrays(found))
        run.table("dimensions", [row | {"published": published} for row in rows])
        run.table("precision", [precision._asdict()])
        run.figure("landscape", later(draw_landscape, found, title=title, norm=config.norm))
        print(f"\n{title}: {percent(found.converged.mean())} converged, {percent(found.undecided.mean())} undecided")
        speed = f" in {seconds:.1f} s, {found.pixel_steps / seconds:,.0f} a second"
        print(f"{found.pixel_steps:,} pixel-steps{'' if config.resume else speed}")
        if config.adaptive:
            print(f"{percent(found.computed.mean())} trained; {found.wrong} of {found.checked} filled ones were wrong")
        print(f"{precision}\n")
        for rule, said in [("paper", published)] * bool(published) + [(row["rule"], row["said"]) for row in rows]:
            print(f"  {rule:28s}{said}")
        print(f"\nfigure: {run.folder}/figures/landscape.png")


def chosen(config):
    """Return name, problem, plane, steps and published dimension of the requested landscape."""
    if config.get("problem") is not None:
        study = read_study(config)
        if study.plane is None:
            raise ValueError(f"problem {study.name} has no plane; give it plane: {{{AXIS.format('x')}, y: …}}.")
        if config.num_steps is not None:
            raise ValueError(
                "The number of steps of a problem is its horizon; give problem.horizon instead of num_steps."
            )
        return study.name, study.problem, study.plane, study.horizon, None
    condition = ml.landscape.condition(config.condition)
    if config.window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(WINDOWS)}; {config.window!r} was given.")
    tile = config.window == "tile"
    plane = condition.tile if tile else condition.plane
    published = condition.published_dimension if tile else None
    num_steps = condition.num_steps if config.num_steps is None else config.num_steps
    return f"{config.condition}, {config.window}", condition.problem, plane, num_steps, published


def to_arrays(found):
    """Return a landscape as named arrays, with the values of its axes."""
    fields = ("measure", "converged", "undecided", "escape", "computed")
    axes = {"x": found.plane.x.values(found.measure.shape[1]), "y": found.plane.y.values(found.measure.shape[0])}
    return {field: getattr(found, field) for field in fields} | axes


if __name__ == "__main__":
    application(main, "landscape")
