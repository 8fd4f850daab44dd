"""What the service says and is asked, as the OpenAPI page describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from anatomark.methods.error_bound import COVERAGE
from anatomark.service.job import Format

Spacing = Annotated[
    str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,8})?(,[0-9]{1,4}(\.[0-9]{1,8})?){1,2}$", examples=["0.25,0.25"])
]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]


class Asked(BaseModel):
    """How a prediction is wanted."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="The model; may be left out where there is only one.")] = None
    format: Annotated[Format, Field(description="Of the answer.")] = "json"
    coverage: Annotated[
        float, Field(gt=0, lt=1, description="Share of landmarks that are to lie within their error bounds.")
    ] = COVERAGE
    spacing: Annotated[
        Spacing | None, Field(description="x,y[,z] in mm, for images that have no spacing in their file.")
    ] = None


class AskedPath(BaseModel):
    """An image below one of the folders that the service may read."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[
        str, Field(min_length=1, max_length=1000, examples=["study7/ct.nrrd"], description="With / between names.")
    ]


class Point(BaseModel):
    """A landmark that was looked for. `point` is there whatever `presence` says."""

    name: str
    point: Annotated[list[float], Field(min_length=2, max_length=3, description="x, y[, z] in the world, LPS.")]
    presence: Annotated[float, Field(ge=0, le=1, description="Probability that it is in the image.")]
    said: Annotated[Literal["present", "absent"], Field(description="absent where the presence is below one half.")]
    spread: Annotated[float, Field(description="Root mean square distance of the votes.")]
    error_bound: Annotated[
        float | None, Field(description="What the error stays below in `coverage` of cases; null where it is withheld.")
    ]


class Predicted(BaseModel):
    """All landmarks of an image."""

    model: str
    image: str
    frame: Literal["LPS"]
    unit: Literal["mm", "px"]
    coverage: float
    warning: Annotated[str | None, Field(description="What a person should look at.")]
    landmarks: list[Point]


class ModelAbout(BaseModel):
    """A model that is served."""

    name: str
    method: str
    dimension: Literal[2, 3]
    unit: Literal["mm", "px"]
    dataset: str
    landmarks: list[str]
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    folds: Annotated[int, Field(description="Of a cross-validation, whose average is served; 0 for a single model.")]
    error_bounds: Annotated[bool, Field(description="Whether every landmark has one at 90 %.")]
    card: Annotated[dict[str, Any], Field(description="Its model.json.")]


class Models(BaseModel):
    models: list[ModelAbout]


class Health(BaseModel):
    status: Literal["live", "ready", "not ready"]
    waiting: Annotated[int, Field(ge=0, description="Predictions in the queue.")]


class AskedCorrection(BaseModel):
    """Whose landmarks these are, and of which image."""

    model_config = ConfigDict(extra="forbid")

    case: Annotated[PlainName, Field(description="The image, as a dataset.yaml calls it.")]
    reviewer: Annotated[PlainName, Field(description="Who placed or corrected them.")]
    model: Annotated[str | None, Field(description="Whose landmarks; may be left out where there is only one.")] = None


class Corrected(BaseModel):
    """Where a correction is kept, below the service's folder of corrections."""

    newest: Annotated[str, Field(description="What a dataset.yaml reads.")]
    version: Annotated[str, Field(description="The same, never changed again.")]
    present: int
    absent: int
    not_annotated: int


class ProblemBody(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="One line, as the command line would print it.")]
