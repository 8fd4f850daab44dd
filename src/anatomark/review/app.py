"""The server of the page: its files and its few requests. `web.access` decides who may send them."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from anatomark.errors import AnatomarkError, OutputError
from anatomark.review.api import ReviewApi
from anatomark.review.record import StaleError
from anatomark.web.access import Access, Guard
from anatomark.web.problem import MEDIA_TYPE, Problem

PAGE = Path(__file__).parent / "page"
# Only the page's own files; the viewer has its font as a picture inside its code (data:).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


class Change(BaseModel):
    """A change of a case, based on its revision `base`; a landmark set to null is cleared."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base: Annotated[int, Field(ge=0)]
    set: dict[str, dict[str, Any] | None] = {}
    accepted: bool | None = None
    note: Annotated[str, Field(max_length=10_000)] | None = None


def make_app(api: ReviewApi, access: Access) -> Guard:
    """The ASGI app of a review."""
    app = FastAPI(title="anatomark review", openapi_url=None)
    last = len(api.study.cases) - 1

    @app.get("/api/study")
    def study() -> dict[str, Any]:
        return api.overview()

    @app.get("/api/cases/{number}")
    def case(number: int) -> dict[str, Any]:
        return api.case(_within(number, last))

    @app.get("/api/cases/{number}/image.nii")
    def image(number: int) -> Response:
        view = api.images.view(_within(number, last))
        return Response(view.nifti, media_type="application/octet-stream", headers={"x-step": str(view.step)})

    @app.post("/api/cases/{number}/changes")
    def change(number: int, change: Annotated[Change, Body()]) -> Response:
        number = _within(number, last)
        try:
            return JSONResponse(api.change(number, change.base, change.set, change.accepted, change.note))
        except StaleError as stale:
            now = api.changed(number, stale.now)
            return JSONResponse({"detail": str(stale), **now}, status_code=409)

    @app.post("/api/cases/{number}/prediction", status_code=202)
    def request_prediction(number: int) -> dict[str, Any]:
        if api.assistant is not None:
            api.assistant.request(_within(number, last))
        return api.prediction(_within(number, last))

    @app.get("/api/cases/{number}/prediction")
    def prediction(number: int) -> dict[str, Any]:
        return api.prediction(_within(number, last))

    @app.exception_handler(AnatomarkError)
    async def rejected(_: Request, error: AnatomarkError) -> Response:
        return _answer(Problem(507 if isinstance(error, OutputError) else 422, str(error)))

    @app.exception_handler(ValueError)
    async def invalid_change(_: Request, error: ValueError) -> Response:
        return _answer(Problem(422, f"invalid change: {error}"))

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _answer(Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return _answer(Problem(error.status_code, str(error.detail), tuple((error.headers or {}).items())))

    @app.exception_handler(LookupError)
    async def not_found(_: Request, error: LookupError) -> Response:
        return _answer(Problem(404, str(error.args[0])))

    mimetypes.add_type(
        "text/javascript", ".js"
    )  # browsers run no other type, and this machine may have another one for .js
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return Guard(app, access, max_body=4 << 20, policy=POLICY)


def _within(number: int, last: int) -> int:
    if not 0 <= number <= last:
        raise LookupError(f"there is no case {number}; the last is {last}")
    return number


def _answer(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, dict(problem.headers), MEDIA_TYPE)
