"""The section of the synthetic brains."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, rates, row, stages

THRESHOLDS = ("1", "2", "3", "4")


def brain(results: list[dict[str, Any]]) -> str:
    """One section, a part for each result."""
    lines = [
        "## Many landmarks: synthetic brains",
        "",
        "Subjects are one template brain (Colin27) under random diffeomorphisms of up to 15 mm, a global affine map, a",
        "monotone change of grey values, a bias field and noise; landmarks are known exactly. See",
        "`benchmarks/synthetic_brains.py`. All subjects share one brain, so errors on real brains are larger.",
        "",
    ]
    for result in results:
        train, test = result["train"], result["test"]
        shape = " x ".join(map(str, result["shape"]))
        lines += [
            f"### {result['landmarks']} landmarks, {shape} at {result['spacing']:g} mm, {result['method']}",
            "",
            f"- {train['subjects']} training subjects, {train['validation_subjects']} for validation, "
            f"{test['subjects']} for testing; seed {train['seed']}",
            *(f"- {told}" for told in stages(train, "mm")),
            f"- {measured_by(result)}",
            f"- {test['landmarks_outside']} landmarks of test subjects lie outside the field of view and are ignored",
            f"- one prediction: {cost(result['prediction'])}",
            *gain(result["answers"]),
            "",
            *head("answer", "n", "MRE (mm)", "median", "SD", *(f"≤ {t} mm (%)" for t in THRESHOLDS)),
        ]
        last = list(result["answers"])[-1]
        for answer, told in result["answers"].items():
            errors = [number(told[key], 2) for key in ("mre", "median", "sd")]
            lines.append(
                row(f"**{answer}**" if answer == last else answer, told["n"], *errors, *rates(told, THRESHOLDS))
            )
        lines.append("")
    return "\n".join(lines)


def cost(prediction: dict[str, Any]) -> str:
    if "failed" in prediction:
        return prediction["failed"]
    return f"{prediction['seconds']:.3g} s, {prediction['peak_bytes'] / 2**30:.2f} GiB at most"


def gain(answers: dict[str, dict[str, Any]]) -> list[str]:
    """How much better the last answer is than the best of the others."""
    *others, last = answers
    if not others:
        return []
    best = min(others, key=lambda name: answers[name]["mre"])
    better = 100 * (1 - answers[last]["mre"] / answers[best]["mre"])
    return [f"- {last} is {better:.0f} % better than {best}, the best answer before it"]
