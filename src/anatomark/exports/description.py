"""export.json: what is done before and after the graphs, in numbers that docs/export.md explains.

With it someone else can use the graphs without this package. anatomark itself reads only which graphs there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from anatomark.card import require_own
from anatomark.core.grid import Floats
from anatomark.data.working import BINS, MAX_PERCENTILE_SAMPLES, PERCENTILES, SCALED_RANGE
from anatomark.errors import ModelError
from anatomark.formats.json_text import parsed
from anatomark.methods.calls import Graph
from anatomark.methods.error_bound import LEVELS, LOWEST, ErrorBounds
from anatomark.methods.error_scale import ErrorScale
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.prediction import PRESENCE_THRESHOLD
from anatomark.model import Member, Model
from anatomark.version import __version__

NAME = "export.json"
FORMAT = 1


def description(model: Model, graphs: Sequence[Graph]) -> dict[str, Any]:
    """All of export.json, of a model with one member."""
    (member,) = model.members
    assert isinstance(member.detector, NetworkDetector)
    network = member.detector.network
    return {
        "format": FORMAT,
        "anatomark": __version__,
        "documentation": "docs/export.md",
        "method": member.detector.name,
        "dataset": model.dataset,
        "dimensions": model.ndim,
        "landmarks": list(model.names),
        "pairs": [list(pair) for pair in model.pairs],
        "points": {"frame": "LPS", "unit": model.unit, "order": ["x", "y", "z"][: model.ndim]},
        "working_image": {
            "axes": ["z", "y", "x"][3 - model.ndim :],
            "spacing": list(network.spacing),
            "pool": list(network.pool),
            "alignment": _alignment(member),
            "percentiles": list(PERCENTILES),
            "percentile_samples": MAX_PERCENTILE_SAMPLES,
            "grey_values": network.grey_values,
            "bins": BINS,
            "scaled_range": list(SCALED_RANGE),
            "outside": 0.0,
        },
        "graphs": {graph.name: _graph(graph) for graph in graphs},
        "geometry": member.detector.geometry(),
        "presence": {
            **asdict(member.detector.presence),
            "threshold": PRESENCE_THRESHOLD,
            "in_view": None if member.in_view is None else asdict(member.in_view),
        },
        "error_scale": _scale(member.error_scale),
        "error_bounds": _bounds(model.bounds),
        "offsets": None
        if model.offsets is None
        else {"offset": model.offsets.offset.tolist(), "typical": _finite(model.offsets.typical)},
    }


def graph_files(folder: Path) -> dict[str, Path] | None:
    """{call: file} of the graphs in a folder that `export_model` wrote; None where it is no such folder.

    ModelError where export.json is damaged, or of a later format.
    """
    path = folder / NAME
    require_own(folder, path)
    try:
        held = parsed(path.read_text(encoding="utf-8"))
        number = held["format"]
        names = {str(name): str(graph["file"]) for name, graph in held["graphs"].items()}
        if any(name != Path(name).name for name in names.values()):
            raise ValueError("a file elsewhere")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} does not describe an exported model; copy it again or export again") from None
    if number != FORMAT:
        raise ModelError(f"{path} has format {number!r}, this version reads {FORMAT}; update anatomark or export again")
    files = {name: folder / file for name, file in names.items()}
    for file in files.values():
        require_own(folder, file)
    return files


def _graph(graph: Graph) -> dict[str, Any]:
    return {
        "file": f"{graph.name}.onnx",
        "inputs": {name: _tensor(tensor, graph.sizes.get(name, {})) for name, tensor in graph.inputs.items()},
        "outputs": {name: axes.split(", ") for name, axes in graph.outputs.items()},
    }


def _tensor(tensor: Tensor, sizes: Mapping[int, Any]) -> dict[str, Any]:
    shape: list[int | str] = list(tensor.shape)
    for axis, size in sizes.items():
        times = size.name if size.factor == 1 else f"{size.factor} * {size.name}"
        shape[axis] = f"{times} + {size.plus}" if size.plus else times
    return {"type": str(tensor.dtype).removeprefix("torch."), "shape": shape}


def _alignment(member: Member) -> dict[str, Any] | None:
    if (aligned := member.alignment) is None:
        return None
    return {"kind": aligned.kind, "case": aligned.case, "template": aligned.template.grid.to_dict()}


def _scale(scale: ErrorScale | None) -> dict[str, Any] | None:
    return None if scale is None else {name: np.asarray(array).tolist() for name, array in vars(scale).items()}


def _bounds(bounds: ErrorBounds) -> dict[str, Any]:
    """`factor` by the level of coverage; null where a bound is withheld."""
    held: dict[str, Any] = {"source": bounds.source, "unit": bounds.unit}
    if bounds.expected is None or bounds.factor is None:
        return {**held, "typical": None, "exponent": None, "lowest": LOWEST, "factor": {}}
    factor = {f"{level:.2f}": _finite(row) for level, row in zip(LEVELS, bounds.factor, strict=True)}
    typical = _finite(bounds.expected.typical)
    return {**held, "typical": typical, "exponent": bounds.expected.exponent, "lowest": LOWEST, "factor": factor}


def _finite(values: Floats) -> Any:
    """Nested lists with null for what is not finite, which JSON has no number for."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        return value if math.isfinite(value) else None

    return plain(values.tolist())
