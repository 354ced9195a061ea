"""An estimator that is written outside the package, from public names, is checked, compared and followed."""

import ast
import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metalearn as ml

FILE = pathlib.Path(__file__).parent / "my_estimator.py"
PUBLIC = {"jax", "jax.numpy", "metalearn"}
PAIRS = {"sigma": 0.1, "num_pairs": 4}


def load():
    spec = importlib.util.spec_from_file_location("my_estimator", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.my_evolution_strategies


def public_only(source):
    """Whether a file imports public modules alone, and names nothing private or deeper than `ml.<group>.<name>`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            return False
        if isinstance(node, ast.Import) and not {alias.name for alias in node.names} <= PUBLIC:
            return False
        if isinstance(node, ast.Attribute):
            unknown = ast.unparse(node.value) == "ml.estimators" and node.attr not in ml.estimators.__all__
            if unknown or node.attr.startswith("_"):
                return False
    return True


def test_the_file_uses_public_names_alone():
    source = FILE.read_text()
    assert public_only(source)
    assert not public_only(source + "\nfrom metalearn.estimators.particles import Method")
    assert not public_only(source + "\nml.estimators.particles.SHARED")
    assert not public_only(source + "\nimport metalearn.trees")


def test_it_keeps_the_contract():
    assert not ml.testing.check_estimator(functools.partial(load(), **PAIRS)).skipped


def test_it_is_compared_and_followed():
    problem, windows, theta = ml.problems.linear_quadratic(0.5), ml.Truncation(4, 2), jnp.array(0.7)
    mine, known = (make(problem, windows, **PAIRS) for make in (load(), ml.noise_reuse_es))
    report = ml.compare({"mine": mine, "known": known}, theta, jax.random.key(0), num_episodes=30, timed=False)
    np.testing.assert_allclose(report.reports[0].mean, report.reports[1].mean, rtol=0.5)
    moved, history = ml.meta_train(mine, optax.sgd(0.01), theta, jax.random.key(1), num_steps=4)
    assert history.theta.shape == (4,)
    assert moved != theta
