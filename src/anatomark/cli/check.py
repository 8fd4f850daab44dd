"""anatomark check: find problems in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anatomark.data.findings import Finding

MAX_OF_A_KIND = 20


def check(
    dataset: Annotated[Path, typer.Argument(help="Description of the data set: dataset.yaml.")],
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Run or ready-made model whose predictions the references are compared with.")
    ] = None,
    folds: Annotated[
        Path | None, typer.Option(help="Instead of a model: a run with folds, by its out-of-fold predictions.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --model or --folds: folder for index.html, with pictures.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Device of the model.")] = Device.auto,
) -> None:
    """Find problems in a data set before training. The exit code is 1 if there are errors, else 0.

    With --model or --folds, also find references that are probably wrong: images that are mirrored, turned or of
    another scale, points far from the prediction, left and right exchanged, cases exchanged with each other.
    """
    import json

    from anatomark.data.check import check
    from anatomark.data.findings import LEVELS
    from anatomark.errors import SettingsError

    if model is not None and folds is not None:
        raise SettingsError("--model and --folds are both given; give one of them")
    if out is not None and model is None and folds is None:
        raise SettingsError("--out is for references that are checked by predictions; add --model RUN or --folds RUN")
    findings = check(dataset, root)
    if model is not None or folds is not None:
        findings += _references(dataset, model, folds, root, out, device)
        findings.sort(key=lambda finding: LEVELS.index(finding.level))
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        _show(findings, errors)
        if out is not None:
            print(out / "index.html")
    raise typer.Exit(1 if errors else 0)


def _references(
    dataset: Path, model: Path | None, folds: Path | None, root: Path | None, out: Path | None, device: Device
) -> list[Finding]:
    """References that are probably wrong, with a bar of progress on stderr: stdout may be JSON."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.evaluation.check_references import check_references

    console = Console(stderr=True)
    with Progress(transient=True, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("predicting", total=None)
        return check_references(
            dataset,
            model=model,
            folds=folds,
            root=root,
            out=out,
            device=device.value,
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
        )


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
