"""The model card of a version, as Markdown: what it is, what made it, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ase.data import chemical_symbols

from glass_ml.settings.overrides import dotted

CARD_FILE = "MODEL_CARD.md"
SHOWN = ("r_factor", "reference.angle.rmse", "reference.coordination.emd", "reference.rings.emd", "copies.mean")
"""Numbers of an evaluation that a card shows; the rest is in the tags."""


def card_text(card: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """The card of a model.

    Args:
        card: the content of its `model.json`, of a prior or of a surrogate.
        tags: those of its version in the registry: lineage and evaluations.
    """
    surrogate = "absorber" in card
    elements = [chemical_symbols[z] for z in card["elements"]]
    what = _surrogate_facts(card) if surrogate else _prior_facts(card)
    low, high = card["density_range"]
    unit = "g/cm³" if surrogate else "atoms/Å³"
    facts = {
        "elements": ", ".join(elements),
        f"densities of the training data, {unit}": f"{low:.4g} to {high:.4g}",
        **what,
        "training": ", ".join(f"{key} {value}" for key, value in sorted(card.get("training", {}).items())),
        "sampling": ", ".join(f"{key} {value}" for key, value in sorted(dotted(card.get("sampling", {})).items())),
        "training data": f"{tags.get('data_path', '')}, md5 {tags.get('data_md5') or 'not recorded'} (DVC)",
        "code": f"glass_ml {tags.get('glass_ml_version', '')}, commit {tags.get('git_commit', '')[:12]}"
        + {"True": ", with uncommitted changes", "False": ""}.get(tags.get("git_dirty", ""), ""),
        "sha256 of its files": tags.get("model_sha256", ""),
    }
    if "origin" in tags:
        facts["origin"] = tags["origin"]
    title = f"XANES of {card['system']}" if surrogate else f"Structures of {card['system']}"
    known = [(name, fact) for name, fact in facts.items() if fact]
    lines = [f"# {title}", "", _purpose(card, elements), "", *_table(("", ""), known)]
    lines += _fold_errors(card) if surrogate else _losses(card)
    lines += [
        "",
        "## Evaluations",
        "",
        *_evaluations(tags),
        *_promotions(tags),
        "",
        "## Limits",
        "",
        *_limits(card, elements),
        "",
    ]
    return "\n".join(lines)


def page_text(text: str) -> str:
    """A card for MLflow's page, which sets the columns of tables without a gap."""
    return text.replace(" | ", " | &emsp;")


def _purpose(card: Mapping[str, Any], elements: Sequence[str]) -> str:
    if "absorber" in card:
        absorber = chemical_symbols[card["absorber"]]
        return (
            f"Predicts the {absorber} {card.get('edge', 'K')} near edge of each {absorber} atom from its surroundings."
        )
    return (
        f"A denoiser that has learned what structures of {', '.join(elements)} look like; `glass-ml invert` steers it "
        "by measured spectra."
    )


def _prior_facts(card: Mapping[str, Any]) -> dict[str, str]:
    shortest = (f"{chemical_symbols[a]}-{chemical_symbols[b]} {r:g}" for a, b, r in card.get("shortest", ()))
    return {
        "noise levels, Å": f"{card['sigma_min']:g} to {card['sigma_max']:g}",
        "shortest distances in the training data, Å": ", ".join(shortest),
        "network": f"{card['architecture']}; " + ", ".join(f"{k} {v}" for k, v in sorted(card["network"].items())),
    }


def _surrogate_facts(card: Mapping[str, Any]) -> dict[str, str]:
    size = {k: v for k, v in card["surrogate"].items() if not isinstance(v, Mapping)}
    return {
        "data": f"{card['structures']} structures, {card['atoms']} spectra of {len(card['energies'])} points",
        "energies": f"{card['energies'][0]:g} to {card['energies'][-1]:g} ({card['axis']})",
        "network": f"{card['architecture']}; " + ", ".join(f"{k} {v}" for k, v in sorted(size.items())),
    }


def _losses(card: Mapping[str, Any]) -> list[str]:
    rows = ((f"{float(sigma):g}", f"{loss:.3f}") for sigma, loss in card["held_out_loss"].items())
    head = "On structures that it has not seen; 1 is nothing learned, and below 0.1 Å vibrations set a floor."
    return ["", "## Held-out loss", "", head, "", *_table(("noise, Å", "loss"), rows)]


def _fold_errors(card: Mapping[str, Any]) -> list[str]:
    names = ("atom_rmse", "atom_spread", "cell_rmse", "cell_spread")
    rows = [
        (fold, *(f"{errors[name]:.4f}" if name in errors else "" for name in names))
        for fold, errors in card["held_out"].items()
    ]
    head = "Root mean square errors on groups that its networks had not seen, beside the spread of the data."
    columns = ("held out", "per atom", "spread", "per cell", "spread")
    return ["", "## Held-out errors", "", head, "", *_table(columns, rows)]


def _evaluations(tags: Mapping[str, str]) -> list[str]:
    found = sorted(
        (key.removeprefix("evaluation/"), value)
        for key, value in tags.items()
        if key.startswith("evaluation/") and key.endswith(SHOWN)
    )
    if not found:
        return ["None recorded: `glass-ml evaluate DIR --reference FILE` adds one."]
    return _table(("target and number", "value"), found)


def _promotions(tags: Mapping[str, str]) -> list[str]:
    found = [(key.removeprefix("promoted/"), text) for key, text in sorted(tags.items()) if key.startswith("promoted/")]
    return ["", "## Promotions", "", *(f"- **{alias}**: {text}" for alias, text in found)] if found else []


def _limits(card: Mapping[str, Any], elements: Sequence[str]) -> list[str]:
    if "absorber" in card:
        return [
            f"- It knows {', '.join(elements)} alone; structures with other elements are refused.",
            "- Its energies are those of the calculations it learned from; no absolute edge position is predicted.",
            "- Far from its training data it says so (`outside`), and its error bar is the spread of its members.",
        ]
    return [
        f"- It knows {', '.join(elements)} alone; targets with other elements are refused.",
        "- It has learned cheap, quickly quenched structures: without data it draws those, not the material.",
        "- Outside the densities above it extrapolates.",
    ]


def _table(head: Sequence[str], rows: Any) -> list[str]:
    body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *body]
