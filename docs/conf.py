"""Configuration of the documentation site: `make docs` builds it into `site/`, without a network.

The pages are Markdown (MyST). The API reference is made from the docstrings, which are written in
Google style with single backticks for code.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
sys.path.insert(0, str(Path(__file__).parents[1]))

import medusis_tf

project = "medusis_tf"
author = "The medusis_tf authors"
release = version = medusis_tf.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"medusis_tf {release}"

# Markdown: headings are link targets, as on GitHub.
myst_heading_anchors = 4
myst_links_external_new_tab = True

# Docstrings: Google sections, members in the order of the source.
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_include_init_with_doc = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "notes_style")]
templates_path = ["_templates"]

# Every link and reference of the pages must be right (`-W`). Types in signatures name classes of
# other packages, whose documentation an offline build cannot read.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = ["misc.highlighting_failure"]  # Pygments has no lexer for CSV


def setup(app: Any) -> None:
    """Convert docstrings before napoleon reads them."""
    app.connect("autodoc-process-docstring", _code_spans, priority=400)


def _code_spans(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn `code` into reStructuredText on one line, so that a colon in it does not end a type."""
    spans = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)*)`(?!`)")
    text = spans.sub(lambda span: f"``{' '.join(span[1].split())}``", "\n".join(lines))
    lines[:] = text.split("\n")
