"""Whether the only image of a folder is a stack of pictures: landmarks name its pages by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anatomark.data.case_list import named_pages
from anatomark.data.discover import exports_in
from anatomark.data.discover_formats import FoundExport
from anatomark.errors import AnatomarkError


def find_stack(folder: Path, cases: Mapping[str, Path]) -> tuple[dict[str, Path], list[FoundExport]]:
    """{case name: file} of the pages, and the landmark files that call them 1, 2 ...; nothing where there are none."""
    if len(cases) != 1:
        return {}, []
    ((name, path),) = cases.items()
    try:
        pages = named_pages(path, name)
    except AnatomarkError:
        return {}, []
    if len(pages) < 2:
        return {}, []
    exports = exports_in(folder, {case: path.with_name(str(page)) for case, page in pages})
    return ({case: path for case, _ in pages}, exports) if exports else ({}, [])
