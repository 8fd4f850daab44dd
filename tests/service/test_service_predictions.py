"""What the service says is what the model says."""

import io
import json
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from anatomark import load, read_image, read_landmarks
from anatomark.core.landmarks import State
from anatomark.formats.table import read_table
from tests.service.running import detail

SPACING = (1.0, 1.2)
FLAT = {"model": "flat", "spacing": "1.0,1.2"}
CASES = {2: ("flat", "case_001.png", "1.0,1.2"), 3: ("deep", "case_001.nii.gz", None)}


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def case(request, made):
    """(image file, query, what the model itself says)."""
    model, name, spacing = CASES[request.param]
    path = made / f"ph{request.param}" / "images" / name
    image = read_image(path, spacing=SPACING if spacing else None)
    query = {"model": model} | ({"spacing": spacing} if spacing else {})
    return path, query, load(made / model, device="cpu").predict(image)


def close(points, wanted):
    return np.allclose(points, wanted, rtol=0, atol=2e-3)


def test_an_upload_is_predicted(service, case):
    path, query, wanted = case
    answer = service.upload(path.name, path, **query)
    assert answer.status_code == 200
    held = answer.json()
    assert (held["frame"], held["unit"], held["coverage"]) == ("LPS", "mm", 0.9)
    assert (held["model"], held["image"]) == (query["model"], "case_001")
    assert tuple(one["name"] for one in held["landmarks"]) == wanted.landmarks.names
    assert close([one["point"] for one in held["landmarks"]], wanted.landmarks.points)
    assert np.allclose([one["presence"] for one in held["landmarks"]], wanted.presence, rtol=0, atol=1e-3)
    assert np.allclose([one["spread"] for one in held["landmarks"]], wanted.spread, rtol=0, atol=1e-2)
    assert all(one["error_bound"] is None for one in held["landmarks"])  # too few cases to calibrate by


def test_a_path_is_predicted_as_an_upload_is(service, case):
    path, query, _ = case
    by_path = service.client.post("/v1/predict/path", json={"path": path.name}, params=query)
    assert by_path.status_code == 200
    assert by_path.json() == service.upload(path.name, path, **query).json()


def test_the_formats_say_the_same(service, case, tmp_path):
    path, query, wanted = case
    table = tmp_path / "out.csv"
    answer = service.upload(path.name, path, format="csv", **query)
    assert answer.headers["content-type"].startswith("text/csv")
    table.write_bytes(answer.content)
    rows = read_table(table)
    assert set(rows.image) == {"case_001"}
    assert close(rows.coordinates, wanted.landmarks.points)
    for ending, kind in (("mrk.json", "application/vnd.slicer.mrk+json"), ("fcsv", "text/plain")):
        answer = service.upload(path.name, path, format=ending, **query)
        assert answer.headers["content-type"].startswith(kind)
        assert f'filename="case_001.{ending}"' in answer.headers["content-disposition"]
        (tmp_path / f"out.{ending}").write_bytes(answer.content)
        landmarks, expected = read_landmarks(tmp_path / f"out.{ending}"), wanted.thresholded()
        assert landmarks.names == expected.names
        assert np.array_equal(landmarks.states, expected.states)
        assert close(landmarks.points[landmarks.present], expected.points[expected.present])


def test_the_coverage_is_passed_on(service, case):
    path, query, _ = case
    assert service.upload(path.name, path, coverage=0.75, **query).json()["coverage"] == 0.75


def test_suitability_is_answered_and_orient_is_passed_on(service, case):
    path, query, wanted = case
    held = service.upload(path.name, path, orient="auto", **query).json()
    assert (held["unsuitable"], held["taken_for"]) == (wanted.unsuitable, None)
    assert held["suitability"] is None or 0 <= held["suitability"] <= 1
    answer = service.upload(path.name, path, orient="guess", **query)
    assert answer.status_code == 422
    assert "orient" in answer.json()["detail"]


def dicom_series(image, folder):
    """The slices of a 3D image as DICOM files in `folder`, its grey values shifted to be positive."""
    folder.mkdir()
    grid = image.grid
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    axes = grid.direction
    for k in range(grid.shape[0]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = study, series, frame
        file.PatientID, file.Modality, file.SamplesPerPixel, file.InstanceNumber = "P-17", "CT", 1, k
        file.Rows, file.Columns = grid.shape[1:]
        file.PixelSpacing = [round(grid.spacing[1], 6), round(grid.spacing[2], 6)]
        file.ImagePositionPatient = [f"{x:.9g}" for x in grid.index_to_world(np.array([[k, 0, 0]]))[0]]
        file.ImageOrientationPatient = [f"{x:.9g}" for x in (*axes[:, 2], *axes[:, 1])]
        file.PhotometricInterpretation, file.BitsAllocated, file.BitsStored = "MONOCHROME2", 16, 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.PixelData = image.array[k].astype("<i2").tobytes()
        file.save_as(folder / f"{k:03d}")


@pytest.fixture(scope="module")
def series(made, tmp_path_factory):
    """(folder of a DICOM series, zip of it in nested folders, what the model says)."""
    folder = tmp_path_factory.mktemp("dicom") / "ct"
    dicom_series(read_image(made / "ph3" / "images" / "case_002.nii.gz"), folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DICOM/DICOMDIR", b"no image")
        for path in sorted(folder.iterdir()):
            archive.write(path, f"DICOM/PAT 1/../SERIES/{path.name}")
        archive.writestr("__MACOSX/._001", b"no image")
    return folder, packed.getvalue(), load(made / "deep", device="cpu").predict(read_image(folder))


def test_a_zip_of_a_dicom_series_is_predicted(service, series):
    answer = service.upload("ct.zip", series[1], model="deep")
    assert answer.status_code == 200, answer.text
    assert close([one["point"] for one in answer.json()["landmarks"]], series[2].landmarks.points)


def test_a_dicom_series_gets_a_structured_report(service, series, tmp_path):
    answer = service.upload("ct.zip", series[1], model="deep", format="dicom-sr")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    (tmp_path / "out.sr.dcm").write_bytes(answer.content)
    report, expected = pydicom.dcmread(tmp_path / "out.sr.dcm"), series[2].thresholded()
    first = pydicom.dcmread(series[0] / "000")
    assert (report.PatientID, report.StudyInstanceUID) == ("P-17", first.StudyInstanceUID)
    landmarks = read_landmarks(tmp_path / "out.sr.dcm")
    assert landmarks.names == expected.names
    assert close(landmarks.points[landmarks.present], expected.points[expected.present])


def test_other_images_get_no_report(service, made):
    path = made / "ph3" / "images" / "case_001.nii.gz"
    answer = service.upload(path.name, path, model="deep", format="dicom-sr")
    assert "case_001.nii.gz is not DICOM" in detail(answer, 422)


def test_a_picture_that_slicer_keeps_as_a_volume_of_one_slice(service, made, tmp_path):
    """Its landmarks come back in the volume's world, wherever that lies."""
    path = made / "ph2" / "images" / "case_001.png"
    wanted = load(made / "flat", device="cpu").predict(read_image(path, spacing=SPACING))
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    volume = sitk.GetImageFromArray(array[None])
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    volume.SetSpacing((*SPACING, 3.0))
    volume.SetOrigin((10.0, -20.0, 30.0))
    volume.SetDirection(turn.ravel().tolist())
    sitk.WriteImage(volume, str(tmp_path / "ceph.nrrd"))
    answer = service.upload("ceph.nrrd", tmp_path / "ceph.nrrd", model="flat")
    assert answer.status_code == 200, answer.text
    flat = np.pad(wanted.landmarks.points, ((0, 0), (0, 1)))
    assert close([one["point"] for one in answer.json()["landmarks"]], flat @ turn.T + [10.0, -20.0, 30.0])
    # a picture opened without its spacing: 1 mm in the file, and the true one beside it
    volume.SetSpacing((1.0, 1.0, 1.0))
    sitk.WriteImage(volume, str(tmp_path / "ceph.nrrd"))
    answer = service.upload("ceph.nrrd", tmp_path / "ceph.nrrd", **FLAT)
    pixels = flat / [*SPACING, 1.0]
    assert close([one["point"] for one in answer.json()["landmarks"]], pixels @ turn.T + [10.0, -20.0, 30.0])


def test_models_are_told(service, made):
    models = service.client.get("/v1/models").json()["models"]
    assert [(m["name"], m["dimension"], m["unit"]) for m in models] == [("flat", 2, "mm"), ("deep", 3, "mm")]
    assert models[1]["landmarks"] == list(load(made / "deep", device="cpu").names)
    assert models[1]["card"] == json.loads((made / "deep" / "model.json").read_text())
    assert service.client.get("/v1/models/deep").json() == models[1]
    assert "there are: flat, deep" in detail(service.client.get("/v1/models/none"), 404)


def test_the_metrics_count(service, made):
    def counted():
        lines = service.client.get("/metrics").text.splitlines()
        held = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(held["anatomark_ready"]) == 1
        assert float(held["anatomark_queue_length"]) == 0
        names = (
            'anatomark_predictions_total{model="flat"}',
            'anatomark_refusals_total{reason="SpacingError"}',
            'anatomark_request_seconds_count{path="/v1/predict"}',
        )
        return [float(held.get(name, 0)) for name in names]

    path = made / "ph2" / "images" / "case_001.png"
    before = counted()
    assert service.upload(path.name, path, **FLAT).status_code == 200
    assert service.upload(path.name, path, model="flat").status_code == 422
    assert np.subtract(counted(), before).tolist() == [1, 1, 2]


def test_absent_landmarks_are_said(service, case):
    path, query, wanted = case
    told = [one["said"] for one in service.upload(path.name, path, **query).json()["landmarks"]]
    assert told == ["absent" if state == State.ABSENT else "present" for state in wanted.thresholded().states]
