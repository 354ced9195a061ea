"""The documentation site: every public name has its entry, notebooks parse and name what exists, versions agree."""

import ast
import importlib.util
import pathlib
import re
import sys

import jax
import pytest

import metalearn as ml
from benchmarks import tables

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("reference")
    sys.path.remove(str(DOCS))


def cells(path):
    """Return the code of a notebook, without the magics of IPython."""
    return [re.sub(r"^%.*$", "", code, flags=re.MULTILINE) for code in CELL.findall(path.read_text())]


def unknown_names(source):
    """Return the names below `ml` that do not exist, and the modules that cannot be imported."""
    missing, tree = [], ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            missing += [name for name in names if importlib.util.find_spec(str(name)) is None]
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("ml."):
            found = ml
            for part in ast.unparse(node).split(".")[1:]:
                missing += [ast.unparse(node)] * (not hasattr(found, part))
                found = getattr(found, part, found)
    return missing


def test_every_public_name_is_in_the_reference(reference):
    assert reference.missing_namespaces() == set()
    pages = (DOCS / "reference.md").read_text()
    for namespace in reference.NAMESPACES:
        assert f"\napi/{namespace or 'metalearn'}\n" in pages
        text, prefix = reference.page(namespace), f"metalearn.{namespace}.".replace("..", ".")
        found = getattr(ml, namespace) if namespace else ml
        modules = {name for name in found.__all__ if isinstance(getattr(found, name), type(ast))}
        assert set(re.findall(rf":: {re.escape(prefix)}(\w+)$", text, re.MULTILINE)) >= {*found.__all__} - modules


def test_a_docstring_becomes_markdown(reference):
    lines = [
        "Return a.",
        "",
        "    x = 1",
        "",
        "Args:",
        "  a, b: of docs/theory.md \u00a72.7,",
        "    and more.",
        "",
        "End.",
    ]
    text = "\n".join(reference.markdown(lines))
    assert "**Args**" in text
    assert "* `a, b`: of [theory \u00a72.7](/theory.md#27-generalised-persistent-es)," in text
    assert text.endswith("\nEnd.")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_parses_and_its_names_exist(path):
    assert len(NOTEBOOKS) == 5
    assert path.read_text().startswith("---\n")
    assert len(cells(path)) >= 5
    assert unknown_names("\n".join(cells(path))) == []


def test_a_name_that_does_not_exist_is_detected():
    assert unknown_names("ml.landscape.nothing(1)") == ["ml.landscape.nothing"]
    assert unknown_names("import no_such_module") == ["no_such_module"]


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    names = {}
    with jax.numpy_rank_promotion("allow"):
        for code in cells(path):
            exec(code, names)


def test_the_page_of_results_contains_every_table():
    assert (DOCS / "results.md").read_text() == tables.results_page(), "python -m benchmarks.tables makes it again"


def test_the_gallery_names_commands_that_exist():
    commands = re.findall(r"^    python (?:-m )?(\S+)", (DOCS / "gallery.md").read_text(), re.MULTILINE)
    assert len(commands) >= 12
    for command in commands:
        assert (ROOT / command).exists() or (ROOT / f"{command.replace('.', '/')}.py").exists()


def test_the_version_is_written_in_one_place_and_agrees_with_what_is_cited():
    assert f"version: {ml.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{ml.__version__}}}" in (DOCS / "citing.md").read_text()
    assert re.search(rf"^## \[{re.escape(ml.__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_requirements_have_hashes_and_no_addresses():
    text = (ROOT / "requirements-docs.txt").read_text()
    assert not re.search(r"https?:|file:|--index-url|^-e", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 50
    assert "\nsphinx==" not in (ROOT / "requirements.txt").read_text()
