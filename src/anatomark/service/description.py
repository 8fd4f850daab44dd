"""Parts of the OpenAPI description that cannot be read from the functions' signatures."""

from __future__ import annotations

from typing import Any

from anatomark.service.job import MEDIA_TYPES
from anatomark.service.schemas import Predicted, ProblemBody
from anatomark.web.problem import MEDIA_TYPE

_WHY = {
    400: "The body cannot be read.",
    401: "The token is missing or wrong.",
    403: "The Host or Origin header does not belong to this service.",
    404: "No such model, or no such path below an allowed folder.",
    408: "The body was sent too slowly.",
    413: "Larger than the limit, as uploaded or when decoded.",
    415: "The content type is not supported.",
    422: "The parameters, the image or the landmarks are invalid.",
    500: "Internal error of the service.",
    501: "The format needs a package that is not installed.",
    503: "The queue is full; the header Retry-After says when to retry.",
    504: "The prediction took too long.",
    507: "The landmarks cannot be written.",
}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
PREDICTED: dict[str, Any] = {
    "model": Predicted,
    "description": "All landmarks, in the requested format.",
    "content": {kind: _TEXT for name, kind in MEDIA_TYPES.items() if name != "json"},
}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    },
    "x-example": "curl -F file=@ct.nrrd 'http://localhost:8000/v1/predict?format=mrk.json' -o ct.mrk.json",
}
PATH: dict[str, Any] = {
    "x-example": 'curl --json \'{"path": "study7/ct.nrrd"}\' http://localhost:8000/v1/predict/path',
}
CORRECTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["markups"],
                    "properties": {"markups": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
                }
            }
        },
    },
    "x-example": "curl --json @ct.mrk.json 'http://localhost:8000/v1/corrections?case=ct&reviewer=anna'",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a path may answer."""
    return {
        status: {
            "description": _WHY[status],
            "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
        }
        for status in statuses
    }
