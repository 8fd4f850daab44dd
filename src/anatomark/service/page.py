"""The page that documents the service: made from its OpenAPI description, without scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
COMMON_REFUSALS = {  # that every path may answer
    "401": "token missing or wrong, if there is one",
    "403": "Host or Origin of another site",
    "408": "body sent too slowly",
    "413": "body too large",
}


def page(api: Mapping[str, Any], models: list[Mapping[str, Any]]) -> tuple[str, str]:
    """(HTML, its Content-Security-Policy) for an OpenAPI description and the models that are served."""
    import jinja2
    from markupsafe import Markup

    style = (_HERE / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    html = template.render(api=api, models=models, common_refusals=COMMON_REFUSALS, style=Markup(style))
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy
