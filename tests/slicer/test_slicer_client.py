"""The module's client against a running service, with files as Slicer writes them."""

import ast
import http.server
import json
import sys
import threading

import numpy as np
import pytest
import SimpleITK as sitk

from anatomark import load, read_image, read_landmarks
from tests.service.running import TOKEN
from tests.slicer.conftest import SLICER


@pytest.fixture
def client(library, both):
    return library.Client(both.url)


def slicer_nrrd(source, path):
    """A volume as Slicer saves it: LPS, space directions, gzip encoding, with the fields that ITK's writer adds."""
    image = sitk.ReadImage(str(source))
    image.SetMetaData("MeasurementFrame", "")
    sitk.WriteImage(image, str(path), useCompression=True)
    head = path.read_bytes()[:600].decode("latin-1")
    assert "space: left-posterior-superior" in head
    assert "space directions: (" in head
    assert "encoding: gzip" in head


def test_models_are_listed(client, both):
    assert [model["name"] for model in client.models()] == ["flat", "deep"]


def test_a_volume_of_slicer_comes_back_as_markups_of_slicer(client, service, made, tmp_path):
    path = tmp_path / "case 001.nrrd"
    slicer_nrrd(made / "ph3" / "images" / "case_001.nii.gz", path)
    found = client.predict(path, model="deep")
    (tmp_path / "found.mrk.json").write_bytes(found)
    wanted = load(made / "deep", device="cpu").predict(read_image(path)).thresholded()
    landmarks = read_landmarks(tmp_path / "found.mrk.json")
    assert landmarks.names == wanted.names
    assert np.array_equal(landmarks.states, wanted.states)
    assert np.allclose(landmarks.points[landmarks.present], wanted.points[wanted.present], rtol=0, atol=2e-3)
    node = json.loads(found)["markups"][0]
    assert node["type"] == "Fiducial"
    assert all(point["description"].startswith("presence 0.") for point in node["controlPoints"])
    for point in node["controlPoints"]:
        assert (point["positionStatus"] == "defined") == (len(point["position"]) == 3)


def test_corrected_markups_of_slicer_are_kept(client, service, made, tmp_path):
    path = tmp_path / "case_005.nrrd"
    slicer_nrrd(made / "ph3" / "images" / "case_005.nii.gz", path)
    markups = json.loads(client.predict(path, model="deep"))
    points = markups["markups"][0]["controlPoints"]
    points[0] |= {"position": [1.5, 2.5, -3.5], "positionStatus": "defined"}
    points[1] |= {"position": [], "positionStatus": "missing"}
    points[2] |= {"position": [], "positionStatus": "undefined"}
    (tmp_path / "corrected.mrk.json").write_text(json.dumps(markups))
    told = client.correct(tmp_path / "corrected.mrk.json", case="case_005", reviewer="dora", model="deep")
    assert told["newest"] == "dora/case_005.mrk.json"
    assert (told["absent"], told["not_annotated"]) == (1, 1)
    kept = read_landmarks(made / "corrections" / told["newest"])
    assert kept[points[0]["label"]].tolist() == [1.5, 2.5, -3.5]


def test_a_large_file_is_sent_again_after_a_wait(library, made, start, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    service = start(made / "flat", "--queue", 0, "--timeout", 20)
    image = made / "ph2" / "images" / "case_001.png"
    with ThreadPoolExecutor(2) as pool:
        with service.frozen():
            first = pool.submit(service.upload, "a.png", image, model="flat", spacing="1.0,1.2")
            service.until(lambda: any(path.is_file() for path in service.place.rglob("a.png")), 20)
            impatient = library.Client(service.url, patience=0)
            with pytest.raises(library.ServiceError, match="the queue is full"):
                impatient.predict(image, model="flat", spacing="1.0,1.2")
            second = pool.submit(library.Client(service.url).predict, image, model="flat", spacing="1.0, 1.2")
            service.until(lambda: 'reason="queue"} 2.0' in service.client.get("/metrics").text, 20)
        assert first.result().status_code == 200
        assert b"controlPoints" in second.result()


def test_refusals_are_told_in_the_services_words(client, library, service, made, tmp_path):
    image = made / "ph2" / "images" / "case_001.png"
    with pytest.raises(library.ServiceError, match="has no spacing, but the model works in mm"):
        client.predict(image, model="flat")
    with pytest.raises(library.ServiceError, match="no model 'none'; there are: flat, deep"):
        client.predict(image, model="none")
    with pytest.raises(library.ServiceError, match="cannot be read"):
        client.predict(tmp_path / "missing.nrrd", model="deep")
    large = tmp_path / "large.nrrd"
    large.write_bytes(b"\0" * (9 << 20))
    with pytest.raises(library.ServiceError, match="larger than the limit of 8"):
        client.predict(large, model="deep")


def test_the_token_is_sent(library, made, start):
    service = start(made / "flat", environment={"ANATOMARK_TOKEN": TOKEN})
    assert len(library.Client(service.url, f" {TOKEN}\n").models()) == 1
    for wrong in ("", "another-token-of-the-tests"):
        with pytest.raises(library.ServiceError, match="a token is needed"):
            library.Client(service.url, wrong).models()


def test_nobody_there_is_told(library):
    with pytest.raises(library.ServiceError, match=r"no answer from .* is `anatomark serve` running"):
        library.Client("http://127.0.0.1:9").models()
    for wrong in ("", "localhost:8000", "ftp://localhost", "file:///etc/passwd", "http://"):
        with pytest.raises(library.ServiceError, match="not the address of a service"):
            library.Client(wrong)


def test_a_token_goes_nowhere_else(library):
    """Whoever answers with a redirect does not get the token sent on."""
    asked = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}/stolen")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(library.ServiceError, match="answered 302"):
            library.Client(f"http://127.0.0.1:{server.server_port}", TOKEN).models()
        server.shutdown()
        thread.join()
    assert asked == [("/v1/models", f"Bearer {TOKEN}")]


@pytest.mark.parametrize(
    ("name", "case"),
    [("case_001.nii.gz", "case_001"), ("CT (1)", "CT_1"), ("a/b\\c", "a_b_c"), (".x.", "x"), ("n" * 90, "n" * 64)],
)
def test_names_become_plain(library, name, case):
    assert library.case_of(name) == case


def test_a_name_of_nothing_is_told(library):
    with pytest.raises(library.ServiceError, match="no letters or digits"):
        library.plain_name("///")


@pytest.mark.parametrize("path", sorted(SLICER.rglob("*.py")), ids=lambda path: path.name)
def test_it_is_written_for_slicers_python(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    if path.parent.name == "AnatomarkLandmarksLib":
        imported = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert imported <= sys.stdlib_module_names
