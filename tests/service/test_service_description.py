"""The OpenAPI description tells the truth, and the page that shows it needs nobody else."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest


def test_the_page_shows_every_path_and_asks_nobody_else(service):
    answer = service.client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    text = answer.text
    for path in service.client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in text
    seen = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append(tag)
            for name, value in attrs:
                if name in ("href", "src", "srcset", "action"):
                    assert value == "/openapi.json"

    Links().feed(text)
    assert {"link", "script", "img", "iframe"}.isdisjoint(seen)
    assert "url(" not in text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "undefined" not in text.lower()


def test_the_pages_style_is_the_one_that_its_policy_allows(service):
    import base64
    import hashlib

    answer = service.client.get("/")
    style = re.search(r"<style>(.*)</style>", answer.text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


def test_no_page_that_fetches_its_scripts_elsewhere_is_there(service):
    for path in ("/docs", "/redoc"):
        assert service.client.get(path).status_code == 404


# Left out is the check that a body which the schema allows is accepted: no schema can say which bytes are an image.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false

[parameters]
"query.model" = "deep"
"""


@pytest.mark.slow
def test_nobody_finds_an_answer_that_is_not_described(service, tmp_path):
    """schemathesis asks whatever the description allows, and what it does not."""
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [Path(sys.executable).parent / "schemathesis", "--config-file", "schemathesis.toml", "run"]
    done = subprocess.run(
        [*command, f"{service.url}/openapi.json", "--max-examples", "8", "--seed", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Tested: 8" in done.stdout
