"""Help of named tuples that lists their fields and methods, and not those of every tuple."""

from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)


class _Brief(type):
    """The metaclass of such a named tuple. `help` and `dir` of the class use `__dir__`."""

    _fields: tuple[str, ...]

    def __dir__(cls) -> list[str]:
        own = lambda name: name in cls._fields or not (name.startswith("_") or hasattr(tuple, name))
        return [name for name in super().__dir__() if own(name)]


def brief_help(cls: Class) -> Class:
    """Return a named tuple whose help has no methods of `tuple`; everything else is as before."""
    tuple_class: Any = cls
    for field in tuple_class._fields:
        getattr(cls, field).__doc__ = None  # the docstring of the class describes the fields
    copied = ("__doc__", "__module__", "__qualname__", "__annotations__")
    made: Any = _Brief(cls.__name__, (cls,), {"__slots__": ()} | {name: getattr(cls, name) for name in copied})
    cls.__name__ = f"_{cls.__name__}"
    return made
