"""The stored pixels of a DICOM file, decoded frame by frame.

pydicom decodes what is not compressed, RLE, and colours in JPEG and JPEG 2000 (by Pillow, which is always there); GDCM,
through SimpleITK, all other JPEG, JPEG-LS and JPEG 2000, from a file of our own that holds the frame alone. Neither
rescales or inverts anything: `dicom_values` does.
"""

from __future__ import annotations

import math
import struct
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.dicom_files import dicom_file
from anatomark.formats.dicom_files.dicom_attributes import items, number, quiet, text, uid_name, whole
from anatomark.formats.dicom_files.dicom_file import DicomFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NATIVE = (dicom_file.IMPLICIT, dicom_file.EXPLICIT, dicom_file.DEFLATED, dicom_file.BIG_ENDIAN)
_RLE = "1.2.840.10008.1.2.5"
_JPEG_8_BIT, _J2K = ("1.2.840.10008.1.2.4.50",), ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_GDCM = (*_JPEG_8_BIT, *(f"1.2.840.10008.1.2.4.{end}" for end in (51, 57, 70, 80, 81)), *_J2K)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_RATIO = 2000  # no compression makes whole images smaller than this, but files that lie do
_LARGE = 256 << 20
FLOATS = {0x7FE00008: "f4", 0x7FE00009: "f8"}


