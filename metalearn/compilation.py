"""Compilation of programs, with the compiler options that minimise the total time of compiling and running.

Full optimisation of a small program takes seconds. A short pilot run gains only milliseconds from it, a meta-training
of millions of steps gains more. The run time is estimated from the operations of the program and the number of calls,
which are known before compilation. No time is measured, so the same call is always compiled in the same way.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from metalearn import debugging, heartbeat
from metalearn.large_constants import WithArrays, large_constants
from metalearn.operations import measure


class Effort(NamedTuple):
    """A level of optimisation of XLA's CPU back end.

    Attributes:
      options: the compiler options, used on CPUs only.
      compile_seconds: compile time in seconds per equation of the program.
      slowdown: the run time relative to full optimisation.
    """

    options: dict[str, Any]
    compile_seconds: float
    slowdown: float


# Measured on two cores with jax 0.10.2, and rounded. `python -m benchmarks.compilation` measures them elsewhere.
EFFORTS = {
    "minimal": Effort({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}, 1.2e-3, 4.0),
    "low": Effort({"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}, 2.0e-3, 1.3),
    "medium": Effort({"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": True}, 3.0e-3, 1.03),
    "full": Effort({"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}, 4.4e-3, 1.0),
}
AUTOMATIC = "automatic"
UNKNOWN_CALLS = 1000  # assumed number of calls if it is unknown; the effort "full" is then not considered

_effort = AUTOMATIC
_compiled: list["Compiled"] = []


class Compiled(NamedTuple):
    """A compiled program: its name, effort, number of equations, and the seconds spent on tracing and compiling."""

    name: str
    effort: str
    equations: int
    seconds: float


def compilation_effort(effort: str = AUTOMATIC) -> None:
    """Set how much XLA optimises the programs that metalearn compiles from now on in this process.

    The setting has an effect on CPUs only.

    Args:
      effort: "automatic" chooses the level for each program by weighing its compile time against its run time.
        "minimal", "low", "medium" and "full" use one level for every program. Results of different levels agree up to
        rounding errors, which chaotic problems amplify.

    Raises:
      ValueError: `effort` is not one of these names.
    """
    global _effort
    if effort not in (AUTOMATIC, *EFFORTS):
        raise ValueError(f"effort must be one of {', '.join((AUTOMATIC, *EFFORTS))}; {effort!r} was given.")
    _effort = effort


def asked_effort() -> str:
    """Return the effort set by the last call of `compilation_effort`."""
    return _effort


def compiled_programs() -> tuple[Compiled, ...]:
    """Return the programs that metalearn has compiled in this process, in order of compilation."""
    return tuple(_compiled)


def jit(function: Callable, name: str, calls: int | None = None, **jit_arguments: Any) -> "Program":
    """Compile a function like `jax.jit`, with an effort that suits the number of calls.

    The effort is chosen separately for each structure, shape and dtype of the arguments. Inside another traced program
    the result behaves like `jax.jit(function)`.

    Args:
      function: the function to compile, as for `jax.jit`.
      name: the name of the program in progress messages.
      calls: the expected number of calls; None if it is unknown.
      jit_arguments: further arguments of `jax.jit`, such as `static_argnames` and `donate_argnums`.

    Raises:
      TypeError: `name` is not a string, or `calls` is neither a whole number nor None.
      ValueError: `calls` is below 1.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, the name shown while the function is compiled; {name!r} was given.")
    if calls is not None and (isinstance(calls, bool) or not hasattr(calls, "__index__")):
        raise TypeError(f"calls must be a whole number, or None if it is unknown; {calls!r} was given.")
    if calls is not None and calls < 1:
        raise ValueError(f"calls must be at least 1, or None if it is unknown; {calls} was given.")
    return Program(function, name, calls, jit_arguments)


