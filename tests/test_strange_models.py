"""A model folder from a stranger: it is data, and nothing outside of it is read."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from anatomark import load
from anatomark.cli.main import run
from anatomark.errors import ModelError
from anatomark.ready_made import changed_files, ready_made

OLD = Path(__file__).parent / "fixtures" / "old_models" / "6237412" / "global-to-local-2d"


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "model"))


class Opened:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save])
def test_weights_are_never_unpickled(model, tmp_path, write) -> None:
    for path in model.glob("*.safetensors"):
        write(Opened(tmp_path / "proof"), path)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load(model, device="cpu")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("member", ["..", "../elsewhere", "/etc", "", ".", "fold1/../../elsewhere"])
def test_members_lie_in_the_folder(tmp_path, member) -> None:
    shutil.copytree(OLD, tmp_path / "elsewhere")
    (tmp_path / "whole").mkdir()
    about = {"format": 2, "kind": "folds", "members": [member], "presence": None}
    (tmp_path / "whole" / "ensemble.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="ensemble"):
        load(tmp_path / "whole", device="cpu")


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "error_bounds.safetensors"])
def test_files_are_no_links_out_of_the_folder(model, tmp_path, name) -> None:
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(OLD / name)
    with pytest.raises(ModelError, match=rf"{name} is a link out of its folder; put what it leads to there"):
        load(model, device="cpu")
    (model / name).unlink()
    (model / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=name):
        load(model, device="cpu")


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_members_and_folders_that_are_links(model, tmp_path) -> None:
    """A folder may be reached by a link; its members may not lead out of it."""
    (tmp_path / "short").symlink_to(model)
    assert load(tmp_path / "short", device="cpu").names
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "fold1").symlink_to(model)
    about = {"format": 2, "kind": "folds", "members": ["fold1"], "presence": None}
    (tmp_path / "whole" / "ensemble.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="fold1 is a link out of"):
        load(tmp_path / "whole", device="cpu")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(model) -> None:
    (model / "model.json").unlink()
    os.mkfifo(model / "model.json")
    with pytest.raises(ModelError, match="is not a file"):
        load(model, device="cpu")


def test_ready_made_models_are_verified_by_their_cards(tmp_path, capsys) -> None:
    assert run(["models", "verify"]) == 0
    assert "ceph19: as its card says" in capsys.readouterr().out
    copy = Path(shutil.copytree(ready_made()["ceph19"], tmp_path / "copy"))
    assert changed_files(copy) == []
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    (copy / "suitability.safetensors").unlink()
    (copy / "offsets.safetensors").write_bytes(b"")
    assert run(["models", "verify", "ceph19", str(copy)]) == 1
    said = capsys.readouterr().out
    assert f"{copy}: changed" in said
    assert "    model.safetensors is another: its SHA-256 is " in said
    assert "    suitability.safetensors cannot be read (No such file or directory)" in said
    assert "    offsets.safetensors does not belong to it" in said


def test_a_model_without_checksums_cannot_be_verified(model, capsys) -> None:
    assert run(["models", "verify", str(model)]) == 2
    assert "has no README.md, the card with its checksums" in capsys.readouterr().err
    (model / "README.md").write_text("# a model")
    assert run(["models", "verify", str(model)]) == 2
    assert "has no checksums" in capsys.readouterr().err
    assert run(["models", "ceph19", "cmf24"]) == 2
