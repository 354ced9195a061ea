"""Every Python block of the documentation runs, and the example of the README is short."""

import ast
import os
import pathlib
import re
import runpy
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.compilation import asked_effort
from tests.testing import stand_in

ROOT = pathlib.Path(__file__).parent.parent


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_the_first_example_prints_a_comparison(tmp_path):
    example = blocks("docs/getting_started.md")[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 25
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", example]
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, check=False)
    assert list((tmp_path / "metalearn" / "compiled").iterdir()), "the example keeps its programs"
    assert result.returncode == 0, result.stderr
    for name in ("TBPTT", "truncated ES", "PES"):
        assert name in result.stdout


def test_the_example_of_the_readme_has_ten_lines_and_prints_the_table_below_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = (ROOT / "README.md").read_text()
    (example,) = blocks("README.md")
    assert len(text.splitlines()) < 120
    assert text.splitlines()[2].startswith("metalearn is a JAX library for ")
    assert len(example.splitlines()) == 10
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```\n\n    (estimator .*?)\n\n", text, re.DOTALL)
    assert shown is not None
    expected = shown[1].splitlines()
    assert (
        printed[0].split()[:5] == expected[0].split()[:5]
    )  # the digits and the number of columns depend on the machine
    assert [line.split()[0] for line in printed[2:4]] == [line.split()[0] for line in expected[2:4]] == ["TBPTT", "PES"]


def test_the_other_examples_of_getting_started_run():
    first, descent, networks, landscapes, chaos, training = blocks("docs/getting_started.md")
    names = {"optax": optax, "print": lambda *values: None}
    exec(first.replace("num_episodes=100", "num_episodes=2, reference_pairs=8"), names)
    exec(descent.replace("num_steps=500", "num_steps=3"), names)
    assert names["history"].theta.shape == (3, 2)
    exec(networks, names)
    names["ml"].check_problem(names["problem"], names["theta"])
    exec(landscapes.replace("chosen.num_steps", "30").replace("129", "64"), names)
    assert names["found"].measure.shape == (64, 64)
    exec(chaos, names | {"jax": jax, "jnp": jax.numpy})
    short = training.replace("num_steps=1500", "num_steps=2").replace("num_steps=500", "num_steps=20")
    short = short.replace("(500, 50, stagger=True", "(20, 10").replace(
        "jax.random.key(2))", "jax.random.key(2), num_seeds=2, baselines=False)"
    )
    exec(short, names | {"jax": jax})


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """Keep the compiled programs of examples in the cache of the tests."""
    keep = lambda *arguments: pathlib.Path(getattr(jax.config, "jax_compilation_cache_dir"))  # noqa: B009 (jax.config has no types)
    monkeypatch.setattr(ml, "cache_programs", keep, raising=False)


@pytest.fixture
def same_effort():
    before = asked_effort()
    yield
    ml.compilation_effort(before)


@pytest.mark.usefixtures("same_effort")
@pytest.mark.parametrize(
    "guide",
    [
        "networks",
        "your_own_problem",
        "landscapes",
        pytest.param("chaos", marks=pytest.mark.slow),
        "divergence",
        "papers",
        "performative",
        "goodhart",
        "misgeneralisation",
        "three_ways",
        pytest.param("choosing", marks=pytest.mark.slow),
        pytest.param("questions", marks=pytest.mark.slow),
        pytest.param("meta_training", marks=pytest.mark.slow),
        "compilation",
    ],
)
def test_every_guide_runs(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(f"docs/{guide}.md"):
        exec(block.replace("stagger=True, ", ""), names)  # whose burn-in takes as long to compile as all the rest
    if guide == "networks":
        assert all(bool(jax.numpy.isfinite(leaf)) for leaf in jax.tree.leaves(names["gradient"]))
    elif guide == "landscapes":
        assert names["found"].measure.shape == (129, 129)


@pytest.mark.slow
def test_the_page_on_verify_adapts_foreign_code():
    names = {
        "TRUNCATED_PES": stand_in.TruncatedPES,
        "TRUNCATED_UNROLL_OUT": stand_in.Out,
        "VECTORIZED_TRUNCATED_STEP": stand_in.Vectorized,
        "WORKER_WEIGHTS": stand_in.Weights,
    }
    with jax.numpy_rank_promotion("allow"):  # the foreign code relies on it
        for block in blocks("docs/check_your_estimator.md"):
            exec(block, names)
        found = ml.testing.verify(names["truncated_pes"], claim="windowwise", budget=0.5)
    assert names["verdict"].consistent
    assert names["notebook"].looks_like == "start at the unperturbed theta"
    assert not found.consistent
    assert found.looks_like == "part of the last window credited to the newest window"


def names_public_things_alone(source):
    """Return whether a file imports metalearn only as `ml`, and uses only exported names of `ml.estimators`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("metalearn"):
            return False
        if isinstance(node, ast.Import) and any(one.name.startswith("metalearn.") for one in node.names):
            return False
        if isinstance(node, ast.Attribute):
            exported = ast.unparse(node.value) != "ml.estimators" or node.attr in ml.estimators.__all__
            if node.attr.startswith("_") or not exported:
                return False
    return True


def test_a_private_name_is_detected():
    assert not names_public_things_alone("from metalearn.estimators.method import Method")
    assert not names_public_things_alone("import metalearn.trees")
    assert not names_public_things_alone("ml.estimators.particles.SHARED")
    assert names_public_things_alone("import metalearn as ml\nml.estimators.Method")


def test_an_estimator_outside_the_package_passes_the_contract_and_can_be_compared_and_trained(tmp_path):
    """The example of the guide works as a file of its own."""
    file = tmp_path / "my_estimator.py"
    file.write_text("\n".join(blocks("docs/writing_an_estimator.md")))
    assert names_public_things_alone(file.read_text())
    mine = runpy.run_path(str(file))
    assert not mine["checked"].skipped
    np.testing.assert_allclose(*(report.mean for report in mine["comparison"].reports), rtol=0.2)
    theta, history = ml.meta_train(mine["mine"], optax.sgd(0.1), mine["theta"], jax.random.key(1), num_steps=4)
    assert history.theta.shape == (4,)
    assert theta != mine["theta"]
