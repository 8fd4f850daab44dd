"""Weights in safetensors files: written whole or not at all, read without unpickling."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from anatomark.errors import ModelError, OutputError
from anatomark.formats.atomic import replacing


class _TensorFile(Protocol):
    """What is read here of a safetensors file that is open."""

    def keys(self) -> Iterable[str]: ...
    def get_tensor(self, name: str) -> Tensor: ...
    def metadata(self) -> Mapping[str, str] | None: ...


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """`path` holding `tensors`, written whole or not at all; OutputError where it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as partial:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(whole, str(partial), dict(metadata or {}))
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}; choose another place or make room") from None
        with open(partial, "rb") as file:
            os.fsync(file.fileno())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `path`. ModelError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with cast("AbstractContextManager[_TensorFile]", safe_open(str(path), framework="pt")) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; the run is not finished or not a run folder") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}); copy it again or train again") from None


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix + "."): t for name, t in tensors.items() if name.startswith(prefix + ".")}


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put `tensors` into `network`; ModelError where they do not fit, see `require_tensors`."""
    require_tensors({name: tensor.shape for name, tensor in network.state_dict().items()}, tensors, source)
    network.load_state_dict(dict(tensors))


def require_tensors(shapes: Mapping[str, Sequence[int]], tensors: Mapping[str, Tensor], source: str) -> None:
    """ModelError names which tensors are missing, foreign, not of the expected `shapes`, or not finite."""
    known = shapes.keys() & tensors.keys()
    faults: list[str] = []
    for label, names in (
        ("missing", shapes.keys() - known),
        ("foreign", tensors.keys() - known),
        ("of another shape", {name for name in known if tuple(shapes[name]) != tuple(tensors[name].shape)}),
        ("not finite", {name for name in known if not torch.isfinite(tensors[name]).all()}),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            faults.append(f"{len(names)} tensors {label} ({shown})")
    if faults:
        raise ModelError(f"{source}: {'; '.join(faults)}; these weights belong to another model or are damaged")
