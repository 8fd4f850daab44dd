"""check_references: which references of a data set are probably wrong, by what a model finds in the images."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anatomark.data.cases import Case
from anatomark.data.check_annotations import file_of
from anatomark.data.description import Dataset, read_dataset
from anatomark.data.findings import Finding
from anatomark.errors import AnatomarkError, SettingsError, UnknownNameError
from anatomark.evaluation.match_predictions import match_predictions
from anatomark.evaluation.predictions import read_predictions
from anatomark.evaluation.result import write_together
from anatomark.evaluation.rows import Answer, Rows, reference_block
from anatomark.evaluation.suspects import FEWEST_CASES, FEWEST_POINTS, Suspect, find_suspects, limits
from anatomark.evaluation.suspects_page import suspects_html
from anatomark.loading import load
from anatomark.methods.prediction import PRESENCE_THRESHOLD, Prediction, predicted_absent
from anatomark.model import Model

UNUSUAL = "the model that has not seen this image finds it unlike the training images"


@dataclass(frozen=True, eq=False)
class Predicted:
    """The predicted cases as rows; {case: the reason} of unusual images, and notes on what could not be predicted."""

    rows: Rows
    unusual: dict[str, str] = field(default_factory=dict)
    notes: tuple[Finding, ...] = ()


def check_references(
    dataset: Dataset | str | Path,
    *,
    model: Model | str | Path | None = None,
    folds: str | Path | None = None,
    root: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[Finding]:
    """The references that are probably wrong, the worst first, and notes on what could not be judged.

    A warning names an image that is unlike those the model learned from (mirrored, turned, of another scale), a case
    whose points fit another case, left and right that are exchanged, and cases and points that lie farther from the
    prediction than can be expected (`evaluation.suspects`).

    Args:
        dataset: a data set, or its dataset.yaml; cases without a reference are passed over.
        model: a model, its run folder or the name of a ready-made one, which predicts every case.
        folds: instead of a model, a run with folds, or any table of predictions; nothing is predicted then.
        root: folder that the data lie under, where the description does not say.
        out: folder for index.html, a page with pictures of the suspects and what to do about each.
        device: where a model that is loaded here computes: "auto", "cpu" or "cuda".
        progress: called with the number of cases done, that of all, and the next one's name.

    Returns:
        Findings with `level`, `case`, `landmark`, `message` and `advice`.

    Raises:
        SettingsError: not exactly one of `model` and `folds` is given.
        UnknownNameError: the model finds no landmark of the data set.
        ModelError: the model cannot be loaded.
        LandmarkFileError: the predictions cannot be read.
        FrameError: they do not state their frame.

    Examples:
        >>> suspects = anatomark.check_references("my_xrays/dataset.yaml", model="ceph19", out="checked")
    """
    data = dataset if isinstance(dataset, Dataset) else read_dataset(dataset, root)[0]
    cases = [case for case in data.cases if case.reference.present.any()]
    if not cases:
        raise SettingsError(f"no case of {data.name} has a reference; there is nothing to check")
    if folds is not None and model is None:
        found = _by_table(data, folds)
    elif model is not None and folds is None:
        loaded = model if isinstance(model, Model) else load(model, device=device)
        found = _by_model(data, cases, loaded, progress)
    else:
        raise SettingsError("give either a model or a run with folds, by whose predictions the references are checked")
    suspects = find_suspects(found.rows, data.pairs, found.unusual)
    review = _review_command(data, model, folds)
    findings = [_finding(suspect, data, found.rows.unit, review) for suspect in suspects]
    if out is not None:
        page = suspects_html(data, found.rows, suspects, findings, review=review)
        write_together(Path(out), {"index.html": page})
    return [*findings, *found.notes, *_not_judged(found.rows)]


def _by_table(data: Dataset, folds: str | Path) -> Predicted:
    """The predictions of a table; an image whose bounds are withheld is an unusual one."""
    table = read_predictions(folds, dataset=data)
    rows = match_predictions(
        data, table, split=None, presence_threshold=PRESENCE_THRESHOLD, source=f"the predictions {folds}"
    ).rows
    unusual = [case for case, withheld in zip(rows.cases, rows.withheld, strict=True) if withheld.all()]
    return Predicted(rows, dict.fromkeys(unusual, UNUSUAL))


def _by_model(
    data: Dataset, cases: Sequence[Case], model: Model, progress: Callable[[int, int, str], None]
) -> Predicted:
    """What `model` finds in the images of `cases`; one that cannot be predicted becomes a note."""
    names = tuple(name for name in data.names if name in model.names)
    if not names:
        raise UnknownNameError(
            f"the model finds no landmark of {data.name} (it finds {', '.join(model.names[:5])} ...); "
            "use one that was trained on these landmarks"
        )
    results: dict[str, Prediction] = {}
    notes: list[Finding] = []
    first_error: AnatomarkError | None = None
    for done, case in enumerate(cases):
        progress(done, len(cases), case.id)
        try:
            results[case.id] = model.predict(case.read_image(), source=str(case.image_path))
        except AnatomarkError as error:
            first_error = first_error or error
            notes.append(_note(f"its reference is not judged: {error}", "correct the image", case))
    progress(len(cases), len(cases), "")
    if not results and first_error is not None:
        raise first_error
    if model.dataset == data.name:
        said = "the model learned from a data set of this name: it may have learned faults of its training cases"
        notes.append(_note(said, "train with --folds, and check with --folds RUN"))
    for member in model.members[:1]:
        if member.suitability.usual is None:
            said = (
                f"whether an image is mirrored, turned or of another scale is not judged: {member.suitability.withheld}"
            )
            notes.append(_note(said, "look at the pictures of predict"))
    predicted = [case for case in cases if case.id in results]
    rows = rows_of(predicted, [results[case.id] for case in predicted], names, model.names, data)
    unusual = {case: result.unsuitable for case, result in results.items() if result.unsuitable is not None}
    return Predicted(rows, unusual, tuple(notes))


def rows_of(
    cases: Sequence[Case],
    results: Sequence[Prediction],
    names: tuple[str, ...],
    known: Sequence[str],
    data: Dataset,
) -> Rows:
    """The rows of `names` among the landmarks that a model knows, of predicted cases."""
    at = [known.index(name) for name in names]
    reference, states = reference_block([case.reference for case in cases], names)
    presence = np.stack([result.presence[at] for result in results])
    return Rows(
        cases=tuple(case.id for case in cases),
        names=names,
        reference=reference,
        states=states,
        predicted=np.stack([result.landmarks.points[at] for result in results]),
        answers=np.where(predicted_absent(presence), Answer.ABSENT, Answer.PRESENT).astype(np.uint8),
        presence=presence,
        unit=data.unit,
        subjects=tuple(case.subject for case in cases),
        bound=np.stack([result.error_bound[at] for result in results]),
    )


def _note(message: str, advice: str, case: Case | None = None) -> Finding:
    about = ("", "") if case is None else (case.id, str(case.image_path))
    return Finding("note", "not-judged", message, advice, *about)


def _not_judged(rows: Rows) -> Iterator[Finding]:
    """What too few cases or points leave open."""
    limit = limits(rows)
    without = [name for name, column in zip(rows.names, limit.T, strict=True) if not np.isfinite(column).any()]
    if without:
        some = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        said = f"{some}: not judged, without error bounds and in fewer than {FEWEST_CASES} predicted cases"
        yield _note(said, "calibrate the model, or check more cases at once")
    points = (rows.found & np.isfinite(limit)).sum(axis=1)
    few = int((points < FEWEST_POINTS).sum())
    if few:
        said = f"{few} of {len(rows.cases)} cases have fewer than {FEWEST_POINTS} points to judge them by as a whole"
        yield _note(f"{said}, or to find that they are swapped", "look at their points one by one")


def _review_command(data: Dataset, model: Model | str | Path | None, folds: str | Path | None) -> str:
    """The command that shows the cases, with the predictions, for correction."""
    by = [] if isinstance(model, Model) else ["--model", str(model)] if folds is None else ["--predictions", str(folds)]
    return shlex.join(["anatomark", "review", str(data.path or data.name), *by])


def _finding(suspect: Suspect, data: Dataset, unit: str, review: str) -> Finding:
    """The suspect in words."""
    case = data.case(suspect.case)
    observer = next(iter(case.observers), "")
    file = str(case.image_path) if suspect.kind == "unusual-image" else file_of(case, observer)
    landmark = suspect.landmarks[0] if suspect.kind in ("far-point", "left-right") else ""
    message, advice = _words(suspect, unit)
    return Finding("warning", suspect.kind, message, advice.format(review=review), suspect.case, file, landmark)


def _words(suspect: Suspect, unit: str) -> tuple[str, str]:
    """What is the matter, and what to do; {review} stands for the command."""
    far, near = f"{suspect.distance:.1f} {unit}", f"{suspect.explained:.1f} {unit}"
    most = f"{suspect.limit:.1f} {unit}"
    if suspect.kind == "unusual-image":
        return suspect.reason, "look at the image; correct its file, or leave the case out"
    if suspect.kind == "swapped":
        fits = f"its points fit the image of {suspect.other} ({near} off), not its own ({far} off)"
        if suspect.mutual:
            return f"{fits}, and the other way round", "exchange the annotations of the two cases, or their images"
        return fits, "give it its own annotation or image, or leave the case out"
    if suspect.kind == "left-right":
        pairs = [" and ".join(suspect.landmarks[k : k + 2]) for k in range(0, len(suspect.landmarks), 2)]
        named = "; ".join(pairs[:3]) + (f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else "")
        said = f"left and right seem exchanged in {named}: {far} from the prediction, the other way round {near}"
        return said, "exchange the names in this case, or correct them: {review}"
    if suspect.kind == "far-case":
        said = f"its points lie {far} from the prediction in the median (up to {most} can be expected)"
        return said, "check the frame, the spacing and the image of this case, or leave it out; see {review}"
    said = f"{suspect.landmarks[0]} lies {far} from the prediction (up to {most} can be expected)"
    return said, "if the prediction is better, correct the point: {review}"
