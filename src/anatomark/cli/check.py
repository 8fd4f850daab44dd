"""anatomark check: find problems in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anatomark.data.findings import Finding

MAX_OF_A_KIND = 20


def check(
    dataset: Annotated[Path, typer.Argument(help="Description of the data set: dataset.yaml.")],
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Find problems in a data set before training. The exit code is 1 if there are errors, else 0."""
    import json

    from anatomark.data.check import check

    findings = check(dataset, root)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        _show(findings, errors)
    raise typer.Exit(1 if errors else 0)


def _show(findings: Sequence[Finding], errors: int) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not any(finding.level != "note" for finding in findings):
        console.print("no problems found")
    if not findings:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "case", "problem", "what to do"):
        table.add_column(heading, overflow="fold")
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.code] += 1
        if shown[finding.code] <= MAX_OF_A_KIND:
            style = {"error": "red", "warning": "yellow"}.get(finding.level, "")
            table.add_row(
                Text(finding.level, style=style),
                Text(finding.case),
                Text(finding.message),
                Text(finding.advice),
            )
    console.print(table)
    for code, count in shown.items():
        if count > MAX_OF_A_KIND:
            console.print(f"... and {count - MAX_OF_A_KIND} more {code} findings; --json lists all")
    warnings = sum(finding.level == "warning" for finding in findings)
    console.print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    for file in sorted({finding.file for finding in findings if finding.landmark and finding.file})[:3]:
        console.print(Text(f"landmarks in {file}"), soft_wrap=True)
