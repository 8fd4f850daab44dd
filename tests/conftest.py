"""What several floors test with: small phantom sets, and models trained on them for a few steps."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes that stand in signatures are checked in every call of the tests.
SHAPED = (
    "votes",
    "methods.vote_loss",
    "methods.two_stage.loss",
    "methods.two_stage.joint",
    "methods.two_stage.refinement",
)
install_import_hook([f"anatomark.{name}" for name in SHAPED], "beartype.beartype")
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("patient", deadline=None)  # a busy machine is slow now and then, and nothing is wrong with it
settings.load_profile("patient")

TINY: dict[str, Any] = {
    "global_stem": 8,
    "global_blocks": [1, 1, 1, 1],
    "global_channels": [8, 16, 16, 32],
    "global_head": 16,
    "global_steps": 20,
    "local_channels": [[4, 4], [8]],
    "local_head": 8,
    "local_steps": 20,
    "validations": 2,
    "checkpoint_every": 10,
    "precision": "32-true",
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Settings of a network that trains in seconds and finds little."""
    return dict(TINY)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets; tests that need it are skipped, saying so, where it is not there."""
    root = Path(os.environ.get("ANATOMARK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"needs the real data sets: {root} is not there (set ANATOMARK_DATA)")
    return root


@pytest.fixture(scope="session", params=[2, 3], ids=["2D", "3D"])
def phantoms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.yaml of a small phantom set with absent landmarks, in 2D and in 3D."""
    from anatomark.data.phantoms import make_phantoms

    folder = tmp_path_factory.mktemp(f"phantoms{request.param}")
    return make_phantoms(folder, ndim=request.param, cases=16, landmarks=5, seed=4)


@pytest.fixture(scope="session")
def run(phantoms: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on `phantoms`."""
    from anatomark import train

    return train(phantoms, out=tmp_path_factory.mktemp("runs") / "run", device="cpu", settings=tiny)
