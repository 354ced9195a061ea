"""Progress in the terminal."""

import contextlib
import sys
import time
from collections.abc import Iterator

from metalearn import heartbeat
from metalearn.types import Progress


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """Show progress bars with an estimate of the time left, and the programs that are being compiled.

    Without a terminal, print one line when a part is complete, and one line every 15 seconds for each program that is
    being compiled.

    Yields:
      `report(name, done, total)`.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        began = time.perf_counter()

        def line(name: str, done: int, total: int) -> None:
            if name == "compiling":
                print(
                    f"  {time.perf_counter() - began:6.1f} s  compiled {done} of {total} programs",
                    file=sys.stderr,
                    flush=True,
                )
            elif done == total:
                print(f"  {time.perf_counter() - began:6.1f} s  {name}: {total}", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks, compiling = {}, bars.add_task("", total=None, visible=False)

        def show(activities):
            said = "; ".join(map(str, activities))
            bars.update(compiling, description=said, visible=bool(said))

        def bar(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        with heartbeat.listening(show):
            yield bar
