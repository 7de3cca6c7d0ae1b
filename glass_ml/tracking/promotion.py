"""Promotion: which version of a model people use and why, and the history of that.

Who held an alias, when and why is a chain of events in the tags of a registered model. An event is written before the
alias moves, as pending, and confirmed after it: what a kill leaves between the two is finished by whoever looks next.
An alias that was moved without an event, by hand in the MLflow page, is noted as such.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from glass_ml.errors import InputError
from glass_ml.settings.platform import GateConfig
from glass_ml.tracking.gate import Condition, conditions
from glass_ml.tracking.model_card import refresh_card
from glass_ml.tracking.runs import user
from glass_ml.tracking.store import Store, open_store
from glass_ml.tracking.versions import aliases, get_version, known_versions, version_folder

FREE = "candidate"
"""The alias of whatever was registered last; it has neither gate nor history."""
ALIASES = (FREE, "champion", "production")
Kind = Literal["promoted", "forced", "rolled back", "moved by hand"]
PREFIX = "history"


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


@dataclass(frozen=True)
class Event:
    """An alias changes hands.

    Attributes:
        number: place in the chain of its alias, from 1.
        alias: the alias.
        kind: "promoted", "forced", "rolled back", or "moved by hand" outside glass-ml.
        version: the version that holds it from now on; None where it was taken away.
        previous: the version that held it until now, None where none did.
        time: when, UTC, "2026-01-31T12:00:00Z".
        user: who did it.
        reason: the evidence, or what was given with --force.
        pending: whether the alias has still to follow.
    """

    number: int
    alias: str
    kind: Kind
    version: int | None
    previous: int | None
    time: str
    user: str
    reason: str
    pending: bool = False


def events(store: Store, name: str, alias: str | None = None) -> list[Event]:
    """The events of one alias of a model, or of all, oldest first."""
    tags = store.client.get_registered_model(name).tags
    found = [Event(**json.loads(text)) for key, text in tags.items() if key.startswith(f"{PREFIX}/")]
    chosen = [e for e in found if alias in (None, e.alias)]
    return sorted(chosen, key=lambda e: (e.alias, e.number) if alias else (e.time, e.alias, e.number))


def settle(store: Store, name: str, alias: str) -> list[Event]:
    """The chain of an alias, with what was interrupted finished and what was done by hand noted.

    The caller holds `store.lock()`.
    """
    chain = events(store, name, alias)
    if chain and chain[-1].pending:
        chain[-1] = _follow(store, name, chain[-1])
    holder = aliases(store, name).get(alias)
    if holder != (chain[-1].version if chain else None):
        chain.append(_write(store, name, _next(chain, alias, "moved by hand", holder, "not by glass-ml")))
    return chain


def hand_over(
    store: Store, name: str, chain: Sequence[Event], alias: str, kind: Kind, version: int, reason: str
) -> Event:
    """Give an alias to a version and note it at the end of its settled chain; the caller holds `store.lock()`."""
    event = replace(_next(chain, alias, kind, version, reason), pending=True)
    return _follow(store, name, _write(store, name, event))


def holders(chain: Sequence[Event]) -> list[int]:
    """The versions that a rollback goes through, the last holder last: the present one, unless nobody is."""
    stack: list[int] = []
    for event in chain:
        if event.kind == "rolled back":
            while stack and stack[-1] != event.version:
                stack.pop()
        elif event.version is not None and stack[-1:] != [event.version]:
            stack.append(event.version)
    return stack


def _next(chain: Sequence[Event], alias: str, kind: Kind, version: int | None, reason: str) -> Event:
    last = chain[-1] if chain else None
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    number, previous = (last.number + 1, last.version) if last else (1, None)
    return Event(number, alias, kind, version, previous, now, user(), reason)


def _write(store: Store, name: str, event: Event) -> Event:
    key = f"{PREFIX}/{event.alias}/{event.number:04d}"
    store.client.set_registered_model_tag(name, key, json.dumps(asdict(event), ensure_ascii=False))
    return event


def _follow(store: Store, name: str, event: Event) -> Event:
    """Move the alias as a pending event says, then confirm it."""
    store.client.set_registered_model_alias(name, event.alias, str(event.version))
    return _write(store, name, replace(event, pending=False))
