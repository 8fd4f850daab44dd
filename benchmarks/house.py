"""How the package is built: its size, asserts, late imports, circles and settings; and the ways of an image and a set.

python -m benchmarks house [--calls] [--source FOLDER --name before --commit 6ea4cac]

FOLDER has the package in it, such as src of this repository or of an earlier commit's archive. The counts are defined
at `house_counts.Counts`; with --calls, the ways are traced instead, as `house_calls` says, and kept as text beside the
result.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.house_counts import counted
from benchmarks.results import FOLDER, provenance, write

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks house")
    parser.add_argument("--source", type=Path, default=ROOT / "src", help="the folder that has the package in it")
    parser.add_argument("--name", default="now", help="what the result is called, in its file and in the table")
    parser.add_argument("--commit", help="the commit that the source is of, where that is not the one checked out")
    parser.add_argument("--calls", action="store_true", help="trace a prediction and a training instead")
    options = parser.parse_args(arguments)
    words = ["SOURCE" if word == str(options.source) else word for word in arguments]
    about = provenance(f"python -m benchmarks house {shlex.join(words)}".strip())
    about |= {"commit": options.commit} if options.commit else {}
    result = {"kind": "house_calls" if options.calls else "house", "name": options.name, **about}
    if options.calls:
        result |= traced_ways(options.source, options.name)
    else:
        result |= counted(options.source / "anatomark").to_dict()
    print(write(f"{result['kind']}_{options.name}", result))


def traced_ways(source: Path, name: str) -> dict[str, Any]:
    """{"train", "predict": {"calls", "rooms", "returns"}} of the package in `source`; the lists go to the results."""
    path = os.pathsep.join(filter(None, (str(source.resolve()), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.house_calls", folder]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
        counts = json.loads((Path(folder) / "calls.json").read_text(encoding="utf-8"))
        package = Path(counts.pop("package"))
        if package != source.resolve() / "anatomark":
            raise SystemExit(f"traced {package} instead of the package in {source}")
        for way in counts:
            shutil.copyfile(Path(folder) / f"{way}.txt", FOLDER / f"house_calls_{name}_{way}.txt")
    return counts
