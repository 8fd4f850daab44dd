#!/usr/bin/env python3
"""The command behind AnatomarkPredict.xml: `anatomark predict` for one volume and one point list."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    if "--xml" in sys.argv[1:]:
        print((HERE / "AnatomarkPredict.xml").read_text(encoding="utf-8"))
        return 0
    parser = argparse.ArgumentParser(prog="AnatomarkPredict")
    parser.add_argument("--run", required=True)
    parser.add_argument("--coverage", default="0.9")
    parser.add_argument("--python", default="")
    parser.add_argument("image")
    parser.add_argument("landmarks")
    asked = parser.parse_args()
    command, environment = _anatomark(asked.python)
    if command is None:
        print("error: this Python has no anatomark; give the one that has it with --python", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        command += ["predict", asked.run, asked.image, "--out", folder, "--format", "mrk.json", "--no-overlays"]
        done = subprocess.run([*command, "--coverage", asked.coverage], env=environment, check=False)
        made = list(Path(folder).glob("*.mrk.json"))
        if done.returncode or len(made) != 1:
            return done.returncode or 1  # the command has printed the reason
        shutil.copyfile(made[0], asked.landmarks)
    return 0


def _anatomark(python: str) -> tuple[list[str] | None, dict[str, str]]:
    """The command that is anatomark, and the environment for it."""
    here = dict(os.environ)
    # Slicer sets these for its own Python; they break any other
    elsewhere = {k: v for k, v in here.items() if k not in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")}
    if python:
        return [python, "-m", "anatomark"], elsewhere
    if importlib.util.find_spec("anatomark") is not None:
        return [sys.executable, "-m", "anatomark"], here
    found = shutil.which("anatomark")
    return ([found], elsewhere) if found else (None, here)


if __name__ == "__main__":
    sys.exit(main())
