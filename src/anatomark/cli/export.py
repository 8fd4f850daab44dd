"""anatomark export: a trained model for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Target(StrEnum):
    """onnx: graphs for ONNX Runtime; monai: a MONAI bundle around them."""

    onnx = "onnx"
    monai = "monai"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training, or name of a ready-made model.")],
    out: Annotated[Path, typer.Option(help="Folder to write, new or empty. It is itself a model: predict takes it.")],
    to: Annotated[
        Target, typer.Option(help="onnx: ONNX graphs and export.json; monai: a MONAI bundle around these.")
    ] = Target.onnx,
) -> None:
    """Export a trained model: ONNX graphs of its networks, and all that is done before and after them."""
    import sys

    from anatomark.exports.export import export_model
    from anatomark.ready_made import about, run_folder

    folder = export_model(run, out=out, to=to.value)
    if (known := about(run_folder(run))) is not None:
        print(f"{run}: {known.terms}", file=sys.stderr)
    graphs = ", ".join(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")))
    print(f"exported to {folder}: {graphs}")
