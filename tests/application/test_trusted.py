"""A configuration calls functions of the library and of what the user trusts, and nothing else."""

import functools
import inspect
import sys

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application import trust
from metalearn.application.targets import check_file, check_target, check_targets, instantiate
from metalearn.application.trust import declare, read_trusted
from metalearn.recording import load, load_optimizer, load_snapshot, read_landscape
from metalearn.recording.checkpoints import load_evaluations
from metalearn.recording.tiles import _load, _read
from metalearn.usage import CONFIGS
from tests.processes import run_here

EVIL = """
import pathlib
pathlib.Path("ran").touch()
def call(*_, **__):
    pathlib.Path("called").touch()
"""
MINE = """
import jax.numpy as jnp
import numpy
import metalearn as ml
from os import system
half = jnp.float32(0.5)
def pull(strength=0.5):
    step = lambda s, theta, key: s - strength * (s - theta)
    return ml.InnerProblem(lambda theta, key: jnp.float32(0), step, lambda s, theta, key: (s - 1) ** 2)
def study(strength=0.5):
    return ml.Study(pull(strength), jnp.float32(-1), horizon=8, length=4, name="pull")
"""
TINY = [
    "estimator=[full_es]",
    "pairs=2",
    "judges=2",
    "held_out=1",
    "outer.num_steps=1",
    "chunk_length=1",
    "tracker=none",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a user's file and a stranger's, and nothing that is trusted."""
    (tmp_path / "stranger_file.py").write_text(EVIL)
    (tmp_path / "own_file.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(trust, "_trust", trust.Trust())
    yield tmp_path
    for name in ("stranger_file", "own_file"):
        sys.modules.pop(name, None)


REFUSED = [
    *("os.system", "subprocess.run", "builtins.eval", "shutil.rmtree", "pathlib.Path.unlink", "hydra.utils.get_method"),
    *("numpy.load", "importlib.import_module", "stranger_file.call", "pickle.loads", "runpy.run_path"),
    *("optax._src.numerics.sys.modules", "jax._src.config.os.system", "metalearn.recording.files.os.remove"),
    *("metalearn.usage.re.compile", "metalearn.diagnosis.__builtins__.eval", "optax.adam.__globals__.get"),
    *("metalearn.application.call_study", "metalearn.application.load_function", "metalearn.recording.save_optimizer"),
    *("jax.numpy.load", "flax.serialization.msgpack_restore", "jax.profiler.start_trace", "metalearn.Study.mro"),
    *("jax.numpy.pi.hex", "flax.core.copy.os.remove", "metalearn.application.library.jax.numpy.load"),
]


@pytest.mark.parametrize("target", REFUSED)
def test_a_target_outside_of_the_library_is_refused_before_it_is_imported(folder, target):
    with pytest.raises(ValueError, match=r"a\.build\._target_ names .*you trust") as refused:
        check_target("a.build._target_", target)
    assert "\n" not in str(refused.value)
    assert not (folder / "ran").exists()


def nested(target):
    return {
        "argument": {"_target_": "optax.adam", "learning_rate": {"_target_": target}},
        "list": {"_target_": "optax.chain", "_args_": [1, [{"_target_": target, "_partial_": True}]]},
        "lazy": {"_target_": "optax.adam", "_recursive_": False, "learning_rate": {"deep": [{"_target_": target}]}},
        "reference": {"a": {"_target_": "${b}"}, "b": target},
        "text": {"a": '${oc.decode:"{_target_: ' + target + '}"}'},
    }


@pytest.mark.parametrize("form", nested("x.y"))
def test_no_form_of_a_configuration_hides_a_target(folder, form):
    settings = OmegaConf.create(nested("stranger_file.call")[form])
    with pytest.raises(ValueError, match=r"stranger_file.*add trusted=\[stranger_file\]"):
        instantiate(settings)
    assert not (folder / "ran").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_public_functions_of_the_libraries_and_all_of_our_configurations_pass():
    for place, module in (("optax", optax), ("jax.nn", jax.nn), ("flax.linen", flax.linen), ("metalearn", ml)):
        for name in module.__all__ if hasattr(module, "__all__") else dir(module):
            if not name.startswith("_") and inspect.isfunction(getattr(module, name, None)):
                check_target("a", f"{place}.{name}")
    for name in ("sin", "add", "maximum", "linspace", "float32", "linalg.norm"):
        check_target("a", f"jax.numpy.{name}")
    for path in CONFIGS.rglob("*.yaml"):
        if "sweeps" not in path.parts:
            config = yaml.safe_load(path.read_text()) or {}
            check_targets(config)
            if "study" in config:
                check_file("problem", config["study"])


def test_what_the_user_trusts_is_called_and_what_its_file_imports_is_not(folder):
    for words in (
        ["trusted=[own_file]"],
        ["trusted=own_file.py"],
        ["trusted=[./own_file.py]"],
        ["problem=own_file.py:study"],
    ):
        declare(words)
        check_target("a", "own_file.pull")
        for other in ("own_file.system", "own_file.numpy.load", "stranger_file.call", "own_file.half.item"):
            with pytest.raises(ValueError, match="trust"):
                check_target("a", other)
    declare([])
    with pytest.raises(ValueError, match=r"add trusted=\[own_file\]"):
        check_target("a", "own_file.pull")
    declare([], ["own_file"])
    check_target("a", "own_file.pull")
    declare([], folder=folder)
    check_target("a", "own_file.pull")
    assert not (folder / "ran").exists()


def test_a_file_of_the_same_name_elsewhere_is_not_the_trusted_one(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "stranger_file.py").write_text(MINE)
    declare(["trusted=[sub/stranger_file.py]"])
    check_target("a", "sub.stranger_file.pull")
    with pytest.raises(ValueError, match="trust"):
        check_target("a", "stranger_file.call")
    assert not (folder / "ran").exists()


def test_the_word_is_read():
    assert read_trusted(["a=1", "trusted=[b,c]"]) == ["b", "c"]
    assert read_trusted(["+trusted=b"]) == ["b"]
    assert read_trusted(["trusted=[]"]) == read_trusted([]) == []
    for wrong in ("trusted=3", "trusted={a: 1}", "trusted=[1]", "trusted=[a],[b]"):
        with pytest.raises(TypeError, match="trusted must be a list"):
            read_trusted([wrong])
    for wrong in ("nothing/here.py", "two words", "a..b"):
        with pytest.raises(ValueError, match="trusted"):
            declare([], [wrong])


def refused(result, folder, *words):
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert all(word in line for word in words), line
    left = [name for name in ("ran", "called", "runs") if (folder / name).exists()]
    assert not left, (words, left)


def test_the_command_line_refuses_and_accepts(folder):
    run = functools.partial(run_here, cwd=folder)
    refused(run("compare", "problem.build._target_=os.system"), folder, "problem.build._target_ names os.system")
    refused(run("landscape", "problem.plane.x._target_=stranger_file.call"), folder, "trusted=[stranger_file]")
    refused(
        run("compare", "+hydra.callbacks.x._target_=stranger_file.call"), folder, "hydra.callbacks.x._target_ names"
    )
    handler = "+hydra.job_logging.handlers.x={class: stranger_file.call}"
    refused(run("compare", handler), folder, "only classes of logging")
    (folder / "theirs" / "problem").mkdir(parents=True)
    (folder / "theirs" / "problem" / "given.yaml").write_text("study: stranger_file.py:call\n")
    theirs = ["--config-dir", "theirs"]
    refused(
        run("meta_train", *theirs, "problem=given", *TINY),
        folder,
        "stranger_file.py:call",
        "trusted=[stranger_file.py]",
    )
    (folder / "theirs" / "problem" / "own.yaml").write_text(
        "# @package _global_\ntrusted: [stranger_file]\nproblem: {study: stranger_file.py:call}\n"
    )
    refused(run("meta_train", *theirs, "problem=own", *TINY), folder, "on the command line only")
    (folder / "theirs" / "problem" / "mine.yaml").write_text("study: own_file.py:study\n")
    found = run("meta_train", *theirs, "problem=mine", "trusted=[own_file.py]", *TINY)
    assert found.returncode == 0, found.stderr
    assert run("meta_train", "problem=own_file.py:study", *TINY).returncode == 0
    assert not (folder / "ran").exists()


class Planted:
    """An object that leaves a file when it is unpickled."""

    def __reduce__(self):
        return exec, ("open('unpickled', 'w').close()",)


def readers(path):
    like = ml.Study(ml.problems.phase_walk(1.0), jnp.float32(0), horizon=2).theta
    plane = ml.landscape.Plane(ml.landscape.Axis("x", 0, 1), ml.landscape.Axis("y", 0, 1), lambda x, y: x)
    return {
        "load": lambda: load(path), "load_snapshot": lambda: load_snapshot(path, like),
        "load_evaluations": lambda: load_evaluations(path), "read_landscape": lambda: read_landscape(path),
        "load_optimizer": lambda: load_optimizer(path), "tile": lambda: _read(path, ["values"]),
        "landscape": lambda: _load(path, plane) or ml.missing,
    }  # fmt: skip


@pytest.mark.parametrize("name", readers(None))
def test_no_reader_unpickles(folder, name, capsys):
    arrays = np.empty(1, object)
    arrays[0] = Planted()
    np.savez(
        folder / "given.npz", leaf_0=arrays, step=arrays, loss=arrays, x=arrays, y=arrays, values=arrays, theta=arrays
    )
    with pytest.raises((ValueError, AttributeError)):
        readers(folder / "given.npz")[name]()
    assert not (folder / "unpickled").exists()
    np.load(folder / "given.npz", allow_pickle=True)["leaf_0"]
    assert (folder / "unpickled").exists(), "the file would have left its mark"
