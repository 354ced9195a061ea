"""Imports go down only, floors 0 to 3 are pure, and the import of the package is light."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "metalearn"
FLOORS = {
    "trees": 0,
    "words": 0,
    "threads": 0,
    "heartbeat": 0,
    "memoization": 0,
    "operations": 0,
    "intervals": 0,
    "debugging": 0,
    "compilation": 0.5,
    "inner": 1,
    "inner.learned": 1.1,
    "inner.training": 1.2,
    "inner.problems": 1.3,
    "estimators": 2,
    "dynamics": 2,
    "landscape": 2,
    "outer": 3,
    "testing": 4,
    "recording": 4,
    "figures": 5,
    "application": 6,
    "explain": 7,
    "reproductions": 7,
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
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(source, room):
    """What a file of a room imports and should not."""
    found = []
    for name in imports(ast.parse(source)):
        parts = name.split(".")
        if parts[0] == "metalearn" and len(parts) > 1 and parts[1] in FLOORS:
            other = parts[1]
            if other != room and FLOORS[other] >= FLOORS[room]:
                found.append(name)
        elif FLOORS[room] < 4 and parts[0] in SIDE_EFFECTS:
            found.append(name)
    return found


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.parent != PACKAGE or f.stem in FLOORS], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_go_down_only_and_lower_floors_have_no_side_effects(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert violations(path.read_text(), room) == []


def test_the_test_sees_a_wrong_import():
    assert violations("from metalearn.outer import compare", "estimators")
    assert violations("from metalearn.landscape import Plane", "estimators")
    assert violations("import wandb", "outer")
    assert not violations("from metalearn.inner.problem import Key", "estimators")


def test_heavy_libraries_are_imported_only_where_they_are_used():
    names = ("wandb", "matplotlib", "sklearn", "hydra", "rich", "flax", "orbax", "evosax")
    code = (
        f"import sys, metalearn; print('jax' in sys.modules, metalearn.compare.__name__, "
        f"[m for m in {names} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False compare []"


def test_the_report_is_computed_without_a_configuration():
    names = [name for path in (PACKAGE / "explain").glob("*.py") for name in imports(ast.parse(path.read_text()))]
    assert "metalearn.figures" in names
    assert not [name for name in names if name.startswith(("hydra", "omegaconf", "metalearn.application"))]
