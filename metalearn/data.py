"""Datasets, `ml.data.*`. Examples are the columns of `Data.inputs`, or the rows of `Examples`.

Random datasets are functions of a key.

| group | functions |
|---|---|
| real, with scikit-learn | `digits`, `breast_cancer`, `wine` |
| a text, which ships with metalearn | `characters` |
| real, downloaded and verified | `mnist`, `fashion_mnist` |
| random | `teacher`, `gaussian_regression`, `two_layer_data` |
| tools | `Data`, `Examples` (of any shape), `memory_mapped`, `split`, `gaussian_noise` (an augmentation) |
"""

import importlib

from metalearn.inner.problems import two_layer_data
from metalearn.inner.training import (
    Data,
    Examples,
    MemoryMapped,
    breast_cancer,
    characters,
    digits,
    gaussian_noise,
    gaussian_regression,
    memory_mapped,
    split,
    teacher,
    wine,
)

_DOWNLOADED = ("mnist", "fashion_mnist")

__all__ = [
    "Data",
    "Examples",
    "MemoryMapped",
    "breast_cancer",
    "characters",
    "digits",
    "gaussian_noise",
    "gaussian_regression",
    "memory_mapped",
    "split",
    "teacher",
    "two_layer_data",
    "wine",
]


def __getattr__(name: str):
    """Import the functions that download data on first use."""
    if name not in _DOWNLOADED:
        raise AttributeError(f"module 'metalearn.data' has no attribute {name!r}")
    return getattr(importlib.import_module("metalearn.application.downloads"), name)


def __dir__():
    return sorted([*__all__, *_DOWNLOADED])
