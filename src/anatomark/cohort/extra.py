"""Whether the packages of the extra `cohort` are there."""

from __future__ import annotations

from importlib.util import find_spec

from anatomark.errors import MissingExtraError

_PACKAGES = ("pyarrow", "fsspec")


def advice_for_many(images: int) -> str:
    """The line that `predict` says of so many images."""
    install = " (pip install 'anatomark[cohort]' first)" if _missing() else ""
    return (
        f"note: {images} images; anatomark cohort predicts them in several processes, and on several machines{install}"
    )


def _missing() -> list[str]:
    return [name for name in _PACKAGES if find_spec(name) is None]


def require_cohort() -> None:
    """MissingExtraError where a package is not installed."""
    missing = _missing()
    if missing:
        names = " and ".join(missing)
        raise MissingExtraError(
            f"cohorts need {names}, which {'are' if len(missing) > 1 else 'is'} not installed; install the extra: "
            "pip install 'anatomark[cohort]'"
        )
