"""Compile the programs of a comparison, and handle those that cannot be compiled or run."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from metalearn import heartbeat
from metalearn.outer.comparison.episodes import Batch, compile_episodes, shared_program
from metalearn.outer.comparison.plan import Plan, Tag
from metalearn.threads import in_these_modes
from metalearn.types import Key, Progress


class CannotRun(Exception):  # noqa: N818
    """Carry, as its cause, the error of a program that cannot be compiled or run. The other programs still run.

    Errors of JAX's debugging modes and interrupts are not converted to it.
    """


class Programs:
    """The programs of a plan, compiled on two threads in the order in which they are needed."""

    def __init__(self, plan: Plan, key: Key, progress: Progress | None, pool: ThreadPoolExecutor):
        self.plan, self.key, self.progress = plan, key, progress
        self.futures: dict[Any, Future] = {}
        self.first: dict[Any, Tag] = {}
        order = {self._kind(tag): tag for tag in reversed(plan.order())}  # the first run of each program
        for index, (kind, tag) in enumerate(reversed(order.items())):
            title = f"{tag if isinstance(tag, str) else 'a reference'}, {index + 1} of {len(order)}"
            self.first[kind] = tag
            self.futures[kind] = pool.submit(in_these_modes(_compile), title, plan.runs[tag], key)
        self.told = 0

    def _kind(self, tag: Tag):
        run = self.plan.runs[tag]
        return id(shared_program(run.estimator)[0]), run.count

    def __call__(self, tag: Tag) -> Batch:
        """Return the `Batch` of a run.

        Raises:
          CannotRun: the program cannot be compiled. The batch's `run` raises it if the program cannot be run.
        """
        kind = self._kind(tag)
        error = self.futures[kind].exception()
        self._tell()
        with _caught():
            if error is not None:
                raise error
            batch = self.futures[kind].result()
            if tag != self.first[kind]:
                batch = _compile(str(tag), self.plan.runs[tag], self.key)  # cached; only the numbers differ
        return batch._replace(run=_guarded(batch.run))

    def _tell(self):
        done = sum(future.done() for future in self.futures.values())
        if self.progress is not None and done > self.told:
            self.told = done
            self.progress("compiling", done, len(self.futures))


@contextlib.contextmanager
def compile_programs(plan: Plan, key: Key, progress: Progress | None) -> Iterator[Programs]:
    """Yield the programs of a plan, which are compiled in the background until the context ends."""
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        yield Programs(plan, key, progress, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compile(title, run, key) -> Batch:
    with heartbeat.titled(title):
        return compile_episodes(run.estimator, run.theta, run.count, key)


@contextlib.contextmanager
def _caught() -> Iterator[None]:
    try:
        yield
    except FloatingPointError:
        raise
    except Exception as error:
        raise CannotRun from error


def _guarded(run):
    def call(*arguments):
        with _caught():
            return jax.block_until_ready(run(*arguments))

    return call
