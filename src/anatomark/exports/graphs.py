"""ONNX graphs of a detector's networks, of the calls that prediction makes, for images of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from anatomark.errors import ModelError
from anatomark.exports.extra import require_onnx
from anatomark.methods.calls import Graph, Size
from anatomark.methods.interface import AnyDetector
from anatomark.methods.networks import NetworkDetector

_NOISY = "torch.onnx._internal.exporter._registration"  # says that torchvision is not there, which nothing here needs


def graphs_of(detector: AnyDetector) -> tuple[Graph, ...]:
    """The graphs of a detector; ModelError, which says why, where it has none."""
    graphs = detector.graphs() if isinstance(detector, NetworkDetector) else ()
    if not graphs:
        raise ModelError(
            f"a model of the method {detector.name} cannot be exported: it has no networks whose graphs are known "
            "(atlas registers images); export a model of another method"
        )
    return graphs


def onnx_of(graph: Graph) -> bytes:
    """The ONNX file of a graph, float32, without what says where it was made.

    Raises MissingExtraError where a package of the extra `onnx` is missing.
    """
    require_onnx("onnx", "onnxscript", what="an export to ONNX")
    graph.network.requires_grad_(False)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            _Called(graph),
            tuple(graph.inputs.values()),
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(_dynamic(graph),),
        )
    assert program is not None
    model = cast("Any", program).model_proto
    _anonymous(model.graph)
    for function in model.functions:
        _anonymous(function)
    return model.SerializeToString(deterministic=True)


class _Called(nn.Module):
    """A call as the module that an exporter wants; its network is in evaluation mode, and stays as it is."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.network, self.call = graph.network, graph.call
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.call(*tensors))


def _dynamic(graph: Graph) -> tuple[dict[int, Any] | None, ...]:
    """The sizes of each input as torch.export names them."""
    sizes = [size for axes in graph.sizes.values() for size in axes.values()]
    named = {size.name: torch.export.Dim(size.name, min=size.least) for size in sizes}

    def dimension(size: Size) -> Any:
        times = size.factor * named[size.name] if size.factor > 1 else named[size.name]
        return times + size.plus if size.plus else times

    return tuple(
        {axis: dimension(size) for axis, size in graph.sizes.get(name, {}).items()} or None for name in graph.inputs
    )


def _anonymous(graph: Any) -> None:
    """Remove the traces of the code that made a graph, with the paths of its files."""
    parts: Iterable[Any] = (graph, *graph.node, *graph.value_info)
    if hasattr(graph, "initializer"):
        parts = (*parts, *graph.initializer, *graph.input, *graph.output)
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Generator[None]:
    """Without the exporter's warnings of its own code, and its remarks on packages that nothing here needs."""
    logger = logging.getLogger(_NOISY)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
