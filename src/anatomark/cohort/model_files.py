"""What tells one model from another: the fingerprints of the files that prediction needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from anatomark.ensemble import ENSEMBLE, read_ensemble

_PASSING = ("checkpoint", "stage_")  # of a training that goes on; prediction does not read them


def fingerprints(folder: Path) -> dict[str, str]:
    """{file, relative to the run folder: SHA-256} of the model's members and of what was learned of them together."""
    files: dict[str, str] = {}
    for path in _files(folder):
        with open(path, "rb") as file:
            files[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return files


def other_model(model: str, files: Mapping[str, str], now: str, files_now: Mapping[str, str]) -> list[str]:
    """A clause that names two models and the first `fingerprints` that differ; none where all are the same."""
    changed = [name for name in {**files, **files_now} if files.get(name) != files_now.get(name)]
    return [f"the model was {model}, now {now} (other content of {', '.join(changed[:3])})"] * bool(changed)


def _files(folder: Path) -> Iterator[Path]:
    ensemble = read_ensemble(folder)
    for place in (folder, *(ensemble.members if ensemble else ())):
        names = ("model.json", ENSEMBLE)
        yield from (place / name for name in names if (place / name).is_file())
        yield from sorted(place.glob("*.onnx"))  # of an exported model, in place of weights
        yield from (path for path in sorted(place.glob("*.safetensors")) if not path.name.startswith(_PASSING))
