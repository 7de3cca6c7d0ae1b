"""Replicas on the cores of this machine: one batch after the other in this process, or side by side in several."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import torch

from glass_ml.execution.replicas import Bar, Replicas
from glass_ml.sampling.run import same_arithmetic
from glass_ml.structures.state import Structures


def run_inversions(inversions: Sequence[Replicas], *, processes: int = 1, progress: bool = True) -> list[Structures]:
    """The structures of inversions, computed on this machine's cores with one thread each.

    Called again with the same `scratch` of each, it computes only what is missing. A single process is this one, so
    that a script needs no `__main__` guard; the structures are the same as those of several.

    Args:
        inversions: with the same noise levels; their replicas are computed side by side.
        processes: with one, nothing else is started.
        progress: show a bar.
    """
    missing = [(k, batch) for k, replicas in enumerate(inversions) for batch in replicas.missing()]
    if missing:
        count = sum(len(replicas.batches()) for replicas in inversions)
        bar = Bar(inversions[0], count, count - len(missing), show=progress)
        with closing(bar):
            if min(processes, len(missing)) == 1:
                _compute_here(inversions, missing, bar)
            else:
                with _workers(inversions, min(processes, len(missing))) as (submit, messages):
                    _watch([submit(k, batch) for k, batch in missing], messages, bar)
    return [replicas.collect() for replicas in inversions]


def _compute_here(inversions: Sequence[Replicas], missing: Sequence[tuple[int, list[int]]], bar: Bar) -> None:
    with same_arithmetic():
        for k, batch in missing:

            def report(
                level: int, sigma: float, chi2: dict[str, float], first: int = batch[0], inversion: int = k
            ) -> None:
                bar(first, level, sigma, chi2, inversion)

            inversions[k].compute(batch, report)


@contextmanager
def _workers(inversions: Sequence[Replicas], processes: int) -> Any:
    # Spawned, because forking a process that has run torch threads can hang.
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(processes, context, _start_worker, (pickle.dumps(list(inversions)), messages))
    try:
        yield (lambda k, batch: pool.submit(_work, k, batch)), messages
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_state: dict[str, Any] = {}


def _start_worker(inversions: bytes, messages: Any) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _state["inversions"], _state["messages"] = pickle.loads(inversions), messages


def end_with_parent() -> None:
    """Wait for the end of the process that has spawned this one, then end it too.

    A parent that is killed cannot tell its workers; alone they would go on for nobody.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(inversion: int, batch: list[int]) -> None:
    def report(level: int, sigma: float, chi2: dict[str, float]) -> None:
        _state["messages"].put((batch[0], level, sigma, chi2, inversion))

    _state["inversions"][inversion].compute(batch, report)


def _watch(done: list[Future[None]], messages: Any, bar: Bar) -> None:
    while True:
        pending = [future for future in done if not future.done()]
        try:
            bar(*messages.get(timeout=0.2))
        except queue.Empty:
            for future in done:
                if future.done():
                    future.result()
            if not pending:
                return
