"""DICOM objects for tests, and what pydicom alone says of them: every value and where each pixel lies."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORED = "1.2.840.10008.5.1.4.1.1."
CT, ENHANCED_CT, MR, ENHANCED_MR, PET, ENHANCED_PET = (STORED + e for e in ("2", "2.1", "4", "4.1", "128", "130"))
DX, CR, XA, XA_3D, TOMO = (STORED + e for e in ("1.1", "1", "12.1", "13.1.1", "13.1.3"))
US, CAPTURE, NUCLEAR, DOSE, SEGMENTATION = (STORED + e for e in ("6.1", "7", "20", "481.2", "66.4"))


def an_object(sop, array, *, stored=None, photometric="MONOCHROME2", syntax=ExplicitVRLittleEndian, **tags):
    """A dataset with native pixels: array (rows, columns), (frames, rows, columns) or (rows, columns, 3)."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    made.PatientID, made.PatientName, made.Modality = "P", "Phantom^Paula", "CT"
    colour = photometric in ("RGB", "YBR_FULL", "YBR_FULL_422")
    made.Rows, made.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        made.PlanarConfiguration = 0
    if array.ndim == 3 and not colour:
        made.NumberOfFrames = len(array)
    made.BitsAllocated = 8 * array.dtype.itemsize
    made.BitsStored = stored or made.BitsAllocated
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(array.dtype.kind == "i")
    made.PixelData = array.tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def save(made, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def nested(**tags):
    """A dataset as an item of a sequence."""
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def oblique(turn=0.3, tilt=0.2):
    """ImageOrientationPatient (6,) of a plane that is parallel to nothing, and its normal."""
    row = np.array([np.cos(turn), np.sin(turn), 0.0])
    column = np.array([-np.sin(turn) * np.sin(tilt), np.cos(turn) * np.sin(tilt), -np.cos(tilt)])
    return [float(f"{x:.12f}") for x in (*row, *column)], np.cross(row, column)


def enhanced(array, positions, order, *, sop=ENHANCED_CT, spacing=(0.7, 0.5), orientation=None, between=None,
             rescale=(1, -1000), per_frame=lambda k: {}, shared=(), **tags):  # fmt: skip
    """A multi-frame object whose frame j is slice order[j] of `array` (slices, rows, columns) at positions[order[j]].

    `rescale` is (slope, intercept), or a function of the slice that gives one.
    """
    made = an_object(sop, array[list(order)], **tags)
    measures = nested(PixelSpacing=list(spacing), SliceThickness=9)  # no distance between slices
    if between is not None:
        measures.SpacingBetweenSlices = between
    common = nested(PixelMeasuresSequence=[measures])
    if orientation is not None:
        common.PlaneOrientationSequence = [nested(ImageOrientationPatient=orientation)]
    if not callable(rescale):
        common.PixelValueTransformationSequence = [_transformation(*rescale)]
    for name in shared:
        setattr(common, name, shared[name])
    made.SharedFunctionalGroupsSequence = [common]
    groups = []
    for k in order:
        held = {"PlanePositionSequence": [nested(ImagePositionPatient=[f"{x:.9g}"[:16] for x in positions[k]])]}
        held["FrameContentSequence"] = [nested(StackID="1", InStackPositionNumber=k + 1)]
        if callable(rescale):
            held["PixelValueTransformationSequence"] = [_transformation(*rescale(k))]
        groups.append(nested(**held | per_frame(k)))
    made.PerFrameFunctionalGroupsSequence = groups
    return made


def _transformation(slope, intercept):
    return nested(RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType="US")


def by_pydicom(made):
    """[(values (rows, columns), world positions (rows, columns, 3))] of every frame, by PS3.3 C.7.6.2.1.1."""
    frames = int(made.get("NumberOfFrames", 1))
    arrays = made.pixel_array.reshape(frames, made.Rows, made.Columns)
    found = []
    for index, array in enumerate(arrays):
        own = made.PerFrameFunctionalGroupsSequence[index] if "PerFrameFunctionalGroupsSequence" in made else Dataset()
        common = made.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in made else Dataset()

        def held(sequence, keyword, own=own, common=common):
            for group in (own, common):
                if sequence in group and keyword in group[sequence][0]:
                    return group[sequence][0]
            return made

        values = apply_rescale(array, held("PixelValueTransformationSequence", "RescaleSlope"))
        turned = np.array(held("PlaneOrientationSequence", "ImageOrientationPatient").ImageOrientationPatient, float)
        place = np.array(held("PlanePositionSequence", "ImagePositionPatient").ImagePositionPatient, float)
        down, along = map(float, held("PixelMeasuresSequence", "PixelSpacing").PixelSpacing)
        rows, columns = np.meshgrid(np.arange(made.Rows), np.arange(made.Columns), indexing="ij")
        world = place + columns[..., None] * along * turned[:3] + rows[..., None] * down * turned[3:]
        found.append((values, world))
    return found


def assert_same_voxels(image, frames, within=1e-4):
    """Every frame is one slice of the image: the same values at the same places (mm), and no slice is left."""
    assert len(image.array) == len(frames)
    centers = image.grid.centers()
    seen = set()
    for values, world in frames:
        k = int(np.linalg.norm(centers[:, 0, 0] - world[0, 0], axis=1).argmin())
        np.testing.assert_array_equal(image.array[k], values)
        np.testing.assert_allclose(centers[k], world, rtol=0, atol=within)
        seen.add(k)
    assert seen == set(range(len(frames)))
