"""Results with equal labels raise an error before training, because their files would have the same name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application import check_labels
from metalearn.recording import load_snapshot, save_snapshot
from tests.processes import run_here

KEY = jax.random.key(0)
PROBLEM = ml.problems.noisy_linear_quadratic()


def labelled(*labels, **more):
    return OmegaConf.create({"estimators": {f"e{i}": {"label": label} for i, label in enumerate(labels)}} | more)


@pytest.mark.parametrize(
    "labels",
    [("PES", "PES"), ("a b", "a-b"), ("a/b", "a_b"), ("nres", "NRES"), ("x" * 200, "x" * 201), ("é" * 99, "é" * 98)],
)
def test_labels_that_give_the_same_file_name_raise_an_error(labels):
    with pytest.raises(ValueError, match=r"Two results are called .* estimators\.NAME\.label=LABEL"):
        check_labels(labelled(*labels))


def test_labels_include_seeds_and_searches():
    check_labels(labelled("A", "A 1"))
    check_labels(labelled("A", "A 1", seeds=2))
    with pytest.raises(ValueError, match="'random search'"):
        check_labels(labelled("random search", seeds=1), ["random search"])
    with pytest.raises(ValueError, match="'A 1 1'"):
        check_labels(labelled("A 1", "B", seeds=2), ["A 1 1"])


@pytest.mark.parametrize("label", [5, None, "", "  ", ["a"]])
def test_a_label_must_be_a_string(label):
    with pytest.raises(TypeError, match=r"estimators\.e0\.label must be a string"):
        check_labels(labelled(label))


@pytest.mark.parametrize("experiment", ["meta_train", "compare", "explain"])
def test_every_experiment_rejects_equal_labels(experiment, tmp_path):
    one = ("estimator=[noise_reuse_es,truncated_es]", "estimators.truncated_es.label=NRES", f"folder={tmp_path}")
    more = ("float64=false",) if experiment == "explain" else ()
    result = run_here(experiment, *one, *more, "tracker=none")
    assert result.returncode == 2, result.stderr
    assert "Two results are called 'NRES'" in result.stderr
    assert not list(tmp_path.iterdir())


def snapshot(make, **more):
    estimator = make(PROBLEM, ml.Truncation(12, 3), sigma=0.1, num_pairs=2, **more)
    arguments = (estimator, optax.sgd(0.02), jnp.float32(0.3), KEY)
    return arguments, ml.outer.first_snapshot(*arguments)


def test_a_snapshot_of_another_estimator_raises_an_error(tmp_path):
    """Persistent and noise-reuse ES have states of equal structure, so only the name distinguishes them."""
    pes, first = snapshot(ml.persistent_es)
    nres, other = snapshot(ml.noise_reuse_es)
    shapes = lambda tree: [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    assert shapes(first) == shapes(other)
    with pytest.raises(ValueError, match=r"snapshot of persistent ES .* this run uses noise-reuse ES"):
        ml.meta_train(*nres, 2, resume=first)
    path = save_snapshot(tmp_path / "one.npz", first)
    with pytest.raises(ValueError, match=r"made by persistent ES .* here noise-reuse ES .* continues it"):
        load_snapshot(path, other)
    assert load_snapshot(path, ml.outer.first_snapshot(*pes)).step == 0
