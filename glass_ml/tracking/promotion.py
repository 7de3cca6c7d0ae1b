"""Promotion: which version of a prior people use, and why it may be used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glass_ml.errors import InputError
from glass_ml.tracking.project import UNKNOWN
from glass_ml.tracking.registry import aliases, get_version, version_folder
from glass_ml.tracking.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALIASES = ("candidate", "champion", "production")


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion.

    Attributes:
        name: registered model.
        version: its version.
        alias: the alias that was asked for.
        previous: the version that held it, None if there was none.
        refusals: every condition that failed, with its reason; empty when the alias was given.
    """

    name: str
    version: int
    alias: str
    previous: int | None
    refusals: tuple[str, ...]


def promote(name: str, version: int | str, alias: str, store: Store | None = None) -> Promotion:
    """Give an alias to a version whose lineage is complete and which has been evaluated.

    Args:
        name: registered model, such as "glass-a-Si".
        version: its number, or an alias that it holds.
        alias: one of `ALIASES`.
        store: default: the project's.

    Raises:
        InputError: no such model, version or alias.
    """
    if alias not in ALIASES:
        raise InputError(f"unknown alias '{alias}'", mend=f"one of {', '.join(ALIASES)}")
    store = store or open_store()
    with store.lock():
        found = get_version(store, name, version)
        previous = aliases(store, name).get(alias)
        refusals = tuple(_refusals(store, found))
        if not refusals:
            evidence = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} after version {previous or 'none'}"
            store.client.set_model_version_tag(name, found.version, f"promoted/{alias}", evidence)
            store.client.set_registered_model_alias(name, alias, found.version)
    return Promotion(name, int(found.version), alias, previous, refusals)


def _refusals(store: Store, version: ModelVersion) -> list[str]:
    tags = version.tags
    failed = []
    if not tags.get("data_md5"):
        failed.append("the md5 of its training data is not recorded: train it on data that DVC tracks")
    if tags.get("git_commit", UNKNOWN) in ("", UNKNOWN):
        failed.append("the git commit that made it is not recorded: train and register it inside a git repository")
    if not tags.get("model_sha256"):
        failed.append("the checksum of its files is not recorded: register it with 'glass-ml train'")
    elif version_folder(store, version) is None:
        failed.append("its files are gone or differ from what was registered: 'dvc pull', or train it again")
    if not any(key.startswith("evaluation/") for key in tags):
        failed.append("it has no evaluation: run 'glass-ml evaluate' on an inversion that used it")
    return failed
