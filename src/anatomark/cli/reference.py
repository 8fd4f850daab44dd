"""The page of commands, docs/cli.md, made from the commands' own help.

`python -m anatomark.cli.reference > docs/cli.md` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

from anatomark.cli.main import VERBS, _load

TYPES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}
INTRODUCTION = """# Commands

`anatomark COMMAND --help` shows the same in the terminal; `anatomark --version` prints the version.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | success with findings: images that could not be predicted, faults that `check` found |
| 2 | a wrong call or input; one line says what came, what was expected and what to do |
| 130 | interrupted |

This page is made by `python -m anatomark.cli.reference`; a test compares.
"""


def commands_page() -> str:
    """docs/cli.md: every command with its arguments, options and defaults."""
    return "\n".join([INTRODUCTION, *(_section(verb) for verb in VERBS)])


def _section(verb: str) -> str:
    command = _load(verb)
    kinds = get_type_hints(getattr(import_module(f"anatomark.cli.{verb}"), verb))
    parameters = [parameter for parameter in command.params if "--help" not in parameter.opts]
    words = [_argument(parameter) for parameter in parameters if parameter.param_type_name == "argument"]
    required = [f"{p.opts[0]} {_value(p, kinds)}" for p in parameters if _is_required(p)]
    call = " ".join(["anatomark", verb, *words, *required, "[OPTIONS]"])
    rows = [f"| {_name(p, kinds)} | {_words(p.help or '')} | {_cell(_default(p))} |" for p in parameters]
    table = ["| | | default |", "|---|---|---|", *rows]
    return "\n".join([f"## {verb}", "", _words(command.help or ""), "", "```", call, "```", "", *table, ""])


def _is_required(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and parameter.required


def _argument(parameter: Any) -> str:
    shown = parameter.metavar or parameter.name.upper()
    repeated = "..." if parameter.nargs == -1 and "..." not in shown else ""
    return f"{shown}{repeated}" if parameter.required else f"[{shown}{repeated}]"


def _name(parameter: Any, kinds: Mapping[str, Any]) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(_argument(parameter))}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} {_cell(_value(parameter, kinds))}"


def _value(parameter: Any, kinds: Mapping[str, Any]) -> str:
    """What stands behind an option: its metavar, its choices or its type."""
    if parameter.metavar:
        return parameter.metavar
    kind = kinds[parameter.name]
    inner = [part for part in get_args(kind) if part is not type(None)]  # of `X | None` and `list[X] | None`
    while inner:
        kind, inner = inner[0], [part for part in get_args(inner[0]) if part is not type(None)]
    return "|".join(map(_word, kind)) if issubclass(kind, Enum) else TYPES[kind]


def _word(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(getattr(parameter, "show_default", None), str):
        return parameter.show_default
    if parameter.default is None or parameter.default == [] or parameter.param_type_name == "argument":
        return ""
    if parameter.is_flag:
        on = parameter.default is True
        return (parameter.opts if on else parameter.secondary_opts or [""])[0] if parameter.secondary_opts else ""
    return _word(parameter.default)


def _words(text: str) -> str:
    """A help text in one line, its options as code."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", _cell(text))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\|", "|").replace("|", "\\|")


if __name__ == "__main__":
    print(commands_page(), end="")
