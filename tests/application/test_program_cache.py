"""Compiled programs on disk."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

import metalearn as ml

SETTINGS = ("compilation_cache_dir", "compilation_cache_max_size", "persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def settings():
    """Restore the JAX settings of the suite after each test."""
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in SETTINGS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compile_something(more=1.0):
    compilation_cache.reset_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.jit(lambda x: jnp.sin(x) ** 2 + 3 * more, compiler_options={"xla_backend_optimization_level": 0})(
        jnp.arange(5.0)
    )


def test_programs_are_written_to_the_folder(tmp_path):
    folder = ml.cache_programs(tmp_path / "mine")
    assert folder == tmp_path / "mine"
    compile_something()
    assert list(folder.iterdir())


def test_the_default_folder_is_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ml.cache_programs() == tmp_path / "metalearn" / "compiled"


def test_the_folder_is_bounded(tmp_path):
    ml.cache_programs(tmp_path, max_bytes=1)
    with pytest.warns(UserWarning, match="cache"):
        compile_something()
    assert sum(file.stat().st_size for file in tmp_path.iterdir() if file.suffix != ".lockfile") == 0


@pytest.mark.parametrize("bad", [0, 1.5, True, "1 GiB"])
def test_an_invalid_bound_raises_an_error(bad):
    with pytest.raises((TypeError, ValueError), match="max_bytes must be"):
        ml.cache_programs(max_bytes=bad)


@pytest.mark.parametrize("bad", [5, "", "  "])
def test_a_cache_path_that_is_not_a_folder_raises_an_error(bad):
    with pytest.raises(TypeError, match="folder must be a path"):
        ml.cache_programs(bad)


def test_a_folder_that_cannot_be_created_raises_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Compiled programs cannot be kept in .* Choose another folder"):
        ml.cache_programs(tmp_path / "file")


def test_entries_written_without_a_bound_are_accepted(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_compilation_cache_max_size", -1)
    compile_something()
    before = {file.name for file in tmp_path.iterdir()}
    assert before
    assert not any(name.endswith("-atime") for name in before)
    ml.cache_programs(tmp_path)
    compile_something(more=2.0)  # a warning would be an error
    assert len({file.name for file in tmp_path.glob("*-cache")}) == 2
