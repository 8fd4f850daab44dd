"""An optimizer that goes through a checkpoint file takes the same steps as one that never stopped."""

from pathlib import Path

import pytest
import torch
from torch import nn

from anatomark.errors import ModelError
from anatomark.nets.weights import load_network, load_tensors, save_tensors, under_prefix, with_prefix
from anatomark.training.checkpoint import optimizer_tensors, restore_optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def optimizer_of(net: nn.Module, *, amsgrad: bool, rate: float = 0.01) -> torch.optim.AdamW:
    return torch.optim.AdamW(net.parameters(), lr=rate, amsgrad=amsgrad, weight_decay=0.1)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    net(values).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_restored_optimizer_goes_on_exactly(tmp_path: Path, amsgrad: bool) -> None:
    kept = network()
    optimizer = optimizer_of(kept, amsgrad=amsgrad)
    for number in range(3):
        step(kept, optimizer, number)
    path = tmp_path / "checkpoint.safetensors"
    tensors = with_prefix("network", kept.state_dict()) | with_prefix("optimizer", optimizer_tensors(optimizer))
    save_tensors(path, tensors, {"state": "3"})

    loaded, metadata = load_tensors(path)
    assert metadata == {"state": "3"}
    resumed = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    load_network(resumed, under_prefix("network", loaded), str(path))
    other = optimizer_of(resumed, amsgrad=amsgrad)
    restore_optimizer(other, under_prefix("optimizer", loaded))
    for number in range(3, 6):
        step(kept, optimizer, number)
        step(resumed, other, number)
    for a, b in zip(kept.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    names = {name.split(".")[1] for name in under_prefix("optimizer", loaded)}
    assert names == {"step", "exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if amsgrad else set())


def test_settings_are_the_runs_and_not_the_checkpoints() -> None:
    net = network()
    first, second = optimizer_of(net, amsgrad=False, rate=0.5), optimizer_of(net, amsgrad=False, rate=0.01)
    step(net, first, 0)
    restore_optimizer(second, optimizer_tensors(first))
    assert second.param_groups[0]["lr"] == 0.01


def test_an_optimizer_that_has_not_stepped() -> None:
    net = network()
    optimizer = optimizer_of(net, amsgrad=False)
    assert optimizer_tensors(optimizer) == {}
    restore_optimizer(optimizer, {})
    step(net, optimizer, 0)


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from anatomark.errors import OutputError
    from anatomark.formats import atomic

    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, {"a": torch.ones(2)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_tensors(path, {"a": torch.zeros(2)})
    assert load_tensors(path)[0]["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"not weights at all, but long enough to look like some"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors: not a whole safetensors file"):
        load_tensors(path)


def test_every_fault_of_the_weights_is_named_at_once() -> None:
    net = network()
    tensors = dict(net.state_dict())
    tensors["0.weight"] = torch.zeros(7, 7)
    tensors["2.bias"] = torch.tensor([float("inf"), 0.0])
    del tensors["2.weight"]
    tensors["9.weight"] = torch.zeros(1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_network(net, tensors, "run/model.safetensors")
    said = str(caught.value)
    assert said.startswith("run/model.safetensors: ")
    for fault in ("missing (2.weight)", "foreign (9.weight)", "another shape (0.weight)", "not finite (2.bias)"):
        assert fault in said
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), "nothing is loaded in part"
