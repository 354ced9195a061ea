"""Pages of the API reference, made from the public names, their docstrings and the examples of the guides."""

import ast
import functools
import importlib
import inspect
import pathlib
import re

HERE = pathlib.Path(__file__).parent
NAMESPACES = {  # a page each, with its title
    "": "metalearn",
    "problems": "Problems",
    "data": "Data",
    "metrics": "Metrics",
    "hyperparameters": "Hyperparameters",
    "learned": "Learned optimisers",
    "estimators": "Writing estimators",
    "outer": "Results of the outer loop",
    "diagnosis": "Diagnosis",
    "search": "Search",
    "dynamics": "Dynamics",
    "landscape": "Landscapes",
    "testing": "Testing",
    "callbacks": "Callbacks",
    "recording": "Recording",
    "figures": "Figures",
    "explain": "Explanations",
    "reproductions": "Reproductions",
    "application": "Applications",
}
SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Warns|Yields|References|Example|Examples|Sources?):$")
DOCUMENT = re.compile(r"`?docs/(\w+)\.md`?(?:\s+§\s*(\d+(?:\.\d+)*))?")
MOST_LINES = 12


@functools.cache
def module(namespace):
    return importlib.import_module(f"metalearn.{namespace}".rstrip("."))


def is_module(value):
    return inspect.ismodule(value)


def public_names(namespace):
    """Return the public names of a namespace that are not modules."""
    found = module(namespace)
    names = [*found.__all__, *(["cache_programs"] if not namespace else [])]
    return sorted((name for name in names if not is_module(getattr(found, name))), key=str.lower)


def missing_namespaces():
    """Return the public modules of metalearn without a page."""
    found = module("")
    return {name for name in dir(found) if is_module(getattr(found, name))} & {*found.__all__, *found._MORE} - {
        *NAMESPACES
    }


@functools.cache
def examples():
    """Return the shortest statement of the guides that uses each name, as `{"landscape.Plane": (page, code)}`."""
    found = {}
    for page in [*sorted(HERE.glob("*.md")), *sorted((HERE / "notebooks").glob("*.md"))]:
        blocks = re.findall(
            r"^```(?:python|\{code-cell\}[^\n]*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        )
        for block in blocks:
            body = re.sub(r"\A(?:---.*?---\n|:[^\n]*\n)+", "", block, flags=re.DOTALL)
            for statement in ast.parse(re.sub(r"^%.*$", "", body, flags=re.MULTILINE)).body:
                code = ast.get_source_segment(body, statement) or ""  # the same lines: a magic became an empty one
                for name in re.findall(r"\bml\.((?:[a-z_]+\.)?\w+)", code):
                    place = page.relative_to(HERE).as_posix()
                    if len(code.splitlines()) <= MOST_LINES and len(code) < len(found.get(name, (0, code + " "))[1]):
                        found[name] = place, code
    return found


def example(full):
    """Return the lines of an example and of the page from which it is, or nothing."""
    page, code = examples().get(full, ("", ""))
    lines = [
        "",
        "",
        f"Example, from [{page.removesuffix('.md')}](/{page}):",
        "",
        "```python",
        *code.splitlines(),
        "```",
    ]
    return lines if page else []


def entry(namespace, name):
    """Return the directive of one name: a function, a class, a constant, or a link where a name is public twice."""
    full, value = f"metalearn.{namespace}.{name}".replace("..", "."), getattr(module(namespace), name)
    if namespace and name in module("").__all__:
        return f".. py:data:: {full}\n   :no-index:\n\n   The same as :py:obj:`metalearn.{name}`.\n"
    if inspect.isclass(value):
        return f".. autoclass:: {full}\n   :members:\n"
    if inspect.isroutine(value) or (callable(value) and getattr(value, "__wrapped__", None)):
        return f".. autofunction:: {full}\n"
    what = f"A {type(value).__name__}"
    if isinstance(value, dict):
        what = "A dictionary with the keys " + ", ".join(f"``{key}``" for key in value)
    elif isinstance(value, str | tuple):
        what = f"The value is ``{value!r}``"
        what = what if len(what) < 200 and " at 0x" not in what else f"A {type(value).__name__} of {len(value)} entries"
    return f".. py:data:: {full}\n\n   {what}.\n"


def introduction(namespace):
    return inspect.getdoc(module(namespace)) or ""


def page(namespace):
    """Return the text of the page of a namespace."""
    spelt = f"ml.{namespace}".rstrip(".")
    parts = [f"# {NAMESPACES[namespace]}: `{spelt}`" if namespace else "# `metalearn`", linked(introduction(namespace))]
    parts += ["```{eval-rst}\n" + entry(namespace, name) + "```" for name in public_names(namespace)]
    return "\n\n".join(parts) + "\n"


def linked(text):
    """Turn `docs/theory.md §2.7` into a link to this section."""

    def link(match):
        document, section = match[1], match[2]
        source = HERE / f"{document}.md"
        if not source.exists():
            return match[0]
        heading = (
            re.search(rf"^#+ ({re.escape(section)}\.? .*)$", source.read_text(), re.MULTILINE) if section else None
        )
        if heading is None:
            return f"[{document}](/{document}.md)"
        anchor = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
        return f"[{document} §{section}](/{document}.md#{anchor})"

    return DOCUMENT.sub(link, text)


def markdown(lines):
    """Return the Markdown of a docstring: its sections of arguments become lists, formulas stay indented."""
    found, inside = [], False
    for line in lines:
        if SECTION.match(line):
            found, inside = [*found, "", f"**{line[:-1]}**", ""], True
        elif inside and line and not line.startswith(" "):
            found, inside = [*found, "", line], False
        elif inside and re.match(r"  \S", line):
            name, colon, rest = line.strip().partition(": ")
            named = colon and re.fullmatch(r"[\w*]+(?:, [\w*]+)*", name)
            found.append(
                f"* `{name}`: {rest}"
                if named
                else f"  {line.strip()}"
                if found[-1].startswith(("* ", "  "))
                else line.strip()
            )
        else:
            found.append(line)
    return linked("\n".join(found)).splitlines()


def process_docstring(app, what, name, value, options, lines):
    """Hand a docstring to the Markdown parser, with an example."""
    text = [*markdown(lines), *example(name.removeprefix("metalearn."))]
    lines[:] = [".. markdown::", "", *("   " + line for line in text), ""]


def skip_member(app, what, name, value, skip, options):
    """Leave out the fields of named tuples, which the section of attributes describes."""
    return True if type(value).__name__ == "_tuplegetter" else skip


def write_pages(app):
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for namespace in NAMESPACES:
        file, text = folder / f"{namespace or 'metalearn'}.md", page(namespace)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def unexplained(app, env):
    """Warn of every public name that the built reference lacks."""
    from sphinx.util import logging

    objects = {name for name, *_ in env.get_domain("py").get_objects()}
    for namespace in NAMESPACES:
        for name in public_names(namespace):
            full = f"metalearn.{namespace}.{name}".replace("..", ".")
            if not {full, f"metalearn.{name}"} & objects:
                logging.getLogger(__name__).warning("The reference has no entry for %s.", full)


def setup(app):
    from docutils.utils import new_document
    from myst_parser.parsers.sphinx_ import MystParser
    from sphinx.util.docutils import SphinxDirective

    class Markdown(SphinxDirective):
        has_content = True

        def run(self):
            document = new_document(self.state.document["source"], self.state.document.settings)
            MystParser().parse("\n".join(self.content), document)
            return document.children

    app.add_directive("markdown", Markdown)
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("env-check-consistency", unexplained)
