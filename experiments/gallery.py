"""Draw the published tiles of the border of trainability side by side, and make the table of their dimensions."""

import metalearn as ml
from metalearn.application import application, open_experiment, read_list, show_progress
from metalearn.figures import check_norm, draw_landscapes, later
from metalearn.recording import LandscapeFolder
from metalearn.words import percent


def main(config):
    check_norm(config.norm)
    conditions = {name: ml.landscape.condition(name) for name in read_list(config, "conditions")}
    with (
        open_experiment(config, "gallery", may_differ=("norm", "mark_undecided")) as run,
        show_progress() as progress,
    ):
        settings = {"num_steps": config.num_steps, "resolution": config.resolution}
        folder = LandscapeFolder(run.folder / "landscapes", settings)
        panels, rows = {}, []
        for name, condition in conditions.items():
            found = folder.landscape(
                name,
                condition.tile,
                lambda keep, name=name, condition=condition: ml.landscape.trainability(
                    condition.problem,
                    condition.tile,
                    num_steps=config.num_steps or condition.num_steps,
                    resolution=config.resolution,
                    keep=keep,
                    progress=progress,
                    name=name,
                ),
            )
            published = condition.published_dimension
            panels[f"{name}, published dimension {published:.2f}" if published else name] = found
            table = ml.landscape.dimension_table(found.measure, found.undecided)
            undecided = float(found.undecided.mean())
            rows += [{"condition": name, "paper": published, "undecided": undecided} | row for row in table]
            print(f"\n{name}, {found.num_steps} steps: paper {published}, {percent(undecided)} undecided")
            for row in table:
                print(f"  {row['rule']:16s}{row['summary']}")
        run.table("dimensions", rows)
        run.figure("gallery", later(draw_landscapes, panels, norm=config.norm, mark_undecided=config.mark_undecided))
        print(f"\nfigure: {run.folder}/figures/gallery.png")


if __name__ == "__main__":
    application(main, "gallery")
