"""The support table: every architecture of timm, each examined in a process of its own."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch.overrides import TorchFunctionMode

from ppn.commands.examination import COLUMNS, Examination, examine
from ppn.errors import CheckpointError, HeadError, PPNError
from ppn.io.terminal import console

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection


def architectures(pattern: str | None) -> list[str]:
    """Return timm's architectures whose name matches a pattern such as `vit_*`.

    Raises:
        CheckpointError: If there is none.
    """
    names = [name for name in timm.list_models() if pattern is None or fnmatch(name, pattern)]
    if not names:
        raise CheckpointError(f"timm has no architecture like '{pattern}': see timm.list_models().")
    return names


def fill(names: list[str], table: Path, limit: int | None, memory: float, seconds: float) -> None:
    """Examine architectures that a table does not have yet, and append a row for each.

    Args:
        names: Architectures wanted.
        table: CSV file; made if it does not exist.
        limit: Most architectures to examine now; None for no limit.
        memory: Most memory of each, in GiB.
        seconds: Most time of each.

    Raises:
        PPNError: If the file is another kind of table.
    """
    known = {row.model for row in read(table)} if table.exists() else set()
    wanted = [name for name in names if name not in known][:limit]
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(",".join(COLUMNS) + "\n")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console(stderr=True)) as progress:
        task = progress.add_task("", total=len(wanted))
        for name in wanted:
            progress.update(task, description=name)
            _append(table, apart(name, memory, seconds))
            progress.advance(task)


def read(table: Path) -> list[Examination]:
    """Return the rows of a table.

    Raises:
        PPNError: If the file is another kind of table.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            if reader.fieldnames == COLUMNS:
                return [Examination(**{**row, **_numbers(row)}) for row in reader]
    # TypeError: a line of more columns than the first
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise PPNError(f"{table} cannot be read ({reason}): name a new file.") from None
    raise PPNError(
        f"{table} has other columns than a support table of this version: name a new file."
    )


def apart(name: str, memory: float, seconds: float) -> Examination:
    """Examine one architecture in a process of its own, with capped memory and time."""
    # A server that has loaded everything and runs no threads forks a fresh process for each.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, memory, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return Examination(name, status="time", reason=f"more than {seconds:.0f} s")
        return Examination(**ours.recv())
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:  # by the system, which ran out of memory
            return Examination(name, status="memory", reason=f"more than {memory:g} GiB")
        reason = f"its process ended with exit code {process.exitcode}"
        return Examination(name, status="failed", reason=reason)
    finally:
        process.kill()
        process.join()


def _child(name: str, memory: float, answer: Connection) -> None:
    torch.set_num_threads(1)
    _cap(memory)
    # Whatever a model says on the way is not ours to show.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    family = timm.models._registry._model_to_module.get(name, "")
    try:
        with _quick_initialisation():
            result = examine(name)
    except HeadError as error:
        result = Examination(name, family, "refused", reason=str(error))
    except MemoryError:
        result = Examination(name, family, "memory", reason=f"more than {memory:g} GiB")
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        short = "allocate memory" in str(error)
        result = Examination(
            name,
            family,
            "memory" if short else "failed",
            reason=f"more than {memory:g} GiB" if short else f"{type(error).__name__}: {first}",
        )
    answer.send({**result.to_dict(), "family": family})


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


def _append(table: Path, row: Examination) -> None:
    """Add a line in one write, so that a killed run leaves whole lines."""
    from io import StringIO

    line = StringIO()
    csv.DictWriter(line, COLUMNS).writerow(row.to_dict())
    with table.open("a", newline="") as file:
        file.write(line.getvalue())


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    kinds = {
        "places": float,
        "width": int,
        "memory": int,
        "logit_error": float,
        "completeness_error": float,
        "complete_error": float,
        "complete_nodes": int,
        "elsewhere": float,
        "parameters": float,
        "seconds": float,
    }
    return {key: kind(row[key]) if row[key] else None for key, kind in kinds.items()}
