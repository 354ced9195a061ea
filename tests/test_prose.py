"""The prose is plain English: removed phrases do not occur, and docstrings begin with a verb."""

import ast
import pathlib
import re

import pytest

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


def test_the_patterns_match_the_forbidden_phrases():
    assert all(
        any(re.search(phrase, text) for phrase in PHRASES)
        for text in ("a map is no problem", "whatever it is", "a particle is told", "the derivative of its end by θ")
    )
    assert NOUN.match("The study of a name")
    assert not NOUN.match("Return the study of a name")
