"""`python -m metalearn verify FILE:FUNCTION`: its settings, its exit code, and one-line errors."""

import pytest

from metalearn.application import verify

FILE = """
import jax
import metalearn as ml

def exact(problem, theta, key):
    return jax.grad(ml.meta_loss, 1)(problem, theta, key, problem.horizon)

def doubled(problem, theta, key):
    return 2 * exact(problem, theta, key)
"""


@pytest.mark.parametrize(("name", "code", "words"), [("exact", 0, "Consistent with"), ("doubled", 1, "It looks like")])
def test_verify_checks_a_function_from_a_file(tmp_path, capsys, name, code, words):
    (tmp_path / "mine.py").write_text(FILE)
    assert verify.main([f"{tmp_path / 'mine.py'}:{name}", "claim=unsmoothed", "budget=0.01"]) == code
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "verify needs one estimator"),
        (["mine.py:exact", "budget=much"], "budget must be a number"),
        (["mine.py:exact", "sigma=1"], "verify has no setting 'sigma'"),
        (["none.py:exact"], "There is no file none.py"),
        (["metalearn:persistent_es", "claim=best"], "claim must be one of"),
        (["metalearn:persistent_es", "seed=-1"], "seed must be at least 0"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(capsys, words, sentence):
    assert verify.main(words) == 2
    assert sentence in capsys.readouterr().err


def test_the_help_text_has_a_usage_line(capsys):
    assert verify.main(["--help"]) == 0
    assert "usage: python -m metalearn verify" in capsys.readouterr().out
