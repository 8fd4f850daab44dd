"""The page of settings, docs/settings.md, made from the settings classes themselves.

`python -m anatomark.methods.settings_page > docs/settings.md` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic.fields import FieldInfo

from anatomark.methods import METHODS, detector_class
from anatomark.methods.settings import EARLIER_UNTIL, STRENGTHS, AugmentedSettings, Settings

# What a user may want to set; all else is there to replicate a published training or to try an idea.
USER_SETTINGS = (
    "minutes",
    "epochs",
    "spacing",
    "grey_values",
    "align",
    "template",
    "validation_fraction",
    "augmentation",
    "mirror",
    "seed",
    "precision",
    "cache_memory_gib",
    "local",
    "refine",
    "sigma",
    "atlases",
    "registration",
)

OPEN = {
    "minutes": "the planned steps",
    "epochs": "the planned steps",
    "template": "the most typical",
    **dict.fromkeys(STRENGTHS["none"], "by the level"),
}
AUGMENTATION = "Augmentation (unet-votes, global-to-local, two-stage, heatmap)"
BY_STEPS = ("minutes", "epochs")  # of methods that learn by steps, which the atlas does not

INTRODUCTION = """# Settings of a training

Every setting has a default, or the plan decides it from the data; `anatomark train` shows what was planned, and the
run's settings.json has all values. `--minutes`, `--epochs` and `--augmentation` are options of `anatomark train`; any
setting can be given as `--set name=value`, in Python as `settings={"name": value}`. An earlier name of a setting works
as well as the present one.

This page is made by `python -m anatomark.methods.settings_page`; a test compares.

## For users
"""

EXPERT = """
## For replications and experiments

What only a replication of a published training needs. A preset, such as `--preset noothout2020`, is a set of these.
"""


FIXED = """
## Fixed settings

What was a setting once and is fixed now. Models that were trained with another value load and predict as before; a
training refuses these names.
"""


def settings_page() -> str:
    """docs/settings.md: the user's settings in one table, then the others of each method."""
    classes = {name: detector_class(name).settings_type for name in METHODS}
    every = {field: info for kind in classes.values() for field, info in kind.model_fields.items()}
    user = [_row(name, every[name], _methods_with(name, classes)) for name in USER_SETTINGS]
    common = {name for name in every if all(name in kind.model_fields for kind in classes.values())}
    parts = [INTRODUCTION, _table("setting | of | what it is | unit | default", user), EXPERT]
    augmented = {n: i for n, i in AugmentedSettings.model_fields.items() if n not in common}
    sections = {"All methods": {n: i for n, i in every.items() if n in common}, AUGMENTATION: augmented}
    for name, kind in classes.items():
        sections[name] = {n: i for n, i in kind.model_fields.items() if n not in common and n not in augmented}
    for title, fields in sections.items():
        rows = [_row(name, info) for name, info in fields.items() if name not in USER_SETTINGS]
        parts += [f"\n### {title}\n", _table("setting | what it is | unit | default", rows)]
    renamed = sorted(
        {f"`{old}` is now `{new}`" for kind in classes.values() for old, new in kind.earlier_names.items()}
    )
    earlier = f"\n## Earlier names\n\nThese work, with a warning, until version {EARLIER_UNTIL}.\n"
    parts += [earlier, "\n".join(f"- {line}" for line in renamed), FIXED]
    fixed: dict[tuple[str, str], list[str]] = {}
    for method, kind in classes.items():
        for name, value in kind.fixed.items():
            fixed.setdefault((name, value), []).append(method)
    rows = [f"| `{name}` | {', '.join(methods)} | {value} |" for (name, value), methods in sorted(fixed.items())]
    parts.append(_table("setting | of | fixed at", rows))
    return "\n".join(parts) + "\n"


def _methods_with(name: str, classes: Mapping[str, type[Settings]]) -> str:
    having = [method for method, kind in classes.items() if name in kind.model_fields]
    having = [method for method in having if not (name in BY_STEPS and method == "atlas")]
    return "all" if len(having) == len(classes) else ", ".join(having)


def _row(name: str, info: FieldInfo, *more: str) -> str:
    extra = info.json_schema_extra
    unit = cast("dict[str, object]", extra).get("unit", "") if isinstance(extra, dict) else ""
    default = OPEN.get(name, "planned") if info.default is None else str(info.default).lower()
    return " | ".join([f"| `{name}`", *more, info.description or "", str(unit), f"{default} |"])


def _table(heading: str, rows: list[str]) -> str:
    columns = heading.count("|") + 1
    return "\n".join([f"| {heading} |", "|---" * columns + "|", *rows])


if __name__ == "__main__":
    print(settings_page(), end="")
