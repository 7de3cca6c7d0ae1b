"""Settings of the platform: what a promotion asks, where runs are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class GateConfig:
    """The section `promotion` of params.yaml.

    Attributes:
        held_out_loss: noise level (Å, as the registry writes it) -> largest held-out loss of a prior; 1 is nothing
            learned.
        evaluation: name of a number in the evaluations -> its largest value in any of them; one at least must have it.
            For distances from reference structures it is at least `SPREAD` times what these differ by from each other.
        surrogate: part of the spread of the data that is the largest error of a surrogate on held-out folds: `atom` of
            its atoms' spectra, `cell` of cell averages.
        compared: numbers in which the version is set against the present holder, smaller being better. The geometric
            mean of the ratios, over every evaluation that both have on the same data, must not exceed 1 + `tolerance`.
            Values below `COMPARED_LEAST`, or `OTHER_LEAST`, count as that.
        tolerance: see `compared`.
        clean: whether code and configuration must have been as committed.
    """

    held_out_loss: dict[str, float] = field(default_factory=lambda: {"0.12": 0.4, "0.25": 0.3, "0.40": 0.4})
    evaluation: dict[str, float] = field(
        default_factory=lambda: {"reference.angle.rmse": 0.4, "reference.coordination.emd": 0.15, "copies.mean": 0.1}
    )
    surrogate: dict[str, float] = field(default_factory=lambda: {"atom": 0.75, "cell": 0.5})
    compared: tuple[str, ...] = (
        "reference.angle.rmse", "reference.coordination.emd", "reference.rings.emd", "held out.r_factor"
    )  # fmt: skip
    tolerance: float = 0.0
    clean: bool = True


@dataclass(frozen=True)
class TrackingConfig:
    """Where runs are shown beside MLflow: the section `tracking` of params.yaml.

    Attributes:
        wandb: "off"; "offline": written below `wandb/`, for `wandb sync`, without a word to the network; "online": sent
            to the server and account that `wandb login` or the WANDB_ variables name.
    """

    wandb: Literal["off", "offline", "online"] = "off"
