"""Ports on loopback that are free."""

import random
import socket
from contextlib import suppress

RANGE = range(20000, 32000)
"""Below those that the system gives to outgoing connections: none of these takes one before a test's server does."""


def free_ports(count: int) -> list[int]:
    """Several, no two alike; at random, so that tests side by side do not choose the same."""
    found: list[int] = []
    for port in random.SystemRandom().sample(RANGE, 1000):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no port is free")


def free_port() -> int:
    """One."""
    return free_ports(1)[0]
