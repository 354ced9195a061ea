"""Run published experiments again, and print their numbers with the accepted bands."""

import time

import metalearn as ml
import metalearn.reproductions as reproductions
from metalearn.application import application, open_experiment, read_list, show_progress, use_cores
from metalearn.inner.checks import check_choice
from metalearn.recording.files import replacing
from metalearn.recording.processes import is_first


def main(config):
    use_cores()
    began, here = time.perf_counter(), reproductions.QUICK | (reproductions.LONG if config.long else {})
    known = reproductions.QUICK | reproductions.LONG | reproductions.DOWNLOADED
    names = read_list(config, "only") if config.only else list(here)
    for name in names:
        check_choice("Every one of only", name, known)
    with (
        ml.over_devices(),
        open_experiment(config, "reproduce") as run,
        show_progress() as progress,
    ):
        results = []
        for index, name in enumerate(names):
            progress(name, index, len(names))
            found = []
            for one in known[name]():
                if isinstance(one, reproductions.Picture):
                    run.figure(one.name, one.figure)
                else:
                    found.append(reproductions.row(one))
                    text = reproductions.table(results + found)
                    if is_first():
                        with replacing(run.folder / "reproductions.md") as file:
                            file.write_text(text + "\n")
            run.table(name, found)
            results += found
        run.table("reproductions", results)
        print(
            f"\n{reproductions.table(results)}\n\n{run.folder}/reproductions.md    {(time.perf_counter() - began) / 60:.1f} minutes"
        )


if __name__ == "__main__":
    application(main, "reproduce")
