"""What can be counted in a Python package by reading its syntax trees: nothing of it is imported or run."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

LONG = 60  # lines, from which a function is counted as a long one
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Counts:
    """The counts of a package; lines are those of files, with comments and empty ones.

    `asserts` are assert statements. `any_parameters` are parameters annotated exactly `Any`. `own_late_imports` and
    `other_late_imports` are import statements inside functions, of the package's modules and of others. `circles` are
    the largest groups of files that reach each other over imports: imports inside functions and those for types alone
    count, the package's own `__init__.py`, which only names what it exports, does not. `settings` are the fields
    written in the classes NAMESettings below `methods` and in their bases there, a field written anew counted anew;
    `settings_for_users` are those that a tuple USER_SETTINGS there names, None without one.
    """

    files: int
    lines: int
    asserts: int
    any_parameters: int
    own_late_imports: int
    other_late_imports: int
    circles: tuple[tuple[str, ...], ...]
    settings: int
    settings_without_description: int
    settings_for_users: int | None
    lines_by_package: Mapping[str, int]
    functions: int
    median_function: float
    long_functions: int
    longest_function: str
    longest_function_lines: int
    median_file: float
    longest_file: str
    longest_file_lines: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def counted(package: Path) -> Counts:
    """The counts of the package in the folder `package`, such as src/anatomark."""
    texts = {path.relative_to(package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    late = [node for tree in trees.values() for node in late_imports(tree)]
    own = [node for node in late if any(name.split(".")[0] == package.name for name in imported_names(node))]
    functions = {
        (f"{path}:{node.name}", node.lineno): (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    }
    lengths = list(functions.values())
    methods = [tree for path, tree in trees.items() if path.parts[0] == "methods"]
    fields = list(settings_fields(methods))
    by_package = Counter[str]()
    for path, count in lines.items():
        by_package[path.parts[0]] += count
    longest_function, _ = max(functions, key=lambda place: functions[place], default=("", 0))
    longest_file = max(lines, key=lambda path: lines[path])
    return Counts(
        files=len(lines),
        lines=sum(lines.values()),
        asserts=sum(isinstance(node, ast.Assert) for node in nodes),
        any_parameters=sum(is_any(parameter) for node in nodes for parameter in parameters(node)),
        own_late_imports=len(own),
        other_late_imports=len(late) - len(own),
        circles=circles(import_graph(package.name, trees)),
        settings=len(fields),
        settings_without_description=sum(not has_description(field) for field in fields),
        settings_for_users=next(map(len, user_settings(methods)), None),
        lines_by_package=dict(sorted(by_package.items())),
        functions=len(lengths),
        median_function=median(lengths or [0]),
        long_functions=sum(length > LONG for length in lengths),
        longest_function=longest_function,
        longest_function_lines=max(lengths, default=0),
        median_file=median(lines.values()),
        longest_file=str(longest_file),
        longest_file_lines=lines[longest_file],
    )


def parameters(node: ast.AST) -> list[ast.arg]:
    """The parameters of a function, [] of any other node."""
    if not isinstance(node, Function):
        return []
    given = node.args
    starred = [parameter for parameter in (given.vararg, given.kwarg) if parameter is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *starred]


def is_any(parameter: ast.arg) -> bool:
    return parameter.annotation is not None and ast.unparse(parameter.annotation) in ("Any", "typing.Any")


def late_imports(tree: ast.Module) -> set[ast.Import | ast.ImportFrom]:
    """The import statements inside functions."""
    within = (inner for node in ast.walk(tree) if isinstance(node, Function) for inner in ast.walk(node))
    return {node for node in within if isinstance(node, ast.Import | ast.ImportFrom)}


def imported_names(node: ast.AST) -> list[str]:
    """What an import statement may name, modules and what is in them alike; [] of any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def import_graph(name: str, trees: Mapping[Path, ast.Module]) -> dict[str, set[str]]:
    """{module: modules that it imports} of the package `name`, whose own `__init__` is left out."""
    modules = {module_name(name, path): tree for path, tree in trees.items()}
    modules.pop(name, None)
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        found = chain.from_iterable(imported_names(node) for node in ast.walk(tree))
        homes = (each if each in modules else each.rpartition(".")[0] for each in found)
        graph[module] = {home for home in homes if home in modules and home != module}
    return graph


def module_name(package: str, path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def circles(graph: Mapping[str, set[str]]) -> tuple[tuple[str, ...], ...]:
    """The largest groups of modules each of which reaches all others of its group, by name."""
    reached = {module: set(reachable(graph, module)) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return tuple(sorted(groups))


def reachable(graph: Mapping[str, set[str]], start: str) -> Iterator[str]:
    """All modules that lie one import or more behind `start`."""
    seen: set[str] = set()
    coming = list(graph[start])
    while coming:
        module = coming.pop()
        if module not in seen:
            seen.add(module)
            yield module
            coming += graph[module]


def settings_fields(trees: Iterable[ast.Module]) -> Iterator[ast.AnnAssign]:
    """The fields of all classes NAMESettings and of their bases, as far as these are in `trees`."""
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    coming = [name for name in classes if name.endswith("Settings")]
    seen: set[str] = set()
    while coming:
        name = coming.pop()
        if name in classes and name not in seen:
            seen.add(name)
            coming += [ast.unparse(base) for base in classes[name].bases]
            yield from (
                node
                for node in classes[name].body
                if isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar")
            )


def has_description(field: ast.AnnAssign) -> bool:
    return isinstance(field.value, ast.Call) and any(word.arg == "description" for word in field.value.keywords)


def user_settings(trees: Iterable[ast.Module]) -> Iterator[tuple[str, ...]]:
    """What USER_SETTINGS is at the top of a file."""
    for node in chain.from_iterable(tree.body for tree in trees):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["USER_SETTINGS"]:
            yield ast.literal_eval(node.value)
