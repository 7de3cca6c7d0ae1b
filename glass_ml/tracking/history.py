"""Who held an alias, when and why: a chain of events in the tags of a registered model.

An event is written before the alias moves, as pending, and confirmed after it: what a kill leaves between the two is
finished by whoever looks next. An alias that was moved without an event, by hand in the MLflow page, is noted as such.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from glass_ml.tracking.registry import aliases
from glass_ml.tracking.runs import user
from glass_ml.tracking.store import Store

Kind = Literal["promoted", "forced", "rolled back", "moved by hand"]
PREFIX = "history"


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
