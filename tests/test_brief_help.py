"""The help of public named tuples describes their fields and methods, and nothing of every tuple."""

import inspect
import io
import pickle
import pydoc

import jax
import pytest

import metalearn as ml


def public_tuples():
    """Return all public named tuples of the library by name."""
    found, modules = {}, [ml]
    for module in modules:
        for name in getattr(module, "__all__", None) or [name for name in dir(module) if name[0] != "_"]:
            value = getattr(module, name)
            if inspect.ismodule(value) and value.__name__.startswith("metalearn.") and value not in modules:
                modules.append(value)
            elif inspect.isclass(value) and hasattr(value, "_fields"):
                found[value.__name__] = value
    return found


TUPLES = public_tuples()


@pytest.mark.parametrize("name", TUPLES)
def test_help_lists_fields_and_methods_only(name):
    written = io.StringIO()
    pydoc.doc(TUPLES[name], output=written)
    words = written.getvalue()
    for unwanted in ("__add__", "count(", "index(", "_asdict", "Alias for field number", "__slots__"):
        assert unwanted not in words
    assert all(f" |  {field}\n" in words for field in TUPLES[name]._fields)
    assert (inspect.getdoc(TUPLES[name]) or "") in inspect.cleandoc(words.replace("\n |  ", "\n").replace("\n |", "\n"))


def test_a_named_tuple_is_used_as_before():
    data = ml.data.Examples(1.0, 2.0)
    assert "InnerProblem" in TUPLES
    assert data._replace(targets=3.0) == ml.data.Examples(1.0, 3.0)
    assert type(jax.tree.map(lambda leaf: 2 * leaf, data)) is ml.data.Examples
    assert pickle.loads(pickle.dumps(data)) == data
    assert repr(ml.InnerProblem(len, len, len)).startswith("InnerProblem(init=")
    inputs, targets = data
    assert (inputs, targets) == (1.0, 2.0)
