"""Parts of the OpenAPI description that cannot be read from the functions' signatures."""

from __future__ import annotations

from typing import Any

from anatomark.service.answers import Predicted, ProblemBody
from anatomark.service.job import MEDIA_TYPES
from anatomark.web.problem import MEDIA_TYPE

_WHY = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    403: "The Host or the Origin is a foreign one.",
    404: "No such model, or no such path below an allowed folder.",
    408: "The body came too slowly.",
    413: "Larger than what is taken here, as it is sent or when it is decoded.",
    415: "A body of another type.",
    422: "Something wrong with the parameters, the image or the landmarks.",
    500: "An error of the service.",
    501: "The format needs a package that is not installed.",
    503: "The queue is full; the header Retry-After says when to ask again.",
    504: "The prediction took too long.",
    507: "The landmarks cannot be written.",
}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
PREDICTED: dict[str, Any] = {
    "model": Predicted,
    "description": "All landmarks, in the asked format.",
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
    """The refusals that a path may give."""
    return {
        status: {
            "description": _WHY[status],
            "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
        }
        for status in statuses
    }
