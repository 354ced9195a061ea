"""Show why meta-gradients fail on a problem, and what to use instead: one page, written from the numbers."""

import time

import jax

import metalearn as ml
from metalearn.application import application, output_folder, show_progress
from metalearn.explain import PARTS, build_study, lead
from metalearn.figures import write_report
from metalearn.recording import open_run


def main(config):
    jax.config.update("jax_enable_x64", bool(config.float64))
    study = build_study(config)
    title = f"Why meta-gradients fail: {config.problem.name}"
    with (
        open_run(output_folder(), config, name=f"explain-{config.problem.name}", **config.tracker) as run,
        show_progress() as progress,
    ):
        began, sections = time.perf_counter(), []
        try:
            for part in PARTS:
                started = time.perf_counter()
                section, arrays, rows = part(study, progress)
                if section is None:
                    continue
                sections.append(section)
                run.arrays(part.__name__, arrays)
                run.table(part.__name__, rows)
                for name, figure in section.figures.items():
                    run.figure(f"{len(sections)}-{part.__name__}-{name}", figure)
                seconds = time.perf_counter() - started
                print(f"\n{len(sections)}. {section.heading} ({seconds:.0f} s)\n   {section.sentence}", flush=True)
        finally:  # a run that is stopped leaves the page of what it has seen
            minutes = (time.perf_counter() - began) / 60
            foot = f"metalearn {ml.__version__}, jax {jax.__version__}, seed {config.seed}; {minutes:.1f} minutes."
            page = write_report(run.folder / "report.html", title, lead(study), sections, foot)
        run.file("report", page)
        print(f"\nreport: {page}    {minutes:.1f} minutes")


if __name__ == "__main__":
    application(main, "explain")
