"""How pages are made from templates."""

from __future__ import annotations

from pathlib import Path

import jinja2


def page_templates() -> jinja2.Environment:
    """The templates of this package's pages: text is escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
