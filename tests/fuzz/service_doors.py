"""The doors of the service and the review page: bodies and parameters of HTTP requests, answered in this process."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.data_doors import phantoms
from tests.fuzz.door import Door, Files
from tests.fuzz.image_doors import dicom_seeds, mha_seeds, nifti_gz_seeds, picture_seeds, series_seeds
from tests.fuzz.model_doors import MODELS

QUERIES = (
    "spacing=1.0,1.2",
    "spacing=1.0,1.2&orient=auto",
    "",
    "format=csv",
    "format=mrk.json",
    "format=fcsv",
    "spacing=0.5,0.5",
    "coverage=0.5",
    "orient=auto",
)
ODD_QUERIES = (
    "format=x",
    "spacing=0,0",
    "spacing=1,1,1",
    "spacing=9999,9999",
    "coverage=nan",
    "coverage=2",
    "model=../..",
    "x=1",
)
REQUEST = json.dumps({"case": "case_000", "reviewer": "anna", "query": "model=flat"}).encode()


class Refused(Exception):
    """A status that no request may get."""


def upload_seeds() -> list[Files]:
    """Uploads: a picture, volumes, one slice of DICOM, and a series in a zip archive."""
    made = [*picture_seeds("png")[:1], *nifti_gz_seeds()[:1], *mha_seeds()[:1], *dicom_seeds()[:2]]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in series_seeds()[0].items():
            archive.writestr(f"series/{name}", content)
    held = [next(iter(files.items())) for files in made]
    return [{name: content} for name, content in [*held, ("a.zip", packed.getvalue())]]


def correction_seeds() -> list[Files]:
    names = _model()[1].names
    points = [
        {"label": name, "position": [k, 2.0, 0.0], "positionStatus": "defined"} for k, name in enumerate(names[:3])
    ]
    markups = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]}
    return [{"body": json.dumps(markups).encode()}]


def change_seeds() -> list[Files]:
    present = {"state": "present", "point": [3.0, 4.0], "how": "placed"}
    bodies = [{"base": 0, "set": {"p01": present, "p02": None}, "accepted": True, "note": "n"}, {"base": 1, "set": {}}]
    return [{"body": json.dumps(body).encode()} for body in bodies]


@cache
def _model() -> tuple[Any, Any]:
    """(an app of the service whose predictor works in this process, the model)."""
    from anatomark.loading import load
    from anatomark.service.app import make_app
    from anatomark.service.carry_out import carry_out
    from anatomark.service.limits import Limits
    from anatomark.service.predictor import Predictor
    from anatomark.service.worker import about
    from anatomark.web.access import decide_access
    from anatomark.web.roots import AllowedRoots

    run = MODELS / "global-to-local-2d"
    model = load(run, device="cpu")

    class Within(Predictor):
        async def predict(self, job: Any, is_disconnected: Any) -> Path:
            return carry_out(job, model)

    predictor = Within({"flat": run}, Limits(upload_mib=8, voxels=2_000_000))
    predictor.models = {"flat": about("flat", model, str(run))}
    spool = predictor.spool
    app = make_app(predictor, decide_access(), AllowedRoots([spool]), spool / "corrections")
    import atexit

    atexit.register(shutil.rmtree, spool, ignore_errors=True)
    return app, model


def enter_upload(folder: Path) -> None:
    """A prediction of an uploaded file."""
    path = next(iter(sorted(folder.iterdir())))
    content = path.read_bytes()
    rng = Random(content)
    query = rng.choice(QUERIES if rng.random() < 0.8 else ODD_QUERIES)
    _asked(_model()[0], f"/v1/predict?{query}", files={"file": (path.name, content)})


def enter_raw(folder: Path) -> None:
    """A request whose multipart body is itself changed."""
    headers = {"content-type": "multipart/form-data; boundary=xx"}
    _asked(_model()[0], "/v1/predict?spacing=1.0,1.2", content=(folder / "body").read_bytes(), headers=headers)


def raw_seeds() -> list[Files]:
    picture = next(iter(picture_seeds("png")[0].values()))
    start = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return [{"body": start + picture + b"\r\n--xx--\r\n"}]


def enter_correction(folder: Path) -> None:
    """A correction from Slicer."""
    content, headers = (folder / "body").read_bytes(), {"content-type": "application/json"}
    _asked(_model()[0], "/v1/corrections?case=case_000&reviewer=anna", content=content, headers=headers)


def enter_path(folder: Path) -> None:
    """A prediction of a file that the service has."""
    content, headers = (folder / "body").read_bytes(), {"content-type": "application/json"}
    _asked(_model()[0], "/v1/predict/path", content=content, headers=headers)


@cache
def _review() -> Any:
    from anatomark.review.api import ReviewApi
    from anatomark.review.app import make_app
    from anatomark.review.record import Record
    from anatomark.review.study import open_study
    from anatomark.web.access import decide_access

    folder = Path(tempfile.mkdtemp(prefix="fuzz-review-"))
    for name, content in phantoms().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    study = open_study(folder / "dataset.yaml", reviewer="anna")
    dataset = study.dataset
    record = Record(study.folder, "anna", dataset=dataset.name, order=dataset.names, ndim=2, unit=dataset.unit)
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_app(ReviewApi(study, record), decide_access())


def enter_change(folder: Path) -> None:
    """A change on the review page."""
    content, headers = (folder / "body").read_bytes(), {"content-type": "application/json"}
    _asked(_review(), "/api/cases/0/changes", content=content, headers=headers)


def _asked(app: Any, path: str, **given: Any) -> None:
    """Post; raises the refusal as an AnatomarkError, and Refused for a status that means a fault of the server."""
    import httpx

    from anatomark.errors import AnatomarkError

    async def asked() -> Any:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8770") as client:
            return await client.post(path, **given)

    answer = asyncio.run(asked())
    if answer.status_code >= 500 and answer.status_code != 501:
        raise Refused(f"{answer.status_code}: {answer.text[:500]}")
    if answer.status_code >= 400:
        raise AnatomarkError(answer.json()["detail"])


DOORS = [
    Door("service upload", upload_seeds, enter_upload),
    Door("service form", raw_seeds, enter_raw),
    Door("service correction", correction_seeds, enter_correction),
    Door(
        "service path",
        lambda: [{"body": b'{"path": "study7/ct.nrrd"}'}, {"body": b'{"path": "corrections"}'}],
        enter_path,
    ),
    Door("review change", change_seeds, enter_change),
]
