"""Changes of text by its structure: JSON and YAML of wrong types, tables, XML, and headers of lines."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import yaml

DEEP = "[" * 200_000
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 10**6, 2**31, 2**63, 10**400, -(10**30), 0.0, -0.5, 1e308, 1e-320, float("nan"),
    float("inf"), "", " ", "a", "0", "-1", "nan", "1e999", "\u0000", "\ud800", "ü",
    "e\u0301", "\u202e", "a\nb", "../../x", "/etc/passwd",
    "~", "{case}", "{", "%s", "*", "[", "**/*", "a" * 5000, [], [[]], {}, [None], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4],
    ["a"],
    [float("nan")] * 3, {"a": 1}, {"": None}, [{}], [[1, 2], [3, 4]], {"a": {"b": []}},
)  # fmt: skip
NUMBER = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
ODD_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"2",
    b"3",
    b"4",
    b"16",
    b"99999",
    b"2147483647",
    b"2147483648",
    b"4294967296",
    b"9" * 30,
)
ODD_NUMBERS += (
    b"1e999",
    b"-1e999",
    b"nan",
    b"inf",
    b"0.0",
    b"1e-320",
    b"",
    b"1.5",
    b"x",
    b"1 2",
    b"0x10",
    b"1_0",
    b"\xd9\xa3",
)
TAGS = (
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!binary '@@'",
    "!!timestamp x",
    "!!set {a, b}",
)
TAGS += (
    "!!omap [a: 1]",
    "!!int 'x'",
    "!!float 'x'",
    "!!null x",
    "!unknown x",
    "!!timestamp 9999-99-99",
    "2001-01-01",
    "!!str [a]",
)
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)
)


def change_json(content: bytes, rng: Random) -> bytes:
    """A valid JSON document with values of other types in it, missing, doubled, or far too deep."""
    held = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        held = _changed_value(held, rng)
    text = json.dumps(held, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.02:
        text = text.replace("[", DEEP + "[", 1)
    if rng.random() < 0.03:
        text = re.sub(r'("[a-z]+": )', r"\1null, \1", text, count=1)  # the same key twice
    return text.encode("utf-8", "surrogatepass")


def change_yaml(content: bytes, rng: Random) -> bytes:
    """A YAML document as `change_json`, or with anchors, aliases, merges and tags that mean more than text."""
    kind = rng.randrange(7)
    text = content.decode()
    lines = text.splitlines()
    if kind <= 2:
        held = yaml.safe_load(text)
        for _ in range(rng.choice((1, 1, 2, 4))):
            held = _changed_value(held, rng)
        return yaml.safe_dump(held, allow_unicode=True, width=10**6).encode("utf-8", "surrogatepass")
    at = rng.randrange(len(lines))
    if kind == 3:  # a tag instead of a value
        lines[at] = re.sub(r":.*", ": " + rng.choice(TAGS).replace("\\", r"\\"), lines[at], count=1)
    elif kind == 4:  # an alias of the document within itself, or of a bomb
        lines[at] = re.sub(r":.*", ": *a8", lines[at], count=1)
        return (BOMB + "\n".join(lines)).encode()
    elif kind == 5:
        odd = (
            "? [a, b]\n: c",
            "<<: {a: 1}",
            "? {a: 1}\n: c",
            "x: &x [*x]",
            "x: &x {y: *x}",
            "<<: [1]",
            "? !!set {a}\n: b",
            "<<: *q",
        )
        lines.insert(
            at,
            rng.choice(
                (*odd, "- a", "...", "---", "%YAML 9.9", "\t", "[" * 3000, "{" * 3000, "? " * 2000, "x: |9\n  a")
            ),
        )
    else:
        indent = len(lines[at]) - len(lines[at].lstrip())
        odd = rng.choice(ODD_VALUES)
        lines[at] = re.sub(r":.*", ": " + json.dumps(odd).replace("\\", r"\\"), lines[at], count=1)
        if rng.random() < 0.3:
            lines.insert(at, " " * indent + rng.choice(("extra: 1", "name: again", "- - -")))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_lines(content: bytes, rng: Random) -> bytes:
    """Text before the first empty line (or all of it) with numbers changed, and lines lost, doubled or exchanged."""
    head, gap, rest = content.partition(b"\n\n")
    if len(rest) < 2:
        head, gap, rest = content, b"", b""
    if b"ElementDataFile" in content:
        end = content.index(b"\n", content.index(b"ElementDataFile")) + 1
        head, gap, rest = content[:end], b"", content[end:]
    for _ in range(rng.choice((1, 1, 2, 3))):
        head = _changed_line(head, rng)
    return head + gap + rest


def _changed_line(head: bytes, rng: Random) -> bytes:
    lines = head.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind <= 2:
        found = list(NUMBER.finditer(head))
        if found:
            where = rng.choice(found)
            return head[: where.start()] + rng.choice(ODD_NUMBERS) + head[where.end() :]
    elif kind == 3:
        lines.insert(other, lines[at])
    elif kind == 4 and len(lines) > 1:
        del lines[at]
    elif kind == 5:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 6:
        cells = re.split(rb"([,;\t =:])", lines[at])
        cells[rng.randrange(len(cells))] = rng.choice(
            (*ODD_NUMBERS, b"\xff\xfe", b'"', b"=1+1", b"a" * 200_000, b"absent", b"(1,2)")
        )
        lines[at] = b"".join(cells)
    else:
        lines[at] = lines[at] + rng.choice(
            (b",", b";;", b"\t", b" 1 2 3", b"\0", b"\r", b'"', b" # x", b"=1", b":=1", b": 1")
        )
    return b"\n".join(lines)


def change_xml(content: bytes, rng: Random) -> bytes:
    """XML with values changed, elements doubled, entities declared, or nested far too deep."""
    kind = rng.choice((0, 1, 2, *[3] * 30))
    if kind == 0:
        declared = b'<!DOCTYPE a [<!ENTITY a "' + b"x" * 1000 + b'">'
        declared += b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(8)) + b"]>"
        return re.sub(rb"(<\?xml[^>]*>)?", rb"\g<0>" + declared, content, count=1).replace(b">1<", b">&i;<", 1)
    if kind == 1:
        return content.replace(b"<point", b"<a>" * 50_000 + b"<point", 1)
    if kind == 2:
        declared = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        return re.sub(rb"(<\?xml[^>]*>)?", rb"\g<0>" + declared, content, count=1)
    found = list(re.finditer(rb'"[^"]*"|>[^<]+<|<[^>]+>', content))
    where = rng.choice(found)
    piece = where.group()
    odd = rng.choice((*ODD_NUMBERS, b"", b"&#0;", b"&#x110000;", b"a" * 100_000))
    if piece.startswith(b"<"):
        changed = piece * rng.choice((0, 2, 3))
    else:
        changed = piece[:1] + odd + piece[-1:]
    return content[: where.start()] + changed + content[where.end() :]


def _changed_value(held: Any, rng: Random) -> Any:
    """`held` with one of its values, at any depth, changed."""
    places = list(_places(held))
    if not places:
        return copy.deepcopy(rng.choice(ODD_VALUES))
    parent, key = rng.choice(places)
    kind = rng.randrange(10)
    if kind <= 4:
        parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    elif kind == 5:
        del parent[key]
    elif kind == 6:
        parent[key] = [parent[key]]
    elif kind == 7:
        other, name = rng.choice(places)
        parent[key] = copy.deepcopy(other[name])
    elif kind == 8 and isinstance(parent, dict):
        parent[rng.choice(("", "x", "a" * 300, "\u0000", "points", "version", "format", key.upper(), key + " "))] = (
            parent.pop(key)
        )
    elif isinstance(parent, list):
        parent += copy.deepcopy(parent[:50]) * rng.choice((1, 1, 20))
    else:
        parent[key] = str(parent[key])
    return held


def _places(held: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(held, dict):
        for key in held:
            yield held, key
            yield from _places(held[key])
    elif isinstance(held, list):
        for key, value in enumerate(held):
            yield held, key
            yield from _places(value)
