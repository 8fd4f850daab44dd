"""What MkDocs does not do by itself: pages from outside docs/, and drawings that follow the colours of the page.

A relative link that leaves docs/ is followed: its target, and what that links to, becomes a part of the site below
`repository/`. So the same links work in the repository and on the site, and the site needs no other one.

A notebook is a Python script in cells (jupytext's "py:percent"); a link to one leads to a page with its cells, beside
which it lies as .ipynb.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository/"
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
IMAGE = re.compile(r'<img alt="([^"]*)" src="[^"]*drawings/(\w+)\.svg" */?>')
ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/notes.md")
NOTEBOOK = re.compile(r"examples/notebooks/\w+\.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of docs/, those that they link to elsewhere in the repository, and the assets of the site."""
    waiting = [*ALWAYS, *(f"docs/{file.src_uri}" for file in files if file.src_uri.endswith(".md"))]
    for path in waiting:  # grows while it is read
        if NOTEBOOK.fullmatch(path):
            for name, content in _notebook(path).items():
                files.append(File.generated(config, OUTSIDE + name, content=content))
        elif not path.startswith("docs/"):
            files.append(File.generated(config, OUTSIDE + path, abs_src_path=str(ROOT / path)))
        if path.endswith(".md") or NOTEBOOK.fullmatch(path):
            found = (_target(path, link[1]) for link in LINK.findall((ROOT / path).read_text(encoding="utf-8")))
            waiting += [
                target
                for target in dict.fromkeys(found)
                if target not in waiting and not target.startswith("docs/") and (ROOT / target).is_file()
            ]
    for asset in sorted((ROOT / "website" / "assets").iterdir()):
        files.append(File.generated(config, f"assets/{asset.name}", abs_src_path=str(asset)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with its links as the site has them."""
    source = page.file.src_uri
    path = source.removeprefix(OUTSIDE) if source.startswith(OUTSIDE) else f"docs/{source}"

    def changed(found: re.Match[str]) -> str:
        target = _target(path, found[2])
        if NOTEBOOK.fullmatch(target):
            target = target.removesuffix(".py") + ".md"
        there = target.removeprefix("docs/") if target.startswith("docs/") else OUTSIDE + target
        return found[1] + posixpath.relpath(there, posixpath.dirname(source) or ".") + found[3]

    return LINK.sub(changed, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Drawings as a part of the page, so that they have its colours in dark and light."""

    def drawn(found: re.Match[str]) -> str:
        svg = (ROOT / "docs" / "drawings" / f"{found[2]}.svg").read_text(encoding="utf-8")
        return svg.replace("<svg ", f'<svg aria-label="{found[1]}" ', 1)

    return IMAGE.sub(drawn, html)


def _target(path: str, link: str) -> str:
    """The path in the repository that a link on the page at `path` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _notebook(path: str) -> dict[str, str]:
    """{path: content} of the page and the .ipynb of a notebook."""
    notebook, name = jupytext.read(ROOT / path), path.removesuffix(".py")
    cells = [
        cell["source"] if cell["cell_type"] == "markdown" else f"```python\n{cell['source']}\n```"
        for cell in notebook["cells"]
    ]
    title, *rest = cells[0].split("\n", 1)
    download = f"[Download it as a Jupyter notebook]({posixpath.basename(name)}.ipynb), or run {path} as a script."
    page = "\n\n".join([title, download, *(text.strip() for text in rest), *cells[1:]])
    return {f"{name}.md": page + "\n", f"{name}.ipynb": jupytext.writes(notebook, fmt="ipynb")}
