"""metalearn: gradient estimators for meta-learning when the meta-loss is chaotic.

    import metalearn as ml

An inner problem is an iterated map (`ml.InnerProblem`), a training run is one of them (`ml.training`); estimators
(`ml.persistent_es`, ...) give gradients of its meta-loss window by window; `ml.compare` measures them at a point and
`ml.meta_train` follows them. `ml.recording` writes runs, Weights & Biases and figures.
"""

import importlib

from metalearn import dynamics as dynamics
from metalearn import landscape as landscape
from metalearn.compilation import compilation_effort as compilation_effort
from metalearn.compilation import compiled_programs as compiled_programs
from metalearn.compilation import jit as jit
from metalearn.estimators import *  # noqa: F403
from metalearn.inner import *  # noqa: F403
from metalearn.outer import *  # noqa: F403

_LAZY = {
    "recording": "metalearn.recording",
    "cache_programs": "metalearn.application.program_cache",
    "mnist": "metalearn.application.downloads",
    "fashion_mnist": "metalearn.application.downloads",
}

__version__ = "0.1.0"


def __getattr__(name: str):
    """The floor with side effects is imported when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    return module if name == "recording" else getattr(module, name)
