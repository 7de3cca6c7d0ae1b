"""What is known of a registered version: as plain data, and as the text that its page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glass_ml.errors import InputError
from glass_ml.tracking.model_card import card_text, page_text
from glass_ml.tracking.model_places import read_card, version_folder
from glass_ml.tracking.registry import LINEAGE_TAGS, aliases
from glass_ml.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def describe(store: Store, version: ModelVersion) -> dict[str, Any]:
    """A version as plain data: identity, lineage, metrics and evaluations, where its files are, and who holds it."""
    tags = version.tags
    folder = version_folder(store, version)

    def part(prefix: str) -> dict[str, str]:
        return {k.removeprefix(f"{prefix}/"): v for k, v in sorted(tags.items()) if k.startswith(f"{prefix}/")}

    return {
        "name": version.name,
        "version": int(version.version),
        "uri": f"models:/{version.name}/{version.version}",
        "aliases": sorted(a for a, v in aliases(store, version.name).items() if v == int(version.version)),
        "created": version.creation_timestamp,
        "run_id": version.run_id,
        "folder": str(folder) if folder else None,
        **{key: tags.get(key, "") for key in LINEAGE_TAGS},
        "origin": tags.get("origin", ""),
        "metrics": part("metric"),
        "evaluation": part("evaluation"),
        "promoted": part("promoted"),
    }


def version_card(store: Store, version: ModelVersion) -> str:
    """The model card of a version as it is now, Markdown.

    Raises:
        InputError: its files are gone or changed.
    """
    folder = version_folder(store, version)
    if folder is None:
        place = f"{version.name} version {version.version}"
        raise InputError("its files are gone or changed", place, "'dvc pull', or train it again")
    return card_text(read_card(folder), version.tags)


def refresh_card(store: Store, name: str, number: int | str) -> None:
    """Make the card the description that the page of a version shows."""
    version = store.client.get_model_version(name, str(number))
    store.client.update_model_version(name, str(number), page_text(version_card(store, version)))