class Program:
    """A function compiled by `jit`."""

    def __init__(self, function: Callable, name: str, calls: int | None, jit_arguments: dict[str, Any]):
        self.name, self.calls = name, calls
        self.family: Any = None  # see `estimators.base.Family`
        self._function, self._jit_arguments = function, jit_arguments
        self._inners: dict[Any, Any] = {}  # debugging mode -> program
        self._traced: dict[Any, Callable] = {}  # debugging mode -> function
        self._jits: dict[Any, Any] = {}  # (effort, debugging mode) -> program
        self._plans: dict[Any, tuple[str, int, Any]] = {}  # (requested effort, modes, form of the arguments) -> plan
        self._first_call = threading.RLock()  # without it, threads that call at the same time would each compile
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *arguments, **keywords):
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self._function(*arguments, **keywords)
        leaves, structure = jax.tree.flatten((arguments, keywords))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._inner()(*arguments, **keywords)
        form = _effort, debugging.sought(), jax.numpy.result_type(float), structure, *map(_form, leaves)
        try:
            return self._call(form, arguments, keywords)
        except ValueError as error:  # a call inside another program, where JAX accepts no compiler options
            if "top-level" not in str(error):
                raise
            return self._inner()(*arguments, **keywords)

    def _call(self, form, arguments, keywords):
        once = contextlib.nullcontext() if form in self._plans else self._first_call
        with once, heartbeat.watched(self.name) as watch:
            effort, equations, run = self._plans.get(form) or self._plan(arguments, keywords)[:3]
            mode = effort, debugging.sought()
            if mode not in self._jits:
                self._jits[mode] = jax.jit(self._announced(), compiler_options=_options(effort), **self._jit_arguments)
            result = (run or self._jits[mode])(*arguments, **keywords)
            debugging.check(self.name, result)
            self._plans[form] = effort, equations, run
            if watch.began is not None:
                _compiled.append(Compiled(watch.name, effort, equations, watch.seconds()))
        return result

    def __getattr__(self, name: str):
        """Forward `lower`, `trace`, `eval_shape` and other attributes to the `jax.jit` function."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner(), name)

    def _cache_size(self) -> int:
        """Return how many programs were compiled for calls outside other programs."""
        return sum(one._cache_size() for one in self._jits.values())

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def ahead(self, *arguments, **keywords):
        """Compile for these arguments, or arguments of these shapes, without running: a `jax.stages.Compiled`.

        In JAX's debugging modes, which have no effect on compiled programs, return the program itself.
        """
        if any(debugging.sought()) or jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self
        with heartbeat.watched(self.name) as watch:
            effort, equations, run, traced = self._plan(arguments, keywords)
            compiled = run.compile_for(*arguments, **keywords) if run else traced.lower().compile(_options(effort))
            _compiled.append(Compiled(watch.name, effort, equations, watch.seconds()))
        return compiled

    def _inner(self):
        """Return the `jax.jit` function for the current debugging mode.

        JAX caches traces per function object, so each mode uses its own copy of the function.
        """
        mode = debugging.sought()
        if mode not in self._inners:
            self._inners[mode] = jax.jit(_copy(self._function), **self._jit_arguments)
        return self._inners[mode]

    def _announced(self):
        """Return a copy of the function that announces when it is traced."""
        return self._traced.setdefault(debugging.sought(), _copy(self._function, heartbeat.compiling_here))

    def _plan(self, arguments, keywords):
        traced = jax.jit(self._announced(), **self._jit_arguments).trace(*arguments, **keywords)
        heartbeat.compiling_here()
        equations, seconds = measure(traced.jaxpr.jaxpr)
        effort = effort_for(equations, seconds, self.calls)
        plain = not self._jit_arguments and large_constants(traced)
        return effort, equations, WithArrays(traced, _options(effort)) if plain else None, traced


def _copy(function: Callable, before: Callable[[], None] = lambda: None) -> Callable:
    @functools.wraps(function)
    def copy(*arguments, **keywords):
        before()
        return function(*arguments, **keywords)

    return copy


def effort_for(equations: int, seconds: float, calls: int | None) -> str:
    """Return the effort that minimises the estimated total time of compiling and running a program.

    Args:
      equations, seconds: the results of `measure`.
      calls: the expected number of calls; None if it is unknown.
    """
    if _effort != AUTOMATIC:
        return _effort
    candidates = [name for name in EFFORTS if calls is not None or name != "full"]
    running = seconds * (UNKNOWN_CALLS if calls is None else calls)
    total = lambda effort: equations * effort.compile_seconds + running * effort.slowdown
    return min(candidates, key=lambda name: total(EFFORTS[name]))


def _form(leaf):
    """Return what JAX distinguishes in a leaf of the arguments: its shape and dtype, its type, or its static value."""
    if hasattr(leaf, "shape"):
        return leaf.shape, leaf.dtype
    return type(leaf) if isinstance(leaf, (bool, int, float, complex)) else leaf


@functools.cache
def _accepted(effort: str) -> bool:
    """Return whether this version of XLA accepts the options. It raises an error for an unknown option."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=EFFORTS[effort].options)
    except Exception:
        return False
    return True


def _options(effort: str) -> dict[str, Any] | None:
    options = EFFORTS[effort].options
    return options if jax.default_backend() == "cpu" and _accepted(effort) else None
