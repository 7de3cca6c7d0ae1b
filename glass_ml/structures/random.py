"""Random streams: a number depends on the seed and on what it is for, never on who drew before."""

import hashlib

import torch


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator for one purpose, such as `generator(seed, "replica", 3)`.

    Streams of different purposes are independent, so that a result does not depend on how many replicas,
    processes or devices share the work.
    """
    key = hashlib.sha256(repr((int(seed), *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") & (2**63 - 1))
