"""What is known of a registered version: as plain data, and as its model card, Markdown by `model_card.md.jinja`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ase.data import chemical_symbols
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from glass_ml.errors import InputError
from glass_ml.tracking.store import Store
from glass_ml.tracking.versions import LINEAGE_TAGS, aliases, model_type, read_card, version_folder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

from glass_ml.settings.overrides import dotted

CARD_FILE = "MODEL_CARD.md"
SHOWN = ("r_factor", "reference.angle.rmse", "reference.coordination.emd", "reference.rings.emd", "copies.mean")
"""Numbers of an evaluation that a card shows; the rest is in the tags."""
MARKS = re.compile(r"([\\`*\[\]|])")


def card_text(card: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """The card of a model.

    Args:
        card: the content of its `model.json`, of a prior or of a surrogate.
        tags: those of its version in the registry: lineage and evaluations.
    """
    pages = Environment(loader=PackageLoader("glass_ml.tracking", ""), finalize=_plain, trim_blocks=True)
    evaluations = (k.removeprefix("evaluation/") for k in tags if k.startswith("evaluation/") and k.endswith(SHOWN))
    return pages.get_template("model_card.md.jinja").render(
        card=card,
        surrogate=model_type(card) == "surrogate",
        sampling=dotted(card.get("sampling", {})),
        tags={name: tags.get(name, "") for name in (*LINEAGE_TAGS, "origin")},
        symbols=chemical_symbols,
        elements=", ".join(chemical_symbols[z] for z in card["elements"]),
        evaluations=[(name, tags[f"evaluation/{name}"]) for name in sorted(evaluations)],
        promotions=[(k.removeprefix("promoted/"), tags[k]) for k in sorted(tags) if k.startswith("promoted/")],
    )


def _plain(value: Any) -> str:
    """A value as a text of one line that Markdown and HTML show as it is; what the template itself says stays."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return MARKS.sub(r"\\\1", text)


def page_text(text: str) -> str:
    """A card for MLflow's page, which sets the columns of tables without a gap."""
    return text.replace(" | ", " | &emsp;")


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
