"""Whether the packages of the extra `onnx` are there."""

from __future__ import annotations

from anatomark.errors import require_extra


def require_onnx(*packages: str, what: str) -> None:
    """MissingExtraError where one of `packages` is not installed, which `what` needs."""
    require_extra(f"{what} needs", packages, "onnx")
