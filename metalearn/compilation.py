"""Floor 0: every program is compiled here, with the options for which compiling and running it are shortest together.

Full optimisation of a small program takes seconds and saves milliseconds of a pilot; a meta-training of millions of
steps gains from it. How long a program will run is estimated from its operations and the number of its calls, both
known before it is compiled. Nothing is decided by a clock: the same call is compiled in the same way every time.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from metalearn import debugging, heartbeat
from metalearn.operations import measure


class Effort(NamedTuple):
    """How much XLA's CPU back end optimises.

    Attributes:
      options: compiler options of a CPU; other devices are given none.
      compile_seconds: seconds of compiling, for each equation of the program.
      slowdown: the run time relative to full optimisation.
    """

    options: dict[str, Any]
    compile_seconds: float
    slowdown: float


# Rounded from programs on two cores with jax 0.10.2. `python -m benchmarks.compilation` measures them on another machine.
EFFORTS = {
    "minimal": Effort({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}, 1.2e-3, 4.0),
    "low": Effort({"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}, 2.0e-3, 1.3),
    "medium": Effort({"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": True}, 3.0e-3, 1.03),
    "full": Effort({"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}, 4.4e-3, 1.0),
}
AUTOMATIC = "automatic"
UNKNOWN_CALLS = 1000  # of a program that may be called once or a million times; full is not worth its seconds there

_effort = AUTOMATIC
_compiled: list["Compiled"] = []


class Compiled(NamedTuple):
    """A program that was compiled: its name, its effort, its number of equations, the seconds of tracing and compiling."""

    name: str
    effort: str
    equations: int
    seconds: float


def compilation_effort(effort: str = AUTOMATIC) -> None:
    """Choose how much XLA optimises the programs that metalearn compiles from now on in this process. Only on CPUs.

    Args:
      effort: "automatic" weighs the seconds of compiling a program against those of running it. "minimal", "low",
        "medium" and "full" are used for every program. Results agree within rounding, which chaos amplifies.

    Raises:
      ValueError: if `effort` is another word.
    """
    global _effort
    if effort not in (AUTOMATIC, *EFFORTS):
        raise ValueError(f"effort must be one of {', '.join((AUTOMATIC, *EFFORTS))}; {effort!r} was given.")
    _effort = effort


def asked_effort() -> str:
    """What `compilation_effort` chose last."""
    return _effort


def compiled_programs() -> tuple[Compiled, ...]:
    """The programs that metalearn compiled in this process, in their order."""
    return tuple(_compiled)


def jit(function: Callable, name: str, calls: int | None = None, **jit_arguments: Any) -> "Program":
    """`jax.jit(function)`, compiled with the effort that suits how often it will be called.

    The effort is chosen for each form (structure, shapes and dtypes) of the arguments. Inside of another program it is
    `jax.jit` itself.

    Args:
      function: what `jax.jit` takes.
      name: what is said while it is compiled.
      calls: how often it will be called; None where that is unknown.
      jit_arguments: `static_argnames`, `donate_argnums` and so on.

    Raises:
      TypeError, ValueError: if `name` is not a string, or `calls` not a whole number of at least 1.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, what is said while the function is compiled; {name!r} was given.")
    if calls is not None and (isinstance(calls, bool) or not hasattr(calls, "__index__")):
        raise TypeError(f"calls must be a whole number, or None where it is unknown; {calls!r} was given.")
    if calls is not None and calls < 1:
        raise ValueError(f"calls must be at least 1, or None where it is unknown; {calls} was given.")
    return Program(function, name, calls, jit_arguments)


