"""Whether the store answers, and the one error that says it does not: what cannot be recorded now is kept for later."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.provenance.models import RecordsAway

VARIABLE = "MLFLOW_TRACKING_URI"
KNOCK = 10.0
"""Seconds that a server has for a first answer."""
PORTS = {"postgresql": 5432, "mysql": 3306}


class StoreUnreachable(RecordsAway):
    """The tracking server, or the database behind the store, does not answer."""


def database(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


@contextmanager
def reached(uri: str) -> Iterator[None]:
    """Turn a failed connection to the store into one clear error.

    Raises:
        StoreUnreachable: what the block does needs the store, and it does not answer.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if database(uri) or not connection_failed(error):
            raise
        mend = f"start it, or name another in {VARIABLE}"
        raise StoreUnreachable("the tracking server cannot be reached", uri, mend) from None


def connection_failed(error: BaseException | None) -> bool:
    """Whether an error, or what it arose from, is one of the connection and not of the request."""
    from requests import RequestException
    from sqlalchemy.exc import OperationalError

    while error is not None:
        if isinstance(error, RequestException | ConnectionError | OperationalError):
            return True
        if getattr(error, "error_code", None) == "TEMPORARILY_UNAVAILABLE":
            return True
        error = error.__cause__ or error.__context__
    return False


def knock(uri: str) -> None:
    """See whether a server answers at all: MLflow would wait for a minute for one that is silent, and for a database
    that is not there for two.

    Raises:
        ConnectionError: it does not.
        InputError: it is no address.
    """
    import requests
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        if uri.startswith("http"):
            requests.get(f"{uri.rstrip('/')}/health", timeout=KNOCK, allow_redirects=False)
        elif "://" in uri:
            address = make_url(uri)
            if address.host and (port := address.port or PORTS.get(address.get_backend_name())):
                socket.create_connection((address.host, port), KNOCK).close()
    except requests.exceptions.SSLError:
        pass  # MLflow knows whom to trust
    except OSError as error:
        raise ConnectionError(str(error)) from None
    except (ArgumentError, ValueError):
        raise InputError("not the address of a store", uri, f"name a database or server in {VARIABLE}") from None


def gone(uri: str, error: BaseException) -> bool:
    """Whether an error arose because the store went away, and it is still away."""
    if database(uri) or not connection_failed(error):
        return False
    try:
        knock(uri)
    except ConnectionError:
        return True
    return False
