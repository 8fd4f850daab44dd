"""What nobody should send: each is one line of refusal, and the service lives on (the fixture looks after each)."""

import gzip
import io
import json
import socket
import struct
import zipfile
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from tests.service.running import TOKEN, detail

DEEP, FLAT = {"model": "deep"}, {"model": "flat", "spacing": "1.0,1.2"}


def zipped(*entries, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def nifti(shape, content=b"", code=4, bits=16):
    """A NIfTI file that declares int16 voxels of `shape`."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, code, bits)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, 352.0)
    struct.pack_into("<2h", head, 252, 1, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + content


def png(width, height):
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: {encoding}\nendian: little\n{more}\n"
MHA = "ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n{more}"


def nrrd(sizes="10 10 10", encoding="raw", more="", content=b""):
    return NRRD.format(sizes=sizes, encoding=encoding, more=more).encode() + content


def mha(sizes="10 10 10", more="ElementDataFile = LOCAL\n", content=b""):
    return MHA.format(sizes=sizes, more=more).encode() + content


def dicom(rows, columns, frames):
    """A DICOM file of many frames that declares a size and holds no pixels (explicit VR, little endian)."""

    def element(group, number, vr, value):
        value += (b" " if vr in (b"IS", b"CS") else b"\0") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    body = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2.1") + element(8, 0x18, b"UI", b"1.2.3")
    body += element(0x28, 2, b"US", struct.pack("<H", 1)) + element(0x28, 4, b"CS", b"MONOCHROME2")
    body += element(0x28, 8, b"IS", str(frames).encode())
    body += element(0x28, 0x10, b"US", struct.pack("<H", rows)) + element(0x28, 0x11, b"US", struct.pack("<H", columns))
    body += b"".join(
        element(0x28, n, b"US", struct.pack("<H", v)) for n, v in ((0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0))
    )
    body += struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 4) + b"\0" * 4
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


HUGE = {
    "nifti.nii": nifti((30000, 30000, 30000)),
    "nifti.nii.gz": gzip.compress(nifti((30000, 30000, 30000))),
    "many.nii": nifti((200, 200, 200)),
    "volume.nrrd": nrrd("100000 100000 100000"),
    "packed.nrrd": nrrd("5000 5000 5000", "gzip", content=gzip.compress(b"\0" * 1000)),
    "volume.mha": mha("90000 90000 90000"),
    "photo.png": png(60000, 60000),
    "enhanced.dcm": dicom(60000, 60000, 9000),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_size_is_refused_by_the_header(service, name):
    line = detail(service.upload(name, HUGE[name], **(FLAT if name.endswith("png") else DEEP)), 413)
    assert name in line
    assert "the limit of 2000000" in line


def lying_zip():
    """An archive that says of a file that it is small."""
    packed = bytearray(zipped(("ct.nii", b"\0" * (64 << 20))))
    for at in (packed.index(b"PK\x03\x04") + 22, packed.index(b"PK\x01\x02") + 24):
        struct.pack_into("<I", packed, at, 1000)
    return bytes(packed)


BOMBS = {
    "bomb.zip": zipped(("ct.nii", b"\0" * (64 << 20))),
    "many.zip": zipped(*((f"{k}", b"") for k in range(10_001))),
    "sum.zip": zipped(*((f"{k}.dcm", b"\0" * (1 << 20)) for k in range(40))),
    "bomb.nii.gz": gzip.compress(nifti((10, 10, 10), b"\0" * (64 << 20)), 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(service, name):
    assert name in detail(service.upload(name, BOMBS[name], **DEEP), 413)


def test_an_archive_that_lies_about_its_sizes_is_refused(service):
    detail(service.upload("lie.zip", lying_zip(), **DEEP), 413, 422)


def test_an_archive_in_an_archive_is_not_opened(service):
    detail(service.upload("outer.zip", zipped(("inner.zip", BOMBS["bomb.zip"])), **DEEP), 422)


SLIPS = ["../../../../tmp/anatomark_slipped.dcm", "/tmp/anatomark_slipped.dcm", "..\\..\\anatomark_slipped.dcm"]


@pytest.mark.parametrize("name", SLIPS)
def test_entries_of_archives_stay_where_they_belong(service, name, tmp_path_factory):
    detail(service.upload("slip.zip", zipped((name, b"x"), ("b", b"y")), **DEEP), 422)
    assert list(service.place.parent.rglob("*slipped*")) == []
    import pathlib

    assert not pathlib.Path("/tmp/anatomark_slipped.dcm").exists()


@pytest.mark.parametrize(
    "name", ["../../../evil.png", "/etc/evil.png", "a\\..\\evil.png", "\u202egnp.png", "x" * 4000 + ".png"]
)
def test_the_name_of_an_upload_means_nothing(service, made, name):
    image = (made / "ph2" / "images" / "case_001.png").read_bytes()
    answer = service.upload(name, image, **FLAT)
    assert answer.status_code == 200, answer.text
    assert "/" not in answer.json()["image"]
    assert list(service.place.rglob("*evil*")) == []


ELSEWHERE = {
    "a.nhdr": nrrd(more="data file: /etc/passwd\n"),
    "b.nrrd": nrrd(more="data file: /etc/passwd\n"),
    "c.nrrd": nrrd(more="datafile: LIST\n/etc/passwd\n"),
    "d.mhd": mha(more="ElementDataFile = /etc/passwd\n"),
    "e.mha": mha(more="ElementDataFile = /etc/passwd\n"),
    "f.mha": mha(more="elementdatafile = LOCAL\nElementDataFile = /etc/passwd\n"),
    "g.mha": mha(more="Comment = " + "x" * 70000 + "\nElementDataFile = /etc/passwd\n"),
    "i.mha": mha(more="ElementDataFile : /etc/passwd\n"),
    "j.nrrd": nrrd(more="data  file : x\n data file: /etc/passwd\n"),
    "h.nrrd": nrrd(more="# " + "x" * 70000 + "\ndata file: /etc/passwd\n"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_header_that_names_another_file_reads_none(service, name):
    assert "stores its voxels in another file" in detail(service.upload(name, ELSEWHERE[name], **DEEP), 422)


@pytest.mark.parametrize("before", [0, 512, 2048])
@pytest.mark.parametrize("name", ["a.nrrd", "b.nii", "c.mha", "d.png", "e.tif"])
def test_a_container_that_can_lead_to_any_file_is_not_read_by_another_name(service, tmp_path, name, before):
    """ITK would open HDF5 by its content, and what is stored in it may lie in any file of the machine."""
    volume(tmp_path, "v.hdf5")
    content = b"\0" * before + (tmp_path / "v.hdf5").read_bytes()
    query = FLAT if name.endswith(("png", "tif")) else DEEP
    assert "stores its voxels in another file" in detail(service.upload(name, content, **query), 422)


def volume(folder, name):
    path = folder / name
    sitk.WriteImage(
        sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 99, (9, 10, 11), dtype=np.int16)), str(path)
    )
    return path.read_bytes()


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha", "case_001.png"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_image_is_refused(service, made, tmp_path, name, part):
    whole = (made / "ph2" / "images" / name).read_bytes() if name.endswith("png") else volume(tmp_path, name)
    query = FLAT if name.endswith("png") else DEEP
    assert name in detail(service.upload(name, whole[: int(part * len(whole))], **query), 422)


def zip_with_a_part_outside():
    packed = bytearray(zipped(("a.dcm", b"x" * 1000)))
    struct.pack_into("<I", packed, packed.index(b"PK\x05\x06") + 16, 0xFFFFFF00)  # where its directory is said to be
    return bytes(packed)


def broken_stream():
    """A .mha whose compressed voxels lead nowhere; ITK's reader would not come back from it."""
    packed = bytearray(zlib.compress(np.random.default_rng(0).integers(0, 255, 990).astype("<i2").tobytes()))
    packed[40:60] = b"\xff" * 20
    more = f"CompressedData = True\nCompressedDataSize = {len(packed)}\nElementDataFile = LOCAL\n"
    return mha("11 10 9", more=more, content=bytes(packed))


NO_IMAGES = {
    "stream.mha": broken_stream(),
    "outside.zip": zip_with_a_part_outside(),
    "flat.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 2000, 0, 54, 40, 40, 0, 1, 8, 0, 0, 0, 0, 0, 0) + b"\0" * 2000,
    "text.png": b"no picture at all\n" * 100,
    "text.nii.gz": b"no gzip at all\n" * 100,
    "program.exe": b"MZ" + b"\0" * 5000,
    "paper.pdf": b"%PDF-1.7\n" + b"x" * 1000,
    "nothing.png": b"",
    "nameless": b"\0" * 1000,
    "ct.dcm": b"\0" * 128 + b"DICM" + b"\xff" * 400,
    "empty.zip": zipped(),
    "broken.zip": zipped(("a.dcm", b"x" * 1000))[:-30],
    "noise.nrrd": b"NRRD0004\n" + bytes(range(256)) * 20,
    "code.nii": nifti((5, 5, 5), b"\0" * 250, code=9999),
    "dims.nii": nifti((-5, 5, 5), b"\0" * 250),
    "four.nii": nifti((5, 5, 5, 3), b"\1\2" * 375),
    "offset.nii": nifti((5, 5, 5), b"\0" * 250)[:108] + struct.pack("<f", float("nan")) + b"\0" * 500,
    "constant.nii": nifti((5, 5, 5), b"\0" * 250),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused(service, name):
    query = FLAT if name.endswith(("png", "bmp")) else DEEP
    assert name.split(".")[0] in detail(service.upload(name, NO_IMAGES[name], **query), 413, 422)


def test_a_picture_for_a_model_of_volumes_is_refused(service, made):
    path = made / "ph2" / "images" / "case_001.png"
    assert "a 2D image" in detail(service.upload(path.name, path, **DEEP), 422)


def test_an_upload_above_the_limit_is_refused(service):
    assert "larger than the limit of 8" in detail(service.upload("large.nii", b"\0" * (9 << 20), **DEEP), 413)

    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * (1 << 20)

    head = {"content-type": "multipart/form-data; boundary=x"}
    detail(service.client.post("/v1/predict", content=endless(), headers=head, params=DEEP), 413)


@pytest.mark.parametrize("path", ["/v1/predict/path", "/v1/models", "/nothing"])
def test_other_paths_take_no_large_bodies(service, path):
    assert "larger than the limit of 1 MiB" in detail(service.client.post(path, content=b"[" * (2 << 20)), 413)


OUTSIDE = [
    "../flat/model.json", "..", ".", "/etc/passwd", "//etc/passwd", "case_001.nii.gz/../../flat", "\0",
    "case_001\0.png", "..\\flat", "C:/windows", "~/x", "%2e%2e/flat", "link.nii.gz", "linked", "con",
    "missing.nii.gz", "x" * 999,
]  # fmt: skip


@pytest.fixture(scope="module")
def links(made):
    """Links below a root that lead out of it, and a folder that holds one."""
    root = made / "ph3" / "images"
    held = [root / "link.nii.gz", root / "linked", root / "mixed" / "slice.dcm"]
    (root / "mixed").mkdir()
    held[0].symlink_to("/etc/passwd")
    held[1].symlink_to(made / "flat")
    held[2].symlink_to("/etc/passwd")
    yield
    for link in held:
        link.unlink()
    (root / "mixed").rmdir()


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_roots_is_read(service, links, path):
    answer = service.client.post("/v1/predict/path", json={"path": path}, params=DEEP)
    assert "root:" not in answer.text
    detail(answer, 404)


def test_a_folder_with_a_link_that_leads_out_is_not_read(service, links):
    answer = service.client.post("/v1/predict/path", json={"path": "mixed"}, params=DEEP)
    assert "outside the allowed folders" in detail(answer, 404)


FORMS = [
    ("/v1/predict", {}, b"", 415),
    ("/v1/predict", {"content-type": "application/json"}, b"{}", 415),
    ("/v1/predict", {"content-type": "multipart/form-data"}, b"x", 400),
    ("/v1/predict", {"content-type": "multipart/form-data; boundary=x"}, b"no form", 400),
    ("/v1/predict", {"content-type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422),
    ("/v1/predict/path", {"content-type": "application/json"}, b"{", 422),
    ("/v1/predict/path", {"content-type": "application/json"}, b"[" * 100_000, 422),
    ("/v1/predict/path", {"content-type": "application/json"}, b'{"path": 3}', 422),
    ("/v1/predict/path", {"content-type": "application/json"}, b'{"path": "a", "more": 1}', 422),
    ("/v1/predict/path", {"content-type": "application/json"}, b"\xff\xfe", 422),
    ("/v1/predict/path", {}, b"", 422),
]


@pytest.mark.parametrize(("path", "headers", "body", "status"), FORMS)
def test_bodies_that_are_no_request_are_refused(service, path, headers, body, status):
    detail(service.client.post(path, content=body, headers=headers, params=DEEP), status, 400)


@pytest.mark.parametrize("fields", [{"other": ("a.png", b"x")}, {"file": ("a.png", b"x"), "more": ("b.png", b"y")}])
def test_a_form_holds_one_file(service, fields):
    detail(service.client.post("/v1/predict", files=fields, params=DEEP), 400, 422)


QUERIES = [
    ({"model": "none"}, 404), ({}, 422), ({"model": "flat", "coverage": "2"}, 422),
    ({"model": "flat", "coverage": "nan"}, 422), ({"model": "flat", "format": "exe"}, 422),
    ({"model": "flat", "spacing": "0,0"}, 422),
    ({"model": "flat", "spacing": "1"}, 422), ({"model": "flat", "spacing": "1e999,1"}, 422),
    ({"model": "flat", "spacing": "1,1,1"}, 422), ({"model": "flat", "more": "1"}, 422), ({"model": "../flat"}, 404),
]  # fmt: skip


@pytest.mark.parametrize(("query", "status"), QUERIES)
def test_wrong_parameters_are_told(service, made, query, status):
    path = made / "ph2" / "images" / "case_001.png"
    detail(service.upload(path.name, path, **query), status)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", ""])
def test_a_foreign_host_is_refused(service, host):
    assert "the Host header is" in detail(service.client.get("/v1/models", headers={"host": host}), 403)


def test_a_page_of_another_site_predicts_nothing(service, made):
    path = made / "ph2" / "images" / "case_001.png"
    files = {"file": (path.name, path.read_bytes())}
    foreign = {"origin": "http://evil.example"}
    answer = service.client.post("/v1/predict", files=files, params=FLAT, headers=foreign)
    assert "pages of other sites" in detail(answer, 403)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "WEIRD"])
def test_other_methods_are_refused(service, method):
    answer = service.client.request(method, "/v1/predict")
    detail(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_requests_that_are_no_http_are_refused(service, request_bytes):
    status = int(service.raw(request_bytes).split(b" ")[1])
    assert 400 <= status < 500


@pytest.fixture(scope="module")
def guarded(made, start):
    """A service with a token and little patience."""
    return start(made / "flat", environment={"ANATOMARK_TOKEN": TOKEN}, patience=0.6)


def test_a_slow_client_is_shown_out(guarded):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    form = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
    assert guarded.raw(head).startswith(b"HTTP/1.1 408")
    assert guarded.raw(b"").startswith(b"HTTP/1.1 408")
    told = guarded.raw(head + form, b"--x\r\n")
    assert told.startswith(b"HTTP/1.1 408")
    assert json.loads(told.split(b"\r\n\r\n", 1)[1])["status"] == 408
    assert guarded.client.get("/v1/health/live").status_code == 200


def test_a_client_that_leaves_in_the_middle_leaves_nothing(service):
    host, port = service.url.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/predict?model=deep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data"
            )


def test_a_client_that_is_gone_before_it_is_answered_costs_nothing(service):
    host, port = service.url.removeprefix("http://").split(":")
    for k in range(30):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
            path = ("/v1/predict?model=none", "/nothing", "/v1/models")[k % 3]
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 900000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 200_000)  # more than the server reads on without being asked


@pytest.mark.parametrize("header", [None, "Bearer wrong-token-of-the-tests", f"Basic {TOKEN}"])
def test_without_the_token_nothing_is_told(guarded, made, header):
    headers = {} if header is None else {"authorization": header}
    for path in ("/", "/v1/models", "/metrics", "/openapi.json"):
        detail(guarded.client.get(path, headers=headers), 401)
    path = made / "ph2" / "images" / "case_001.png"
    files = {"file": (path.name, path.read_bytes())}
    detail(guarded.client.post("/v1/predict", files=files, params=FLAT, headers=headers), 401)
    for path in ("/v1/health/live", "/v1/health/ready"):
        assert guarded.client.get(path, headers=headers).status_code == 200


def test_with_the_token_everything_is_answered(guarded, made):
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.client.get("/v1/models", headers=headers).status_code == 200
    assert guarded.client.get("/openapi.json", headers=headers).json()["components"]["securitySchemes"]
    path = made / "ph2" / "images" / "case_001.png"
    files = {"file": (path.name, path.read_bytes())}
    assert guarded.client.post("/v1/predict", files=files, params=FLAT, headers=headers).status_code == 200
    assert TOKEN not in guarded.said()