class Program:
    """What `jit` returns."""

    def __init__(self, function: Callable, name: str, calls: int | None, jit_arguments: dict[str, Any]):
        self.name, self.calls = name, calls
        self.family: Any = None  # see `estimators.base.Family`
        self._function, self._jit_arguments = function, jit_arguments
        self._inners: dict[Any, Any] = {}  # what JAX is to stop at -> program
        self._traced: dict[Any, Callable] = {}  # the same -> function
        self._jits: dict[Any, Any] = {}  # effort, and the same -> program
        self._plans: dict[Any, tuple[str, int]] = {}  # asked effort and form of the arguments -> effort, equations
        self._first_call = threading.RLock()  # threads that call at the same time would each compile
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *arguments, **keywords):
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self._function(*arguments, **keywords)
        leaves, structure = jax.tree.flatten((arguments, keywords))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._inner()(*arguments, **keywords)
        form = _effort, structure, *map(_form, leaves)
        try:
            return self._call(form, arguments, keywords)
        except ValueError as error:  # constants inside of another program: JAX gives options to whole programs only
            if "top-level" not in str(error):
                raise
            return self._inner()(*arguments, **keywords)

    def _call(self, form, arguments, keywords):
        once = contextlib.nullcontext() if form in self._plans else self._first_call
        with once, heartbeat.watched(self.name) as watch:
            effort, equations = self._plans.get(form) or self._plan(arguments, keywords)[:2]
            mode = effort, debugging.sought()
            if mode not in self._jits:
                options = {"compiler_options": _options(effort), **self._jit_arguments}
                self._jits[mode] = jax.jit(self._announced(), **options)
            result = self._jits[mode](*arguments, **keywords)
            debugging.check(self.name, result)
            self._plans[form] = effort, equations
            if watch.began is not None:
                _compiled.append(Compiled(watch.name, effort, equations, watch.seconds()))
        return result

    def __getattr__(self, name: str):
        """`lower`, `trace`, `eval_shape`, ... of `jax.jit`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner(), name)

    def _cache_size(self) -> int:
        """How many programs were compiled for calls outside of other programs."""
        return sum(one._cache_size() for one in self._jits.values())

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def ahead(self, *arguments, **keywords):
        """Compile for these arguments, or their shapes, without running: a `jax.stages.Compiled`; the program itself in
        the debugging modes of JAX, which look into no compiled program.
        """
        if any(debugging.sought()) or jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self
        with heartbeat.watched(self.name) as watch:
            effort, equations, traced = self._plan(arguments, keywords)
            compiled = traced.lower().compile(compiler_options=_options(effort))
            _compiled.append(Compiled(watch.name, effort, equations, watch.seconds()))
        return compiled

    def _inner(self):
        """`jax.jit` itself. JAX remembers what it traced by the function, which is therefore another for each mode."""
        mode = debugging.sought()
        if mode not in self._inners:
            self._inners[mode] = jax.jit(_copy(self._function), **self._jit_arguments)
        return self._inners[mode]

    def _announced(self):
        """The function that says when it is traced."""
        return self._traced.setdefault(debugging.sought(), _copy(self._function, heartbeat.compiling_here))

    def _plan(self, arguments, keywords):
        traced = jax.jit(self._announced(), **self._jit_arguments).trace(*arguments, **keywords)
        heartbeat.compiling_here()
        equations, seconds = measure(traced.jaxpr.jaxpr)
        return effort_for(equations, seconds, self.calls), equations, traced


def _copy(function: Callable, before: Callable[[], None] = lambda: None) -> Callable:
    @functools.wraps(function)
    def copy(*arguments, **keywords):
        before()
        return function(*arguments, **keywords)

    return copy


def effort_for(equations: int, seconds: float, calls: int | None) -> str:
    """The effort for which compiling a program and calling it is estimated to be shortest.

    Args:
      equations, seconds: as `measure` returns them.
      calls: how often it will be called; None where that is unknown.
    """
    if _effort != AUTOMATIC:
        return _effort
    candidates = [name for name in EFFORTS if calls is not None or name != "full"]
    running = seconds * (UNKNOWN_CALLS if calls is None else calls)
    total = lambda effort: equations * effort.compile_seconds + running * effort.slowdown
    return min(candidates, key=lambda name: total(EFFORTS[name]))


def _form(leaf):
    """What tells one argument from another for JAX: structure apart, the shape and dtype, or the static value."""
    if hasattr(leaf, "shape"):
        return leaf.shape, leaf.dtype
    return type(leaf) if isinstance(leaf, (bool, int, float, complex)) else leaf


@functools.cache
def _accepted(effort: str) -> bool:
    """Whether this version of XLA knows the options: an unknown one is an error."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=EFFORTS[effort].options)
    except Exception:
        return False
    return True


def _options(effort: str) -> dict[str, Any] | None:
    options = EFFORTS[effort].options
    return options if jax.default_backend() == "cpu" and _accepted(effort) else None
