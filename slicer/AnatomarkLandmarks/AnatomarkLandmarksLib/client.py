"""Client of an anatomark service: requests predictions and sends corrections, with the standard library alone.

It runs in Slicer's Python (3.9 and later) without further packages.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

BLOCK = 1 << 20


class ServiceError(Exception):
    """What went wrong, in one line for the user."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: a service never sends any, and the token must not go to another server."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class Client:
    """A service at `url`, such as http://127.0.0.1:8000.

    `token` is that of the service, if it needs one. Requests to a busy service are repeated for `patience` seconds; an
    answer may take `timeout` seconds.
    """

    def __init__(self, url: str, token: str = "", *, patience: float = 60.0, timeout: float = 600.0) -> None:
        self.url, self.token = url.strip().rstrip("/"), token.strip()
        self.patience, self.timeout = patience, timeout
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServiceError(f"{url!r} is not the address of a service; give one such as http://127.0.0.1:8000")
        if not self.token.isascii() or not self.token.isprintable():
            raise ServiceError("the token contains invalid characters; copy it again")
        handlers: list[Any] = [_NoRedirect()]
        if parts.hostname in ("localhost", "127.0.0.1", "::1"):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def models(self) -> list[dict[str, Any]]:
        """The served models: name, dimension, unit, landmarks and more of each."""
        return json.loads(self._ask("/v1/models"))["models"]

    def predict(
        self,
        image: str | Path,
        *,
        model: str,
        coverage: float = 0.9,
        spacing: str = "",
        format: str = "mrk.json",
    ) -> bytes:
        """The landmarks of an image file, as the file in `format` that Slicer opens.

        A landmark that is predicted as absent is `missing` there; each point's description has its presence and error
        bound. `spacing` "x,y" in mm is for pictures that do not state one.
        """
        path = Path(image)
        query = {"model": model, "coverage": f"{coverage:g}", "format": format}
        if spacing.strip():
            query["spacing"] = spacing.replace(" ", "")
        form = _Form(path)
        return self._ask(
            "/v1/predict", query, form, {"Content-Type": form.content_type, "Content-Length": str(form.length)}
        )

    def correct(self, markups: str | Path, *, case: str, reviewer: str, model: str) -> dict[str, Any]:
        """Send the .mrk.json of corrected landmarks; the result says where the service saves them."""
        content = _read(Path(markups))
        query = {"case": case, "reviewer": reviewer, "model": model}
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return json.loads(self._ask("/v1/corrections", query, [content], headers))

    def _ask(self, path: str, query: dict[str, str] | None = None, body: Any = None, headers: Any = None) -> bytes:
        address = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        given = dict(headers or {})
        if self.token:
            given["Authorization"] = f"Bearer {self.token}"
        end = time.monotonic() + self.patience
        while True:
            request = urllib.request.Request(address, data=body, headers=given)
            try:
                with self._opener.open(request, timeout=self.timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    wait = _seconds(error.headers.get("Retry-After"))
                    if error.code == 503 and wait is not None and time.monotonic() + wait < end:
                        time.sleep(wait)
                        continue
                    raise ServiceError(_detail(error)) from None
            except (OSError, HTTPException, ValueError) as error:
                reason = getattr(error, "reason", None) or error
                raise ServiceError(f"no answer from {self.url} ({reason}); is `anatomark serve` running?") from None


class _Form:
    """The body of a form with one file, read as it is sent; it can be sent again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        boundary = secrets.token_hex(16)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self.tail = f"\r\n--{boundary}--\r\n".encode()
        try:
            self.length = len(self.head) + path.stat().st_size + len(self.tail)
        except OSError as error:
            raise ServiceError(f"{path} cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        with open(self.path, "rb") as file:
            while True:
                block = file.read(BLOCK)
                if not block:
                    break
                yield block
        yield self.tail


def plain_name(text: str) -> str:
    """A name for a case or reviewer that the service accepts, from the name of a person or a node."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:64].rstrip("._-")
    if not plain:
        raise ServiceError(f"{text!r} contains no letters or digits; give another name")
    return plain


def case_of(volume_name: str) -> str:
    """The case of a volume: the name of its node without a file ending."""
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".dcm"):
        if volume_name.lower().endswith(ending):
            volume_name = volume_name[: -len(ending)]
    return plain_name(volume_name)


def default_token() -> str:
    """The token in the environment, if there is one."""
    return os.environ.get("ANATOMARK_TOKEN", "")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServiceError(f"{path} cannot be read: {error.strerror}") from None


def _detail(error: urllib.error.HTTPError) -> str:
    """The message in an error answer."""
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the service answered {error.code} {error.reason}"


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None
