"""YAML as people mean it: what PyYAML would turn silently into something else stays as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from anatomark.errors import DescriptionError

_KNOWN_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
_MOST_VALUES = 1_000_000


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
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DescriptionError(f"{path}{line}: no valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DescriptionError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None


def load_yaml(text: str) -> Any:
    """The value in a YAML text as `read_yaml` takes it. Raises yaml.YAMLError, and ValueError for what is far too much.

    Of tags, those of plain values are known. Anchors are, too, unless what they stand for is endless, or more than
    people write.
    """
    import yaml

    loader = _loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST_VALUES:
            raise ValueError(f"it stands for more than {_MOST_VALUES} values")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (AttributeError, TypeError, OverflowError) as error:  # as for `!!int [a]` or `? [a]`
        raise yaml.YAMLError(str(error)) from None
    finally:
        loader.dispose()


def _size(node: Any, known: dict[int, float]) -> float:
    """How many values a node stands for, each alias counted anew; infinite where it holds itself."""
    at = id(node)
    if at not in known:
        known[at] = float("inf")  # until it is known: what leads back here is endless
        held = [] if isinstance(node.value, str) else node.value
        parts = [part for pair in held for part in pair] if held and isinstance(held[0], tuple) else held
        known[at] = 1 + sum(_size(part, known) for part in parts)
    return known[at]


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_constructors = {  # noqa: RUF012  (as below)
            tag: construct
            for tag, construct in yaml.SafeLoader.yaml_constructors.items()
            if tag is None or tag.rpartition(":")[2] in _KNOWN_TAGS
        }
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
