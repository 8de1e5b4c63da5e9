"""A process that ends early ends the others of its run: in seconds, and with a sentence.

Processes learn of each other's end when they next exchange something, which in discovery may be
hours away. So the process that started the others watches them, and they watch it. Under `torchrun`
and SLURM the launcher does so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from subprocess import Popen

T = TypeVar("T")
LOST = (
    "Another process of this run has ended before the work was done: its own message is above; "
    "run the same command again to go on."
)
LAUNCHER = "PPN_LAUNCHER"
"""Environment variable that tells a process the id of the one that started it."""

_PERIOD = 0.5
_GRACE = 3.0
"""Seconds in which a process may find out and end by itself, with everything closed in order."""


def processes() -> tuple[int, int]:
    """Return how many processes share the work, and which one this is."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1, 0
    return distributed.get_world_size(), distributed.get_rank()


def gathered(value: T) -> list[T]:
    """Return what each process of the run gives; all of them must ask."""
    count, _ = processes()
    if count == 1:
        return [value]
    found: list[Any] = [None] * count
    distributed.all_gather_object(found, value)
    return found


def join(processes: Iterable[Popen[bytes]]) -> None:
    """Wait for the others, and end this process with a sentence if one of them failed."""
    if any(process.wait() for process in processes):
        _end()


def watch(lost: Callable[[], bool]) -> None:
    """End this process soon after another was lost, unless it ends by itself."""

    def run() -> None:
        while not lost():
            time.sleep(_PERIOD)
        time.sleep(_GRACE)
        _end()

    threading.Thread(target=run, name="watch", daemon=True).start()


def _end() -> NoReturn:
    sys.stderr.write(f"ppn: {LOST}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(2)


def expect_launched(devices: int, nodes: int) -> None:
    """Refuse a Trainer that counts on other processes than those a launcher has started.

    Lightning would wait for the missing ones, or let each process do all of the work.

    Args:
        devices: The Trainer's processes on each node.
        nodes: The Trainer's nodes.

    Raises:
        PPNError: If they are not what `torchrun` or SLURM has started.
    """
    given = os.environ
    if TorchElasticEnvironment.detect():
        launcher, local = "torchrun", int(given["LOCAL_WORLD_SIZE"])
        started = local, int(given["WORLD_SIZE"]) // local
    elif SLURMEnvironment.detect():
        launcher, local = "SLURM", int(given.get("SLURM_NTASKS_PER_NODE", "1"))
        started = local, int(given.get("SLURM_NNODES", "1"))
    else:
        return
    if started != (devices, nodes):
        raise PPNError(
            f"{launcher} runs {started[0]} processes on each of {started[1]} nodes, but the "
            f"Trainer counts on {devices} on each of {nodes}: make trainer.devices {started[0]}, "
            f"trainer.num_nodes {started[1]} and trainer.strategy ddp."
        )


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process at once; Lightning looks for it between training steps only.

    Raises:
        SIGTERMException: Inside, when the signal comes.
    """

    def stop(*_: object) -> None:
        raise SIGTERMException

    if threading.current_thread() is not threading.main_thread():  # which alone has handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
