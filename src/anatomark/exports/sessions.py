"""ONNX Runtime as who answers the calls of prediction, in place of networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anatomark.errors import ModelError, SettingsError
from anatomark.exports.extra import require_onnx
from anatomark.exports.graphs import graphs_of, onnx_of
from anatomark.methods.calls import Calls
from anatomark.methods.networks import NetworkDetector

if TYPE_CHECKING:
    from anatomark.methods.interface import AnyDetector
    from anatomark.model import Model


class Session:
    """A graph in ONNX Runtime, on the CPU, with as many threads as PyTorch has; a `methods.calls.Call`."""

    def __init__(self, graph: bytes | Path) -> None:
        """Raises ModelError where `graph`, a file or what is in it, is no graph."""
        require_onnx("onnxruntime", what="a prediction by ONNX Runtime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # beside other work it costs more
        options.log_severity_level = 3  # errors
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of several classes, in a module that is not public
            name = graph if isinstance(graph, Path) else "a graph"
            reason = str(error).splitlines()[0]
            raise ModelError(f"{name} cannot be opened by ONNX Runtime ({reason}); export the model again") from None
        self._inputs = [given.name for given in self._session.get_inputs()]

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = {
            name: np.ascontiguousarray(tensor.numpy()) for name, tensor in zip(self._inputs, tensors, strict=True)
        }
        return tuple(torch.from_numpy(found) for found in self._session.run(None, arrays))


def sessions_of(files: Mapping[str, Path]) -> Calls:
    """The calls that the graphs in `files` answer, by their names; ModelError where one is missing or damaged."""
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise ModelError(f"{missing[0]}: no such file; export the model again, or copy the whole folder")
    return {name: Session(path) for name, path in files.items()}


def with_sessions(model: Model) -> Model:
    """The same model, whose networks are exported here and answered by ONNX Runtime.

    Raises MissingExtraError without the extra `onnx`, ModelError for a method that cannot be exported, and
    SettingsError for a model on a GPU.
    """
    if model.device != "cpu":
        raise SettingsError(f"ONNX Runtime computes on the CPU here, not on {model.device}; use --device cpu")
    require_onnx("onnx", "onnxscript", "onnxruntime", what="a prediction by ONNX Runtime")
    members = tuple(replace(member, detector=_exported(member.detector)) for member in model.members)
    return replace(model, members=members)


def _exported(detector: AnyDetector) -> AnyDetector:
    calls = {graph.name: Session(onnx_of(graph)) for graph in graphs_of(detector)}
    assert isinstance(detector, NetworkDetector)
    return replace(detector, networks={}, runtime=calls)
