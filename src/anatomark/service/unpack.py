"""Files of a zip archive, the form in which a DICOM series is uploaded: counted while unpacked, with safe names."""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from anatomark.errors import ImageError, OutputError
from anatomark.service.rejected import RequestRejected

MAX_FILES = 10_000
_BLOCK = 1 << 20


def is_zip(path: Path) -> bool:
    """Whether a file starts with the signature of a zip archive."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> Path:
    """The one file in `archive`, or `folder` with all of its files, without their folders.

    Raises RequestRejected (413) for more than `max_bytes` or MAX_FILES, whatever the archive declares, and ImageError
    for one that is damaged, encrypted or empty.
    """
    folder.mkdir()
    written: list[Path] = []
    left = max_bytes
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [
                entry for entry in opened.infolist() if not entry.is_dir() and not _is_system_file(entry.filename)
            ]
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > max_bytes:
                raise _too_large(archive, max_bytes)
            for number, entry in enumerate(entries):
                if entry.flag_bits & 1:
                    raise ImageError(f"{archive} is encrypted; send it without a password")
                path = folder / f"{number:05d}_{safe_name(entry.filename)}"
                with opened.open(entry) as packed, open(path, "wb") as unpacked:
                    while block := packed.read(_BLOCK):
                        left -= len(block)
                        if left < 0:
                            raise _too_large(archive, max_bytes)
                        unpacked.write(block)
                written.append(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise OutputError(f"{archive} cannot be unpacked: {error.strerror}; free some space") from None
        raise ImageError(f"{archive} is not a complete zip archive (a part is missing); pack it again") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        RuntimeError,
        LookupError,
    ) as error:
        raise ImageError(f"{archive} is not a complete zip archive ({str(error)[:80]}); pack it again") from None
    if not written:
        raise ImageError(f"{archive} contains no file; pack the files of one DICOM series")
    return written[0] if len(written) == 1 else folder


def safe_name(name: str) -> str:
    """The last part of an uploaded file's name, with only letters, digits and . _ -; its endings stay."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", last).strip("._") or "image"
    return plain if len(plain) <= 100 else plain[:60] + plain[-40:]


def _is_system_file(name: str) -> bool:
    """Whether an entry is a file that a system or a CD adds, not an image."""
    path = PurePosixPath(name)
    return path.name.startswith(".") or "__MACOSX" in path.parts or path.name.upper() in ("DICOMDIR", "THUMBS.DB")


def _too_large(archive: Path, max_bytes: int) -> RequestRejected:
    return RequestRejected(
        413,
        f"{archive} unpacks to more than {max_bytes / 2**20:.0f} MiB or {MAX_FILES} files; send fewer slices",
        reason="decoded size",
    )
