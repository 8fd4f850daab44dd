"""YAML as people mean it: what PyYAML would turn silently into something else stays as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from anatomark.errors import DescriptionError


def read_yaml(path: Path) -> object:
    """The content of a YAML file.

    Unlike plain PyYAML, `001` stays the text "001" (a case name, no octal number), `no` and `on` stay text
    (landmark names, no booleans), and a key written twice is refused. Raises DescriptionError.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise DescriptionError(
            f"{path}: {reason}; give the path of a dataset.yaml (`anatomark init FOLDER` writes one)"
        ) from None
    except UnicodeDecodeError:
        raise DescriptionError(f"{path}: not a UTF-8 text; give the path of a dataset.yaml") from None
    try:
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DescriptionError(f"{path}{line}: no valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise DescriptionError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own class attribute, emptied on purpose)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    number = r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*))(?:[eE][-+]?[0-9]+)?"
    for tag, pattern, first in (
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
        ("float", rf"^{number}$", "-+0123456789."),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
    return Loader
