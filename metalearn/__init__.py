"""metalearn: gradient estimators for meta-learning when the meta-loss is chaotic.

    import metalearn as ml

An inner problem (`ml.InnerProblem`) is an iterated map. Training a network (`ml.training`) is an example. Estimators
such as `ml.persistent_es` estimate the gradient of its meta-loss, one window at a time. `ml.compare` measures
estimators at a point, `ml.meta_train` descends along their estimates, and `ml.diagnose` recommends an estimator.

Further functions are grouped in modules, each with its own documentation: `ml.problems`, `ml.data`, `ml.metrics`,
`ml.hyperparameters`, `ml.learned`, `ml.search`, `ml.diagnosis`, `ml.landscape` and `ml.dynamics`. `ml.estimators` and
`ml.testing` support writing your own estimators, `ml.outer` holds the types of results, and `ml.recording`,
`ml.callbacks`, `ml.figures` and `ml.application` support runs and experiments.
"""

import importlib as _importlib
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from metalearn.version import __version__ as __version__

if _TYPE_CHECKING:
    from metalearn import application, callbacks, explain, figures, recording, reproductions, testing  # noqa: F401
    from metalearn.api import *  # noqa: F403
    from metalearn.application.program_cache import cache_programs  # noqa: F401
    from metalearn.explorer import explore  # noqa: F401

_MORE = (
    "application",
    "cache_programs",
    "callbacks",
    "explain",
    "explore",
    "figures",
    "recording",
    "reproductions",
    "testing",
)


def __getattr__(name: str) -> _Any:
    """Import a module or the names of `metalearn.api` on first use: `python -m metalearn` starts without JAX."""
    if name == "cache_programs":
        return _importlib.import_module("metalearn.application.program_cache").cache_programs
    if name == "explore":
        return _importlib.import_module("metalearn.explorer").explore
    if name != "__all__" and name.startswith("_"):
        raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
    if _find_spec(f"metalearn.{name}"):
        return _importlib.import_module(f"metalearn.{name}")
    api = _importlib.import_module("metalearn.api")
    globals().update({public: getattr(api, public) for public in api.__all__}, __all__=api.__all__)
    if name not in globals():
        raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
    return globals()[name]


def __dir__():
    return sorted({*__getattr__("__all__"), *_MORE, "__version__"})
