"""Settings of the documentation site: `make docs`."""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

project = "metalearn"
author = "The metalearn authors"
copyright = author
release = version = re.findall(r'__version__ = "(.*)"', (HERE.parent / "metalearn/version.py").read_text())[0]

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "results"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# A notebook runs when the site is built, and an error ends the build. What has run is kept until the notebook changes.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build/notebooks")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is loaded from elsewhere

autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_title = f"metalearn {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the side bar has a search field
}


def setup(app):
    """Write the pages of the reference, and read docstrings as the Markdown that they are."""
    reference.setup(app)
