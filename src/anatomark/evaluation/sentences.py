"""What an evaluation found, in sentences: the report's summary and the remarks beside its tables."""

from __future__ import annotations

from collections.abc import Mapping
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
    if metrics.get("observers") and metrics["observers"].get("equivalence"):
        told.append(equivalence_sentence(metrics))
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
    """The block of distances between observers, None where fewer than two marked anything."""
    observers = metrics.get("observers")
    if not observers:
        return None
    return observers.get("inter") or (observers if "overall" in observers else None)


def equivalence_sentence(metrics: Mapping[str, Any]) -> str:
    """For how many landmarks, and whether over all, the prediction is within the observers' variability."""
    equivalence, unit = metrics["observers"]["equivalence"], metrics["unit"]
    judged = [e["equivalent"] for e in equivalence["landmarks"].values() if e and e["equivalent"] is not None]
    overall = equivalence["overall"]
    text = ""
    if overall and overall["difference"] is not None:
        text = f"The prediction's error minus the distance between observers is {signed(overall['difference'])} {unit}"
        text += _with(overall["interval"], " ", metrics)
        if overall["equivalent"] is not None:
            text += f": {'within' if overall['equivalent'] else 'not shown to be within'} observer variability "
            text += f"by a margin of {number(equivalence['margin'])} {unit}"
        text += ". "
    if judged:
        text += f"Judged one by one, {sum(judged)} of {count(len(judged), 'landmark')} "
        text += f"{'is' if sum(judged) == 1 else 'are'} within it."
    return text.strip() or "Too few subjects to judge equivalence with observers."


def coverage_sentence(metrics: Mapping[str, Any]) -> str:
    """What the error bounds promised and what they kept."""
    c, unit = metrics["coverage"], metrics["unit"]
    nominal = 100 * c["nominal"]
    text = f"Error bounds of {nominal:g} % held {number(c['overall'], 1)} % of the references"
    return text + (f", with {number(c['mean_bound'])} {unit} on average." if c.get("mean_bound") is not None else ".")


def interval_note(metrics: Mapping[str, Any]) -> str:
    """How the intervals were made, or that there are none; empty where the metrics do not say."""
    bootstrap = metrics.get("bootstrap")
    if not bootstrap:
        note = metrics.get("bootstrap_note")
        return f"No intervals: {note}." if note else ""
    return f"In brackets: {_level(metrics)} intervals by bootstrap of the subjects."


def _level(metrics: Mapping[str, Any]) -> str:
    level = float((metrics.get("bootstrap") or {}).get("level", 0.95))
    return f"{level * 100 if level <= 1 else level:g} %"


def _with(ends: Any, before: str, metrics: Mapping[str, Any]) -> str:
    text = interval(ends)
    return f"{before}({_level(metrics)} interval {text[1:-1].replace(', ', ' to ')})" if text else ""
