"""benchmarks/README.md from the results, so that no number there is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import read_all

HEAD = """# Benchmarks

Written by `python -m benchmarks report` from `benchmarks/results/*.json`; no number here is typed by hand.
The data sets are not in this repository; set `ANATOMARK_DATA` to the folder that holds them, or give `--root`.
"""
THRESHOLDS = ("2", "2.5", "3", "4")


def main(arguments: Sequence[str]) -> None:
    sections = [HEAD, *(accuracy(result) for result in read_all("accuracy"))]
    notes = Path(__file__).parent / "notes.md"
    if notes.exists():
        sections.append(notes.read_text())
    (Path(__file__).parent / "README.md").write_text("\n".join(sections))


def accuracy(result: dict[str, Any]) -> str:
    unit, train = result["unit"], result["train"]
    minutes = {stage: seconds / 60 for stage, seconds in train["seconds"].items()}
    lines = [
        f"## Accuracy: {result['dataset']}",
        "",
        f"- trained by `{train['command']}` at {train['commit']}, seed {train['seed']}",
        f"- {', '.join(f'{stage}: {n} steps' for stage, n in train['steps'].items())}; "
        f"{', '.join(f'{stage} {m:.0f} min' for stage, m in minutes.items())}, {sum(minutes.values()):.0f} min "
        f"together, validations included, on {result['hardware']}, bf16",
        f"- best validation MRE: {', '.join(f'{stage} {v:.2f} {unit}' for stage, v in train['validation'].items())}",
        f"- measured by `{result['command']}` at {result['commit']}; "
        f"PyTorch {result['torch']}, Python {result['python']}",
        "- GPU: not measured",
        "",
        f"| split | what | n | not found | MRE ({unit}) | median | SD | "
        + " | ".join(f"≤ {t} {unit} (%)" for t in THRESHOLDS)
        + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(THRESHOLDS),
    ]
    rows = (
        ("**both stages**", "both stages"),
        ("global stage alone", "global stage alone"),
        ("published predictions", "published"),
        ("between the observers", "observers"),
        ("mean shape", "mean shape"),
    )
    for split, entry in result["splits"].items():
        for label, key in rows:
            if entry.get(key):
                lines.append(f"| {split} ({entry['cases']}) | {label} | {numbers(entry[key])} |")
                if entry[key]["n_missing"] and "sdr_of_found" in entry[key]:
                    found = {**entry[key], "sdr": entry[key]["sdr_of_found"], "n_missing": 0}
                    found["n"] = entry[key]["n"] - entry[key]["n_missing"]
                    lines.append(f"| {split} ({entry['cases']}) | {label}, the found alone | {numbers(found)} |")
    lines += ["", "A landmark that is not found counts as a failure in the detection rates and not in the errors.", ""]
    lines += ["| split | seconds an image, whole command | peak memory (GiB) |", "|---|---|---|"]
    for split, entry in result["splits"].items():
        lines.append(f"| {split} | {entry['seconds_per_image']:.2f} | {entry['peak_bytes'] / 2**30:.2f} |")
    lines += ["", "Presence (reference by prediction):", ""]
    lines += ["| split | reference | said present | said absent | missing |", "|---|---|---|---|---|"]
    for split, entry in result["splits"].items():
        for state in ("present", "absent"):
            told = entry["presence"][state]
            lines.append(f"| {split} | {state} | {told['present']} | {told['absent']} | {told['missing']} |")
    splits = list(result["splits"])
    lines += ["", f"Each landmark, both stages: MRE ({unit}) and detection rate within 2 {unit} (%)", ""]
    lines += ["| landmark | " + " | ".join(f"{s} MRE | {s} ≤ 2" for s in splits) + " |"]
    lines += ["|---|" + "---|---|" * len(splits)]
    for name in result["splits"][splits[0]]["landmarks"]:
        cells = []
        for split in splits:
            entry = result["splits"][split]["landmarks"][name]
            cells += [number(entry["mre"], 2), number(entry["sdr"]["2"], 1)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def numbers(entry: dict[str, Any]) -> str:
    cells = [str(entry["n"]), str(entry["n_missing"])]
    cells += [number(entry[key], 2) for key in ("mre", "median", "sd")]
    cells += [number(entry["sdr"][t], 1) for t in THRESHOLDS]
    return " | ".join(cells)


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
