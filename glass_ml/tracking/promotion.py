"""Promotion: which version of a model people use, and why it may be used."""

from __future__ import annotations

from dataclasses import dataclass

from glass_ml.errors import InputError
from glass_ml.settings.platform import GateConfig
from glass_ml.tracking.description import refresh_card
from glass_ml.tracking.gate import Condition, conditions
from glass_ml.tracking.history import Event, Kind, events, hand_over, holders, settle
from glass_ml.tracking.model_places import version_folder
from glass_ml.tracking.registry import aliases, get_version, known_versions
from glass_ml.tracking.store import Store, open_store

FREE = "candidate"
"""The alias of whatever was registered last; it has neither gate nor history."""
ALIASES = (FREE, "champion", "production")


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion.

    Attributes:
        name: registered model.
        version: its version.
        alias: the alias that was asked for.
        previous: the version that held it, None if there was none.
        conditions: every condition of the gate.
        forced: whether the alias was given against the gate.
    """

    name: str
    version: int
    alias: str
    previous: int | None
    conditions: tuple[Condition, ...]
    forced: bool = False

    @property
    def refusals(self) -> tuple[Condition, ...]:
        """The conditions that failed; with any the alias is given only by force."""
        return tuple(c for c in self.conditions if not c.passed)


def promote(
    name: str,
    version: int | str,
    alias: str,
    *,
    gate: GateConfig | None = None,
    force: str = "",
    store: Store | None = None,
) -> Promotion:
    """Give an alias to a version that passes the gate; the evidence stays in its tags and in the history of the alias.

    Args:
        name: registered model, such as "glass-a-Si".
        version: its number, or an alias that it holds.
        alias: one of `ALIASES`.
        gate: what is asked (default: `GateConfig()`).
        force: the reason to promote whatever the gate says; it is kept.
        store: default: the project's.

    Raises:
        InputError: no such model, version or alias; or a forced version without files.
    """
    if alias not in ALIASES:
        raise InputError(f"unknown alias '{alias}'", mend=f"one of {', '.join(ALIASES)}")
    store = store or open_store()
    with store.lock():
        found = get_version(store, name, version)
        number = int(found.version)
        if alias == FREE:
            previous = aliases(store, name).get(alias)
            store.client.set_registered_model_alias(name, alias, found.version)
            return Promotion(name, number, alias, previous, ())
        chain = settle(store, name, alias)
        previous = chain[-1].version if chain else None
        holder = get_version(store, name, previous) if previous is not None else None
        asked = tuple(conditions(store, found, holder, gate or GateConfig()))
        done = Promotion(name, number, alias, previous, asked, forced=bool(force) and not all(c.passed for c in asked))
        if done.refusals and not force:
            return done
        if version_folder(store, found) is None:
            raise InputError(
                "not even by force: its files are gone or changed", f"{name} version {number}", "'dvc pull'"
            )
        if previous != number:
            reason = _evidence(asked) if not done.forced else f"{force} (failed: {_evidence(done.refusals)})"
            kind: Kind = "forced" if done.forced else "promoted"
            event = hand_over(store, name, chain, alias, kind, number, reason)
            text = f"{event.time} by {event.user} after version {previous or 'none'}: {reason}"
            store.client.set_model_version_tag(name, found.version, f"promoted/{alias}", text)
            refresh_card(store, name, number)
    return done


def rollback(name: str, alias: str, reason: str = "", store: Store | None = None) -> Event:
    """Give an alias back to the version that held it before the present one; returns the event.

    Where it was taken away by hand, so that nobody holds it, the last holder gets it back.

    Raises:
        InputError: no such model or alias, or nobody held it before.
    """
    if alias not in ALIASES or alias == FREE:
        kept = ", ".join(a for a in ALIASES if a != FREE)
        raise InputError(f"'{alias}' has no history", "--from", f"one of {kept}")
    store = store or open_store()
    with store.lock():
        get_version(store, name, 1)  # says what is registered where there is no such model
        chain = settle(store, name, alias)
        stack, present = holders(chain), chain[-1].version if chain else None
        earlier = stack if present is None else stack[:-1]
        if not earlier:
            why = "nobody holds it" if present is None else f"version {present} is the first"
            raise InputError(f"no holder of '{alias}' to go back to: {why}", name, "see 'glass-ml models history'")
        target = get_version(store, name, earlier[-1])
        if version_folder(store, target) is None:
            raise InputError(
                f"the files of version {earlier[-1]} are gone or changed", name, "'dvc pull' brings them back"
            )
        default = "it had been taken away" if present is None else f"version {present} withdrawn"
        return hand_over(store, name, chain, alias, "rolled back", earlier[-1], reason or default)


def history(name: str, store: Store | None = None) -> list[Event]:
    """Every event of the aliases of a model, oldest first, interrupted ones finished.

    Raises:
        InputError: no such model.
    """
    store = store or open_store()
    with store.lock():
        known_versions(store, name)
        for alias in ALIASES[1:]:
            settle(store, name, alias)
    return events(store, name)


def _evidence(found: tuple[Condition, ...]) -> str:
    return "; ".join(f"{c.name}: {c.detail}" for c in found)[:4000]
