"""A mutex between machines, kept by the MLflow server that they share.

Making a registered model of a given name is atomic on the server: of any number of callers one succeeds. The mutex is
a chain of such names, "glass_ml.lock.<name>.<number>". Whoever makes the next number holds it, and may try once the
last one was released, or once its holder has shown no sign of life for the time that it promised. The last one is
never deleted, so numbers only grow, and a caller that was slow finds a higher number and has lost.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glass_ml.errors import InputError
from glass_ml.tracking.reach import connection_failed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

PREFIX = "glass_ml.lock"
LEASE = 60.0
"""Seconds without a sign of life after which a holder is taken for dead."""
BEATS = 4
"""Signs of life in a lease."""
PAUSE = (0.05, 0.25)
"""Seconds between two looks at a mutex that somebody holds; drawn at random, so that callers do not march in step."""


@contextmanager
def hold(client: MlflowClient, name: str, *, lease: float = LEASE, timeout: float = 600.0) -> Iterator[None]:
    """Hold the mutex of this name for the block; not re-entrant.

    No two callers hold it at once, whatever their machines, unless a holder gives no sign of life for `lease` seconds
    (its machine sleeps, its network is gone) and comes back: it then finds out at the end, and says so in the log.
    Clocks are not compared: a caller waits for `lease` seconds of its own.

    Args:
        client: of the server.
        name: what is being protected.
        lease: seconds without a sign of life after which others may take over.
        timeout: seconds to wait.

    Raises:
        InputError: it was not to be had within `timeout`.
        MlflowException: the server does not answer while it is asked for (`Store.lock` makes that StoreUnreachable).
            Once it is held, only the work in the block needs the server.
    """
    number = _acquire(client, name, lease, timeout)
    done = threading.Event()
    beats = threading.Thread(target=_beat, args=(client, _title(name, number), lease / BEATS, done), daemon=True)
    beats.start()
    try:
        yield
    except BaseException as error:
        done.set()
        if not connection_failed(error):  # else it runs out by itself: nobody waits for the server once more
            _release(client, name, number)
        raise
    done.set()
    beats.join()
    _release(client, name, number)


def _title(name: str, number: int) -> str:
    return f"{PREFIX}.{name}.{number:012d}"


def _chain(client: MlflowClient, name: str) -> list[tuple[int, RegisteredModel]]:
    """The numbers that exist, highest first."""
    start = f"{PREFIX}.{name}."
    found = client.search_registered_models(f"name LIKE '{start}%'", max_results=100, order_by=["name DESC"])
    ours = [(int(model.name.removeprefix(start)), model) for model in found if model.name.startswith(start)]
    return sorted(ours, key=lambda entry: -entry[0])


def _acquire(client: MlflowClient, name: str, lease: float, timeout: float) -> int:
    begun = since = time.monotonic()
    seen: tuple[int, str] | None = None
    while True:
        chain = _chain(client, name)
        number, tags = (chain[0][0], chain[0][1].tags) if chain else (0, {"released": "true"})
        now = time.monotonic()
        if seen != (number, tags.get("beat", "")):
            seen, since = (number, tags.get("beat", "")), now
        if "released" in tags or now - since > float(tags.get("lease", lease)):
            if _make(client, name, number + 1, lease):
                return number + 1
        elif now - begun > timeout:
            held = f"held by {tags.get('owner', 'somebody')} since {tags.get('since', 'some time')}"
            raise InputError(f"the lock '{name}' of the server is {held}", mend="wait, or end that process")
        else:
            time.sleep(random.uniform(*PAUSE))


def _make(client: MlflowClient, name: str, number: int, lease: float) -> bool:
    """Make a number; false where another was faster. What it outdates is cleared away."""
    from mlflow.exceptions import MlflowException

    now, token = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), uuid.uuid4().hex
    owner = f"{socket.gethostname()}:{os.getpid()}"
    tags = {"owner": owner, "since": now, "lease": f"{lease:g}", "beat": "0", "token": token}
    try:
        client.create_registered_model(_title(name, number), tags, f"A lock of glass_ml ('{name}'), no model.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Looked at whatever came of it: it may be ours although it was refused, when the answer to a first try was lost.
    (last, newest), *older = _chain(client, name)
    ours = last == number and newest.tags.get("token") == token
    for _, model in older if ours else ():
        _delete(client, model.name)
    return ours


def _delete(client: MlflowClient, title: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_registered_model(title)
    except MlflowException as error:  # another caller has deleted it, or a server with passwords leaves it to its maker
        logging.getLogger(__name__).debug("%s stays: %s", title, error)


def _beat(client: MlflowClient, title: str, interval: float, done: threading.Event) -> None:
    from mlflow.exceptions import MlflowException

    number = 0
    while not done.wait(interval):
        number += 1
        try:
            client.set_registered_model_tag(title, "beat", str(number))
        except (MlflowException, OSError) as error:  # the next one may get through; the lease allows for it
            logging.getLogger(__name__).debug("no sign of life from %s: %s", title, error)


def _release(client: MlflowClient, name: str, number: int) -> None:
    """Let others have it; where the server cannot be reached it runs out by itself."""
    from mlflow.exceptions import MlflowException

    try:
        if [last for last, _ in _chain(client, name)[:1]] == [number]:
            client.set_registered_model_tag(_title(name, number), "released", "true")
            return
    except (MlflowException, OSError) as error:
        logging.getLogger(__name__).debug("%s not released: %s", name, error)
        return
    logging.getLogger(__name__).warning(
        "the lock '%s' was taken over while this process was cut off from the server: see 'glass-ml doctor'", name
    )
