"""The server of the page: its files, and the few things that it asks for. Who may ask, `web.access` decides."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from anatomark.errors import AnatomarkError, OutputError
from anatomark.review.desk import Desk
from anatomark.review.record import StaleError
from anatomark.web.access import Access, Guard
from anatomark.web.problem import MEDIA_TYPE, Problem

PAGE = Path(__file__).parent / "page"
# The page's own files and nothing else; the viewer draws its letters from a picture that it carries along (data:).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


class Change(BaseModel):
    """A change of a case, made looking at its revision `base`; a landmark set to null is taken back."""

    model_config = ConfigDict(extra="forbid")

    base: Annotated[int, Field(ge=0)]
    set: dict[str, dict[str, Any] | None] = {}
    accepted: bool | None = None
    note: Annotated[str, Field(max_length=10_000)] | None = None


def make_app(desk: Desk, access: Access) -> Guard:
    """The ASGI app of a review."""
    app = FastAPI(title="anatomark review", openapi_url=None)
    last = len(desk.study.cases) - 1

    @app.get("/api/study")
    def study() -> dict[str, Any]:
        return desk.overview()

    @app.get("/api/cases/{number}")
    def case(number: int) -> dict[str, Any]:
        return desk.case(_within(number, last))

    @app.get("/api/cases/{number}/image.nii")
    def image(number: int) -> Response:
        view = desk.views.view(_within(number, last))
        return Response(view.nifti, media_type="application/octet-stream", headers={"x-step": str(view.step)})

    @app.post("/api/cases/{number}/changes")
    def change(number: int, change: Annotated[Change, Body()]) -> Response:
        number = _within(number, last)
        try:
            return JSONResponse(desk.change(number, change.base, change.set, change.accepted, change.note))
        except StaleError as stale:
            now = desk.changed(number, stale.now)
            return JSONResponse({"detail": str(stale), **now}, status_code=409)

    @app.post("/api/cases/{number}/prediction", status_code=202)
    def ask(number: int) -> dict[str, Any]:
        if desk.assistant is not None:
            desk.assistant.ask(_within(number, last))
        return desk.prediction(_within(number, last))

    @app.get("/api/cases/{number}/prediction")
    def prediction(number: int) -> dict[str, Any]:
        return desk.prediction(_within(number, last))

    @app.exception_handler(AnatomarkError)
    async def refused(_: Request, error: AnatomarkError) -> Response:
        return _answer(Problem(507 if isinstance(error, OutputError) else 422, str(error)))

    @app.exception_handler(ValueError)
    async def wrong(_: Request, error: ValueError) -> Response:
        return _answer(Problem(422, f"no change that can be made: {error}"))

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _answer(Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(LookupError)
    async def nowhere(_: Request, error: LookupError) -> Response:
        return _answer(Problem(404, str(error.args[0])))

    mimetypes.add_type("text/javascript", ".js")  # what a browser runs, whatever this machine calls it
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return Guard(app, access, max_body=4 << 20, policy=POLICY)


def _within(number: int, last: int) -> int:
    if not 0 <= number <= last:
        raise LookupError(f"there is no case {number}; the last is {last}")
    return number


def _answer(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, dict(problem.headers), MEDIA_TYPE)
