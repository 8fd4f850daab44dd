"""The service as an ASGI app: its paths, their parameters, and the answer to every error."""

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

from anatomark.errors import AccessError, AnatomarkError
from anatomark.service.corrections import Expected, store
from anatomark.service.description import CORRECTION, PATH, PREDICTED, UPLOAD, problems
from anatomark.service.job import MEDIA_TYPES, Job
from anatomark.service.metrics import Metrics
from anatomark.service.page import page
from anatomark.service.predictor import Predictor
from anatomark.service.rejected import RequestRejected, status_of
from anatomark.service.schemas import (
    Corrected,
    CorrectionQuery,
    Health,
    ImagePath,
    ModelAbout,
    Models,
    PredictionQuery,
)
from anatomark.service.unpack import safe_name
from anatomark.version import __version__
from anatomark.web.access import Access, AllowedRoots, App, Guard
from anatomark.web.problem import Problem

LIVE, READY = "/v1/health/live", "/v1/health/ready"
_FORM_BYTES = 64 << 10  # of a multipart body around its file
_MARKUPS_BYTES = 16 << 20
BODY_SECONDS = 30.0


def make_app(predictor: Predictor, access: Access, roots: AllowedRoots, corrections: Path | None = None) -> App:
    """The guarded app of a started `predictor`; without a folder `corrections`, no corrected landmarks are accepted.

    The predictor is stopped when the app's lifespan ends.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await predictor.stop()

    api = FastAPI(
        title="anatomark",
        version=__version__,
        description="Finds anatomical landmarks in medical images. For research; not a medical device.",
        docs_url=None,  # these fetch scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses=problems(401, 403, 408, 413) if access.token else problems(403, 408, 413),
    )
    metrics = Metrics(lambda: predictor.waiting, lambda: predictor.ready)
    _add_error_handlers(api, metrics)
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

    @api.get("/v1/models", summary="The served models, with their landmarks.")
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
        responses={503: {"model": Health, "description": "The models are being loaded."}},
    )
    async def ready() -> Response:
        health = Health(status="ready" if predictor.ready else "not ready", waiting=predictor.waiting)
        return JSONResponse(health.model_dump(), 200 if predictor.ready else 503)

    @api.get(
        "/metrics",
        summary="Metrics for Prometheus.",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_predictions(api: FastAPI, predictor: Predictor, roots: AllowedRoots, metrics: Metrics) -> None:
    async def answer(query: PredictionQuery, model: str, path: Path, folder: Path, request: Request) -> Response:
        job = Job(
            model=model,
            path=str(path),
            folder=str(folder),
            format=query.format,
            coverage=query.coverage,
            spacing=None if query.spacing is None else tuple(float(part) for part in query.spacing.split(",")),
            orient=query.orient,
            max_voxels=predictor.limits.voxels,
            max_bytes=predictor.limits.decoded_bytes,
        )
        result = await predictor.predict(job, request.is_disconnected)
        metrics.predictions.labels(model).inc()
        disposition = f'attachment; filename="{safe_name(result.name)}"'
        content = await asyncio.to_thread(result.read_bytes)  # its folder is deleted before the answer is sent
        return Response(content, media_type=MEDIA_TYPES[query.format], headers={"content-disposition": disposition})

    @api.post(
        "/v1/predict",
        summary="Landmarks of an uploaded image.",
        description="The body is a form with one field, file: an image, or a zip archive of one DICOM series. It is "
        "deleted after the prediction.",
        response_class=Response,
        responses={200: PREDICTED, **problems(400, 404, 415, 422, 500, 501, 503, 504)},
        openapi_extra=UPLOAD,
    )
    async def predict(request: Request, query: Annotated[PredictionQuery, Query()]) -> Response:
        model = _chosen(query.model, predictor)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise RequestRejected(
                415, "the body is not a form; send multipart/form-data with one file", reason="content type"
            )
        with predictor.slot() as folder:  # before the body is read: a full queue refuses it unread
            path = await _received(request, folder, predictor.limits.upload_bytes)
            return await answer(query, model, path, folder, request)

    @api.post(
        "/v1/predict/path",
        summary="Landmarks of an image in a folder of the service.",
        description="The path is relative to a folder given when the service was started (--root): an image file or "
        "the folder of a DICOM series.",
        response_class=Response,
        responses={200: PREDICTED, **problems(400, 404, 422, 500, 501, 503, 504)},
        openapi_extra=PATH,
    )
    async def predict_path(request: Request, body: ImagePath, query: Annotated[PredictionQuery, Query()]) -> Response:
        model = _chosen(query.model, predictor)
        path = await asyncio.to_thread(_allowed, roots, body.path)
        with predictor.slot() as folder:
            return await answer(query, model, path, folder, request)


def _add_corrections(api: FastAPI, predictor: Predictor, folder: Path) -> None:
    @api.post(
        "/v1/corrections",
        status_code=201,
        summary="Saves corrected landmarks.",
        description="The body is a .mrk.json of 3D Slicer. Every version is kept; a dataset.yaml reads the newest.",
        responses=problems(404, 415, 422, 507),
        openapi_extra=CORRECTION,
    )
    async def correct(request: Request, query: Annotated[CorrectionQuery, Query()]) -> Corrected:
        name = _chosen(query.model, predictor)
        about = predictor.models[name]
        if (
            not request.headers.get("content-type", "")
            .lower()
            .startswith(("application/json", "application/vnd.slicer"))
        ):
            raise RequestRejected(
                415, "the body is not JSON; send the .mrk.json with application/json", reason="content type"
            )
        body = await request.body()
        expected = Expected(tuple(about["landmarks"]), about["dimension"], about["unit"], name)

        def save() -> dict[str, Any]:
            with tempfile.TemporaryDirectory(dir=predictor.spool) as spool:
                markups = Path(spool) / "markups.mrk.json"
                markups.write_bytes(body)
                try:
                    return store(markups, folder, case=query.case, reviewer=query.reviewer, expected=expected)
                except AnatomarkError as error:
                    detail = str(error).replace(f"{spool}/", "").replace(f"{folder}/", "")
                    raise RequestRejected(status_of(error), detail, reason=type(error).__name__) from None

        return Corrected(**await asyncio.to_thread(save))


async def _received(request: Request, folder: Path, max_bytes: int) -> Path:
    """The file of a form, written into `folder` under a safe name. Raises `RequestRejected`."""
    async with request.form(max_files=1, max_fields=1) as form:
        files = form.getlist("file")
        if len(form) != 1 or len(files) != 1 or not isinstance(files[0], UploadFile):
            raise RequestRejected(
                422, "the form must have one field, `file`, with one file and its name", reason="form"
            )
        file = files[0]
        if file.size is not None and file.size > max_bytes:
            raise RequestRejected(413, f"the file is larger than {max_bytes / 2**20:g} MiB", reason="upload size")
        path = folder / "upload" / safe_name(file.filename or "image")

        def write() -> None:
            path.parent.mkdir()
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target, 1 << 20)

        await asyncio.to_thread(write)
        return path


def _allowed(roots: AllowedRoots, path: str) -> Path:
    found = roots.resolve(path)
    if found.is_dir():
        roots.require_inside(found)
    return found


def _chosen(name: str | None, predictor: Predictor) -> str:
    """The requested model, or the only one. Raises `RequestRejected`."""
    if name is None:
        if len(predictor.models) > 1:
            names = ", ".join(predictor.models)
            raise RequestRejected(
                422, f"several models are served; choose one with model=NAME: {names}", reason="model"
            )
        return next(iter(predictor.models))
    if name not in predictor.models:
        raise _no_model(name, predictor)
    return name


def _no_model(name: str, predictor: Predictor) -> RequestRejected:
    return RequestRejected(404, f"no model {name[:100]!r}; there are: {', '.join(predictor.models)}", reason="model")


def _add_error_handlers(api: FastAPI, metrics: Metrics) -> None:
    """Answer every failed request with problem+json of one line."""

    def answer(problem: Problem, reason: str) -> Response:
        metrics.refusals.labels(reason).inc()
        return Response(problem.body(), problem.status, dict(problem.headers), media_type="application/problem+json")

    @api.exception_handler(AnatomarkError)
    async def rejected(_: Request, error: AnatomarkError) -> Response:
        if isinstance(error, RequestRejected):
            return answer(error.problem, error.reason)
        reason = "path" if isinstance(error, AccessError) else type(error).__name__
        return answer(Problem(status_of(error), str(error)), reason)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(Problem(422, "; ".join(dict.fromkeys(map(_fault, error.errors())))), "parameters")

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        headers = tuple((error.headers or {}).items())
        detail = {
            404: "no such path; / lists the paths",
            405: "this path does not allow that method; / lists the paths with their methods",
        }
        return answer(Problem(error.status_code, detail.get(error.status_code, str(error.detail)), headers), "http")

    @api.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, error: ClientDisconnect) -> Response:
        return answer(Problem(400, "the connection was closed before the whole body was received"), "left")

    @api.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> Response:
        return answer(Problem(500, "internal error of the service; its log has the details"), "bug")


def _fault(fault: Any) -> str:
    location = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    got = "" if fault["type"] in ("missing", "json_invalid") else f", got {str(fault.get('input'))[:60]!r}"
    return f"{location[:60]}: {fault['msg'][0].lower()}{fault['msg'][1:]}{got}"


def _declare_token(api: FastAPI) -> None:
    """Document that every path except the probes needs a token; the guard checks it."""
    describe = api.openapi

    def with_token() -> dict[str, Any]:
        described = describe()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in described["paths"].items():
            for operation in methods.values():
                operation["security"] = [] if path in (LIVE, READY) else [{"token": []}]
        return described

    api.openapi = with_token  # type: ignore[method-assign]
