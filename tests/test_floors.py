"""The structure: imports lead to lower layers without cycles, layers 0 to 3 are pure, and code is short.

A layer is a set of files that import only files of lower layers. `LAYERS` states the order of the whole package.
"""

import ast
import collections
import graphlib
import pathlib
import subprocess
import sys

import pytest

import metalearn.types

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "metalearn"
LAYERS = {  # a file belongs to the longest of these names that its own name begins with
    "brief": 0,
    "debugging": 0,
    "heartbeat": 0,
    "intervals": 0,
    "exit_codes": 0,
    "large_constants": 0,
    "memoization": 0,
    "operations": 0,
    "threads": 0,
    "types": 0,
    "version": 0,
    "words": 0,
    "typeset": 0,
    "tabular": 0.1,
    "trees": 0.1,
    "compilation": 0.2,
    "inner": 1,
    "inner.learned": 1.1,
    "inner.training": 1.2,
    "inner.problems": 1.3,
    "data": 1.9,
    "hyperparameters": 1.9,
    "learned": 1.9,
    "metrics": 1.9,
    "problems": 1.9,
    "dynamics": 2,
    "estimators": 2,
    "landscape": 2,
    "outer.dominance": 2.9,
    "outer.outer_steps": 3.05,
    "outer.held_out": 3,
    "outer.history_rows": 2.9,
    "outer.history": 3,
    "outer.meta_train_checks": 3.05,
    "outer.readings": 3.05,
    "outer.stopping": 2.9,
    "outer.theta_history": 3,
    "outer.observables": 3,
    "outer.one_world": 3.1,
    "outer.meta_train": 3.1,
    "outer.comparison": 3.2,
    "outer.search": 3.2,
    "outer.study": 3.3,
    "outer.trajectories": 3.2,
    "outer.turning_point": 3.3,
    "outer.evaluation": 3.3,
    "outer.diagnosis": 3.4,
    "outer": 3.8,  # the file of its public names
    "diagnosis": 3.9,
    "search": 3.9,
    "recording": 4,
    "callbacks": 4.1,
    "testing": 4,
    "usage": 4,
    "figures": 5,
    "application": 6,
    "explain": 7,
    "explorer": 7,
    "reproductions": 7,
    "studies": 7,
    "api": 8,
    "__main__": 8,
    "": 9,
}
SIDE_EFFECTS = {
    "wandb",
    "matplotlib",
    "hydra",
    "omegaconf",
    "rich",
    "urllib",
    "socket",
    "pathlib",
    "os",
    "subprocess",
    "logging",
}
# Results have methods `.plot()` and `.to_csv(path)`: one file of layer 0 imports figures and recording inside functions.
EXCEPTIONS = {"tabular": {"metalearn.figures", "metalearn.recording.save_result", "pathlib.Path"}}
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_ALIKE = 250, 50, 9


def module_name(path):
    """Return the name of a file below the package, such as "inner.problem"; a package has the name of its folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def layer_of(name):
    """Return the longest key of LAYERS that is the name or one of its parents."""
    parts = name.split(".")
    return next(layer for n in range(len(parts), -1, -1) if (layer := ".".join(parts[:n])) in LAYERS)


def imports(tree):
    """Return the full names that a file imports, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(source, name):
    """Return the imports of a file that are not allowed for its name."""
    found, own = [], layer_of(name)
    for imported in set(imports(ast.parse(source))) - EXCEPTIONS.get(name, set()):
        first, _, rest = imported.partition(".")
        other = layer_of(rest)
        if first == "metalearn":
            found += [imported] * (other != own and LAYERS[other] >= LAYERS[own])
        elif LAYERS[own] < 4 and first in SIDE_EFFECTS:
            found.append(imported)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_lead_to_lower_layers_only_and_lower_layers_have_no_side_effects(path):
    assert violations(path.read_text(), module_name(path)) == []


def test_every_file_has_a_layer():
    assert [name for name in map(module_name, FILES) if layer_of(name) == "" != name] == []


