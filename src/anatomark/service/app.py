"""The service as an ASGI app: its paths, what they are asked, and how every refusal is told."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from anatomark import __version__
from anatomark.errors import AccessError, AnatomarkError
from anatomark.service.answers import (
    Asked,
    AskedCorrection,
    AskedPath,
    Corrected,
    Health,
    ModelAbout,
    Models,
)
from anatomark.service.corrections import Expected, store
from anatomark.service.description import CORRECTION, PATH, PREDICTED, UPLOAD, problems
from anatomark.service.job import MEDIA_TYPES, Job
from anatomark.service.metrics import Metrics
from anatomark.service.page import page
from anatomark.service.predictor import Predictor
from anatomark.service.refused import Refused, status_of
from anatomark.service.unpack import safe_name
from anatomark.web.access import Access, AllowedRoots, App, Guard
from anatomark.web.problem import Problem

LIVE, READY = "/v1/health/live", "/v1/health/ready"
_FORM_BYTES = 64 << 10  # of a multipart body around its file
_MARKUPS_BYTES = 16 << 20
BODY_SECONDS = 30.0


def make_app(predictor: Predictor, access: Access, roots: AllowedRoots, corrections: Path | None = None) -> App:
    """The guarded app of a started `predictor`. `corrections` is the folder for landmarks that come back, if they may.

    The predictor is stopped when the app's life ends.
    """

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await predictor.stop()

    api = FastAPI(
        title="anatomark",
        version=__version__,
        description="Finds anatomical landmarks in medical images. For research; not a medical device.",
        docs_url=None,  # these fetch their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
        responses=problems(401, 403, 408, 413) if access.token else problems(403, 408, 413),
    )
    metrics = Metrics(lambda: predictor.waiting, lambda: predictor.ready)
    _tell_problems(api, metrics)
    _add_predictions(api, predictor, roots, metrics)
    if corrections is not None:
        _add_corrections(api, predictor, corrections)
    _add_about(api, predictor, metrics)
    if access.token is not None:
        _declare_token(api)
    limits = {"/v1/predict": predictor.limits.upload_bytes + _FORM_BYTES, "/v1/corrections": _MARKUPS_BYTES}
    guard = Guard(api, access, max_body=1 << 20, max_bodies=limits, body_seconds=BODY_SECONDS, open_paths=(LIVE, READY))
    return metrics.around(guard)


def _add_about(api: FastAPI, predictor: Predictor, metrics: Metrics) -> None:
    @api.get("/", include_in_schema=False)
    async def read_me() -> HTMLResponse:
        html, policy = page(api.openapi(), list(predictor.models.values()))
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @api.get("/v1/models", summary="The models that are served, with their landmarks.")
    async def models() -> Models:
        return Models(models=[ModelAbout(**about) for about in predictor.models.values()])

    @api.get("/v1/models/{name}", summary="One model.", responses=problems(404))
    async def model(name: str) -> ModelAbout:
        if name not in predictor.models:
            raise _no_model(name, predictor)
        return ModelAbout(**predictor.models[name])

    @api.get(LIVE, summary="Whether the service runs. Needs no token.")
    async def live() -> Health:
        return Health(status="live", waiting=predictor.waiting)

    @api.get(
        READY,
        summary="Whether the models are loaded. Needs no token.",
        responses={503: {"model": Health, "description": "They are being loaded again."}},
    )
    async def ready() -> Response:
        health = Health(status="ready" if predictor.ready else "not ready", waiting=predictor.waiting)
        return JSONResponse(health.model_dump(), 200 if predictor.ready else 503)

    @api.get(
        "/metrics",
        summary="Numbers for Prometheus.",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def numbers() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_predictions(api: FastAPI, predictor: Predictor, roots: AllowedRoots, metrics: Metrics) -> None:
    async def answer(asked: Asked, model: str, path: Path, folder: Path, request: Request) -> Response:
        job = Job(
            model=model,
            path=str(path),
            folder=str(folder),
            format=asked.format,
            coverage=asked.coverage,
            spacing=None if asked.spacing is None else tuple(float(part) for part in asked.spacing.split(",")),
            max_voxels=predictor.limits.voxels,
            max_bytes=predictor.limits.decoded_bytes,
        )
        found = await predictor.predict(job, request.is_disconnected)
        metrics.predictions.labels(model).inc()
        named = f'attachment; filename="{safe_name(found.name)}"'
        content = await asyncio.to_thread(found.read_bytes)  # its folder is gone when the answer is sent
        return Response(content, media_type=MEDIA_TYPES[asked.format], headers={"content-disposition": named})

    @api.post(
        "/v1/predict",
        summary="Landmarks of an image that is sent.",
        description="The body is a form with one field, file: an image, or a zip archive of one DICOM series. It is "
        "deleted when the answer is made.",
        response_class=Response,
        responses={200: PREDICTED, **problems(400, 404, 415, 422, 500, 501, 503, 504)},
        openapi_extra=UPLOAD,
    )
    async def predict(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        model = _chosen(asked.model, predictor)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Refused(415, "the body is no form; send multipart/form-data with one file", reason="content type")
        with predictor.place() as folder:  # before the body is read: a full service takes none
            path = await _received(request, folder, predictor.limits.upload_bytes)
            return await answer(asked, model, path, folder, request)

    @api.post(
        "/v1/predict/path",
        summary="Landmarks of an image that the service can read itself.",
        description="The path is relative to a folder that the service was started with (--root): an image file or "
        "the folder of a DICOM series.",
        response_class=Response,
        responses={200: PREDICTED, **problems(400, 404, 422, 500, 501, 503, 504)},
        openapi_extra=PATH,
    )
    async def predict_path(request: Request, body: AskedPath, asked: Annotated[Asked, Query()]) -> Response:
        model = _chosen(asked.model, predictor)
        path = await asyncio.to_thread(_allowed, roots, body.path)
        with predictor.place() as folder:
            return await answer(asked, model, path, folder, request)


def _add_corrections(api: FastAPI, predictor: Predictor, folder: Path) -> None:
    @api.post(
        "/v1/corrections",
        status_code=201,
        summary="Keeps corrected landmarks.",
        description="The body is a .mrk.json of 3D Slicer. Every version is kept; the newest lies where a dataset.yaml "
        "reads it.",
        responses=problems(404, 415, 422, 507),
        openapi_extra=CORRECTION,
    )
    async def correct(request: Request, asked: Annotated[AskedCorrection, Query()]) -> Corrected:
        name = _chosen(asked.model, predictor)
        about = predictor.models[name]
        if (
            not request.headers.get("content-type", "")
            .lower()
            .startswith(("application/json", "application/vnd.slicer"))
        ):
            raise Refused(415, "the body is no JSON; send the .mrk.json with application/json", reason="content type")
        body = await request.body()
        expected = Expected(tuple(about["landmarks"]), about["dimension"], about["unit"], name)

        def keep() -> dict[str, Any]:
            with tempfile.TemporaryDirectory(dir=predictor.spool) as place:
                markups = Path(place) / "markups.mrk.json"
                markups.write_bytes(body)
                try:
                    return store(markups, folder, case=asked.case, reviewer=asked.reviewer, expected=expected)
                except AnatomarkError as error:
                    told = str(error).replace(f"{place}/", "").replace(f"{folder}/", "")
                    raise Refused(status_of(error), told, reason=type(error).__name__) from None

        return Corrected(**await asyncio.to_thread(keep))


async def _received(request: Request, folder: Path, most: int) -> Path:
    """The file of a form, written into `folder` under a safe name. Raises `Refused`."""
    async with request.form(max_files=1, max_fields=1) as form:
        files = form.getlist("file")
        if len(form) != 1 or len(files) != 1 or not isinstance(files[0], UploadFile):
            raise Refused(422, "the form wants one field, `file`, with one file and its name", reason="form")
        file = files[0]
        if file.size is not None and file.size > most:
            raise Refused(413, f"the file is larger than {most / 2**20:g} MiB", reason="upload size")
        path = folder / "upload" / safe_name(file.filename or "image")

        def write() -> None:
            path.parent.mkdir()
            with open(path, "wb") as kept:
                shutil.copyfileobj(file.file, kept, 1 << 20)

        await asyncio.to_thread(write)
        return path


def _allowed(roots: AllowedRoots, path: str) -> Path:
    found = roots.resolve(path)
    if found.is_dir():
        roots.require_inside(found)
    return found


def _chosen(name: str | None, predictor: Predictor) -> str:
    """The model that is asked for, or the only one. Raises `Refused`."""
    if name is None:
        if len(predictor.models) > 1:
            names = ", ".join(predictor.models)
            raise Refused(422, f"which model? say model=NAME with one of {names}", reason="model")
        return next(iter(predictor.models))
    if name not in predictor.models:
        raise _no_model(name, predictor)
    return name


def _no_model(name: str, predictor: Predictor) -> Refused:
    return Refused(404, f"no model {name[:100]!r}; there are: {', '.join(predictor.models)}", reason="model")


def _tell_problems(api: FastAPI, metrics: Metrics) -> None:
    """Every way in which a request can fail ends in problem+json with one line."""

    def told(problem: Problem, reason: str) -> Response:
        metrics.refusals.labels(reason).inc()
        return Response(problem.body(), problem.status, dict(problem.headers), media_type="application/problem+json")

    @api.exception_handler(AnatomarkError)
    async def refused(_: Request, error: AnatomarkError) -> Response:
        if isinstance(error, Refused):
            return told(error.problem, error.reason)
        reason = "path" if isinstance(error, AccessError) else type(error).__name__
        return told(Problem(status_of(error), str(error)), reason)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return told(Problem(422, "; ".join(dict.fromkeys(map(_fault, error.errors())))), "parameters")

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        headers = tuple((error.headers or {}).items())
        detail = {404: "nothing is here; / lists what there is", 405: "this is not asked in that way; / lists how"}
        return told(Problem(error.status_code, detail.get(error.status_code, str(error.detail)), headers), "http")

    @api.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:
        return told(Problem(400, "the request ended before its body did"), "left")  # nobody is there to read it

    @api.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return told(Problem(500, "an error of the service, not of the request; its log has more"), "bug")


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    came = "" if fault["type"] in ("missing", "json_invalid") else f", got {str(fault.get('input'))[:60]!r}"
    return f"{where[:60]}: {fault['msg'][0].lower()}{fault['msg'][1:]}{came}"


def _declare_token(api: FastAPI) -> None:
    """Says in the description that every path but the probes' wants a token; the guard asks for it."""
    made = api.openapi

    def with_token() -> dict[str, Any]:
        described = made()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in described["paths"].items():
            for operation in methods.values():
                operation["security"] = [] if path in (LIVE, READY) else [{"token": []}]
        return described

    api.openapi = with_token  # type: ignore[method-assign]
