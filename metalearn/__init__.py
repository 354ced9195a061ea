"""metalearn: gradient estimators for meta-learning when the meta-loss is chaotic.

    import metalearn as ml

An inner problem is an iterated map (`ml.InnerProblem`), and training a network is one (`ml.training`). Estimators
(`ml.persistent_es`, ...) return gradients of its meta-loss window by window. `ml.compare` measures them at a point,
`ml.meta_train` follows them, `ml.diagnose` says which one to use.

More is in groups, each with its own documentation: `ml.problems`, `ml.data`, `ml.metrics`, `ml.hyperparameters`,
`ml.learned`, `ml.search`, `ml.diagnosis`, `ml.landscape`, `ml.dynamics`, `ml.estimators` and `ml.testing` for estimators of
your own, `ml.outer` for the types of results, `ml.recording`, `ml.figures` and `ml.application` for runs and experiments.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from metalearn import (
    data,
    diagnosis,
    dynamics,
    estimators,
    hyperparameters,
    landscape,
    learned,
    metrics,
    outer,
    problems,
    search,
)
from metalearn.compilation import compilation_effort, compiled_programs, jit
from metalearn.estimators import (
    GradientEstimator,
    artbp,
    backprop,
    clip_gradient,
    combine,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    mixture,
    noise_reuse_es,
    normalise_gradient,
    over_devices,
    persistent_es,
    uoro,
)
from metalearn.inner import (
    InnerProblem,
    Truncation,
    check_problem,
    final_loss,
    in_windows,
    meta_loss,
    saturate,
    strided,
    task_distribution,
    unroll,
)
from metalearn.inner.training import (
    Network,
    Task,
    TrainingState,
    adam,
    adamw,
    classification,
    clipped,
    convolutional,
    from_linen,
    from_nnx,
    metric_loss,
    mlp,
    per_layer,
    regression,
    sgd,
    training,
)
from metalearn.outer import compare, evaluate, first_snapshot, held_out_loss, meta_train, outer_trajectories
from metalearn.outer.diagnosis import diagnose
from metalearn.version import __version__ as __version__

if _TYPE_CHECKING:  # the names of _LAZY, for type checkers
    from metalearn import application as application
    from metalearn import explain as explain
    from metalearn import figures as figures
    from metalearn import recording as recording
    from metalearn import reproductions as reproductions
    from metalearn import testing as testing
    from metalearn.application.program_cache import cache_programs as cache_programs

_LAZY = {
    "application": "metalearn.application",
    "explain": "metalearn.explain",
    "figures": "metalearn.figures",
    "recording": "metalearn.recording",
    "reproductions": "metalearn.reproductions",
    "testing": "metalearn.testing",
    "cache_programs": "metalearn.application.program_cache",
}

__all__ = [
    "GradientEstimator",
    "InnerProblem",
    "Network",
    "Task",
    "TrainingState",
    "Truncation",
    "adam",
    "adamw",
    "artbp",
    "backprop",
    "check_problem",
    "classification",
    "clip_gradient",
    "clipped",
    "combine",
    "compare",
    "compilation_effort",
    "compiled_programs",
    "convolutional",
    "data",
    "diagnose",
    "diagnosis",
    "dynamics",
    "estimators",
    "evaluate",
    "evolution_strategies",
    "final_loss",
    "first_snapshot",
    "forward_gradient",
    "forward_mode",
    "from_linen",
    "from_nnx",
    "generalized_persistent_es",
    "held_out_loss",
    "hyperparameters",
    "in_windows",
    "jit",
    "landscape",
    "learned",
    "meta_loss",
    "meta_train",
    "metric_loss",
    "metrics",
    "mixture",
    "mlp",
    "noise_reuse_es",
    "normalise_gradient",
    "outer",
    "outer_trajectories",
    "over_devices",
    "per_layer",
    "persistent_es",
    "problems",
    "regression",
    "saturate",
    "search",
    "sgd",
    "strided",
    "task_distribution",
    "training",
    "unroll",
    "uoro",
]


def __getattr__(name: str):
    """Import what has side effects, or what few scripts need, when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
    module = _importlib.import_module(_LAZY[name])
    return module if _LAZY[name] == f"metalearn.{name}" else getattr(module, name)


def __dir__():
    return sorted({*__all__, *_LAZY, "__version__"})
