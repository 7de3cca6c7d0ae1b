"""Waiting for what is looked at: never for a time that is hoped to be enough."""

import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
LONG = 300.0
"""Seconds after which something that does not come is an error, on the slowest machine."""


def until(
    condition: Callable[[], T], process: subprocess.Popen | None = None, *, seconds: float = LONG, every: float = 0.02
) -> T:
    """The value of `condition` once it is true; fails where it never is, or where the process ends before."""
    deadline = time.monotonic() + seconds
    while True:
        ended = process is not None and process.poll() is not None
        if found := condition():
            return found
        if ended:
            said = process.communicate()[1] if process.stderr else ""
            raise AssertionError(f"it ended with {process.returncode} before: {said}")
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(every)


def answer(url: str, process: subprocess.Popen | None = None) -> bytes:
    """What a server says, once it answers; fails where its process ends before."""

    def ask() -> list[bytes]:
        with suppress(OSError), urllib.request.urlopen(url, timeout=20) as stream:
            return [stream.read()]
        return []

    return until(ask, process, every=0.1)[0]
