"""A cache of results, so that functions made and compiled for one θ are used again for the next."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def memoize(
    make: Callable[Arguments, Result], under: Callable[[], object] = lambda: None
) -> Callable[Arguments, Result]:
    """Cache the last 32 results of a function. Calls with arguments that cannot be hashed are not cached.

    Args:
      make: a pure function.
      under: returns further values on which the result depends, such as the modes of JAX.
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
