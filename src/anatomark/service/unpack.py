"""Files from a zip archive, as a DICOM series is sent: counted while they are unpacked, and under names of our own."""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from anatomark.errors import ImageError, OutputError
from anatomark.service.refused import Refused

MAX_FILES = 10_000
_BLOCK = 1 << 20


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> Path:
    """The one file that `archive` holds, or `folder` with all of them, whatever folders they lay in.

    Raises `Refused` (413) for more than `max_bytes` or MAX_FILES, whatever the archive says of itself, and `ImageError`
    for one that is damaged, encrypted or empty.
    """
    folder.mkdir()
    written: list[Path] = []
    left = max_bytes
    try:
        with zipfile.ZipFile(archive) as held:
            entries = [entry for entry in held.infolist() if not entry.is_dir() and not _aside(entry.filename)]
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > max_bytes:
                raise _too_large(archive, max_bytes)
            for number, entry in enumerate(entries):
                if entry.flag_bits & 1:
                    raise ImageError(f"{archive} is encrypted; send it without a password")
                path = folder / f"{number:05d}_{safe_name(entry.filename)}"
                with held.open(entry) as packed, open(path, "wb") as unpacked:
                    while block := packed.read(_BLOCK):
                        left -= len(block)
                        if left < 0:
                            raise _too_large(archive, max_bytes)
                        unpacked.write(block)
                written.append(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise OutputError(f"{archive} cannot be unpacked: {error.strerror}; make room") from None
        raise ImageError(f"{archive} is no whole zip archive (a part lies outside); pack it again") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        raise ImageError(f"{archive} is no whole zip archive ({str(error)[:80]}); pack it again") from None
    if not written:
        raise ImageError(f"{archive} holds no file; pack the files of one DICOM series")
    return written[0] if len(written) == 1 else folder


def safe_name(name: str) -> str:
    """The last part of a foreign file name, of characters that mean nothing anywhere; its endings stay."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", last).strip("._") or "image"
    return plain if len(plain) <= 100 else plain[:60] + plain[-40:]


def _aside(name: str) -> bool:
    """Whether an entry is what a system or a CD adds, no image."""
    path = PurePosixPath(name)
    return path.name.startswith(".") or "__MACOSX" in path.parts or path.name.upper() in ("DICOMDIR", "THUMBS.DB")


def _too_large(archive: Path, max_bytes: int) -> Refused:
    return Refused(
        413,
        f"{archive} unpacks to more than {max_bytes / 2**20:.0f} MiB or {MAX_FILES} files, the most that is taken here",
        reason="decoded size",
    )
