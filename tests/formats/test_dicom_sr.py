"""Structured reports: written by highdicom, read back by pydicom and by ourselves."""

import importlib.util

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import ImageError, LandmarkFileError, MissingExtraError
from anatomark.formats.convert import convert
from anatomark.formats.images import is_image, read_image
from anatomark.formats.images import write_image as write_nifti
from anatomark.formats.landmark_files.dicom_sr import ERROR_BOUND, IN_IMAGE, PRESENCE, read_dicom_sr, write_dicom_sr
from anatomark.formats.landmarks import read_landmarks
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.prediction import Prediction
from anatomark.model import Model
from anatomark.predict import predict_to_folder

CT, DX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
TURN = 0.3
ROW = np.array([np.cos(TURN), np.sin(TURN), 0.0])
COLUMN = np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
NAMES = ("nasion", "porion, left", "gonion", "menton")
PRESENCES = np.array([0.98, 0.71, 0.12, 0.5])
BOUNDS = np.array([1.25, np.nan, 3.0, 2.5])


def write_image(path, array, *, sop=CT, study, series, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID = series, study
    file.PatientName, file.PatientID, file.StudyID = "Phantom^Paula", "P-17", "S1"
    file.Modality, file.SamplesPerPixel = "CT", 1
    file.Rows, file.Columns = array.shape
    file.PhotometricInterpretation, file.BitsAllocated, file.BitsStored = "MONOCHROME2", 16, 16
    file.HighBit, file.PixelRepresentation = 15, 0
    file.PixelData = array.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path)


@pytest.fixture
def series(tmp_path):
    """The folder of an oblique stack of anisotropic slices, all sizes different."""
    folder = tmp_path / "series"
    folder.mkdir()
    study, uid, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(5):
        position = np.array([10.0, -20.0, 30.0]) + NORMAL * 2.5 * k
        write_image(
            folder / f"{k}.dcm",
            np.random.default_rng(k).integers(0, 4000, size=(6, 8)),
            study=study,
            series=uid,
            FrameOfReferenceUID=frame,
            PixelSpacing=[0.7, 0.5],
            ImageOrientationPatient=[*ROW, *COLUMN],
            ImagePositionPatient=[round(float(x), 6) for x in position],
            InstanceNumber=k + 1,
        )
    return folder


@pytest.fixture
def projection(tmp_path):
    path = tmp_path / "ceph.dcm"
    array = np.random.default_rng(0).integers(0, 4000, size=(30, 40))
    write_image(
        path, array, sop=DX, study=generate_uid(), series=generate_uid(), PixelSpacing=[0.3, 0.2], Modality="DX"
    )
    return path


def landmarks_in(grid):
    """Three present landmarks at no voxel's middle, and an absent one."""
    indices = np.random.default_rng(3).uniform(0, np.array(grid.shape) - 1, size=(4, grid.ndim))
    states = np.array([State.PRESENT, State.PRESENT, State.ABSENT, State.PRESENT], dtype=np.uint8)
    return Landmarks(NAMES, grid.index_to_world(indices), states, grid.unit)


def report(source, target, **changes):
    grid = read_image(source).grid
    held = {"source": source, "grid": grid, "model": "skull", "presence": PRESENCES, "error_bound": BOUNDS}
    landmarks = landmarks_in(grid)
    write_dicom_sr(landmarks, target, coverage=0.9, **held | changes)
    return landmarks, pydicom.dcmread(target)


def concept(item):
    code = item.ConceptNameCodeSequence[0]
    return (code.CodeValue, code.CodingSchemeDesignator)


def groups_of(dataset):
    """{tracking identifier: items of its group} by the standard's own tree: report, imaging measurements, groups."""
    assert concept(dataset) == ("126000", "DCM")  # Imaging Measurement Report
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (measurements,) = [item for item in dataset.ContentSequence if concept(item) == ("126010", "DCM")]
    found = {}
    for group in measurements.ContentSequence:
        assert concept(group) == ("125007", "DCM")  # Measurement Group
        (name,) = [item.TextValue for item in group.ContentSequence if concept(item) == ("112039", "DCM")]
        found[name] = group
    return found


def number(group, code):
    """(value, UCUM unit) of a measurement in a group; None where it has none."""
    items = [i for i in group.ContentSequence if i.ValueType == "NUM" and concept(i) == (code[0], "99ANATOMARK")]
    if not items:
        return None
    measured = items[0].MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0]
    assert unit.CodingSchemeDesignator == "UCUM"
    return float(measured.NumericValue), unit.CodeValue


