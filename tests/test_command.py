"""`python -m metalearn EXPERIMENT` in a checkout, and from a wheel in an environment without the checkout."""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.processes import ROOT, run_experiment, run_package

COMMANDS = ["check", "collect", "new", "problems", "sweep", "verify"]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))
TINY = ["compare", "problem=phase_walk", "estimator=persistent_es", "episodes=3", "pairs=2", "reference_pairs=4"]
TINY += ["tracker=none"]
NO_CHECKOUT = """
import sys

def refuse(event, arguments):
    path = str(arguments[0]) if arguments else ""
    if event in ("open", "os.listdir", "os.scandir") and path.startswith({root!r}) and not path.startswith({allowed!r}):
        raise RuntimeError(f"{{event}} of {{path}}, a file of the checkout")

sys.addaudithook(refuse)
"""


def test_the_list_contains_every_experiment_and_does_not_import_jax():
    code = "import sys, metalearn.__main__ as command; command.main(); print('jax' in sys.modules)"
    for arguments in ([], ["--help"]):
        told = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        *lines, jax = told.stdout.splitlines()
        listed = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
        assert sorted(listed) == sorted(EXPERIMENTS + COMMANDS)
        assert all(len(words) > 3 for words in listed.values())
        assert jax == "False"


def test_help_and_errors_of_an_experiment_import_neither_jax_nor_hydra():
    code = """
import sys, metalearn.__main__ as command
try:
    command.main()
except SystemExit as stop:
    print(stop.code)
print(sorted({"jax", "hydra"} & set(sys.modules)))
"""
    for arguments, words in (
        (["compare", "--help"], ["problem=digits:", "# independent episodes per estimator"]),
        (["meta_train", "--help"], ["true: cosine decay to zero", "tuning: hyper"]),
        (["meta_train", "--help", "problem=wine"], ["problem=wine:", "judges: 64"]),
        (["zoom", "problem=wein"], ["2"]),
        (["compare", "estimator=[persistent]"], ["2"]),
        (["meta_train", "outer.rate=1"], ["2"]),
    ):
        command = [sys.executable, "-c", code, *arguments]
        *lines, loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert loaded == "[]"
        for word in words:
            assert word in "\n".join(lines)
        if "--help" in arguments:
            assert ("\nmatrix:" in "\n".join(lines)) == (arguments == ["meta_train", "--help"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compar"], ["'compar'", "did you mean compare?", "meta_train, misgeneralisation"]),
        (["meta-train", "seed=1"], ["did you mean meta_train?"]),
        (["problem=digits"], ["There is no experiment 'problem=digits'"]),
        (["--version"], ["There is no experiment '--version'"]),
        ([""], ["There is no experiment ''"]),
        (["compare", "pears=3"], ["pears", "did you mean pairs?"]),
        (["compare", "problem=mine", "--config-dir", "nowhere"], ["nowhere"]),
        (["zoom", "condition=tan"], ["tan"]),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    result = run_package(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_the_command_has_the_help_and_configurations_of_the_script(tmp_path):
    ours, theirs = run_package("explain", "--help", cwd=tmp_path), run_experiment("explain", "--help", cwd=tmp_path)
    assert ours.returncode == theirs.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout != ""


def recorded(folder):
    """Return the numbers of a run, without seconds."""
    (table,) = folder.rglob("comparison.json")
    return [
        {name: value for name, value in row.items() if "second" not in name and "/ s" not in name}
        for row in json.loads(table.read_text())
    ]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the numbers of `python experiments/compare.py`."""
    place = tmp_path_factory.mktemp("script")
    script = run_experiment(*TINY, "seed=3", cwd=place)
    assert script.returncode == 0, script.stderr
    rows = recorded(place / "runs")
    assert len(rows[0]) > 5
    return rows


def test_the_command_gives_the_numbers_of_the_script_and_runs_sweeps(tmp_path, expected):
    sweep = run_package(*TINY, "-m", "seed=2,3", "folder=package", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    other, same = sorted((tmp_path / "package").glob("*-sweep/*compare*"))
    assert recorded(same) == expected
    assert recorded(other) != expected
    assert [json.loads((run / "provenance.json").read_text())["command"].split()[1:] for run in (other, same)] == [
        [*TINY[1:], f"seed={seed}", "folder=package"] for seed in (2, 3)
    ]
    assert "compare: 2 runs in 1 group" in sweep.stdout, "a sweep ends by collecting its jobs"
    (table,) = (tmp_path / "package").glob("*-sweep/*-collect/tables/runs.json")
    assert [row["seed"] for row in json.loads(table.read_text())] == [2, 3]


def test_collecting_no_runs_is_a_user_error(tmp_path):
    result = run_package("collect", "nothere", "runs*", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: No finished run with results was found in nothere, runs*.")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a wheel, and return it with a function that runs a command of its environment from an empty folder.

    The environment has the libraries of this one, without its metalearn, and refuses to open a file of the checkout.
    """
    place = tmp_path_factory.mktemp("wheel")
    run = lambda *command: subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place))
    (wheel,) = place.glob("*.whl")
    venv.create(place / "environment", symlinks=True)
    python = place / "environment" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel))
    (packages,) = (place / "environment").glob("lib/python*/site-packages")
    programs = str(ROOT / ".jax_cache")
    libraries = sysconfig.get_path(
        "purelib"
    )  # a folder named in a .pth file is searched; its own .pth files are not read
    (packages / "watch.py").write_text(NO_CHECKOUT.format(root=str(ROOT), allowed=(libraries, programs)))
    (packages / "test.pth").write_text(f"{libraries}\nimport watch\n")
    (place / "empty").mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean["JAX_COMPILATION_CACHE_DIR"] = programs

    def command(name, *arguments):
        program = [str(python.with_name(name)), *arguments]
        return subprocess.run(program, capture_output=True, text=True, cwd=place / "empty", env=clean, check=False)

    return wheel, command, place / "empty"


def test_the_wheel_contains_experiments_and_configurations(installed):
    wheel, command, _ = installed
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("experiments", "*.py"), ("configs", "*.yaml")):
        files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern)]
        assert files
        assert {f"metalearn/{path}" for path in files} <= names
    assert not any(name.startswith(("experiments", "configs", "tests", "benchmarks")) for name in names)
    told = command("python", "-c", "import metalearn; print(metalearn.__file__)")
    assert pathlib.Path(told.stdout.strip()).is_relative_to(wheel.parent), told.stderr
    opened = command("python", "-c", f"open({str(ROOT / 'README.md')!r})")
    assert "a file of the checkout" in opened.stderr


def test_the_command_of_the_wheel_lists_every_experiment(installed):
    _, command, _ = installed
    for told in (command("python", "-m", "metalearn"), command("metalearn", "--help")):
        assert told.returncode == 0, told.stderr
        assert sorted(line.split()[0] for line in told.stdout.splitlines() if line.startswith("  ")) == sorted(
            EXPERIMENTS + COMMANDS
        )


def test_an_experiment_of_the_wheel_gives_the_numbers_of_the_checkout(installed, expected):
    _, command, empty = installed
    told = command("metalearn", *TINY, "seed=3")
    assert told.returncode == 0, told.stderr
    assert "Recorded in runs/" in told.stdout
    assert recorded(empty / "runs") == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_of_the_wheel_composes_its_configuration(installed, name):
    _, command, _ = installed
    told = command("python", "-m", "metalearn", name, "--help")
    assert told.returncode == 0, told.stderr
    assert "key=value" in told.stdout
    assert command("python", "-m", "metalearn", name, "nothing=1").returncode == 2
