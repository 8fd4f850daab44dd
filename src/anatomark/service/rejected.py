"""The exception for a rejected request, with the answer to its client."""

from __future__ import annotations

from anatomark.errors import AccessError, AnatomarkError, MissingExtraError, OutputError
from anatomark.web.problem import Headers, Problem


class RequestRejected(AnatomarkError):
    """A request that is answered with `problem`; `reason` is its label in the metrics."""

    def __init__(self, status: int, detail: str, *, reason: str, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, headers)
        self.reason = reason


def status_of(error: AnatomarkError) -> int:
    """The HTTP status of an error that the command line would print."""
    if isinstance(error, RequestRejected):
        return error.problem.status
    if isinstance(error, AccessError):
        return 404
    if isinstance(error, MissingExtraError):
        return 501
    if isinstance(error, OutputError):
        return 507
    return 422
