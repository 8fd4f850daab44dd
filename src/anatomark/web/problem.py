"""An error as a client reads it: problem+json (RFC 9457), whose detail is the line that the command line prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

MEDIA_TYPE = "application/problem+json"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Problem:
    """The answer to a failed request: an HTTP `status`, one line of `detail`, and further `headers`."""

    status: int
    detail: str
    headers: Headers = ()

    def body(self) -> bytes:
        about = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": " ".join(self.detail.split()),
        }
        return json.dumps(about).encode()

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in the form of ASGI."""
        headers = (("content-type", MEDIA_TYPE), ("content-length", str(len(self.body()))), *self.headers)
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
