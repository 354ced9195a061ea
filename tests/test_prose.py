"""The prose is plain English: no removed phrases, docstrings that begin with a verb and name arguments."""

import ast
import inspect
import pathlib
import re

import pytest

import metalearn as ml

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = [path for folder in ("metalearn", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PHRASES = {  # phrase -> what to write
    r"(?<!there )\b(?:is|are) no (?!longer|more|less|larger|smaller|better|worse)": "is not a",
    r"\b(?:whatever|whoever)\b": "any, or regardless of",
    r"\b(?:is|are) told\b": "is given, receives",
    r"\bwhere there (?:is|are) (?:one|none|any|several)\b": "if there is one",
    r"\bwhere it has (?:one|none)\b": "if it has one",
    r"\bderivatives? of [^.;:]{1,60} by (?:θ|theta|its|the (?:state|hyperparameters))\b": "with respect to",
    r"\bFloor \d": "what the package contains",
    r"\bAlong [xy] is\b": "The x axis is",
    r"a sentence that names the argument": "what is refused",
    r"\bthere is not\b(?=[,.;])": "does not exist",
}
GROUPS = (
    "callbacks", "data", "diagnosis", "dynamics", "estimators", "figures", "hyperparameters", "landscape", "learned",
    "metrics", "outer", "problems", "recording", "search", "testing",
)  # fmt: skip
NOUN = re.compile(r"(?:The|A|An|Whether|What|Why|Where|Which|How|Who|Refuse)\b")


@pytest.mark.parametrize("phrase", PHRASES)
def test_removed_phrases_do_not_occur(phrase):
    pattern = re.compile(phrase, re.IGNORECASE if phrase.islower() else 0)
    found = []
    for path in [*SOURCES, *DOCUMENTS]:
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        text = re.sub(r"\s+", " ", text)
        found += [
            f"{path.relative_to(ROOT)}: …{text[max(one.start() - 40, 0) : one.end() + 20]}…"
            for one in pattern.finditer(text)
        ]
    assert not found, f"write: {PHRASES[phrase]}\n" + "\n".join(found)


def test_docstrings_of_functions_begin_with_a_verb():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and NOUN.match(text := ast.get_docstring(node) or ""):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)


def docstring_lines(source):
    """Yield the number and the text of every line of the docstrings of a file."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((number, lines[number - 1]) for number in range(node.lineno, (node.end_lineno or 0) + 1))


def test_docstrings_have_at_most_120_columns():
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    found = [
        f"{path}:{number}" for path, text in texts.items() for number, line in docstring_lines(text) if len(line) > 120
    ]
    assert not found, "\n".join(found)
    assert [number for number, line in docstring_lines(f'def f():\n    """{"x" * 120}"""\n') if len(line) > 120] == [2]


def test_docstrings_of_public_functions_name_every_argument():
    found, namespaces = [], [ml, *(getattr(ml, group) for group in GROUPS)]
    for namespace, name in [(space, name) for space in namespaces for name in space.__all__]:
        function = getattr(namespace, name)
        text = inspect.getdoc(function) or ""
        if inspect.isfunction(function) and not re.search(r"[Aa]rguments( and errors)? are those of", text):
            missing = [one for one in inspect.signature(function).parameters if not re.search(rf"\b{one}\b", text)]
            found += [f"{namespace.__name__}.{name}: {missing}"] * bool(missing)
    assert not found, "\n".join(found)


def test_the_patterns_match_the_forbidden_phrases():
    assert all(
        any(re.search(phrase, text) for phrase in PHRASES)
        for text in ("a map is no problem", "whatever it is", "a particle is told", "the derivative of its end by θ")
    )
    assert NOUN.match("The study of a name")
    assert not NOUN.match("Return the study of a name")


def test_prose_of_the_documentation_has_at_most_100_columns():
    """Code blocks, generated tables and pictures may be wider, and so may one piece of code that cannot be broken."""
    wide = []
    for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/notebooks/*.md")]:
        fenced = False
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.startswith(("```", ":::", "<!-- table", "<!-- end of table"))
            if not fenced and len(line) > 100 and not line.startswith(("|", "![", "`", "    ")):
                wide.append(f"{file.name}:{number}")
    assert not wide
