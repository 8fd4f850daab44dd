"""The connection to a Ray cluster, for folds and for cohorts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from anatomark.errors import MissingExtraError, SettingsError


def require_ray() -> None:
    """MissingExtraError where Ray is not installed."""
    if find_spec("ray") is None:
        raise MissingExtraError(
            "--ray needs Ray, which is not installed; install the extra: pip install 'anatomark[cluster]'"
        )


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connected to the cluster at `address`, or left connected to that where this process already is.

    SettingsError where there is none.
    """
    if ray.is_initialized():
        yield
        return
    _connect(ray, address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:300]
        raise SettingsError(f"--ray {address}: no cluster there ({line}); start one with ray start") from None