def test_a_report_of_a_volume_says_every_landmark_in_its_frame_of_reference(series, tmp_path):
    landmarks, dataset = report(series, tmp_path / "out.sr.dcm")
    first = pydicom.dcmread(series / "0.dcm")
    assert dataset.SOPClassUID == COMPREHENSIVE_3D_SR
    assert (dataset.Modality, dataset.PatientID, str(dataset.PatientName)) == ("SR", "P-17", "Phantom^Paula")
    assert dataset.StudyInstanceUID == first.StudyInstanceUID
    assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    groups = groups_of(dataset)
    assert tuple(groups) == NAMES
    for row, name in enumerate(NAMES):
        group = groups[name]
        points = [item for item in group.ContentSequence if item.ValueType == "SCOORD3D"]
        said = [
            item.ConceptCodeSequence[0].CodeMeaning
            for item in group.ContentSequence
            if item.ValueType == "CODE" and concept(item) == (IN_IMAGE[0], "99ANATOMARK")
        ]
        assert number(group, PRESENCE) == (PRESENCES[row], "1")
        if landmarks.states[row] == State.ABSENT:
            assert (points, said) == ([], ["Absent"])
            assert number(group, ERROR_BOUND) is None
            continue
        assert said == ["Present"]
        assert points[0].GraphicType == "POINT"
        assert points[0].ReferencedFrameOfReferenceUID == first.FrameOfReferenceUID
        assert np.allclose(points[0].GraphicData, landmarks.points[row], rtol=0, atol=1e-4)
        expected = None if np.isnan(BOUNDS[row]) else (BOUNDS[row], "mm")
        assert number(group, ERROR_BOUND) == expected


def test_a_report_refers_to_every_source_image(series, tmp_path):
    _, dataset = report(series, tmp_path / "out.sr.dcm")
    slices = [pydicom.dcmread(path) for path in series.iterdir()]
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (held,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == slices[0].StudyInstanceUID
    assert held.SeriesInstanceUID == slices[0].SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in held.ReferencedSOPSequence} == {s.SOPInstanceUID for s in slices}


def test_our_own_codes_are_explained(series, tmp_path):
    _, dataset = report(series, tmp_path / "out.sr.dcm")
    (scheme,) = dataset.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99ANATOMARK"


def test_a_report_says_who_made_it(series, tmp_path):
    _, dataset = report(series, tmp_path / "out.sr.dcm")
    texts = [i.TextValue for g in groups_of(dataset).values() for i in g.ContentSequence if i.ValueType == "TEXT"]
    assert {"anatomark", "model: skull", "coverage of the error bounds: 0.9"} <= set(texts)
    assert not any("remark" in text for text in texts)


