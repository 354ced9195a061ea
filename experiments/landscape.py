"""Draw where training converges and where it diverges, and measure the dimension of the border."""

import time

import numpy as np

import metalearn as ml
from metalearn.application import application, need_plane, open_experiment, parse_seed, read_study, show_progress
from metalearn.figures import check_norm, draw_landscape, draw_meta_loss, later
from metalearn.inner.checks import check_bool
from metalearn.landscape.render import check_resolution
from metalearn.recording import LandscapeFolder
from metalearn.words import percent

WINDOWS = ("tile", "full")


def main(config):
    check_norm(config.norm)
    check_bool("meta_loss", config.meta_loss)
    check_resolution(config.resolution)
    key = parse_seed(config.seed)
    name, problem, plane, num_steps, published, study = chosen(config)
    title = f"{name}, {num_steps} steps"
    settings = {"picture": title, "resolution": config.resolution, "adaptive": config.adaptive, "seed": config.seed}
    settings |= {"problem": config.get("problem")}
    with (
        open_experiment(config, f"landscape-{name.replace(', ', '-')}", may_differ=("norm", "meta_loss")) as run,
        show_progress() as progress,
    ):
        if study is not None and config.meta_loss:
            draw_loss(study, config.resolution, key, run, progress)
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
        for rule, said in [("paper", published)] * bool(published) + [(row["rule"], row["summary"]) for row in rows]:
            print(f"  {rule:28s}{said}")
        print(f"\nfigure: {run.folder}/figures/landscape.png")


def draw_loss(study, resolution, key, run, progress):
    """Draw the meta-loss of one episode on the plane, and the meta-loss smoothed with the study's sigma."""
    value = lambda theta: ml.meta_loss(study.problem, theta, key, study.horizon)
    values = ml.landscape.render(value, study.plane, resolution, progress=progress, name="meta-loss")
    sigma, smoothed = study.sigma_on_plane(), None
    try:
        smoothed = None if sigma is None else ml.landscape.smooth(values, study.plane, sigma)
    except ValueError as reason:
        print(f"The meta-loss is not smoothed: {reason}")
    run.arrays("meta_loss", {"meta_loss": values} | ({} if smoothed is None else {"smoothed": smoothed.value}))
    title = f"{study.name}, mean loss of {study.horizon} steps"
    run.figure("meta_loss", later(draw_meta_loss, values, study.plane, smoothed, title))
    finite = values[np.isfinite(values)]
    print(f"meta-loss: {finite.min(initial=np.inf):.4g} at best, {finite.max(initial=-np.inf):.4g} at worst")
    print(f"figure: {run.folder}/figures/meta_loss.png", flush=True)


def chosen(config):
    """Return name, problem, plane, steps, published dimension and study (None for a condition) of the landscape."""
    if config.get("problem") is not None:
        study = read_study(config)
        plane = need_plane(study, "landscape")
        if config.num_steps is not None:
            raise ValueError(
                "The number of steps of a problem is its horizon; give problem.horizon instead of num_steps."
            )
        return study.name, study.problem, plane, study.horizon, None, study
    condition = ml.landscape.condition(config.condition)
    if config.window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(WINDOWS)}; {config.window!r} was given.")
    tile = config.window == "tile"
    plane = condition.tile if tile else condition.plane
    published = condition.published_dimension if tile else None
    num_steps = condition.num_steps if config.num_steps is None else config.num_steps
    return f"{config.condition}, {config.window}", condition.problem, plane, num_steps, published, None


def to_arrays(found):
    """Return a landscape as named arrays, with the values of its axes."""
    fields = ("measure", "converged", "undecided", "escape", "computed")
    axes = {"x": found.plane.x.values(found.measure.shape[1]), "y": found.plane.y.values(found.measure.shape[0])}
    return {field: getattr(found, field) for field in fields} | axes


if __name__ == "__main__":
    application(main, "landscape")