def test_a_wrong_import_is_detected():
    assert violations("from metalearn.outer import compare", "estimators.base")
    assert violations("from metalearn.landscape import Plane", "estimators.base")
    assert violations("from metalearn.inner.problems import julia", "inner.training.task")
    assert violations("from metalearn import search", "outer.search.evolve")
    assert violations("import metalearn as ml", "explain.study")
    assert violations("import wandb", "outer.history")
    assert not violations("from metalearn.inner.problem import InnerProblem", "estimators.base")
    assert not violations("from metalearn.inner.training.task import Task", "inner.problems.ready_made")


def test_there_are_no_cyclic_imports():
    names = {module_name(path): path for path in FILES}
    graph = {}
    for name, path in names.items():
        needed = set(imports(ast.parse(path.read_text()))) - EXCEPTIONS.get(name, set())
        below = [one.partition(".")[2] for one in needed if one.startswith("metalearn")]
        graph[name] = {one if one in names else one.rpartition(".")[0] for one in below} - {name, ""}
    graphlib.TopologicalSorter(graph).prepare()


def sources(*folders):
    return {path: path.read_text() for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))}


def without_docstring(node):
    first = node.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return node.body[1:] if text else node.body


def test_files_and_functions_are_short():
    long = []
    for path, source in sources("metalearn", "experiments").items():
        long += [str(path)] * (len(source.splitlines()) > MOST_LINES)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (body := without_docstring(node)):
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
                long += [f"{path}: {node.name} has {lines} lines"] * (lines > MOST_LINES_OF_A_FUNCTION)
    assert long == []


def code_lines(source):
    """Yield `(number, text)` of lines of code, except comments, docstrings, imports, arguments and lists of names."""
    lines, tree = dict(enumerate(map(str.strip, source.splitlines()), 1)), ast.parse(source)
    for node in ast.walk(tree):
        skipped = isinstance(node, ast.Import | ast.ImportFrom | ast.arg)
        skipped |= isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        skipped |= isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if skipped:
            first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", 0)
            for number in range(first, last + 1):
                lines.pop(number, None)
    return [(number, text) for number, text in lines.items() if text and not text.startswith("#")]


def repeated(files):
    """Return the places of ten consecutive lines of code that occur elsewhere as well."""
    seen = collections.defaultdict(list)
    for path, source in files.items():
        lines = code_lines(source)
        for start in range(len(lines) - MOST_ALIKE):
            part = lines[start : start + MOST_ALIKE + 1]
            seen["\n".join(text for _, text in part)].append(f"{path}:{part[0][0]}")
    return [places for places in seen.values() if len(places) > 1]


def test_no_ten_lines_of_code_are_repeated():
    assert repeated(sources("metalearn", "experiments", "benchmarks")) == []
    twice = "\n".join(f"x = {number}" for number in range(10))
    assert repeated({"a": twice, "b": f"import y\n\n{twice}"}) == [["a:1", "b:3"]]


def test_shared_types_are_defined_once_and_progress_has_one_protocol():
    shared = set(vars(metalearn.types)) & {"Key", "Params", "Progress", "Scalar", "State", "Theta"}
    assert len(shared) == 6
    again = []
    for path, source in sources("metalearn", "experiments", "benchmarks").items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign) and {ast.unparse(one) for one in node.targets} & shared:
                again += [f"{path}:{node.lineno}"] * (path.name != "types.py")
            if isinstance(node, ast.arg) and node.arg == "progress" and node.annotation is not None:
                again += [f"{path}:{node.lineno}"] * ("Progress" not in ast.unparse(node.annotation))
    assert again == []


def test_heavy_libraries_are_imported_only_where_they_are_used():
    names = ("wandb", "matplotlib", "sklearn", "hydra", "rich", "flax", "orbax", "evosax")
    code = (
        f"import sys, metalearn; print('jax' in sys.modules, metalearn.compare.__name__, "
        f"[m for m in {names} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False compare []"


def test_explain_does_not_import_hydra():
    names = [name for path in (PACKAGE / "explain").glob("*.py") for name in imports(ast.parse(path.read_text()))]
    assert "metalearn.figures.Section" in names
    assert not [name for name in names if name.startswith(("hydra", "omegaconf", "metalearn.application"))]