def test_a_remark_on_the_image_stands_with_each_landmark(series, tmp_path):
    _, dataset = report(series, tmp_path / "out.sr.dcm", remark="doubtful points, the image looks mirrored")
    for group in groups_of(dataset).values():
        texts = [item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"]
        assert "remark: doubtful points, the image looks mirrored" in texts


def test_a_report_of_a_projection_points_into_its_image(projection, tmp_path):
    landmarks, dataset = report(projection, tmp_path / "out.sr.dcm")
    source = pydicom.dcmread(projection)
    group = groups_of(dataset)["nasion"]
    (point,) = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    x, y = landmarks["nasion"]
    # the middle of the first pixel is at 0 mm here and at 0.5 there
    assert np.allclose(point.GraphicData, [x / 0.2 + 0.5, y / 0.3 + 0.5], rtol=0, atol=1e-4)
    (image,) = point.ContentSequence
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


@pytest.mark.parametrize("kind", ["series", "projection"])
def test_reading_gives_back_the_landmarks(kind, request, tmp_path):
    source, path = request.getfixturevalue(kind), tmp_path / "out.sr.dcm"
    landmarks, _ = report(source, path)
    back = read_landmarks(path, grid=read_image(source).grid)
    assert (back.names, back.unit, back.ndim) == (landmarks.names, landmarks.unit, landmarks.ndim)
    assert np.array_equal(back.states, landmarks.states)
    assert np.allclose(back.points, landmarks.points, rtol=0, atol=1e-4, equal_nan=True)


def test_a_projection_without_spacing_stays_in_pixels(tmp_path):
    path = tmp_path / "ceph.dcm"
    write_image(path, np.arange(1200).reshape(30, 40), sop=DX, study=generate_uid(), series=generate_uid())
    landmarks, dataset = report(path, tmp_path / "out.sr.dcm")
    assert landmarks.unit == "px"
    assert number(groups_of(dataset)["nasion"], ERROR_BOUND) == (1.25, "{pixels}")
    back = read_landmarks(tmp_path / "out.sr.dcm")
    assert back.unit == "px"
    assert np.allclose(back.points, landmarks.points, rtol=0, atol=1e-4, equal_nan=True)


def test_convert_takes_a_report(series, tmp_path):
    landmarks, _ = report(series, tmp_path / "skull.sr.dcm")
    convert(tmp_path / "skull.sr.dcm", tmp_path / "skull.mrk.json")
    back = read_landmarks(tmp_path / "skull.mrk.json")
    assert np.allclose(back.points, landmarks.points, rtol=0, atol=1e-4, equal_nan=True)
    assert np.array_equal(back.states, landmarks.states)


class Middle(Model):
    """A model that finds its landmarks in the middle of every image, one of them not."""

    def __init__(self):
        names = ("tip", "none")
        bounds = ErrorBounds.withheld(names, "never calibrated")
        super().__init__(names, (), 3, "mm", "skulls", (), bounds)

    def predict(self, image, *, source="image", coverage=0.9, orient="keep"):
        points = np.stack([image.grid.center] * 2)
        found = Landmarks.from_points(self.names, points, image.grid.unit)
        return Prediction(found, np.array([0.9, 0.2]), np.ones(2), error_bound=np.array([2.0, np.nan]))


def test_predict_writes_reports_of_dicom_images_and_tells_of_others(series, tmp_path):
    image = read_image(series)
    write_nifti(image, tmp_path / "other.nii.gz")
    summary = predict_to_folder(
        Middle(), [series, tmp_path / "other.nii.gz"], out=tmp_path / "out", formats=("csv", "dicom-sr"), overlays=False
    )
    assert summary.predicted == ["series"]
    assert "other.nii.gz is not DICOM" in summary.failed["other"]
    landmarks = read_landmarks(tmp_path / "out" / "series.sr.dcm")
    assert landmarks.states.tolist() == [State.PRESENT, State.ABSENT]
    assert np.allclose(landmarks["tip"], image.grid.center, rtol=0, atol=1e-4)
    dataset = pydicom.dcmread(tmp_path / "out" / "series.sr.dcm")
    assert number(groups_of(dataset)["tip"], ERROR_BOUND) == (2.0, "mm")
    texts = [i.TextValue for g in groups_of(dataset).values() for i in g.ContentSequence if i.ValueType == "TEXT"]
    assert "model: skulls" in texts


def test_a_report_is_no_image(series, tmp_path):
    report(series, tmp_path / "skull.sr.dcm")
    assert not is_image(tmp_path / "skull.sr.dcm")


def test_what_is_not_annotated_is_left_out(series, tmp_path):
    grid = read_image(series).grid
    landmarks = landmarks_in(grid).select(["nasion", "unseen"])
    write_dicom_sr(landmarks, tmp_path / "o.sr.dcm", source=series, grid=grid, model="m")
    assert read_dicom_sr(tmp_path / "o.sr.dcm").names == ("nasion",)


def test_other_images_get_no_report(tmp_path, series):
    path = tmp_path / "ct.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    grid = read_image(series).grid
    with pytest.raises(ImageError, match="is not DICOM, whose patient"):
        write_dicom_sr(landmarks_in(grid), tmp_path / "o.sr.dcm", source=path, grid=grid, model="skull")
    assert not (tmp_path / "o.sr.dcm").exists()


@pytest.mark.parametrize(
    ("lacking", "told"), [("FrameOfReferenceUID", "frame of reference"), ("StudyInstanceUID", "Study")]
)
def test_images_that_lack_what_a_report_names_are_refused(series, tmp_path, lacking, told):
    grid = read_image(series).grid
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        delattr(dataset, lacking)
        dataset.save_as(path)
    with pytest.raises(ImageError, match=told) as error:
        report(series, tmp_path / "o.sr.dcm", grid=grid)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o.sr.dcm").exists()


def test_files_that_are_no_report_are_told(tmp_path, series):
    (tmp_path / "a.sr.dcm").write_text("nothing")
    (tmp_path / "b.sr.dcm").write_bytes((series / "0.dcm").read_bytes())
    for name, told in (("a", "not a complete DICOM"), ("b", "not a report"), ("missing", "No such file")):
        with pytest.raises(LandmarkFileError, match=told) as error:
            read_dicom_sr(tmp_path / f"{name}.sr.dcm")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_a_report_cut_short_is_told_and_not_half_read(tmp_path, series, part):
    report(series, tmp_path / "whole.sr.dcm")
    whole = (tmp_path / "whole.sr.dcm").read_bytes()
    (tmp_path / "cut.sr.dcm").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(LandmarkFileError, match=r"cannot be read|not a report") as error:
        read_dicom_sr(tmp_path / "cut.sr.dcm")
    assert "\n" not in str(error.value)


def test_without_highdicom_one_line_says_how_to_get_it(series, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "anatomark.formats.landmark_files.dicom_sr.find_spec", lambda name: None if name == "highdicom" else found(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'anatomark\[dicom-sr\]'"):
        report(series, tmp_path / "o.sr.dcm")


def test_another_reader_finds_the_points(series, tmp_path):
    """highdicom's own, which knows the standard's templates and nothing of us."""
    from highdicom.sr import GraphicTypeValues3D, srread

    landmarks, _ = report(series, tmp_path / "out.sr.dcm")
    content = srread(tmp_path / "out.sr.dcm").content
    groups = content.get_planar_roi_measurement_groups(graphic_type=GraphicTypeValues3D.POINT)
    found = {group.tracking_identifier: group.roi.value[0] for group in groups}
    assert set(found) == {name for name, here in zip(NAMES, landmarks.present, strict=True) if here}
    for name, point in found.items():
        assert np.allclose(point, landmarks[name], rtol=0, atol=1e-4)
    (absent,) = content.get_image_measurement_groups()
    assert absent.tracking_identifier == "gonion"
