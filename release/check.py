"""Build sdist and wheel, look into them, and use the wheel in a clean environment: `make package`.

The tools (build, hatchling, twine) are installed into an environment below build/package; nothing else is fetched. The
wheel is installed without its dependencies, which come from the environment that runs this script, so that what the
wheel itself lacks is noticed. It predicts, runs `anatomark demo` and opens a review there. Says what it found, and ends
with 1 where something is missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "package"
TOOLS = ("build", "hatchling", "twine")
INSIDE = (
    "anatomark/py.typed",
    "anatomark/__init__.pyi",
    "anatomark/datasets/isbi2015_ceph.yaml",
    "anatomark/datasets/fetal_mr/dataset.yaml",
    "anatomark/datasets/fetal_mr/README.md",
    "anatomark/datasets/fetal_mr/images/fetal_sba_ga21_notop.nii.gz",
    "anatomark/models/ceph19/model.safetensors",
    "anatomark/models/cmf24/model.safetensors",
    "anatomark/review/page/main.js",
    "anatomark/review/page/vendor/niivue/niivue.js",
    "anatomark/evaluation/templates/report.html.j2",
)
LICENCES = ("LICENSE", "LICENSES-of-its-parts")
LARGEST = 60e6  # bytes of the wheel, below PyPI's limit of 100 MB
IMAGE = """
import numpy, PIL.Image
PIL.Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (240, 200), "u1")).save("xray.png")
"""


def environment(folder: Path) -> Path:
    """The Python of a new environment in `folder`."""
    venv.create(folder, clear=True, with_pip=True)
    return folder / "bin" / "python"


def call(*words: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; its messages are shown where it fails."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def built() -> tuple[Path, Path]:
    """The new sdist and wheel, which twine finds in order."""
    python = environment(WORK / "tools")
    call(python, "-m", "pip", "install", "--quiet", *TOOLS)
    dist = WORK / "dist"
    for old in dist.glob("*"):
        old.unlink()
    call(python, "-m", "build", "--no-isolation", "--outdir", dist)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    print(call(python, "-m", "twine", "check", "--strict", sdist, wheel).strip())
    return sdist, wheel


def faults_of(sdist: Path, wheel: Path) -> list[str]:
    """What the two files lack."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        listed = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("License-File")]
    faults = [f"the wheel lacks {name}" for name in INSIDE if name not in names]
    faults += [f"{name} is no listed licence" for name in LICENCES if not any(name in line for line in listed)]
    faults += [f"the wheel holds {name}" for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]
    if wheel.stat().st_size > LARGEST:
        faults.append(f"the wheel has {wheel.stat().st_size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = (
        "README.md",
        "LICENSE",
        "docs/index.md",
        "mkdocs.yml",
        "tests/conftest.py",
        "models/ceph19/model.safetensors",
    )
    return faults + [f"the sdist lacks {name}" for name in wanted if name not in inside]


def used(wheel: Path) -> None:
    """Install the wheel in a new environment, and predict an image with a model that comes with it."""
    place = WORK / "clean"
    python = environment(place)
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "zz-dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    home = Path(call(python, "-c", "import anatomark; print(anatomark.__file__)", cwd=WORK).strip())
    assert home.is_relative_to(site), f"{home} is not the installed package"
    program = place / "bin" / "anatomark"
    print(call(program, "--version", cwd=WORK).strip())
    call(program, "models", "ceph19", cwd=WORK)
    call(python, "-c", IMAGE, cwd=WORK)
    call(program, "predict", "ceph19", "xray.png", "--spacing", "1,1", "--out", "predicted", cwd=WORK)
    rows = (WORK / "predicted" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 20, f"predictions.csv has {len(rows)} rows, 19 landmarks and a heading were expected"
    print("the wheel, installed alone: predicted 19 landmarks with ceph19")
    for words in ((python, "-c", "import anatomark"), (program, "--help")):
        seconds = min(timed(*words) for _ in range(3))
        print(f"{Path(words[0]).name} {' '.join(words[1:])}: {seconds:.2f} s")
    shutil.rmtree(WORK / "demo", ignore_errors=True)
    print(call(program, "demo", "--out", "demo", cwd=WORK).strip().splitlines()[-1])
    reviewed(program, WORK / "demo" / "data" / "dataset.yaml")


def timed(*words: str | Path) -> float:
    began = time.perf_counter()
    call(*words, cwd=WORK)
    return time.perf_counter() - began


def reviewed(program: Path, dataset: Path) -> None:
    """Open the review page of the data set as a browser would, and the first case."""
    words = [program, "review", dataset, "--out", WORK / "review", "--no-browser", "--port", "0"]
    server = subprocess.Popen([str(word) for word in words], cwd=WORK, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        page = browser.open(address, timeout=30).read().decode()
        script = re.findall(r'src="([^"]+)"', page)[0]
        assert browser.open(f"{address.partition('?')[0].rstrip('/')}/{script}", timeout=30).status == 200
    finally:
        server.terminate()
        server.wait(30)
    print("the wheel's review page opens")


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    both = built()
    for file in both:
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    if found := faults_of(*both):
        sys.exit("\n".join(found))
    used(both[1])
