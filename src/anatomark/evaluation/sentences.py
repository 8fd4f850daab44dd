"""What an evaluation found, in sentences: the report's summary and the remarks beside its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anatomark.evaluation.numbers import count, interval, number, signed


def summary(metrics: Mapping[str, Any]) -> str:
    """The result in a sentence, and after it what has to be known beside it."""
    return " ".join(sentences(metrics))


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """The sentences of `summary`; the first holds the result."""
    o, unit = metrics["overall"], metrics["unit"]
    where = count(metrics["n_cases"], "case")
    where += f" of split {metrics['split']}" if metrics["split"] else ""
    if not o["n"]:
        return [f"Nothing to score: no landmark is present in the reference of the {where}."]
    if o["n"] == o["n_missing"]:
        return [f"On {where}, none of {count(o['n'], 'landmark')} was found."]
    rates = " and ".join(f"{number(o['sdr'][r], 1)} % within {r} {unit}" for r in end_radii(metrics))
    told = [
        f"On {where}, predictions lie {number(o['mre'])} {unit}{_with(o.get('mre_interval'), ' ', metrics)} from the "
        f"reference on average (median {number(o['median'])} {unit}); {rates} of {count(o['n'], 'landmark')}."
    ]
    missed = {0: "None was missed.", 1: "1 was not found and counts as a failure."}
    told.append(missed.get(o["n_missing"], f"{o['n_missing']} were not found and count as failures."))
    shape = metrics["mean_shape"]
    if shape is not None and shape["overall"]["mre"] is not None:
        told.append(f"Without looking at the image, the mean shape is {number(shape['overall']['mre'])} {unit} off.")
    inter = between_observers(metrics)
    if inter is not None and inter["overall"]["mre"] is not None:
        told.append(f"Observers are {number(inter['overall']['mre'])} {unit} apart.")
    if found := among_observers(metrics):
        told.append(equivalence_sentence(found, metrics))
    if metrics.get("coverage"):
        told.append(coverage_sentence(metrics))
    if metrics["n_training_cases"] and metrics["split"] is None:
        told.append(f"{metrics['n_training_cases']} of the cases are in split train: on them a model looks too good.")
    return told


def end_radii(metrics: Mapping[str, Any]) -> list[str]:
    """The smallest and the largest radius of the detection rates, as they are called in `sdr`."""
    radii = sorted(metrics["overall"]["sdr"], key=float)
    return radii[:1] + radii[1:][-1:]


def between_observers(metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The block of distances between observers, None where no two marked a case."""
    return (metrics.get("observers") or {}).get("inter")


def among_observers(metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of the prediction beside the observers that speaks for all of them, None where nothing was tested."""
    tested = [e for e in (metrics.get("observers") or {}).get("model") or () if e["equivalence"]]
    return next((e for e in tested if e["against"] == "every observer"), tested[0] if tested else None)


def equivalence_sentence(entry: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Whether the prediction is within the observers' variability, over all and for how many landmarks."""
    test, unit = entry["equivalence"], metrics["unit"]
    overall, margin = test["overall"], f"{number(test['margin'])} {unit}"
    if overall["verdict"] is None:
        return "Too few subjects to judge the prediction beside the observers."
    verdicts = {
        "nearer": "nearer than they are to each other",
        "equivalent": f"within their variability, by a margin of {margin}",
        "not shown": f"not shown to be within their variability, by a margin of {margin}",
        "farther": "farther than they are from each other",
    }
    told = [line["equivalent"] for line in test["landmarks"].values() if line["equivalent"] is not None]
    level = level_of(1 - 2 * test["alpha"])
    text = f"To {entry['against']} the prediction is {verdicts[overall['verdict']]}: {signed(overall['difference'])} "
    text += f"{unit} ({level} interval {_to(overall['interval'])})"
    return text + (f"; {sum(told)} of {count(len(told), 'landmark')} are below the margin." if told else ".")


def coverage_sentence(metrics: Mapping[str, Any]) -> str:
    """What the error bounds promised and what they kept."""
    c, unit = metrics["coverage"], metrics["unit"]
    held = f"{number(c['overall'], 1)} %{_with(c['overall_interval'], ' ', metrics, 1)}"
    text = f"Error bounds of {100 * c['nominal']:g} % held {held} of {count(c['n'], 'reference')}; "
    return text + f"they are {number(c['mean_bound'])} {unit} on average."


def interval_note(metrics: Mapping[str, Any]) -> str:
    """How the intervals were made, or that there are none; empty where the metrics do not say."""
    if note := metrics.get("bootstrap_note"):
        return f"{note[0].upper()}{note[1:]}."
    bootstrap = metrics.get("bootstrap")
    return f"In brackets: {level_of(bootstrap['level'])} intervals by bootstrap of the subjects." if bootstrap else ""


def level_of(level: float) -> str:
    """A level from 0 to 1 as percent: 95 %."""
    return f"{100 * level:g} %"


def _with(ends: Sequence[float] | None, before: str, metrics: Mapping[str, Any], digits: int = 2) -> str:
    """The interval in words, after `before`; empty where there is none."""
    level = (metrics.get("bootstrap") or {}).get("level", 0.95)
    return f"{before}({level_of(level)} interval {_to(ends, digits)})" if interval(ends) else ""


def _to(ends: Sequence[float] | None, digits: int = 2) -> str:
    return " to ".join(number(end, digits) for end in ends or ())
