"""Results as JSON files, each with what made it: command, commit, hardware, versions."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def provenance(command: str, device: str = "cpu") -> dict[str, Any]:
    """What a reader needs to repeat a measurement made on `device`."""
    import torch

    def git(*words: str) -> str:
        root = FOLDER.parents[1]
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=root, check=False).stdout

    cores = f"cores of {cpu_name()}"
    return {
        "command": command,
        "commit": git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain", "src") else ""),
        "hardware": torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} {cores}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def write(name: str, result: dict[str, Any]) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def read(name: str) -> dict[str, Any]:
    """The result of this name; nothing where there is none."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read_all(kind: str) -> list[dict[str, Any]]:
    """The results of one kind, by file name."""
    results = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return [result for result in results if result["kind"] == kind]
