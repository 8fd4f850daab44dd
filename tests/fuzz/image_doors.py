"""The doors of images: files of each format and folders of DICOM, with seeds by independent writers."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.door import Door, Files, tried

SHAPE, FLAT = (4, 6, 8), (12, 10)
PICTURES = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 90}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {"lossless": True}),
}


def enter_image(path: Path) -> None:
    """What `predict`, `check` and `init` do with a file or folder that may be an image."""
    from anatomark.core.image import require_usable
    from anatomark.formats.images import is_image, load_image, read_header

    is_image(path)
    pages = [1]

    def whole() -> None:
        image, header = load_image(path)
        pages.append(header.pages)
        require_usable(image, path)
        image.canonical()

    tried(
        whole,
        lambda: read_header(path),
        lambda: load_image(path, page=pages[-1], spacing=(1.0, 1.0), orientation="stored"),
    )


def _door(name: str, main: str, seeds: Callable[[], list[Files]]) -> Door:
    return Door(name, seeds, lambda folder: enter_image(folder / main))


def _volume(dtype: type = np.int16) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 200, SHAPE).astype(dtype)


def _written(names: Sequence[str], **written: Any) -> Files:
    """Files that SimpleITK writes, the first of `names` being asked for."""
    import tempfile

    import SimpleITK as sitk

    array = written.get("array", _volume())
    image = sitk.GetImageFromArray(array, isVector=written.get("vector", False))
    dimension = image.GetDimension()
    image.SetSpacing((0.5, 0.7, 2.0)[:dimension])
    image.SetOrigin((10.0, -20.0, 30.0)[:dimension])
    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(image, str(Path(folder) / names[0]), written.get("packed", False))
        return {name: (Path(folder) / name).read_bytes() for name in names}


def nifti_seeds() -> list[Files]:
    made = [
        _written(["a.nii"]),
        _written(["a.nii"], array=_volume(np.float32)),
        _written(["a.nii"], array=_volume(np.uint8)[0]),
    ]
    colours = np.random.default_rng(2).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    return [*made, _written(["a.nii"], array=colours, vector=True)]


def nifti_gz_seeds() -> list[Files]:
    return [{"a.nii.gz": gzip.compress(held["a.nii"], 1)} for held in nifti_seeds()[:2]]


def nifti_pair_seeds() -> list[Files]:
    return [_written(["a.hdr", "a.img"])]


def nrrd_seeds() -> list[Files]:
    import tempfile

    import nrrd

    made = [_written(["a.nrrd"], packed=packed) for packed in (False, True)]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.nrrd")
        for encoding in ("ascii", "bzip2"):
            header = {"encoding": encoding, "space": "left-posterior-superior", "space origin": [1, 2, 3]}
            header |= {"space directions": [[0, 1, 0], [0.5, 0, 0], [0, 0, 2]], "kinds": ["domain"] * 3}
            nrrd.write(path, _volume(), header)
            made.append({"a.nrrd": Path(path).read_bytes()})
    return made


def nhdr_seeds() -> list[Files]:
    return [_written(["a.nhdr", "a.raw"])]


def mha_seeds() -> list[Files]:
    return [_written(["a.mha"], packed=packed) for packed in (False, True)]


def mhd_seeds() -> list[Files]:
    return [_written(["a.mhd", "a.raw"]), _written(["a.mhd", "a.zraw"], packed=True)]


def picture_seeds(kind: str) -> list[Files]:
    from PIL import Image

    form, options = PICTURES[kind]
    rng = np.random.default_rng(3)
    pictures = [
        Image.fromarray(rng.integers(0, 255, FLAT).astype(np.uint8)),
        Image.fromarray(rng.integers(0, 255, (*FLAT, 3)).astype(np.uint8)),
    ]
    if kind == "png":
        pictures.append(Image.fromarray(rng.integers(0, 60000, FLAT).astype(np.uint16)))
        pictures.append(pictures[1].quantize(16))
        pictures.append(pictures[0].convert("1"))
    if kind == "bmp":
        pictures.append(pictures[1].quantize(16))
    made: list[Files] = []
    for picture in pictures:
        exif = Image.Exif()
        exif[274] = 6
        for more in ({}, {"exif": exif}) if kind in ("jpeg", "png", "webp") else ({},):
            target = io.BytesIO()
            picture.save(target, form, **options, **more)
            made.append({f"a.{'jpg' if kind == 'jpeg' else kind}": target.getvalue()})
    if kind == "jpeg":
        target = io.BytesIO()
        pictures[1].save(target, "JPEG", progressive=True, quality=60)
        made.append({"a.jpg": target.getvalue()})
    return made


def tiff_seeds() -> list[Files]:
    import tifffile
    from PIL import Image

    rng = np.random.default_rng(4)
    made: list[Files] = []
    arrays = [rng.integers(0, 255, FLAT).astype(np.uint8), rng.integers(0, 60000, (3, *FLAT)).astype(np.uint16)]
    arrays += [rng.random(FLAT).astype(np.float32), rng.integers(0, 255, (*FLAT, 3)).astype(np.uint8)]
    for array in arrays:
        for byteorder in ("<", ">"):
            target = io.BytesIO()
            tifffile.imwrite(
                target, array, byteorder=byteorder, photometric="rgb" if array.shape[-1] == 3 else "minisblack"
            )
            made.append({"a.tif": target.getvalue()})
    picture = Image.fromarray(arrays[0])
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        target = io.BytesIO()
        (picture.convert("1") if compression == "group4" else picture).save(target, "TIFF", compression=compression)
        made.append({"a.tif": target.getvalue()})
    return made


def dicom_seeds() -> list[Files]:
    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

    from tests.formats.dicom_objects import CT, DX, US, an_object, enhanced, oblique

    array = np.arange(3 * 6 * 8, dtype=np.int16).reshape(3, 6, 8)
    turned, normal = oblique()
    place = {"PixelSpacing": [0.7, 0.5], "ImageOrientationPatient": turned, "ImagePositionPatient": [1, 2, 3]}
    rle = an_object(DX, array[0].astype(np.uint16), ImagerPixelSpacing=[0.2, 0.1])
    rle.compress(RLELossless)
    colours = np.random.default_rng(5).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    made = [
        enhanced(array, [k * normal for k in range(3)], (1, 0, 2), orientation=turned),
        an_object(CT, array[0], RescaleSlope="1", RescaleIntercept="-9", **place),
        an_object(CT, array, SpacingBetweenSlices=2, RescaleSlope="1", RescaleIntercept="-9", **place),
        rle,
        an_object(US, colours, photometric="RGB"),
    ]
    for form, syntax in (("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)):
        target = io.BytesIO()
        options = {"no_jp2": True} if form == "JPEG2000" else {}
        Image.fromarray(colours[..., 0]).save(target, form, **options)
        packed = an_object(DX, colours[..., 0].copy(), PixelSpacing=[0.2, 0.1])
        packed.file_meta.TransferSyntaxUID, packed.PixelData = syntax, encapsulate([target.getvalue()])
        packed["PixelData"].VR = "OB"
        made.append(packed)
    return [{"a.dcm": _saved(one)} for one in made]


def series_seeds() -> list[Files]:
    from tests.formats.dicom_objects import CT, an_object, oblique

    turned, normal = oblique()
    files: dict[str, bytes] = {}
    for k in range(4):
        array = (np.arange(48, dtype=np.int16) + k).reshape(6, 8)
        where = [round(float(x), 6) for x in 2.5 * k * normal]
        tags = {"PixelSpacing": [0.7, 0.5], "ImageOrientationPatient": turned, "ImagePositionPatient": where}
        files[f"{k}.dcm"] = _saved(an_object(CT, array, InstanceNumber=k + 1, **tags))
    return [files]


def _saved(made: Any) -> bytes:
    target = io.BytesIO()
    made.save_as(target, enforce_file_format=True)
    return target.getvalue()


DOORS = [
    _door("image nifti", "a.nii", nifti_seeds),
    _door("image nifti.gz", "a.nii.gz", nifti_gz_seeds),
    _door("image nifti pair", "a.hdr", nifti_pair_seeds),
    _door("image nrrd", "a.nrrd", nrrd_seeds),
    _door("image nrrd detached", "a.nhdr", nhdr_seeds),
    _door("image mha", "a.mha", mha_seeds),
    _door("image mhd", "a.mhd", mhd_seeds),
    _door("image dicom", "a.dcm", dicom_seeds),
    _door("image dicom series", ".", series_seeds),
    _door("image png", "a.png", lambda: picture_seeds("png")),
    _door("image jpeg", "a.jpg", lambda: picture_seeds("jpeg")),
    _door("image bmp", "a.bmp", lambda: picture_seeds("bmp")),
    _door("image webp", "a.webp", lambda: picture_seeds("webp")),
    _door("image tiff", "a.tif", tiff_seeds),
]
