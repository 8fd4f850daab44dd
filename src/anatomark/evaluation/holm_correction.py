"""Holm's correction of p-values for having tested several landmarks."""

from __future__ import annotations

from collections.abc import Sequence


def holm_correction(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected so that the chance of any false positive stays below the level; None stays None.

    Holm, Scandinavian Journal of Statistics 6(2):65-70, 1979: the k-th smallest of m is multiplied by m - k + 1, and
    none comes out below a smaller one's.
    """
    ordered = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, k) in enumerate(ordered):
        least = max(least, min(1.0, p * (len(ordered) - rank)))
        corrected[k] = least
    return corrected
