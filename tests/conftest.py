"""Strict numerics for every test: implicit rank promotion raises an error, and warnings are errors (pyproject.toml)."""

import ctypes
import gc
import json
import math
import os
import pathlib
import resource

import jax
import pytest

from metalearn.compilation import asked_effort, compilation_effort

jax.config.update("jax_numpy_rank_promotion", "raise")

# Compilation takes most of the time of the suite, so programs are compiled with the least optimisation, here and in child
# processes. Workers share compiled programs, and a second run uses those of the first.
EFFORT = "minimal"
LONG = {"landscape", "dynamics", "published"}  # their programs run long, and three times as fast with more effort
compilation_effort(EFFORT)
os.environ["METALEARN_COMPILATION_EFFORT"] = EFFORT  # of experiments in child processes
CHEAP = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {CHEAP}".strip()
ROOT = pathlib.Path(__file__).parent.parent
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_collection_finish():
    """Collect cycles rarely: tracing makes very many objects, and those of the imports live as long as the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


SLOWEST = (
    "estimators/test_contract.py",
    "inner/test_learned.py",
    "test_documentation.py",
    "experiments/test_landscape_experiment.py",
    "landscape/test_trainability.py",
    "inner/test_examples.py",
    "outer/test_diagnose.py",
    "test_command.py",
    "experiments/test_main_job.py",
    "estimators/test_closed_forms.py",
    "experiments/test_problem_files.py",
    "experiments/test_explain.py",
    "test_compilation.py",
    "outer/test_evaluate.py",
    "experiments/test_library_problems.py",
    "estimators/test_devices.py",
    "testing/test_check_estimator.py",
    "outer/test_meta_train.py",
)


def pytest_collection_modifyitems(items):
    """Run the modules that take longest first, so that two workers end at about the same time."""
    place = {name: index for index, name in enumerate(SLOWEST)}
    tests = pathlib.Path(__file__).parent
    items.sort(key=lambda item: place.get(str(item.path.relative_to(tests)), len(place)))


REFERENCE = pathlib.Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def closed_form():
    """The closed forms A to G with their settings, computed independently of this library."""
    return json.loads((REFERENCE / "closed_form.json").read_text())


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def effort(request):
    """Compile all programs of a test module with the same effort."""
    compilation_effort("low" if request.path.parent.name in LONG else EFFORT)


ENOUGH = 1.2e9  # bytes; a worker grows to 5 GB where the programs of all modules stay
STATISTICS = pathlib.Path("/proc/self/statm")


@pytest.fixture(autouse=True, scope="module")
def memory():
    """Forget the programs of past modules where a worker has grown, which takes about half a second."""
    yield
    pages = int(STATISTICS.read_text().split()[1]) if STATISTICS.exists() else math.inf
    if pages * resource.getpagesize() > ENOUGH:
        jax.clear_caches()
        gc.collect()
        getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)(0)  # of glibc; others return memory themselves


@pytest.fixture
def with_effort():
    """Choose an effort for one test, and restore that of the module afterwards."""
    before = asked_effort()
    yield compilation_effort
    compilation_effort(before)
