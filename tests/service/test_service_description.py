"""The OpenAPI description tells the truth, and the page that shows it needs nobody else."""

import re
from html.parser import HTMLParser

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks


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


@pytest.mark.slow
def test_nobody_finds_an_answer_that_is_not_described(service):
    """schemathesis asks whatever the description allows, and what it does not.

    Left out is one of its checks: that a body which the schema allows is accepted. No schema can say which bytes are an
    image and which names a model has.
    """
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]
    assert len(checks) >= 8
    schema = schemathesis.openapi.from_dict(service.client.get("/openapi.json").json())
    schema.config.update(base_url=service.url)
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @schemathesis_given(operation)
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks, timeout=60)

        ask()
    assert asked > 50


def schemathesis_given(operation):
    from hypothesis import given
    from hypothesis import strategies as st

    both = st.one_of(
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
    )
    return given(case=both)
