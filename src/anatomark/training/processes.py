"""The processes of a training on several devices: how many there are, who starts them, and what they tell each other.

Process 0 is the training. The others only take its steps with it (see `workers`), so that whatever plans, prepares,
chooses and writes is what it is on one device.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from anatomark.errors import SettingsError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from anatomark.methods.interface import AnyDetector, AnyPlan

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=7)  # for process 0, which may be preparing images
_launched = False


@dataclass(frozen=True, eq=False)
class Processes:
    """So many `devices` on each of `nodes` machines, with a process each; this one is number `rank` of them all.

    Words pass through `group`, which waits for as long as it takes.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    group: ProcessGroup | None = None

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    def fabric(self, device: str, precision: str) -> Fabric:
        """The Fabric of these processes on `device`, "cpu" or "cuda"."""
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the plan has named the precision already
        if self.count == 1:
            alone = LightningEnvironment()  # whatever a cluster's variables say of other programs
            return Fabric(accelerator=device, devices=1, precision=precision, plugins=[alone])  # type: ignore[arg-type]
        strategy = _NoWrapping(cluster_environment=_environment(), timeout=timedelta(minutes=30))
        fabric = Fabric(
            accelerator=device,
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
        fabric.launch()
        return fabric

    def places(self, batch: int) -> range:
        """The places in a batch whose examples are this process's."""
        return range(self.rank * batch // self.count, (self.rank + 1) * batch // self.count)

    def share(self, value: T) -> T:
        """What process 0 has for `value`, in all of them."""
        if self.group is None:
            return value
        shared: list[Any] = [value]
        dist.broadcast_object_list(shared, src=0, group=self.group, device=torch.device("cpu"))
        return shared[0]

    def deal(self, items: Sequence[T]) -> Sequence[T]:
        """The items that are this process's, of those that all have."""
        return items[self.rank :: self.count]

    def gather(self, made: Sequence[T]) -> list[T]:
        """What all processes have made of the items that `deal` gave them, in the order of these."""
        if self.group is None:
            return list(made)
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, list(made), group=self.group)
        return [parts[k % self.count][k // self.count] for k in range(sum(map(len, parts)))]


ALONE = Processes()


def launch(device: str, devices: int = 1, nodes: int = 1) -> Processes:
    """The processes of `device_counts`, started where nobody has, and connected; ALONE for one.

    Raises SettingsError for a second time in a program.
    """
    global _launched
    processes = Processes(devices, nodes)
    if processes.count == 1:
        return processes
    if _launched:
        raise SettingsError(
            "a program can train on several devices once, for its other processes end with the training; run "
            "anatomark train for each of its trainings"
        )
    _launched = True
    fabric = processes.fabric(device, "32-true")
    told = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    told.setLevel(logging.INFO)  # says why it ends all processes when one has died
    group = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=LONGEST_WAIT))
    return Processes(processes.devices, processes.nodes, fabric.global_rank, group)


def require_shares(kind: type[AnyDetector], plan: AnyPlan, processes: Processes) -> None:
    """SettingsError where a stage of the plan has a batch of fewer examples than there are processes."""
    stages: Any = getattr(kind, "stages_type", None)
    if processes.count == 1 or stages is None:
        return
    staged = stages(plan)
    for name in staged.stages:
        stage = staged.stage_plan(name)
        if stage.batch < processes.count:
            setting = stage.smaller[0] if stage.smaller else "batch"
            raise SettingsError(
                f"training stage {name} has a batch of {stage.batch}, which {processes.count} devices cannot share; "
                f"set {setting}={processes.count} or more, or use {stage.batch}"
            )


class _NoWrapping(DDPStrategy):
    """Processes with the network of each as it is: the learner sums gradients, and the losses know the whole batch.

    `DistributedDataParallel` would average gradients over processes, whatever each has to learn from, and stops at
    parameters without a gradient.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # pyright: ignore[reportIncompatibleMethodOverride]
        return module


def _environment() -> ClusterEnvironment:
    """Who has started the processes; where nobody has, Lightning's own launcher does."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if _of_srun(os.environ) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that srun is not used, in a job called interactive
            return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def _of_srun(variables: Mapping[str, str]) -> int:
    """The tasks that srun has started with this one; 0 in a batch script by itself, which has SLURM_NTASKS, too."""
    return int(variables.get("SLURM_STEP_NUM_TASKS", 0))


def device_counts(
    device: str, devices: int | str | None, nodes: int | None, variables: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """How many devices of each machine, "cpu" or "cuda", and how many machines were asked for.

    `devices` is a number, or "auto" for all GPUs. Under torchrun, and under srun if `devices` or `nodes` is given,
    these have started the processes already, and what is not given is taken from them; `variables` are those of the
    environment. Raises SettingsError for what cannot be had.
    """
    given = devices is not None or nodes is not None
    if isinstance(devices, str) and devices != "auto":
        if not devices.isdecimal():
            raise SettingsError(f"--devices {devices} is neither a number nor auto")
        devices = int(devices)
    if (isinstance(devices, int) and devices < 1) or (nodes is not None and nodes < 1):
        raise SettingsError(f"--devices {devices} --nodes {nodes or 1}: there must be at least one of each")
    asked = devices if isinstance(devices, int) else None
    if TorchElasticEnvironment.detect():
        here, all_ = int(variables["LOCAL_WORLD_SIZE"]), int(variables["WORLD_SIZE"])
        counts = _agreed("torchrun", asked, nodes, here, all_ // here)
    elif given and (tasks := _of_srun(variables)) > 1:
        machines = int(variables.get("SLURM_STEP_NUM_NODES", variables.get("SLURM_NNODES", 1)))
        counts = _agreed("srun", asked, nodes, tasks // machines, machines)
        if "SLURM_NTASKS_PER_NODE" not in variables:
            raise SettingsError(f"srun has not said how many tasks a node has; give it --ntasks-per-node={counts[0]}")
    else:
        available = torch.cuda.device_count() if device == "cuda" else 1
        counts = (asked or (available if devices == "auto" else 1), nodes or 1)
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in variables]
        if counts[1] > 1 and missing:
            raise SettingsError(
                f"--nodes {counts[1]} needs this command on every node, by torchrun or srun, or with "
                f"{', '.join(missing)} set"
            )
    if device == "cuda" and counts[0] > torch.cuda.device_count():
        raise SettingsError(
            f"--devices {counts[0]}: this machine has {torch.cuda.device_count()} GPUs; use as many at most"
        )
    return counts


def _agreed(starter: str, devices: int | None, nodes: int | None, here: int, machines: int) -> tuple[int, int]:
    """The counts of who has started the processes, which those given must be."""
    wanted = (devices or here, nodes or machines)
    if wanted != (here, machines):
        raise SettingsError(
            f"{starter} has started {here} processes on each of {machines} nodes, not the {wanted[0]} on each of "
            f"{wanted[1]} that were asked for; give --devices {here} --nodes {machines}, or start others"
        )
    return here, machines
