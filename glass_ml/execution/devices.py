"""The processors of a stage: what the command line asks for, or what SLURM or torchrun have started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from glass_ml.errors import InputError


@dataclass(frozen=True)
class Devices:
    """Where a stage computes: GPUs where there are any, else CPU cores; one process each.

    Attributes:
        accelerator: "auto" takes GPUs where torch sees one.
        devices: of each node; None takes all GPUs, or one CPU core, or as many as a launcher has started processes.
        nodes: machines; more than one need a launcher.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | None = None
    nodes: int | None = None

    @property
    def gpu(self) -> bool:
        """Whether it is GPUs that compute."""
        return self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())

    @property
    def stated(self) -> bool:
        """Whether more than the cores of this machine was asked for: by options, by a launcher or by a GPU."""
        return self.gpu or self.devices is not None or self.nodes is not None or launched() not in (None, (1, 1))

    @property
    def label(self) -> str:
        """The kind of device, as the lineage names it."""
        return f"cuda ({torch.cuda.get_device_name()})" if self.gpu else "cpu"

    def trainer_options(self) -> dict[str, Any]:
        """`accelerator`, `devices` and `num_nodes` for a Lightning trainer.

        Raises:
            InputError: there are not so many, or a launcher has started other numbers.
        """
        for name, value in (("--devices", self.devices), ("--nodes", self.nodes)):
            if value is not None and value < 1:
                raise InputError(f"{value}", name, "give at least one")
        found = torch.cuda.device_count() if self.gpu else None
        if self.gpu and not found:
            raise InputError("torch sees no GPU here", "--accelerator gpu", "use cpu, or install a CUDA build of torch")
        started = launched()
        devices, nodes = started or (self.devices or found or 1, self.nodes or 1)
        if (self.devices or devices, self.nodes or nodes) != (devices, nodes):
            asked = f"{self.devices or devices} devices on {self.nodes or nodes} nodes"
            raise InputError(f"{asked}, but {devices} on {nodes} were started", "--devices, --nodes", "leave them out")
        if nodes > 1 and started is None:
            raise InputError(f"{nodes} nodes without a launcher", "--nodes", "use srun or torchrun: docs/clusters.md")
        if found is not None and devices > found:
            raise InputError(f"{devices} GPUs asked for, {found} found", "--devices", f"give at most {found}")
        return {"accelerator": "gpu" if self.gpu else "cpu", "devices": devices, "num_nodes": nodes}


def launched() -> tuple[int, int] | None:
    """Processes per node and nodes, where torchrun or srun have started this process; else None.

    Raises:
        InputError: SLURM was asked for several processes, and this one is alone or cannot find the others.
    """
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # by the srun that this process stands under
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        tasks, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", 1))
        if tasks != started:
            what = f"SLURM has {tasks} tasks for this job, and started {started} of this command"
            raise InputError(what, "SLURM_NTASKS", "put srun before the command")
        return tasks // nodes, nodes
    if started > 1:
        raise InputError(f"{started} processes in an interactive job", "SLURM_JOB_NAME", "use srun --job-name=glass")
    return None


def first_process() -> bool:
    """Whether this process is the one that writes and records, by what its launcher says."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
