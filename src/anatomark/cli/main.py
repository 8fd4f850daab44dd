"""`anatomark VERB ...`: runs the verb, and turns errors meant for the user into one line and an exit code.

Exit codes: 0 success, 1 success with findings (see the verb), 2 invalid call or input, 130 interrupted, 143
ended by SIGTERM.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from anatomark.cli.interrupts import exit_code, exit_code_before, interruptible, listen
from anatomark.cli.remarks import show_remarks
from anatomark.errors import AnatomarkError, not_installed
from anatomark.nets.devices import wait_patiently
from anatomark.version import __version__

VERBS = {
    "init": "Write a first dataset.yaml for the files in a folder.",
    "check": "Find problems in a data set before training.",
    "train": "Train a model on a data set.",
    "predict": "Predict the landmarks of images with a trained model.",
    "cohort": "Predict any number of images, in parts that can be stopped and shared out.",
    "models": "List the ready-made models, or show the card of one.",
    "export": "Export a trained model to ONNX or as a MONAI bundle.",
    "calibrate": "Calibrate the error bounds of a trained model on annotated cases.",
    "review": "Review and correct landmarks in the browser.",
    "evaluate": "Score predicted landmarks against the reference.",
    "compare": "Compare predictions of several methods, paired by subject.",
    "observers": "Measure inter- and intra-observer error.",
    "landmarks": "Propose salient, well-spread landmarks on a template.",
    "transfer": "Transfer a template's landmarks to other images by registration.",
    "synthesize": "Make training images from label maps.",
    "serve": "Serve trained models over HTTP, for other programs and 3D Slicer.",
    "show": "Draw landmarks on their image, or compare two sets of them.",
    "convert": "Convert landmarks and images between formats.",
    "demo": "Run all steps on synthetic or real images, in a few minutes.",
}

_ADVICE = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "change the permissions or choose another path",
    errno.EPERM: "change the permissions or choose another path",
    errno.EROFS: "choose a path that can be written to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "choose another path or move it elsewhere",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk or the network drive",
}


class LazyVerbs(TyperGroup):
    """A group that imports a verb only when it is called, so that --help is fast."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name in VERBS else command, rest


def _load(verb: str) -> Any:
    """The command of `anatomark.cli.<verb>`, which has a function of the same name."""
    function = getattr(import_module(f"anatomark.cli.{verb}"), verb)
    single = typer.Typer(add_completion=False, context_settings=_CONTEXT)
    single.command(verb)(interruptible(verb, function))
    return typer.main.get_command(single)


_CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(cls=LazyVerbs, no_args_is_help=True, add_completion=False, context_settings=_CONTEXT)


def _show_version(requested: bool) -> None:
    if requested:
        print(f"anatomark {__version__}")
        raise typer.Exit


@app.callback()
def anatomark(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find anatomical landmarks in 2D and 3D medical images."""


def _placeholder() -> None:
    raise RuntimeError("`LazyVerbs` replaces this by the verb's own command")


for _verb, _help in VERBS.items():
    app.command(_verb, help=_help)(_placeholder)


def run(arguments: Sequence[str]) -> int:
    """The exit code of a call with these arguments. Exceptions that a user cannot cause are not caught."""
    try:
        with show_remarks():
            typer.main.get_command(app).main(list(arguments), prog_name="anatomark")
    except SystemExit as exit:
        return exit_code_before(exit.code if isinstance(exit.code, int) else int(exit.code is not None))
    except KeyboardInterrupt as stop:
        return exit_code(stop)
    except AnatomarkError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if (missing := not_installed(error)) is None:
            raise
        return _fail(str(missing))
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}; {_ADVICE[error.errno]}")
    return 0


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


def main() -> None:
    """The `anatomark` command."""
    wait_patiently()
    listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show ends no command
    sys.exit(run(sys.argv[1:]))
