"""The pages of a TIFF file: which of them is the picture, and what its directory says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from anatomark.errors import ImageError
from anatomark.formats.picture_files import tiff_tags, turned
from anatomark.formats.picture_files.tiff_tags import Directory


@dataclass(frozen=True)
class Page:
    """A picture in a TIFF file: what its directory says, the number of `pages` that are pictures of their own, and in
    `others` a remark on those that are passed over."""

    path: Path
    order: str
    tags: Directory
    pages: int
    others: tuple[str, ...]

    def one(self, tag: int, default: int) -> int:
        return next(iter(self.integers(tag)), default)

    def integers(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag, none where it is absent."""
        return tiff_tags.integers(self.tags.get(tag, ()))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) as stored."""
        return self.one(tiff_tags.LENGTH, 0), self.one(tiff_tags.WIDTH, 0)

    @property
    def samples(self) -> int:
        """Numbers in each pixel."""
        return self.one(tiff_tags.SAMPLES, 1)

    @property
    def segment(self) -> tuple[int, int, bool]:
        """(rows, columns) of a strip or tile, and whether it is a tile."""
        rows, columns = self.shape
        if tiff_tags.TILE_WIDTH in self.tags:
            tall, wide = self.one(tiff_tags.TILE_LENGTH, 0), self.one(tiff_tags.TILE_WIDTH, 0)
            if not (0 < tall <= rows + 65536 and 0 < wide <= columns + 65536):
                raise ImageError(f"{self.path} has tiles of {wide} x {tall} pixels; it is damaged, export it again")
            return tall, wide, True
        tall = self.one(tiff_tags.ROWS_PER_STRIP, rows)
        return (tall if 0 < tall < rows else rows), columns, False

    @property
    def decoded(self) -> int:
        """Numbers that unpacking makes, those of tiles beyond the picture's border too."""
        (rows, columns), (tall, wide, _) = self.shape, self.segment
        return -(-rows // tall) * tall * -(-columns // wide) * wide * self.samples

    @property
    def stored(self) -> int:
        """The orientation, 1 to 8."""
        return turned.known(self.one(tiff_tags.ORIENTATION, turned.UPRIGHT))

    @property
    def bits(self) -> int:
        """Bits of each number. Raises `ImageError` where they differ between the numbers of a pixel."""
        bits = set(self.integers(tiff_tags.BITS) or (1,))
        if len(bits) != 1:
            raise ImageError(f"{self.path} has numbers of {sorted(bits)} bits in one pixel; save it as 8 or 16 bit")
        return next(iter(bits))

    @property
    def photometric(self) -> int:
        return self.one(tiff_tags.PHOTOMETRIC, 1)


def open_page(path: Path, number: int | None = None) -> Page:
    """The one picture in the TIFF file at `path`, or one of several by its number (from 1).

    Thumbnails, previews and masks are passed over.
    Raises `ImageError` for several pictures, and for a file that ends before its directory does.
    """
    with open(path, "rb") as file:
        order = tiff_tags.byte_order(file.read(4))
        listed = list(tiff_tags.directories(file, path))
    pages = [Page(path, order, tags, len(listed), ()) for tags in listed]
    if not pages:
        raise ImageError(f"{path} holds no picture: its TIFF directory is missing; copy or export it again")
    whole = [page for page in pages if not _is_aside(page)] or pages
    largest = max(whole, key=lambda page: page.shape[0] * page.shape[1])
    rows, columns = largest.shape
    if rows < 1 or columns < 1:
        raise ImageError(f"{path} has no pixels ({columns} x {rows}): its header is damaged; export or copy it again")
    previews = [page for page in whole if page is not largest and _is_reduced(page.shape, largest.shape)]
    kept = [page for page in whole if all(page is not preview for preview in previews)]
    count = _count(largest, len(pages), len(kept))
    others = ()
    if previews:
        sizes = ", ".join(f"{page.shape[1]} x {page.shape[0]}" for page in previews)
        others = (
            f"{path} holds {len(whole)} pages: that of {columns} x {rows} pixels is read, and {sizes} is taken for "
            "a preview of it",
        )
    if number is None and count > 1:
        raise ImageError(
            f"{path} holds {count} pages ({columns} x {rows} pixels), expected a single picture; if each page is a "
            "case, write `stack: true` under `images`, else save each page as a file, or a volume as .nii.gz or .nrrd"
        )
    if count > len(kept):
        raise ImageError(f"{path} holds {count} pictures of which it lists {len(kept)}; save each page as a file")
    if number is not None and not 1 <= number <= count:
        raise ImageError(f"{path} has {count} pages, page {number} was requested; count them from 1")
    chosen = kept[(number or 1) - 1]
    if min(chosen.shape) < 1:
        raise ImageError(f"{path} has no pixels in page {number or 1}: its header is damaged; export or copy it again")
    return Page(path, order, chosen.tags, count, others)


def _count(page: Page, listed: int, kept: int) -> int:
    """How many pictures there are, also where a writer lists the first alone."""
    text = tiff_tags.text(page.tags, tiff_tags.DESCRIPTION)
    described = re.match(rb"ImageJ=.*?^images=(\d+)", text, re.M | re.S)
    behind = int(described[1]) if described and listed == 1 else 1
    return max(kept, behind, page.one(tiff_tags.DEPTH, 1))


def _is_aside(page: Page) -> bool:
    """Whether a page says of itself that it is a thumbnail or a mask."""
    kind = page.one(tiff_tags.SUBFILE, 0)
    return bool(kind & 5) or page.one(tiff_tags.OLD_SUBFILE, 1) == 2 or page.photometric == tiff_tags.MASK


def _is_reduced(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether `small` is `large` made smaller: the same proportions to a pixel of the smaller one."""
    factor = max(s / n for s, n in zip(small, large, strict=True))
    return factor <= 0.75 and all(abs(s - n * factor) <= 1 for s, n in zip(small, large, strict=True))
