"""What exporters need of these tests: they trace shapes that are no numbers, and log every step."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import config
from untrained import save_untrained

Exported = Callable[[str, int], tuple[Path, Path]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Run folder of an untrained model of a method and dimension, and the bundle that it was exported to, once each."""
    from anatomark import export_model

    made: dict[tuple[str, int], tuple[Path, Path]] = {}

    def give(method: str, ndim: int) -> tuple[Path, Path]:
        if (method, ndim) not in made:
            if method == "heatmap":
                pytest.importorskip("monai")
            folder = tmp_path_factory.mktemp("exported")
            run = save_untrained(folder / "run", method, ndim)
            made[method, ndim] = run, export_model(run, out=folder / "bundle", to="monai")
        return made[method, ndim]

    return give


@pytest.fixture(autouse=True)
def traceable() -> Iterator[None]:
    """Without the checks of shapes that conftest.py installs, and without the logs that pytest would keep."""
    checked = config.jaxtyping_disable
    traced = logging.getLogger("torch.__trace")
    config.update("jaxtyping_disable", True)
    traced.propagate = False
    yield
    config.update("jaxtyping_disable", checked)
    traced.propagate = True
