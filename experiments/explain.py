"""Explain why meta-gradients fail on a problem, and what to use instead, on one page."""

import time

import jax

import metalearn as ml
from metalearn.application import (
    UNKNOWN_SIGMA,
    application,
    build_descents,
    check_labels,
    need_plane,
    open_experiment,
    parse_seed,
    read_list,
    read_study,
    show_progress,
)
from metalearn.explain import (
    CutSettings,
    Settings,
    SignalSettings,
    ZoomSettings,
    build_plane_study,
    lead,
    measure_parts,
)
from metalearn.figures import write_report
from metalearn.recording.processes import is_first


def main(config):
    jax.config.update("jax_enable_x64", bool(config.float64))
    study = configured(config)
    title = f"Why meta-gradients fail: {config.problem.name}"
    with (
        open_experiment(config, f"explain-{config.problem.name}") as run,
        show_progress() as progress,
    ):
        began, sections = time.perf_counter(), []
        try:
            started = began
            for part, (section, arrays, rows) in measure_parts(study, progress):
                sections.append(section)
                run.arrays(part, arrays)
                run.table(part, rows)
                for name, figure in section.figures.items():
                    run.figure(f"{len(sections)}-{part}-{name}", figure)
                seconds, started = time.perf_counter() - started, time.perf_counter()
                print(f"\n{len(sections)}. {section.heading} ({seconds:.0f} s)\n   {section.sentence}", flush=True)
        finally:  # if the run is stopped, the page contains the finished parts
            minutes = (time.perf_counter() - began) / 60
            foot = f"metalearn {ml.__version__}, jax {jax.__version__}, seed {config.seed}; {minutes:.1f} minutes."
            page = run.folder / "report.html"
            if is_first():
                write_report(page, title, lead(study), sections, foot)
        run.file("report", page)
        print(f"\nreport: {page}    {minutes:.1f} minutes")


def configured(config):
    """Build the study of a configuration."""
    study, key = read_study(config), parse_seed(config.seed)
    plane = need_plane(study, "explain")
    check_labels(config)
    ml.check_problem(study.problem, study.theta)
    layers, smoothing, sigmas = (tuple(read_list(config, name)) for name in ("layers", "smoothing", "sigmas"))
    sigma = study.sigma_on_plane()
    if sigma is None:
        raise ValueError(UNKNOWN_SIGMA)
    return build_plane_study(
        study.problem,
        plane,
        study.windows(key),
        sigma,
        key,
        height=float(study.theta[1]) if study.on_axes else None,
        descents=build_descents(config, jax.random.fold_in(key, 2), sigma) if config.trajectories.length_factor else {},
        starts=study.starts,
        settings=Settings(
            layers,
            smoothing,
            sigmas,
            CutSettings(**config.cut),
            SignalSettings(**config.comparison),
            ZoomSettings(**config.zoom),
            config.cards,
        ),
    )


if __name__ == "__main__":
    application(main, "explain")
