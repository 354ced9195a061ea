"""Floor 3: what is done with gradients: compare them at a point, or follow them.

Pure like the floors below: no files, no figures, no tracking; progress and logging come in as callbacks.
"""

from metalearn.outer.compare import Comparison, Measured, Report, compare
from metalearn.outer.meta_train import History, meta_train

__all__ = ["Comparison", "History", "Measured", "Report", "compare", "meta_train"]
