"""What Sphinx is told of the site; `docs/website.py` copies it beside the pages."""

import sys
from pathlib import Path
from typing import Any

project = "segzoo"
author = "The segzoo developers"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "segzoo"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0f6b63", "color-brand-content": "#0f6b63"},
    "dark_css_variables": {"color-brand-primary": "#62c4b6", "color-brand-content": "#62c4b6"},
}
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
exclude_patterns: list[str] = []


def setup(app: Any) -> None:
    """Docstrings are plain text; see `website.as_rst`."""
    sys.path.insert(0, str(Path(__file__).parent))
    from website import as_rst

    def told(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
        lines[:] = as_rst(lines)

    app.connect("autodoc-process-docstring", told)
