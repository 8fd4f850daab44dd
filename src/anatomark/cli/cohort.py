"""anatomark cohort: predict any number of images, in parts that can be stopped, shared out and joined."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Device, parse_batch, parse_spacing
from anatomark.cli.predict import Orientation
from anatomark.errors import SettingsError
from anatomark.methods.error_bound import COVERAGE

if TYPE_CHECKING:
    from anatomark.cohort.progress import Progress
    from anatomark.cohort.status import Status

_EVERY = 30.0  # seconds between lines of progress where there is no terminal


class TableFormat(StrEnum):
    csv = "csv"
    parquet = "parquet"


def cohort(
    out: Annotated[str, typer.Option(help="Folder or URI for the parts, and for the table of --collect.")],
    run: Annotated[
        str | None, typer.Argument(help="Run folder of a finished training, or name of a ready-made model.")
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Argument(
            metavar="MANIFEST|FOLDER|DATASET.yaml",
            help="Images: a .csv or .parquet with a column path (and id, spacing, page), a folder or a dataset.yaml.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that predict on this machine.")] = 1,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only every N-th part, from the I-th on, for job arrays.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Only say what is done, failed and missing.")] = False,
    collect: Annotated[
        bool, typer.Option("--collect", help="Only write the table of all parts, predictions.csv, and images.csv.")
    ] = False,
    table: Annotated[TableFormat, typer.Option(help="Format of the table that --collect writes.")] = TableFormat.csv,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Predict images again that could not be predicted.")
    ] = False,
    chunk: Annotated[int | None, typer.Option(help="Images of a part; 32 where nothing else was begun.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Search the subfolders of a folder, too.")] = False,
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data of a dataset.yaml.")] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that do not state one, such as 0.25,0.25."),
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Take every page of a file as an image: X-rays in one .mha or TIFF.")
    ] = False,
    orient: Annotated[
        Orientation, typer.Option(help="As in predict: keep images as they are, or auto.")
    ] = Orientation.keep,
    coverage: Annotated[
        float, typer.Option(help="Proportion of landmarks that are to lie within their error bounds.")
    ] = COVERAGE,
    device: Annotated[Device, typer.Option(help="Device to compute on; GPUs are shared by the workers.")] = Device.auto,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|auto", help="Images that are predicted together; auto: by the memory of a GPU, 1 on a CPU."
        ),
    ] = "auto",
    overlays: Annotated[bool, typer.Option("--overlays", help="Also write a picture of each image.")] = False,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Memory that a worker may take; its share of the machine's if not given."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time that an image may take.")] = 1800,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Workers are actors on this Ray cluster, such as auto.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a Ray actor, such as 0.25.")] = 0,
) -> None:
    """Predict any number of images; the same command goes on where it was stopped."""
    from anatomark.cohort.collect import collect_cohort
    from anatomark.cohort.run import predict_cohort
    from anatomark.cohort.status import cohort_status
    from anatomark.ready_made import about, run_folder

    if status and collect:
        raise SettingsError("--status and --collect were both given; give one of them")
    if collect:
        print(f"collected: {collect_cohort(out, table=table.value)}")
        return
    if status:
        found = cohort_status(out)
        print(found)
        _print_reasons(found)
        raise typer.Exit(0 if found.complete and not found.failed else 1)
    if run is None or manifest is None:
        raise SettingsError("RUN and MANIFEST are missing; only --status and --collect go without")
    if (known := about(run_folder(run))) is not None:
        print(f"{run}: {known.terms}", file=sys.stderr)
    with _shown_progress() as show:
        found = predict_cohort(
            run,
            manifest,
            out=out,
            workers=workers,
            part=parse_part(part),
            chunk=chunk,
            recursive=recursive,
            stack=stack,
            split=split,
            root=root,
            spacing=parse_spacing(spacing),
            coverage=coverage,
            orient=orient.value,
            device=device.value,
            batch=parse_batch(batch),
            overlays=overlays,
            retry_failed=retry_failed,
            memory_bytes=None if memory is None else round(memory * 2**30),
            seconds=seconds,
            ray=ray,
            gpus=gpus,
            progress=show,
        )
    print(found)
    _print_reasons(found)
    if found.complete:
        print(f"one table of all: anatomark cohort --out {out} --collect")
    if found.failed:
        print("--retry-failed predicts the failed images again", file=sys.stderr)
        raise typer.Exit(1)


def parse_part(text: str | None) -> tuple[int, int]:
    """(I, N) of "I/N"; SettingsError for anything else."""
    numbers = ("1/1" if text is None else text).split("/")
    if len(numbers) != 2 or not all(number.isascii() and number.isdecimal() for number in numbers):
        raise SettingsError(f"--part is {text!r}; give I/N with I from 1 to N, such as 3/20")
    return int(numbers[0]), int(numbers[1])


def _print_reasons(status: Status) -> None:
    for id, reason in status.reasons:
        print(f"error: {id}: {' '.join(reason.split())}", file=sys.stderr)
    if (more := status.failed - len(status.reasons)) > 0:
        print(f"error: and {more} more images, see images.csv of --collect", file=sys.stderr)


@contextmanager
def _shown_progress() -> Generator[Callable[[Progress], None]]:
    """What shows progress on standard error: one line that changes on a terminal, else a line now and then."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("loading the model") as line:
            yield lambda progress: line.update(str(progress))
        return
    told = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            print(progress, file=sys.stderr, flush=True)

    yield tell
