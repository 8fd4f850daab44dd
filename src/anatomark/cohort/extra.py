"""Whether the packages of the extra `cohort` are there."""

from __future__ import annotations

from anatomark.errors import missing_packages, require_extra

_PACKAGES = ("pyarrow", "fsspec")


def advice_for_many(images: int) -> str:
    """The line that `predict` says of so many images."""
    install = " (pip install 'anatomark[cohort]' first)" if missing_packages(_PACKAGES) else ""
    return (
        f"note: {images} images; anatomark cohort predicts them in several processes, and on several machines{install}"
    )


def require_cohort() -> None:
    """MissingExtraError where a package is not installed."""
    require_extra("cohorts need", _PACKAGES, "cohort")
