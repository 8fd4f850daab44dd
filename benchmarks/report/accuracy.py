"""The section of a data set: all methods side by side."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, rates, row, stages

THRESHOLDS = ("2", "2.5", "3", "4")
# Rows that hang on the data set and not on a method: taken from the first result that has them.
REFERENCES = (
    ("published predictions", "published"),
    ("between the observers", "observers"),
    ("mean shape", "mean shape"),
)


def accuracy(results: list[dict[str, Any]]) -> str:
    """The section of one data set from the results of one or more methods."""
    first = results[0]
    unit = first["unit"]
    lines = [f"## Accuracy: {first['dataset']}", ""]
    for result in results:
        train = result["train"]
        lines.append(f"- **{result['method']}**: `{train['command']}` at {train['commit']}, seed {train['seed']}")
        told = stages(train, unit)
        if told:
            told[1] += f", including validation, on {train['hardware']}, {train['precision']}"
        lines += [f"  - {text}" for text in told]
        lines.append(f"  - {measured_by(result)}")
    gpu = [result["method"] for result in results if "cores of" not in result["hardware"]]
    lines += [f"- measured on a GPU: {', '.join(gpu)}" if gpu else "- GPU: not measured", ""]
    within = [f"≤ {t} {unit} (%)" for t in THRESHOLDS]
    lines += head("split", "method", "answer", "n", "not found", f"MRE ({unit})", "median", "SD", *within)
    splits = list(dict.fromkeys(split for result in results for split in result["splits"]))
    for split in splits:
        entries = {result["method"]: result["splits"][split] for result in results if split in result["splits"]}
        where = f"{split} ({next(iter(entries.values()))['cases']})"
        for method, entry in entries.items():
            last = list(entry["answers"])[-1]
            for answer, told in entry["answers"].items():
                shown = f"**{answer}**" if answer == last else answer
                lines += numbers(where, method, shown, told)
        for label, key in REFERENCES:
            told = next((entry[key] for entry in entries.values() if entry.get(key)), None)
            lines += numbers(where, "", label, told) if told else []
    lines += ["", "A landmark that is not found counts as a failure in the detection rates; it has no error.", ""]
    lines += head("split", "method", "seconds per image, whole command", "peak memory (GiB)")
    for split, method, entry in each(splits, results):
        seconds, peak = number(entry["seconds_per_image"], 2), number(entry["peak_bytes"] / 2**30, 2)
        lines.append(row(split, method, seconds, peak))
    lines += ["", "Presence (reference by prediction):", ""]
    lines += head("split", "method", "reference", "predicted present", "predicted absent", "missing")
    for split, method, entry in each(splits, results):
        for state in ("present", "absent"):
            told = entry["presence"][state]
            lines.append(row(split, method, state, told["present"], told["absent"], told["missing"]))
    lines += ["", f"Each landmark, last stage: MRE ({unit}) and detection rate within 2 {unit} (%)", ""]
    columns = list(each(splits, results))
    names = [f"{method}, {split}" if len(results) > 1 else split for split, method, _ in columns]
    lines += head("landmark", *(cell for name in names for cell in (f"{name} MRE", f"{name} ≤ 2")))
    for landmark in columns[0][2]["landmarks"]:
        told = [entry["landmarks"][landmark] for _, _, entry in columns]
        cells = [cell for t in told for cell in (number(t["mre"], 2), number(t["sdr"]["2"], 1))]
        lines.append(row(landmark, *cells))
    return "\n".join([*lines, ""])


def each(splits: list[str], results: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    """(split, method, entry) of all that were measured."""
    return [(s, r["method"], r["splits"][s]) for s in splits for r in results if s in r["splits"]]


def numbers(split: str, method: str, answer: str, entry: dict[str, Any]) -> list[str]:
    """The row of an answer, and one of the found landmarks alone where some are missing."""

    def line(told: dict[str, Any], shown: str) -> str:
        errors = [number(told[key], 2) for key in ("mre", "median", "sd")]
        return row(split, method, shown, told["n"], told["n_missing"], *errors, *rates(told, THRESHOLDS))

    lines = [line(entry, answer)]
    if entry["n_missing"] and entry.get("sdr_of_found"):
        found = {**entry, "sdr": entry["sdr_of_found"], "n": entry["n"] - entry["n_missing"], "n_missing": 0}
        lines.append(line(found, f"{answer}, found only"))
    return lines
