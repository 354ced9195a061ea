"""Floor 0: results that are kept: what was made, and compiled, for one θ serves the next."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def memoize(
    make: Callable[Arguments, Result], under: Callable[[], object] = lambda: None
) -> Callable[Arguments, Result]:
    """`functools.lru_cache` of the last 32 results; arguments that cannot be hashed bypass it.

    Args:
      make: a pure function.
      under: what else the result depends on.
    """

    @functools.lru_cache(maxsize=32, typed=True)
    def cached(_, *arguments, **keywords):
        return make(*arguments, **keywords)

    @functools.wraps(make)
    def call(*arguments, **keywords):
        try:
            hash((arguments, tuple(keywords.values())))
        except TypeError:
            return make(*arguments, **keywords)
        return cached(under(), *arguments, **keywords)

    return call
