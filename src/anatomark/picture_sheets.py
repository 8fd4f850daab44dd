"""What pictures are put together from: sheets of several, words below and above them, marks, and fonts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL import ImageDraw

REFERENCE_COLOUR = "#37d5ff"
PREDICTED_COLOUR = "#ffb01f"
REMARK_COLOUR = "#ff7a6b"


def side_by_side(pictures: Sequence[Pillow.Image], colour: str = "black") -> Pillow.Image:
    from PIL import Image as Pillow

    if len(pictures) == 1:
        return pictures[0]
    gap = 6
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    sheet = Pillow.new("RGB", (width, max(p.height for p in pictures)), colour)
    x = 0
    for p in pictures:
        sheet.paste(p, (x, (sheet.height - p.height) // 2))
        x += p.width + gap
    return sheet


def stacked(pictures: Sequence[Pillow.Image]) -> Pillow.Image:
    """All, one below the other."""
    from PIL import Image as Pillow

    if len(pictures) == 1:
        return pictures[0]
    gap = 6
    height = sum(p.height for p in pictures) + gap * (len(pictures) - 1)
    sheet = Pillow.new("RGB", (max(p.width for p in pictures), height), "black")
    y = 0
    for p in pictures:
        sheet.paste(p, (0, y))
        y += p.height + gap
    return sheet


def titled(picture: Pillow.Image, title: str) -> Pillow.Image:
    """The picture with a line above it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    sheet = Pillow.new("RGB", (picture.width, picture.height + 22), "black")
    sheet.paste(picture, (0, 22))
    ImageDraw.Draw(sheet).text((14, 11), title, fill="white", font=font_of(14, title), anchor="lm")
    return sheet


def legend_below(picture: Pillow.Image, predicted: str | None, reference: str | None, *, radius: bool) -> Pillow.Image:
    """The picture with what its marks are below it; None is not there."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    if not (predicted or reference):
        return picture
    sheet = Pillow.new("RGB", (picture.width, picture.height + 22), "black")
    sheet.paste(picture, (0, 0))
    font = font_of(13, f"{predicted}{reference}")
    draw, x, y = ImageDraw.Draw(sheet), 14.0, picture.height + 11
    if predicted:
        cross(draw, x, y)
        text = f"{predicted}, with its error bound" if radius else predicted
        draw.text((x + 12, y), text, fill=PREDICTED_COLOUR, font=font, anchor="lm")
        x += font.getlength(text) + 40
    if reference:
        ring(draw, x, y)
        draw.text((x + 12, y), reference, fill=REFERENCE_COLOUR, font=font, anchor="lm")
    return sheet


def remarked(picture: Pillow.Image, remark: str) -> Pillow.Image:
    """The picture with lines of text below it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    font = font_of(14, remark)
    lines = textwrap.wrap(remark, max(20, int(picture.width / (font.getlength("n") or 7))))
    sheet = Pillow.new("RGB", (picture.width, picture.height + 20 * len(lines) + 8), "black")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        draw.text((14, picture.height + 20 * row + 10), line, fill=REMARK_COLOUR, font=font, anchor="lm")
    return sheet


def ring(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for r, width, colour in ((6, 4, "black"), (5, 2, REFERENCE_COLOUR)):
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)


def cross(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for r, width, colour in ((6, 4, "black"), (5, 2, PREDICTED_COLOUR)):
        draw.line((x - r, y - r, x + r, y + r), fill=colour, width=width)
        draw.line((x - r, y + r, x + r, y - r), fill=colour, width=width)


# wider ones first: the font that comes with Pillow has no letters beyond ASCII
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf")


def font_of(size: int, text: str = "") -> Any:
    """The font that comes with Pillow, or for text beyond ASCII one of the system's, if it has any."""
    from PIL import ImageFont

    for name in () if text.isascii() else _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
