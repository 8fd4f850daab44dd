"""The sections of many images: engines beside each other, trainings, batches, and a cohort that was killed twice."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, number, row

_NOTE = [
    "`start`: seconds from the command to the first image predicted. Each engine has two rounds, which take turns: an",
    "unbroken command, and one that is killed (-9) half way and given again; `times predict` is the median of the",
    "ratios to the images a second of `predict` in the same round (of the first alone where the second was not",
    "measured). Core seconds are those of all processes of the command, its start included; Ray's actors are not its",
    "children. `predicted again`: of the images that were predicted when the command was killed, those that the same",
    "command predicted once more; in the result, every image is there once.",
    "Memory is the largest resident set of a worker, of `predict` that of its process. Bytes are those of the tables,",
    "without pictures, of a cohort before `--collect`.",
]


def scale(results: list[dict[str, Any]]) -> str:
    """One table a result."""
    lines = ["## Many images", "", *_NOTE, ""]
    for result in results:
        lines += [
            f"Measured by `{result['command']}` at {result['commit']}, {result['hardware']}, {_busy(result)}; parts "
            f"of {result['chunk']} images.",
            "",
            *head("image", "engine", "workers", "images", "start (s)", "images a second", "times predict",
                  "core seconds an image", "memory of a worker (GiB)", "bytes an image", "predicted again",
                  "in the result"),
        ]  # fmt: skip
        for r in result["rows"]:
            known = (r["image"], r["engine"], r["workers"])
            if "not_measured" in r:
                lines.append(row(*known, f"not measured: {r['not_measured']}", *[""] * 8))
                continue
            costs = (
                number(r["seconds_start"], 1),
                number(r["images_a_second"], 2),
                number(r["times_predict"], 2),
                number(r["core_seconds_an_image"], 2),
                number(r["worker_bytes"] / 2**30, 2) if r["worker_bytes"] else number(None, 2),
                number(r["bytes_an_image"], 0),
            )
            killed = ("not measured", "")
            if "kept_at_kill" in r:
                again = max(0, r["predicted_at_kill"] - r["kept_at_kill"])
                killed = (f"{again} of {r['predicted_at_kill']}", r["in_the_result"])
            lines.append(row(*known, r["images"], *costs, *killed))
        lines.append("")
    return "\n".join(lines)


def scale_training(results: list[dict[str, Any]]) -> str:
    """One table a result."""
    lines = ["## A training by several processes", ""]
    for result in results:
        lines += [
            "The steps of one training of `unet-votes`, batches of 4, by processes with a core each (gloo), which take",
            "turns. `efficiency` is steps a second by those of one process and by the number of processes, the median",
            "of the rounds; core seconds are those of process 0 times the number of processes.",
            f"Measured by `{result['command']}` at {result['commit']}, {result['hardware']}, {_busy(result)}.",
            "",
            *head("image", "processes", "steps a second", "efficiency", "core seconds a step"),
        ]
        for r in result["rows"]:
            rates = number(r["steps_a_second"], 2), number(r["efficiency"], 2), number(r["core_seconds_a_step"], 2)
            lines.append(row(r["image"], r["processes"], *rates))
        lines.append("")
    return "\n".join(lines)


def scale_batches(results: list[dict[str, Any]]) -> str:
    """One table a result."""
    lines = ["## Batches on a GPU", ""]
    for result in results:
        lines += [
            "Images in memory, predicted so many at a time (`Model.predict_together`).",
            f"Measured by `{result['command']}` at {result['commit']}, {result['hardware']}.",
            "",
            *head("image", "batch", "images a second", "memory of the GPU (GiB)"),
        ]
        for r in result["rows"]:
            told = (f"not measured: {r['not_measured']}", "") if "not_measured" in r else ()
            told = told or (number(r["images_a_second"], 1), number(r["gpu_bytes"] / 2**30, 2))
            lines.append(row(r["image"], r["batch"], *told))
        lines.append("")
    return "\n".join(lines)


def _busy(result: dict[str, Any]) -> str:
    """How many processes wanted a core meanwhile, its own among them."""
    load = result["load"]
    return f"beside other work (load {number(min(load), 0)} to {number(max(load), 0)})"


def scale_cohort(results: list[dict[str, Any]]) -> str:
    """A paragraph and a table a result."""
    lines = ["## A cohort that is killed twice", ""]
    for r in results:
        peaks = {name: number(size / 2**20, 0) for name, size in r["peak_bytes"].items()}
        counts, overall = r["counts"], r["overall"]
        lines += [
            f"{r['images']} synthetic X-rays of 64 x 72 pixels, 4 landmarks, by `cohort --workers {r['workers']}`,",
            "then `--collect` and `evaluate --split test`; "
            f"measured by `{r['command']}` at {r['commit']}, {r['hardware']}, beside other work.",
            "",
            *head("command", "seconds", "images predicted", "images a second", "predicted again after it was killed"),
        ]
        for k, c in enumerate(r["commands"], 1):
            name, again = (f"cohort, {k}, killed", c["redone"]) if c["killed"] else (f"cohort, {k}", "")
            costs = number(c["seconds"], 0), c["predicted"], number(c["images_a_second"], 1)
            lines.append(row(name, *costs, again))
        lines += [row(name, number(seconds, 0), "", "", "") for name, seconds in r["seconds"].items()]
        lines += [
            "",
            f"In the tables: {counts['images']} images, {counts['missing']} missing, {counts['not_once']} not exactly "
            f"once, {counts['failed']} failed; MRE {number(overall['mre'], 2)} mm. Largest resident sets (MiB): "
            f"{peaks['lead']} of the process that leads, {peaks['worker']} of a worker, {peaks['collect']} of "
            f"`--collect`, {peaks['evaluate']} of `evaluate`. An image takes {number(r['bytes_an_image'], 0)} bytes.",
            "",
        ]
    return "\n".join(lines)
