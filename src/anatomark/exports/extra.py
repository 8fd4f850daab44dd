"""Whether the packages of the extra `onnx` are there."""

from __future__ import annotations

from importlib.util import find_spec

from anatomark.errors import MissingExtraError


def require_onnx(*packages: str, what: str) -> None:
    """MissingExtraError where one of `packages` is not installed, which `what` needs."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed; "
            "install the extra: pip install 'anatomark[onnx]'"
        )
