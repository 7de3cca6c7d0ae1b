"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glass_ml.execution.devices import Devices


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Declare what `devices_of` reads."""
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto", help="default: GPUs if any")
    parser.add_argument("--devices", type=int, help="GPUs or CPU cores of each node (default: all GPUs, or one core)")
    parser.add_argument("--nodes", type=int, help="machines, with srun or torchrun: docs/clusters.md")


def devices_of(arguments: argparse.Namespace) -> Devices:
    """The devices that a command line names."""
    from glass_ml.execution.devices import Devices

    return Devices(arguments.accelerator, arguments.devices, arguments.nodes)
