"""Figures and films of an agent that is tested with guides that differ from those in training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from metalearn.figures.limits import FARTHEST, axis_limits, mark_beyond
from metalearn.figures.style import OKABE_ITO, save_style

COLOURS = {"right": OKABE_ITO[2], "absent": OKABE_ITO[6], "random": OKABE_ITO[1], "wrong": OKABE_ITO[3]}
RGB = {"place": (230, 159, 0), "needed": (0, 158, 115), "guide": (120, 120, 120), "agent": (0, 114, 178)}
CELL, MARGIN, HEAD = 36, 12, 44  # pixels


def draw_walks(panels: Mapping[str, np.ndarray], episodes: Any, guides: Sequence[str], best: float) -> Any:
    """Draw the reward against the episodes of training, with every guide: thin lines are seeds, thick ones means.

    Args:
      panels: title -> rewards `[seeds, readings, guides]`.
      episodes: the number of episodes at each reading; or a list of such arrays, one for each panel.
      guides: the names of the guides.
      best: the reward of an agent that follows the right guide.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(max(3.3 * len(panels) + 0.6, 7.5), 3.9))
        every = np.ravel(figure.subplots(1, len(panels), sharey=True))
        limits = axis_limits(np.concatenate([np.ravel(one) for one in panels.values()] + [np.array([0.0, best])]))
        for axes, (title, rewards) in zip(every, panels.items()):
            axes.set_ylim(*limits)
            for place, guide in enumerate(guides):
                seeds = rewards[:, :, place]
                axes.plot(episodes, np.clip(seeds.T, *limits), color=COLOURS[guide], linewidth=0.7, alpha=0.35)
                mean = np.clip(np.sum(np.clip(seeds, -FARTHEST, FARTHEST) / len(seeds), axis=0), *limits)
                axes.plot(episodes, mean, color=COLOURS[guide], linewidth=2.2, label=f"guide {guide}")
            axes.axhline(np.clip(best, *limits), color="0.5", linestyle=":", label="follows the right guide")
            axes.axhline(0, color="0.3", linestyle="--", linewidth=1.2, label="stands still")
            mark_beyond(axes, [(episodes, seed, COLOURS[g]) for i, g in enumerate(guides) for seed in rewards[:, :, i]])
            axes.set(title=title, xlabel="episodes of every pair")
        every[0].set(ylabel="reward of an episode")
        figure.legend(
            *every[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9
        )
        return figure


def walk_images(episodes: Mapping[str, Mapping[str, np.ndarray]], size: int, repeat: int = 6) -> Iterator[np.ndarray]:
    """Yield the images of a film: one episode with every guide, side by side.

    A green square is the place that the agent must visit next, and orange squares are the other places. The numbers
    show the hidden order. A blue disc is the agent, and a grey ring is the guide.

    Args:
      episodes: guide -> "agent", "guide", "total", "needed" and "places" of an episode.
      size: the side of the grid.
      repeat: images of every step.

    Yields:
      uint8 `[height, width, 3]` with even sides.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = size * CELL
    width, height = len(episodes) * (side + MARGIN) + MARGIN, side + HEAD + MARGIN
    font = ImageFont.load_default(15)
    for step in range(len(next(iter(episodes.values()))["total"])):
        picture = Image.new("RGB", (width + width % 2, height + height % 2), "white")
        draw = ImageDraw.Draw(picture)
        for index, (guide, one) in enumerate(episodes.items()):
            left = MARGIN + index * (side + MARGIN)
            draw.text((left, 4), f"guide {guide}", fill="black", font=font)
            draw.text((left, 22), f"reward {one['total'][step]:+.1f}", fill="black", font=font)
            _draw_grid(draw, one, step, guide, (left, HEAD), size, font)
        for _ in range(repeat):
            yield np.asarray(picture)


def _draw_grid(draw, one, step, guide, corner, size, font):
    """Draw the world at one step."""
    box = lambda cell, rim: [
        corner[axis] + int(cell[axis]) * CELL + shift for shift in (rim, CELL - rim) for axis in (0, 1)
    ]
    for line in range(size + 1):
        at, end = line * CELL, size * CELL
        draw.line((corner[0] + at, corner[1], corner[0] + at, corner[1] + end), fill=(210, 210, 210))
        draw.line((corner[0], corner[1] + at, corner[0] + end, corner[1] + at), fill=(210, 210, 210))
    for number, cell in enumerate(one["places"]):
        draw.rectangle(box(cell, 2), fill=RGB["needed" if number == one["needed"][step] else "place"])
        draw.text(box(cell, 4)[:2], str(number + 1), fill="white", font=font)
    draw.ellipse(box(one["agent"][step], 9), fill=RGB["agent"])
    if guide != "absent":
        draw.ellipse(box(one["guide"][step], 5), outline=RGB["guide"], width=4)
