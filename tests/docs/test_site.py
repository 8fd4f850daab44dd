"""The site as it is built: no link leads nowhere, nothing is asked of another site, the search knows every page."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}  # without being asked


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = {""}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found.get("id", ""), found.get("name", "")}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in LOADED and LOADED[tag] in found:
            self.loads.append(found[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a build with warnings as errors."""
    pytest.importorskip("mkdocs", reason="needs mkdocs: pip install 'anatomark[docs]'")
    pytest.importorskip("mkdocstrings", reason="needs mkdocstrings: pip install 'anatomark[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_no_link_leads_nowhere(pages):
    broken = []
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_nothing_is_asked_of_another_site(site, pages):
    assert [link for page in pages.values() for link in page.loads if urlsplit(link).netloc] == []
    for style in site.rglob("*.css"):
        asked = re.findall(r"(?:url\(|@import )[\"']?(?!data:|#)([^\"')]+)", style.read_text(encoding="utf-8"))
        assert [link for link in asked if urlsplit(link).netloc] == [], style.name


def test_the_search_knows_every_page(site, pages):
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    known = {entry["location"].partition("#")[0] or "index.html" for entry in found}
    assert known == {str(path.relative_to(site)) for path in pages}
    assert (site / "search" / "search_index.js").is_file(), "what the search reads where pages are opened as files"


def test_python_names_are_described(pages):
    (api,) = (page for path, page in pages.items() if path.name == "api.html")
    assert {
        "anatomark.core.grid.Grid",
        "anatomark.training.train.train",
        "anatomark.model.Model.predict",
    } <= api.anchors
