"""What an evaluation found, in sentences: the report's summary and the remarks beside its tables."""

from __future__ import annotations

from anatomark.evaluation.coverage import Coverage
from anatomark.evaluation.equivalence import Equivalence
from anatomark.evaluation.metrics import ScoreTable
from anatomark.evaluation.numbers import count, interval, number, signed
from anatomark.evaluation.observers import PredictionScores
from anatomark.evaluation.result import Interval
from anatomark.evaluation.results import Evaluation


def summary(metrics: Evaluation) -> str:
    """The result in a sentence, followed by what it has to be read with."""
    return " ".join(sentences(metrics))


def sentences(metrics: Evaluation) -> list[str]:
    """The sentences of `summary`; the first holds the result."""
    o, unit = metrics.overall, metrics.unit
    where = count(metrics.n_cases, "case")
    where += f" of split {metrics.split}" if metrics.split else ""
    if not o.n:
        return [f"Nothing to score: no landmark is present in the reference of the {where}."]
    if o.n == o.n_missing:
        return [f"On {where}, none of {count(o.n, 'landmark')} was found."]
    rates = " and ".join(f"{number(o.sdr[r], 1)} % within {r} {unit}" for r in end_radii(metrics))
    text = [
        f"On {where}, predictions lie {number(o.mre)} {unit}{_with(o.mre_interval, metrics)} from the "
        f"reference on average (median {number(o.median)} {unit}); {rates} of {count(o.n, 'landmark')}."
    ]
    missed = {0: "None was missed.", 1: "1 was not found and counts as a failure."}
    text.append(missed.get(o.n_missing, f"{o.n_missing} were not found and count as failures."))
    shape = metrics.mean_shape
    if shape is not None and shape.overall.mre is not None:
        text.append(f"Without looking at the image, the mean shape has an MRE of {number(shape.overall.mre)} {unit}.")
    inter = between_observers(metrics)
    if inter is not None and inter.overall.mre is not None:
        text.append(f"Observers are {number(inter.overall.mre)} {unit} apart.")
    if tested := among_observers(metrics):
        text.append(equivalence_sentence(*tested, metrics))
    if metrics.coverage:
        text.append(coverage_sentence(metrics.coverage, metrics))
    if metrics.n_training_cases and metrics.split is None:
        text.append(
            f"{metrics.n_training_cases} of the cases are in split train, on which a trained model scores too well."
        )
    return text


def end_radii(metrics: Evaluation) -> list[str]:
    """The smallest and the largest radius of the detection rates, as they are called in `sdr`."""
    radii = sorted(metrics.overall.sdr, key=float)
    return radii[:1] + radii[1:][-1:]


def between_observers(metrics: Evaluation) -> ScoreTable | None:
    """The distances between observers, None where no two marked a case."""
    return None if metrics.observers is None else metrics.observers.inter


def among_observers(metrics: Evaluation) -> tuple[PredictionScores, Equivalence] | None:
    """The prediction beside the observers, by the test that speaks for all of them; None where nothing was tested."""
    model = metrics.observers.model if metrics.observers else ()
    tested = [(scores, scores.equivalence) for scores in model if scores.equivalence]
    return next((t for t in tested if t[0].against == "every observer"), tested[0] if tested else None)


def equivalence_sentence(scores: PredictionScores, test: Equivalence, metrics: Evaluation) -> str:
    """Whether the prediction is within the observers' variability, over all and for how many landmarks."""
    overall, unit = test.overall, metrics.unit
    margin = f"{number(test.margin)} {unit}"
    if overall.verdict is None:
        return "Too few subjects to judge the prediction beside the observers."
    verdicts = {
        "nearer": "nearer than they are to each other",
        "equivalent": f"within their variability, by a margin of {margin}",
        "not shown": f"not shown to be within their variability, by a margin of {margin}",
        "farther": "farther than they are from each other",
    }
    equivalent = [line.equivalent for line in test.landmarks.values() if line.equivalent is not None]
    level = level_of(1 - 2 * test.alpha)
    text = f"To {scores.against} the prediction is {verdicts[overall.verdict]}: {signed(overall.difference)} "
    text += f"{unit} ({level} interval {_to(overall.interval)})"
    if not equivalent:
        return f"{text}."
    return f"{text}; {sum(equivalent)} of {count(len(equivalent), 'landmark')} are below the margin."


def coverage_sentence(coverage: Coverage, metrics: Evaluation) -> str:
    """How often errors stayed below their bounds, beside the nominal coverage."""
    covered = f"{number(coverage.overall, 1)} %{_with(coverage.overall_interval, metrics, 1)}"
    text = f"Error bounds of {100 * coverage.nominal:g} % cover {covered} of {count(coverage.n, 'error')}; "
    return text + f"the mean bound is {number(coverage.mean_bound)} {metrics.unit}."


def interval_note(metrics: Evaluation) -> str:
    """How the intervals were made, or that there are none."""
    if note := metrics.bootstrap_note:
        return f"{note[0].upper()}{note[1:]}."
    return f"In brackets: {level_of(metrics.bootstrap.level)} intervals by bootstrap of the subjects."


def level_of(level: float) -> str:
    """A level from 0 to 1 as percent: 95 %."""
    return f"{100 * level:g} %"


def _with(ends: Interval | None, metrics: Evaluation, digits: int = 2) -> str:
    """The interval in words, after a space; empty where there is none."""
    return f" ({level_of(metrics.bootstrap.level)} interval {_to(ends, digits)})" if interval(ends) else ""


def _to(ends: Interval | None, digits: int = 2) -> str:
    return " to ".join(number(end, digits) for end in ends or ())
