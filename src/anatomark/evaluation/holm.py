"""Holm's correction of p-values for having tested several landmarks."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected so that the chance of any false finding stays below the level; None stays None.

    Holm, Scandinavian Journal of Statistics 6(2):65-70, 1979: the k-th smallest of m is multiplied by m - k + 1, and
    none comes out below a smaller one's.
    """
    order = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, k) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[k] = least
    return corrected
