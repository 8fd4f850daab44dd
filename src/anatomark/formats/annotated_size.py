"""The size of the picture that somebody annotated, as the landmark file states it, against that of the image at hand.

Points in pixels hold for a picture of one size. Where the image was made smaller or larger since, or where a program
showed it as stored and not as it is to be turned, they lie elsewhere, and nothing else in the file tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from anatomark.errors import AnatomarkError
from anatomark.formats.header import tell
from anatomark.formats.landmark_format import GridOf


def tell_other_sizes(path: Path, stated: Iterable[tuple[str, object, object]], grid_of: GridOf) -> None:
    """One line on the images whose size (columns, rows) is not the (image, width, height) that the file states.

    What is no size (0, text, nothing) and images that are not at hand or not 2D are passed over.
    """
    others: list[tuple[str, tuple[int, int], tuple[int, ...]]] = []
    for image, width, height in stated:
        across, down = _whole(width), _whole(height)
        if across is None or down is None:
            continue
        try:
            grid = grid_of(image)
        except AnatomarkError:  # said where the image is read
            continue
        if grid is not None and grid.ndim == 2 and (across, down) != grid.shape[::-1]:
            others.append((image, (across, down), grid.shape[::-1]))
    if not others:
        return
    image, (width, height), (columns, rows) = others[0]
    more = f" (and so for {len(others) - 1} more)" if len(others) > 1 else ""
    turned = all(size == shape[::-1] for _, size, shape in others)
    advice = (
        "perhaps it was shown as stored, not turned as the file asks: then write `orientation: stored` under `images`"
        if turned
        else "give the images that were annotated, or scale the points"
    )
    tell(
        [
            f"{path} was made on {width} x {height} pixels of {image}, which has {columns} x {rows}{more}, so its "
            f"points lie elsewhere: {advice}"
        ]
    )


def _whole(value: object) -> int | None:
    """A stated number of pixels; None for what is none."""
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 1 <= number < 1e9 and number == int(number) else None
