"""The section of images that a model was not made for."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def suitability(results: list[dict[str, Any]]) -> str:
    """A table a model and split."""
    lines = ["## Images unlike the training images", ""]
    lines += [
        "A prediction counts as wrong here if its mean error is more than three times that of the undamaged images. "
        "`flagged` images are those that `predict` calls unsuitable: all wrong ones should be, and no undamaged one. "
        "`reason right` are those of which it names the damage, and `oriented` is the mean error with `--orient auto`. "
        "A landmark that is cut off and said to be absent has no error.",
        "",
    ]
    for result in results:
        lines += [f"### {result['model']} on {result['dataset']}, {result['split']}", "", measured_by(result), ""]
        columns = ("image", "images", "mean error (mm)", "flagged", "wrong", "of these flagged")
        lines += head(*columns, "reason right", "oriented (mm)")
        for each in result["rows"]:
            found = f"{each['wrong_told']} of {each['wrong']}"
            error = "–" if each["error"] is None else number(each["error"], 2)
            named = (each["explained"], number(each["oriented"], 2)) if "explained" in each else ("", "")
            lines.append(row(each["damage"], each["images"], error, each["told"], each["wrong"], found, *named))
        damaged = [each for each in result["rows"] if each["damage"] != "as it is"]
        wrong, told = (sum(each[key] for each in damaged) for key in ("wrong", "wrong_told"))
        clean = next(each for each in result["rows"] if each["damage"] == "as it is")
        lines += ["", *_presence(damaged, clean), *_time(damaged, clean)]
        lines += [
            f"Flagged: {told} of {wrong} wrong damaged copies ({_share(told, wrong)} %; goal 99), and "
            f"{clean['told']} of {clean['images']} undamaged images "
            f"({_share(clean['told'], clean['images'])} %; goal 1 at most).",
            "",
        ]
    return "\n".join(lines)


def _presence(damaged: list[dict[str, Any]], clean: dict[str, Any]) -> list[str]:
    """How many landmarks that were cut off are said to be absent, and how many of the others present."""
    cut = [each for each in damaged if "outside" in each]
    if not cut:
        return []
    off, absent, inside, present = (
        sum(each[key] for each in cut) for key in ("outside", "outside_absent", "inside", "inside_present")
    )
    return [
        f"Presence: {absent} of {off} landmarks that were cut off are said to be absent ({_share(absent, off)} %; goal "
        f"95), {present} of {inside} others in these images to be present ({_share(present, inside)} %; goal 99), and "
        f"{clean['inside_present']} of {clean['inside']} in the undamaged ones.",
        "",
    ]


def _time(damaged: list[dict[str, Any]], clean: dict[str, Any]) -> list[str]:
    """What judging costs, by the time of the points alone."""
    if "core_seconds" not in clean:
        return []
    alone = clean["core_seconds_without"]
    more = 100 * (clean["core_seconds"] / alone - 1)
    slowest = max(each["core_seconds"] for each in damaged if "core_seconds" in each) / alone
    return [
        f"Time: judging takes {number(more, 0)} % of the time that the points take (goal 15 at most); where other "
        f"views are tried, a prediction takes up to {number(slowest, 0)} times as long.",
        "",
    ]


def _share(part: int, of: int) -> str:
    return number(100 * part / of, 1) if of else "–"
