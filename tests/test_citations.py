"""Every document, section and link that code and documentation cite exists."""

import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CODE = ("metalearn/**/*.py", "tests/**/*.py", "experiments/**/*.py", "benchmarks/**/*.py")
PROSE = ("*.md", "docs/**/*.md", "configs/**/*.yaml", "pyproject.toml", "Makefile")
GENERATED = {path for folder in ("api", "_build") for path in (ROOT / "docs" / folder).rglob("*.md")}  # by make docs
FILES = sorted({path for pattern in CODE + PROSE for path in ROOT.glob(pattern)} - {pathlib.Path(__file__)} - GENERATED)
SECTION = r"§\s*(\d+(?:\.\d+)*)"
CITATION = re.compile(rf"(?<![\w./}}-])((?:\.\.?/)*\w[\w./-]*\.md)\b((?:(?:,|\s+and|\s+to)?\s*{SECTION})*)")
LINK = re.compile(r"\]\(([^()\s]+)\)")


@functools.cache
def headings(path):
    """Return the headings of a Markdown document, without those in code."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def sections(path):
    return {found[1] for heading in headings(path) if (found := re.match(r"(\d+(?:\.\d+)*)\.? ", heading))}


def anchors(path):
    """Return the anchors that GitHub makes from the headings. A repeated heading gets a number."""
    found = []
    for heading in headings(path):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return set(found)


def mistakes(path, text):
    """Yield the citations of a file whose target does not exist."""
    for name, cited, _ in CITATION.findall(text):
        places = [place for folder in (ROOT, ROOT / "docs", path.parent) if (place := folder / name).is_file()]
        if not places:
            yield f"there is no document {name}"
            continue
        missing = set(re.findall(SECTION, cited)) - sections(places[0])
        yield from (f"{name} has no section {section}" for section in sorted(missing))
    alone = set(re.findall(SECTION, CITATION.sub("", text)))
    own = sections(path) if path.suffix == ".md" else set()
    yield from (f"section {section} is of no document" for section in sorted(alone - own))
    for link in LINK.findall(text) if path.suffix == ".md" else ():
        yield from broken(path, link)


def broken(path, link):
    """Yield what is wrong with a link to a file of the repository, or to a heading."""
    if re.match(r"[a-z]+:", link):
        return
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    if not target.exists():
        yield f"the link {link} leads to no file"
    elif anchor and anchor not in anchors(target):
        yield f"the link {link} leads to no heading"


def test_every_cited_document_and_section_exists():
    found = [f"{path.relative_to(ROOT)}: {what}" for path in FILES for what in mistakes(path, path.read_text())]
    assert len(FILES) > 200
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "as derived in made_up.md",
        "as derived in docs/made_up.md §1.1",
        "docs/theory.md §99.9",
        "(theory.md\n    §4.3 and §4.99)",
        "theory.md §1.1, §77",
        "see §99.9",
        "[a link](docs/made_up.md)",
        "[a link](docs/theory.md#made-up)",
        "[a link](#made-up)",
        "![a picture](docs/images/made_up.png)",
    ],
)
def test_a_made_up_citation_is_found(text):
    assert len(list(mistakes(ROOT / "README.md", text))) >= 1


def test_existing_citations_pass():
    text = "docs/theory.md §4.3 and §4.4, theory.md §2; [there](docs/theory.md#25-artbp), [out](https://example.org#a)"
    assert not list(mistakes(ROOT / "README.md", text))
    assert not list(mistakes(ROOT / "metalearn" / "file.py", "docs/theory.md §5.1"))
    assert list(mistakes(ROOT / "metalearn" / "file.py", "§5.1"))
