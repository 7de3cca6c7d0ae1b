"""Models and measured files by their content, and the registry as this room asks it, whatever keeps that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text

MODEL_FILES = CARD, WEIGHTS = ("model.json", "model.safetensors")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds both files of a model."""
    return all((folder / name).is_file() for name in MODEL_FILES)


def model_sha256(folder: Path | str) -> str:
    """Identity of a prior: SHA-256 of the lines "name sha256" of `model.json` and `model.safetensors`.

    Raises:
        InputError: one of the two files is missing.
    """
    folder = Path(folder)
    for name in MODEL_FILES:
        if not (folder / name).is_file():
            raise InputError(f"no prior here: {name} is missing", str(folder), "run 'dvc pull' or 'glass-ml train'")
    return checkpoint_sha256(*(sha256_file(folder / name) for name in MODEL_FILES))


def checkpoint_sha256(card: str, weights: str) -> str:
    """`model_sha256` out of the SHA-256 of the card, `model.json`, and of the weights, `model.safetensors`."""
    return sha256_text("".join(f"{name} {sha}\n" for name, sha in zip(MODEL_FILES, (card, weights), strict=True)))


DATA = "data"
ROLES = ("scattering table", "surrogate")
"""What a measurement rests on beside its data; in the flat form the role follows the name."""


@dataclass(frozen=True)
class Measured:
    """A file that one measurement rests on.

    Attributes:
        name: of the measurement.
        kind: such as "xray-sq".
        use: "fit" or "validate".
        file: relative to the project or to the folder of the package, or absolute.
        sha256: checksum of its content.
        role: "data", or one of `ROLES`.
    """

    name: str
    kind: str
    use: str
    file: str
    sha256: str
    role: str = DATA

    @property
    def label(self) -> str:
        """Name and role in one text."""
        return self.name if self.role == DATA else f"{self.name}: {self.role}"


class RecordsAway(InputError):
    """The registry does not answer; files and history may still know."""


@dataclass(frozen=True)
class RegisteredModel:
    """A model in a registry or a folder: identity, what people call it, training data, and what else is known of it."""

    sha256: str
    uri: str
    data_path: str = ""
    data_md5: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedResult:
    """A finished inversion or sweep in the records.

    Attributes:
        kind: which of the two.
        identity: SHA-256 of the structure file, or name of the study.
        name: what people call it; "" where it has no name of its own.
        model: of which it was made; None where that is not recorded.
        data_path: data that the work has read, or the training data of the model.
        data_md5: DVC's md5 of them.
        measurements: those that were inverted; empty where the record does not hold them whole.
        facts: what else is known of it.
    """

    kind: Literal["structures", "sweep"]
    identity: str
    name: str
    model: RegisteredModel | None
    data_path: str
    data_md5: str
    measurements: tuple[Measured, ...]
    facts: Mapping[str, str]


class Records:
    """What a registry knows beyond the files of a project: here nothing. Any other may raise `RecordsAway`."""

    @property
    def uri(self) -> str | None:
        """How people call it."""
        return None

    @property
    def folder(self) -> Path | None:
        """Where it keeps models of its own: one that has changed there is damaged."""
        return None

    def models(self) -> Iterable[RegisteredModel]:
        """Every registered version."""
        return ()

    def places(self, sha256: str) -> Iterable[Path]:
        """Where the checkpoint folder of this registered model may be, the place that is recorded first."""
        return ()

    def find(self, uri: str) -> str:
        """`model_sha256` of what a `models:/` URI stands for; InputError where it stands for nothing."""
        raise InputError("there is no registry here", uri, "give a folder or a checksum")

    def targets(self, sha256: str, folder: Path) -> Iterable[Path]:
        """Recorded target files with this checksum, brought into `folder`."""
        return ()

    def results(self) -> Iterable[RecordedResult]:
        """Finished inversions and sweeps."""
        return ()


def registered_folder(records: Records, sha256: str) -> Path | None:
    """The intact checkpoint folder of a registered model; None where there is none."""
    return next((p for p in records.places(sha256) if is_checkpoint(p) and model_sha256(p) == sha256), None)
