"""Values of configurations are written and compared by type, and printed commands can be pasted into a shell."""

import enum
import functools
import math
import pathlib
import shlex

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from metalearn.application.build import build_benchmarks, parse_theta
from metalearn.recording import open_run
from metalearn.recording.tiles import LandscapeFolder
from metalearn.recording.values import plain, same, shell_override


class Level(enum.IntEnum):
    LOW = 1


class Kind(str, enum.Enum):  # noqa: UP042  what configurations had before StrEnum
    FULL = "full es"


class Bits(enum.Flag):
    A = 1
    B = 2


class Text(str):
    def __str__(self):
        return "another"


class Plain:
    pass


NAN, INF = math.nan, math.inf
WRITTEN = {
    "IntEnum": (Level.LOW, "LOW"),
    "str Enum": (Kind.FULL, "FULL"),
    "Flag": (Bits.A | Bits.B, "A|B"),
    "names": ({Level.LOW: 1, None: 2}, {"LOW": 1, "None": 2}),
    "subclass": (Text("this"), "this"),
    "NumPy": ([np.float32(0.5), np.int64(3), np.bool_(True), np.str_("a"), np.float64(NAN)], [0.5, 3, True, "a", NAN]),
    "JAX": (jnp.array([1.0, INF]), [1.0, INF]),
    "tuples": ((1, (2, -INF)), [1, [2, -INF]]),
    "set": ({"b", "a", 1}, [1, "a", "b"]),
    "range": (range(3), [0, 1, 2]),
    "ListConfig": (OmegaConf.create([1, NAN]), [1, NAN]),
    "path": (pathlib.PurePosixPath("a/b"), "a/b"),
    "None": (None, None),
    "bytes": (b"a", "b'a'"),
    "complex": (1 + 2j, "(1+2j)"),
    "class": (np.float32, "numpy.float32"),
    "partial": (functools.partial(plain), "functools.partial(<function plain>)"),
    "object": (Plain(), f"<{__name__}.Plain object>"),
}


@pytest.mark.parametrize(("value", "written"), WRITTEN.values(), ids=WRITTEN)
def test_values_are_written_as_text_and_restored_unchanged(value, written):
    found = plain(value)
    assert same(found, written)
    assert same(yaml.safe_load(yaml.safe_dump({"x": found})), {"x": written})


@pytest.mark.parametrize("value", [value for value, _ in WRITTEN.values()], ids=WRITTEN)
def test_a_run_is_resumed_with_equal_values(tmp_path, value, capsys):
    config = {"part": {"value": value, "others": [value]}}
    with open_run(tmp_path, config, mode="disabled") as run:
        run.log({"value": np.float32(NAN)}, step=0)
    open_run(tmp_path, config, mode="disabled", resume=run.folder).finish()
    LandscapeFolder(tmp_path / "landscapes", config)
    LandscapeFolder(tmp_path / "landscapes", config)


@pytest.mark.parametrize(
    ("before", "after"), [(NAN, 1.0), (INF, -INF), (1, True), (1.0, "1.0"), ([1], [1, 2]), (None, 0)]
)
def test_a_run_is_not_resumed_with_other_values(tmp_path, before, after, capsys):
    open_run(tmp_path / "my runs (a)", {"x": before}, mode="disabled").finish()
    (folder,) = (tmp_path / "my runs (a)").iterdir()
    with pytest.raises(ValueError, match=r"was run with x = .* and cannot be resumed with") as error:
        open_run(tmp_path, {"x": after}, mode="disabled", resume=folder)
    assert f"'resume=\"{folder}\"' added" in str(error.value)
    assert not same(plain(before), plain(after))


def test_names_that_are_written_alike_raise_an_error():
    with pytest.raises(ValueError, match="Two keys of a mapping are written as '1'"):
        plain({1: "a", "1": "b"})


@pytest.mark.parametrize("theta", [None, [1.0, None], True, [NAN], INF, 1e300, [[1, 2], [3]], "x"])
def test_a_non_finite_theta_raises_an_error(theta):
    with pytest.raises(ValueError, match=r"problem\.theta must be "):
        parse_theta(theta)


PATHS = [
    "runs/a-b",
    "my runs (a)/x",
    'a"b',
    "it's",
    "x\\",
    'x\\"y',
    "a=b",
    "a,b",
    "[x]",
    "~/x",
    "ünï/ä",
    "1e5",
    "null",
    "$HOME/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_an_override_survives_the_shell_and_hydra_unchanged(path):
    (word,) = shlex.split(shell_override("resume", path))
    assert OverridesParser.create().parse_override(word).value() == path
    assert shell_override("resume", "runs/2026-01-02-compare") == "resume=runs/2026-01-02-compare"


def test_printed_commands_are_quoted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt), open_run("my runs (a)", {"resume": None}, mode="offline"):
        raise KeyboardInterrupt
    lines = capsys.readouterr().out.splitlines()
    (upload,) = (line.partition("Upload it with: ")[2] for line in lines if "Upload" in line)
    command, sub, folder = shlex.split(upload)
    assert (command, sub) == ("wandb", "sync")
    assert pathlib.Path(folder).is_dir()
    (again,) = (line.partition("same command and ")[2] for line in lines if "same command" in line)
    (override,) = shlex.split(again)
    assert pathlib.Path(OverridesParser.create().parse_override(override).value()).is_dir()
    with pytest.raises(ValueError, match=r"Leave it out with '~matrix\.my wine'"):
        build_benchmarks({"my wine": 3})
