import ast
import graphlib
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import anatomark

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "anatomark"
# From the ground up. A file may import its own floor and those below it.
FLOORS = (
    ("errors", "version", "deprecation", "__init__"),
    ("core",),
    ("formats",),
    ("registration",),
    ("data",),
    ("votes", "picture_sheets", "pictures"),
    ("nets",),
    ("methods",),
    (
        "card",
        "combined",
        "ensemble",
        "views",
        "model",
        "ready_made",
        "loading",
        "exports",
        "outcome",
        "prediction_files",
    ),
    ("training",),
    ("evaluation",),
    ("batches", "predict", "prediction_journal", "cohort", "show"),
    ("web",),
    ("review", "service"),
    ("cli",),
    ("__main__",),
)
STUB = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
HOME = {
    alias.name: f"anatomark.{node.module}"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def test_the_list_of_exports():
    assert anatomark.__all__ == [
        "AnatomarkError",
        "Dataset",
        "Grid",
        "Image",
        "Landmarks",
        "Model",
        "Prediction",
        "State",
        "Synthesis",
        "Tissue",
        "__version__",
        "adapt",
        "calibrate",
        "check",
        "check_references",
        "collect_cohort",
        "compare",
        "compare_observers",
        "convert",
        "copy_fetal_mr",
        "evaluate",
        "export_model",
        "init_dataset",
        "load",
        "load_dataset",
        "make_phantoms",
        "predict_cohort",
        "predict_to_folder",
        "propose_landmarks",
        "read_image",
        "read_landmarks",
        "synthesize_dataset",
        "synthetic_image",
        "train",
        "transfer_landmarks",
        "transfer_to_folder",
        "write_image",
        "write_landmarks",
    ]
    assert dir(anatomark) == sorted(anatomark.__all__)


@pytest.mark.parametrize("name", anatomark.__all__)
def test_every_export_is_there(name):
    thing = getattr(anatomark, name)
    assert isinstance(thing, str) or (callable(thing) and thing.__name__ == name)


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="Landmark"):
        anatomark.Landmark  # noqa: B018


def test_every_export_is_shown_to_type_checkers():
    """The stub re-exports each by `as`, and says where it is."""
    aliases = [alias for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(alias.asname or "" for alias in aliases) == anatomark.__all__
    for name, home in HOME.items():
        assert getattr(anatomark, name) is getattr(import_module(home), name)
    assert (SOURCE / "py.typed").is_file()


def test_the_version_is_the_packages():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared
    assert declared[1] == anatomark.__version__


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, anatomark;"
        "print(*[m for m in ('torch', 'SimpleITK', 'pydantic', 'scipy', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_down_the_floors(path):
    if path == SOURCE / "__init__.py":
        return  # the entrance names everything, and loads it when it is used
    mine = _floor(path.relative_to(SOURCE).parts[0].removesuffix(".py"))
    for module in _imports(path):
        theirs = module.split(".")[1] if "." in module else "__init__"
        assert _floor(theirs) <= mine, f"{path.name} imports {module}, which lies above it"


def test_no_files_import_each_other_in_a_circle():
    """Files of the whole package, with imports in functions and those for types alone."""
    modules = {_module(path): path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"}
    graph = {name: {m for m in _imported(path, modules) if m != name} for name, path in modules.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def _module(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path, modules):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in modules or node.module in modules:
                    yield whole if whole in modules else node.module


def _floor(name):
    assert name in LEVEL, f"{name} has no floor; give it one in {Path(__file__).name} and in CONTRIBUTING.md"
    return LEVEL[name]


def _imports(path):
    """The modules of this package that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "anatomark")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute, so that they can be checked"
            if node.module == "anatomark":
                for alias in node.names:
                    is_module = (SOURCE / alias.name).is_dir() or (SOURCE / f"{alias.name}.py").is_file()
                    home = HOME.get(alias.name, "anatomark")
                    yield f"anatomark.{alias.name}" if is_module else home
            elif node.module and node.module.startswith("anatomark."):
                yield node.module


def test_no_file_knows_the_machine_it_was_written_on():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so that there is no list of the project's files")
    places = re.compile(rb"(?<![\w.])/(?:home|Users|root|work|workspace|mnt|media|scratch)/[\w.-]+")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content[:8192] and "/vendor/" not in name:  # text, and written here
            found += [f"{name}: {hit.decode()}" for hit in places.findall(content)]
    assert found == []