@dataclass(frozen=True)
class Pixels:
    """The pixels of a DICOM file; making one checks that there are as many bytes as its header states."""

    file: DicomFile

    def __post_init__(self) -> None:
        header, path = self.file.dataset, self.file.path
        if not dicom_file.is_image(self.file):
            raise ImageError(f"{path} is DICOM without an image ({_kind(header)}); give the images that it is about")
        bits = self.bits if self.file.element not in FLOATS else 8 * np.dtype(FLOATS[self.file.element]).itemsize
        if self.samples not in (1, 3, 4) or bits not in (8, 16, 32, 64):
            raise ImageError(
                f"{path} has {self.samples} numbers of {bits} bits in each pixel; expected a grey or RGB image of 8, "
                f"16 or 32 bits{' (it is a segmentation)' if bits == 1 else ''}"
            )
        if not 0 < self.stored <= self.bits or not 0 <= self.shift <= self.bits - self.stored:
            raise ImageError(
                f"{path} is damaged: of {self.bits} bits {self.stored} are stored, the highest being "
                f"{self.shift + self.stored - 1}; export it again"
            )
        size = self.frame_bytes * self.count
        stated = f"{path} states {self.count} x {self.shape[0]} x {self.shape[1]} pixels ({size} bytes)"
        if self.file.pieces is None:
            if self.file.length < size:
                raise ImageError(
                    f"{stated}, but holds {self.file.length} bytes of them: cut short or damaged; copy it again"
                )
            if self.file.length >= 2 * size:
                raise ImageError(f"{stated}, but holds {self.file.length} bytes of them; export it again")
        else:
            pieces, packed = len(self.file.pieces) - 1, sum(length for _, length in self.file.pieces)
            if pieces < self.count:
                raise ImageError(
                    f"{stated}, but holds {max(pieces, 0)} compressed frames: cut short or damaged; copy it again"
                )
            if size > _LARGE and size > _RATIO * packed:
                raise ImageError(f"{stated}, but holds {packed} bytes of compressed pixels: damaged; export it again")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return whole(self.file.dataset, "Rows"), whole(self.file.dataset, "Columns")

    @cached_property
    def count(self) -> int:
        return dicom_file.frame_count(self.file)

    @cached_property
    def samples(self) -> int:
        return whole(self.file.dataset, "SamplesPerPixel") or 1

    @cached_property
    def bits(self) -> int:
        """Bits of a number in the file."""
        return whole(self.file.dataset, "BitsAllocated")

    @cached_property
    def stored(self) -> int:
        """Bits of a number that are its own."""
        return whole(self.file.dataset, "BitsStored") or self.bits

    @cached_property
    def shift(self) -> int:
        """Bits below those that are its own; 0 but in very old files."""
        high = number(self.file.dataset, "HighBit")
        return 0 if high is None else int(high) + 1 - self.stored

    @cached_property
    def signed(self) -> bool:
        return whole(self.file.dataset, "PixelRepresentation") == 1

    @cached_property
    def photometric(self) -> str:
        return text(self.file.dataset, "PhotometricInterpretation").upper() or "MONOCHROME2"

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        if self.file.element in FLOATS:
            return math.prod(self.shape) * np.dtype(FLOATS[self.file.element]).itemsize
        thirds = 2 if self.photometric == "YBR_FULL_422" and self.file.pieces is None else 3
        return math.prod(self.shape) * self.bits // 8 * self.samples * thirds // 3

    @cached_property
    def is_grey(self) -> bool:
        """Whether the numbers of the pixels are grey values, not colours or entries of a palette."""
        return self.samples == 1 and self.photometric != "PALETTE COLOR"

    @cached_property
    def per_frame(self) -> list[Dataset]:
        """The items of PerFrameFunctionalGroupsSequence."""
        return items(self.file.dataset, "PerFrameFunctionalGroupsSequence")

    @cached_property
    def compressed(self) -> list[bytes]:
        """The compressed bytes of every frame."""
        from pydicom.encaps import generate_frames

        path, pieces = self.file.path, (self.file.pieces or ())[1:]
        joined = self.file.bytes_at(self.file.start, self.file.length)
        parts = [joined[start - self.file.start :][:length] for start, length in pieces]
        begun = len(parts) if self.file.syntax == _RLE else sum(_codestream(part) is not None for part in parts)
        if begun > self.count:
            raise ImageError(f"{path} holds {begun} compressed frames, but states {self.count}; export it again")
        if len(parts) == self.count:
            return parts
        if self.count == 1:
            return [b"".join(parts)]
        try:
            starts: bytes | None = self.file.dataset.get("ExtendedOffsetTable")
            lengths: bytes | None = self.file.dataset.get("ExtendedOffsetTableLengths")
            extended = (starts, lengths) if starts and lengths else None
            frames = list(generate_frames(joined, number_of_frames=self.count, extended_offsets=extended))
        except Exception as error:  # pydicom on a table of offsets that anybody may have written
            raise ImageError(
                f"{path} is damaged: its compressed frames cannot be separated; export it again"
            ) from error
        if len(frames) != self.count:
            raise ImageError(f"{path} holds {len(frames)} compressed frames, but states {self.count}; export it again")
        return frames

    def frame(self, index: int) -> NDArray[Any]:
        """The stored values (rows, columns) of a frame; colours are grey already. Raises `ImageError`."""
        array = self._frame(index)
        if array.shape != self.shape:
            raise ImageError(
                f"{self.file.path} holds a frame of {' x '.join(map(str, array.shape))} values, but states "
                f"{' x '.join(map(str, self.shape))}; export it again"
            )
        return array

    def _frame(self, index: int) -> NDArray[Any]:
        file = self.file
        if file.pieces is None:
            if file.syntax not in _NATIVE:
                raise ImageError(
                    f"{file.path} states that it is compressed ({_syntax(file)}), but is not; export it again"
                )
            packed = file.bytes_at(file.start + index * self.frame_bytes, self.frame_bytes)
            if file.element in FLOATS:
                return self._native(packed, np.dtype(FLOATS[file.element]))
            if self.samples == 1 and (self.bits > 8 or file.little_endian):
                array = self._native(packed, np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}"))
            elif self.samples == 1:  # bytes in words of the other order
                whole_words = file.bytes_at(file.start, file.length // 2 * 2)
                swapped = np.frombuffer(whole_words, "u2").byteswap().tobytes()
                start = index * self.frame_bytes
                array = self._native(swapped[start : start + self.frame_bytes], np.dtype("i1" if self.signed else "u1"))
            else:
                array = self._by_pydicom(packed)
        else:
            array = self._decoded(self.compressed[index])
        if self.photometric == "PALETTE COLOR" and self.samples == 1:
            return self._from_palette(self._own_bits(array))
        if self.samples > 1:
            return itk.to_grey(array, self.samples, file.path)
        return self._own_bits(array)

    def _native(self, packed: bytes, dtype: np.dtype) -> NDArray[Any]:
        count = len(packed) // dtype.itemsize
        if count != math.prod(self.shape):
            raise ImageError(
                f"{self.file.path} states {self.bits} bits for a value, expected 8, 16 or 32; export it again"
            )
        array = np.frombuffer(packed, dtype.newbyteorder("<" if self.file.little_endian else ">"), count)
        return array.reshape(self.shape).astype(dtype, copy=False)

    def _own_bits(self, array: NDArray[Any]) -> NDArray[Any]:
        """Without the bits that are not the number's own, and with its sign."""
        if array.dtype.kind not in "iu" or self.stored >= 8 * array.dtype.itemsize:
            return array
        left = 8 * array.dtype.itemsize - self.stored - self.shift
        kind = np.dtype(f"{'i' if self.signed else 'u'}{array.dtype.itemsize}")
        return (array.view(kind) << left) >> (left + self.shift)

    def _decoded(self, packed: bytes) -> NDArray[Any]:
        path, syntax = self.file.path, self.file.syntax
        stream = _codestream(packed)
        if stream is not None and (
            stream.shape != self.shape or stream.samples != self.samples or stream.bits > self.bits
        ):
            raise ImageError(
                f"{path} states {self.shape[0]} x {self.shape[1]} pixels of {self.samples} x {self.bits} bits, but "
                f"its compressed image has {stream.shape[0]} x {stream.shape[1]} of {stream.samples} x {stream.bits}: "
                "damaged; export it again"
            )
        if syntax == _RLE or (self.samples > 1 and syntax in (*_JPEG_8_BIT, *_J2K)):
            return self._by_pydicom(packed)
        if syntax in _GDCM and stream is not None:
            return self._by_gdcm(packed)
        if syntax in _GDCM:
            raise ImageError(
                f"{path} cannot be read: its compressed image ({_syntax(self.file)}) is damaged; export it again"
            )
        return self._by_pydicom(packed)  # what a plugin of pydicom may know

    def _by_pydicom(self, packed: bytes) -> NDArray[Any]:
        """One frame as pydicom decodes it: native colours, RLE, and colours in JPEG and JPEG 2000 (by Pillow)."""
        from pydicom.pixels.utils import pixel_array

        try:
            with quiet():
                return pixel_array(self._one_frame_file(packed, self.photometric), raw=self.samples == 1)
        except Exception as error:  # of pydicom and its plugins, on bytes that anybody may have written
            known = self.file.syntax in (*_NATIVE, _RLE, *_GDCM)
            reason = "is damaged" if known else "is of a kind that is not decoded here; write it uncompressed"
            raise ImageError(f"{self.file.path} cannot be read: its image ({_syntax(self.file)}) {reason}") from error

    def _by_gdcm(self, packed: bytes) -> NDArray[Any]:
        """One frame as GDCM decodes it: JPEG, JPEG lossless, JPEG-LS and JPEG 2000.

        It gets a file of our own that holds the frame alone and neither rescale nor MONOCHROME1, so what comes is
        what is stored.
        """
        photometric = "MONOCHROME2" if self.samples == 1 else self.photometric
        with tempfile.TemporaryDirectory(prefix="anatomark-") as folder:
            path = Path(folder) / "frame.dcm"
            with quiet():
                self._one_frame_file(packed, photometric).save_as(path, enforce_file_format=True)
            try:
                reader = itk.header(path, "GDCMImageIO")
                if tuple(reader.GetSize()[:2]) != self.shape[::-1]:
                    raise ImageError("another size")
                _, array = itk.voxels(reader, path)
            except ImageError as error:
                raise ImageError(
                    f"{self.file.path} cannot be read: its compressed image ({_syntax(self.file)}) is damaged; "
                    "export or copy it again"
                ) from error
        array = array.reshape(*self.shape, -1)
        if array.shape[-1] != self.samples:
            raise ImageError(f"{self.file.path} is damaged: its compressed image has {array.shape[-1]} colours")
        if self.samples > 1:
            return array
        kind = np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}")
        return array[..., 0].astype(kind)

    def _one_frame_file(self, packed: bytes, photometric: str) -> Dataset:
        """A dataset with one frame and what is needed to decode it."""
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.uid import UID

        header, dataset = self.file.dataset, Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(
            self.file.syntax if self.file.pieces is not None or self.file.syntax == dicom_file.BIG_ENDIAN
            else dicom_file.EXPLICIT
        )  # fmt: skip
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(_SECONDARY_CAPTURE)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = self.samples, photometric
        dataset.Rows, dataset.Columns = self.shape
        dataset.BitsAllocated, dataset.BitsStored = self.bits, self.stored
        dataset.HighBit, dataset.PixelRepresentation = self.stored + self.shift - 1, int(self.signed)
        if self.samples > 1:
            dataset.PlanarConfiguration = whole(header, "PlanarConfiguration")
        dataset.PixelData = packed if self.file.pieces is None else encapsulate([packed])
        dataset["PixelData"].VR = "OB" if self.file.pieces is not None or self.bits <= 8 else "OW"
        return dataset

    def _from_palette(self, array: NDArray[Any]) -> NDArray[Any]:
        from pydicom.pixels.processing import apply_color_lut

        try:
            with quiet():
                colours = apply_color_lut(array, self.file.dataset)
        except Exception as error:  # of pydicom, on a palette that anybody may have written
            raise ImageError(f"{self.file.path} is damaged: its palette cannot be read; export it again") from error
        if colours.dtype == np.uint16 and not (colours % 257).any():
            colours = (colours // 257).astype(np.uint8)  # 8 bits written as 16
        return itk.to_grey(colours, colours.shape[-1], self.file.path)


@dataclass(frozen=True)
class _Codestream:
    """What a compressed image states of itself; decoders believe it, so it is compared with the header."""

    shape: tuple[int, int]
    samples: int
    bits: int


def _codestream(packed: bytes) -> _Codestream | None:
    """The _Codestream of a JPEG, JPEG-LS or JPEG 2000 image; None for other bytes."""
    if packed[4:8] == b"jP  " and (at := packed.find(b"\xff\x4f\xff\x51", 0, 4096)) > 0:
        packed = packed[at : at + 64]
    if packed[:4] == b"\xff\x4f\xff\x51" and len(packed) >= 45:
        right, bottom, left, top = struct.unpack(">4I", packed[8:24])
        samples, bits = struct.unpack(">HB", packed[40:43])
        return _Codestream((bottom - top, right - left), samples, (bits & 0x7F) + 1)
    if packed[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 10 <= len(packed):
        if packed[at] != 0xFF:
            return None
        marker = packed[at + 1]
        if marker == 0xFF:  # a filler
            at += 1
            continue
        length, bits, rows, columns, samples = struct.unpack(">HBHHB", packed[at + 2 : at + 10])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return _Codestream((rows, columns), samples, bits)
        at += 2 + length
    return None


def _syntax(file: DicomFile) -> str:
    return uid_name(file.syntax)


def _kind(header: Dataset) -> str:
    kind = text(header, "SOPClassUID")
    return uid_name(kind) if kind else "of no stated kind"
