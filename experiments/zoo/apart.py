"""Architectures examined in processes of their own, with capped memory and time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import timm
import torch
from torch.overrides import TorchFunctionMode

from ppn.classifier.complete import MOST_NODES
from ppn.classifier.running import out_of_memory
from ppn.commands.examination import Examination, examine
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection


class Limits(NamedTuple):
    """What one architecture may take.

    `memory`: GiB, of the device; `seconds`; `nodes`: points on a path, at most; `device`: torch's
    name of where it runs; `image_size`: side of the pictures, None for the architecture's own.
    """

    memory: float = 8.0
    seconds: float = 300.0
    nodes: int = MOST_NODES
    device: str = "cpu"
    image_size: int | None = None


def apart(names: Sequence[str], jobs: int, limits: Limits) -> Iterator[Examination]:
    """Examine architectures in other processes, and yield each as it is done.

    Args:
        names: Architectures, in the order in which they are begun.
        jobs: How many to examine at the same time.
        limits: What each may take.
    """
    left = list(reversed(names))
    running: list[_Worker] = []
    idle: list[_Worker] = []
    try:
        while left or running:
            while left and len(running) < jobs:
                worker = idle.pop() if idle else _Worker(limits)
                worker.begin(left.pop())
                running.append(worker)
            until = max(0.0, min(worker.deadline for worker in running) - time.monotonic())
            ready = wait([worker.connection for worker in running], until)
            for worker in list(running):
                found = worker.heard(worker.connection in ready)
                if found is None:
                    continue
                running.remove(worker)
                if worker.alive:
                    idle.append(worker)
                yield found
    finally:
        for worker in [*running, *idle]:
            worker.end()


class _Worker:
    """A process that examines one architecture after the other; on a CPU only one.

    Args:
        limits: What each may take.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.once = limits.device == "cpu"
        # A server that has loaded everything and runs no threads forks a fresh process for each.
        # What has begun with an accelerator cannot be forked, and takes long to begin.
        context = multiprocessing.get_context("forkserver" if self.once else "spawn")
        if self.once:
            context.set_forkserver_preload([__name__])  # type: ignore[attr-defined]
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_child, args=(limits, theirs), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.alive = True

    def begin(self, name: str) -> None:
        """Let the process examine an architecture."""
        self.so_far = Examination(name, status="time")
        self.deadline = time.monotonic() + self.limits.seconds
        self.connection.send(name)

    def heard(self, ready: bool) -> Examination | None:
        """Return what the process has found, once it has, or that it took too much."""
        if not ready:
            return self._late() if time.monotonic() >= self.deadline else None
        try:
            final, values = self.connection.recv()
        except (EOFError, ConnectionError):
            return self._dead()
        self.so_far = Examination(**values)
        if not final:
            return None
        if self.once or self.so_far.status == "failed":  # an accelerator may be lost with it
            self.end()
        return self.so_far

    def end(self) -> None:
        """Stop the process."""
        self.alive = False
        self.connection.close()
        self.process.kill()
        self.process.join()

    def _late(self) -> Examination:
        self.end()
        return _cut_short(self.so_far, "time", f"more than {self.limits.seconds:.0f} s")

    def _dead(self) -> Examination:
        self.process.join()
        code = self.process.exitcode
        self.end()
        if code == -signal.SIGKILL:  # by the system, which ran out of memory
            return _cut_short(self.so_far, "memory", f"more than {self.limits.memory:g} GiB")
        return _cut_short(self.so_far, "failed", f"its process ended with exit code {code}")


_WORDS = {"time": "maps took too long to add up", "memory": "maps took too much memory to add up"}


def _cut_short(so_far: Examination, status: str, reason: str) -> Examination:
    """What is known of an architecture that took too much: perhaps all but whether maps add up."""
    if so_far.case:
        return replace(so_far, support="unknown", reason=f"{_WORDS.get(status, status)}: {reason}")
    return replace(so_far, status=status, reason=reason)


def _child(limits: Limits, answer: Connection) -> None:
    torch.set_num_threads(1)
    device = torch.empty(0, device=limits.device).device  # with its number
    if device.type == "cuda":
        # Rounded to 10 bits, nothing adds up to what is asked for here.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limits.memory * 2**30 / total), device)
    else:
        _cap(limits.memory)
    # Whatever a model says on the way is not ours to show.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    while True:
        try:
            name = answer.recv()
        except EOFError:
            return
        answer.send((True, _examined(name, limits, answer).to_dict()))
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def _examined(name: str, limits: Limits, answer: Connection) -> Examination:
    known = [Examination(name, timm.models._registry._model_to_module.get(name, ""))]

    def tell(so_far: Examination) -> None:
        known[0] = replace(so_far, family=known[0].family)
        answer.send((False, known[0].to_dict()))

    try:
        with _quick_initialisation():
            found = examine(
                name,
                image_size=limits.image_size,
                device=limits.device,
                nodes=limits.nodes,
                so_far=tell,
            )
        return replace(found, family=known[0].family)
    except HeadError as error:
        return replace(known[0], status="refused", reason=str(error))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        # A model that cannot be made is told in words of our own.
        if out_of_memory(error) or "allocate" in str(error):
            return _cut_short(known[0], "memory", f"more than {limits.memory:g} GiB")
        return _cut_short(known[0], "failed", f"{type(error).__name__}: {first}")


def _cap(memory: float) -> None:
    """Let this process have so many GiB of its own data beside what it has now."""
    import resource

    with Path("/proc/self/status").open() as status:
        held = next((int(line.split()[1]) for line in status if line.startswith("VmData")), 0)
    limit = int(memory * 2**30) + held * 2**10
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class _Quick(TorchFunctionMode):
    """Draws uniform numbers where initialisation asks for normal ones: ten times as fast."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func is torch.Tensor.erfinv_:  # the slow step of truncated normal numbers
            return args[0]
        if func is torch.Tensor.normal_ and len(args) > 1:
            mean, std = args[1], args[2] if len(args) > 2 else kwargs.get("std", 1.0)
            return args[0].uniform_(mean - 1.7 * std, mean + 1.7 * std)
        return func(*args, **kwargs)


@contextmanager
def _quick_initialisation() -> Iterator[None]:
    with _Quick():
        yield
