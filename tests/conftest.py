"""Strict numerics for every test: implicit rank promotion raises, and warnings are errors (pyproject.toml)."""

import json
import os
import pathlib

import jax
import pytest

from metalearn.compilation import EFFORTS, compilation_effort

jax.config.update("jax_numpy_rank_promotion", "raise")

# The suite is bound by compilation: programs are optimised little, those of the library and those of JAX here and in child
# processes. Workers share them, and a second run finds those of the first.
EFFORT = "low"
compilation_effort(EFFORT)
if jax.__version_info__ < (0, 11):  # an option that XLA does not know in XLA_FLAGS ends the process
    flags = [f"--{name}={str(value).lower()}" for name, value in EFFORTS[EFFORT].options.items()]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
ROOT = pathlib.Path(__file__).parent.parent
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

REFERENCE = pathlib.Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def closed_form():
    """The closed forms A to G with their settings, computed independently of this library."""
    return json.loads((REFERENCE / "closed_form.json").read_text())


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
