"""Parameters, bodies and answers of the service, as its OpenAPI description documents them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import Orient
from anatomark.service.job import Format

Spacing = Annotated[
    str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,8})?(,[0-9]{1,4}(\.[0-9]{1,8})?){1,2}$", examples=["0.25,0.25"])
]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]


class PredictionQuery(BaseModel):
    """Parameters of a prediction."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="The model; optional if only one is served.")] = None
    format: Annotated[Format, Field(description="Format of the answer.")] = "json"
    coverage: Annotated[
        float, Field(gt=0, lt=1, description="Proportion of landmarks that are to lie within their error bounds.")
    ] = COVERAGE
    spacing: Annotated[Spacing | None, Field(description="x,y[,z] in mm, for images whose file states no spacing.")] = (
        None
    )
    orient: Annotated[
        Orient,
        Field(description="auto: take an image that looks mirrored, turned, inverted or rescaled as if it did not."),
    ] = "keep"


class ImagePath(BaseModel):
    """An image in one of the folders that the service may read."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[
        str, Field(min_length=1, max_length=1000, examples=["study7/ct.nrrd"], description="Names separated by /.")
    ]


class Point(BaseModel):
    """A predicted landmark. It has a `point` whatever its `presence`."""

    name: str
    point: Annotated[list[float], Field(min_length=2, max_length=3, description="x, y[, z] in the world, LPS.")]
    presence: Annotated[float, Field(ge=0, le=1, description="Probability that the landmark is in the image.")]
    said: Annotated[Literal["present", "absent"], Field(description="absent if the presence is below 0.5.")]
    spread: Annotated[float, Field(description="Root mean square distance of the votes from their weighted mean.")]
    error_bound: Annotated[
        float | None,
        Field(description="Length that the error stays below in `coverage` of cases; null if not available."),
    ]


class Predicted(BaseModel):
    """All landmarks of an image."""

    model: str
    image: str
    frame: Literal["LPS"]
    unit: Literal["mm", "px"]
    coverage: float
    warning: Annotated[str | None, Field(description="Why a person should check this prediction.")]
    suitability: Annotated[
        float | None, Field(description="Proportion of suitable images that deviate more; null if not judged.")
    ]
    unsuitable: Annotated[str | None, Field(description="Why the image is unsuitable; null for a suitable one.")]
    taken_for: Annotated[str | None, Field(description="What it was predicted as with orient=auto.")]
    landmarks: list[Point]


class ModelAbout(BaseModel):
    """A served model."""

    name: str
    method: Annotated[str, Field(description="Localization method; of several members, all of theirs.")]
    dimension: Literal[2, 3]
    unit: Literal["mm", "px"]
    dataset: str
    landmarks: list[str]
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    members: Annotated[int, Field(description="Number of trained models whose mean is served; 1 for a single one.")]
    folds: Annotated[int, Field(description="Number of members that are folds of a cross-validation; 0 for others.")]
    error_bounds: Annotated[bool, Field(description="Whether every landmark has an error bound at 90 %.")]
    card: Annotated[dict[str, Any], Field(description="Its model.json, or that of the first member.")]


class Models(BaseModel):
    models: list[ModelAbout]


class Health(BaseModel):
    status: Literal["live", "ready", "not ready"]
    waiting: Annotated[int, Field(ge=0, description="Predictions in the queue.")]


class CorrectionQuery(BaseModel):
    """Parameters of a correction."""

    model_config = ConfigDict(extra="forbid")

    case: Annotated[PlainName, Field(description="Name of the image in the dataset.yaml.")]
    reviewer: Annotated[PlainName, Field(description="Who placed or corrected the landmarks.")]
    model: Annotated[
        str | None, Field(description="The model whose landmarks these are; optional if only one is served.")
    ] = None


class Corrected(BaseModel):
    """Where a correction is saved, below the service's folder of corrections."""

    newest: Annotated[str, Field(description="The file that a dataset.yaml reads.")]
    version: Annotated[str, Field(description="The same version, never changed.")]
    present: int
    absent: int
    not_annotated: int


class ProblemBody(BaseModel):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="One line, as the command line would print it.")]
