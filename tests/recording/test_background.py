"""Large files are written in a thread: the run goes on, the next one waits, and a failure is told."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.recording import RunFolderError
from metalearn.recording.background import LARGE, BackgroundWriter, on_host


def test_a_large_file_does_not_stop_the_run_and_the_next_one_waits_for_it():
    gate, done = threading.Event(), []

    def slow():
        gate.wait(30)
        done.append("first")

    with BackgroundWriter() as writer:
        writer.write(slow, LARGE)
        assert not done, "the call returned before the file was written"
        threading.Timer(0.1, gate.set).start()
        writer.write(lambda: done.append("second"), LARGE - 1)
        assert done == ["first", "second"]
        writer.write(lambda: done.append("third"), 2 * LARGE)
    assert done == ["first", "second", "third"], "the end waits for the last one"


def fail():
    raise RunFolderError("the disk is full")


def test_the_error_of_a_write_is_raised_once_by_the_next_call_or_at_the_end():
    with BackgroundWriter() as writer:
        writer.write(fail, LARGE)
        with pytest.raises(RunFolderError, match="the disk is full"):
            writer.write(lambda: None, LARGE)
    writer = BackgroundWriter()
    writer.write(fail, LARGE)
    with pytest.raises(RunFolderError, match="the disk is full"), writer:
        pass
    with pytest.raises(RunFolderError, match="the disk is full"):
        BackgroundWriter().write(fail, 1)


def test_an_interruption_waits_for_the_file_and_is_not_replaced_by_its_error():
    done, writer = [], BackgroundWriter()
    writer.write(lambda: done.append(1), LARGE)
    with pytest.raises(KeyboardInterrupt), writer:
        raise KeyboardInterrupt
    assert done == [1]
    other = BackgroundWriter()
    other.write(fail, LARGE)
    with pytest.raises(KeyboardInterrupt), other:
        raise KeyboardInterrupt


def test_the_copy_on_the_host_has_the_same_values_types_and_keys():
    tree = {
        "a": jnp.arange(3.0, dtype=jnp.bfloat16),
        "key": jax.random.key(1),
        "b": (jnp.ones((2, 2)), np.int64(2**40)),
    }
    copy = on_host(tree)
    assert isinstance(copy["a"], np.ndarray)
    assert copy["key"] is tree["key"]
    assert jax.tree.structure(copy) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(copy)):
        assert one.dtype == other.dtype
        assert (one == other).all()
