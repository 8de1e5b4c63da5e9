"""`ppn benchmark --config FILE`: many explainers on the same images, as tables and figures."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import pkgutil
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import ArgumentError, ArgumentParser
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from ppn.benchmark.config import Benchmark
from ppn.benchmark.files import tidy, write
from ppn.benchmark.results import Outcome
from ppn.benchmark.run import Setting, forget_empty, work
from ppn.commands.mistakes import mistake
from ppn.commands.recipes import by_name, resolve
from ppn.configured import expect_least
from ppn.distributed import watch
from ppn.errors import PPNError
from ppn.io.files import write_bytes
from ppn.io.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.benchmark.cells import Cell

PROG = "ppn benchmark"
SEAMS = ("ppn.discovery", "ppn.refinement", "ppn.explainers", "ppn.metrics", "ppn.data")
"""Packages whose classes YAML may call by their short names."""


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    for package in SEAMS:
        for module in pkgutil.iter_modules(
            importlib.import_module(package).__path__, f"{package}."
        ):
            importlib.import_module(module.name)
    parser = ArgumentParser(
        prog=PROG,
        description="Score many explainers on the same images; stopped, it goes on where it was.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file of what is below")
    parser.add_argument("--out", type=str, help="directory; else runs/benchmark/NAME of the file")
    parser.add_argument(
        "--processes", type=int, default=1, help="that share the cells, each with a GPU of its own"
    )
    parser.add_class_arguments(Benchmark, sub_configs=True, fail_untyped=False)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run `ppn benchmark`.

    Args:
        arguments: The command line after `ppn benchmark`.

    Returns:
        Exit code: 0.

    Raises:
        PPNError: If the command line or a file does not fit, or every method's cells are empty.
    """
    words = list(arguments)
    parsed = _parse(words)
    if parsed is None:
        return 0
    benchmark, folder, text, processes = parsed
    rank, world = _rank()
    if rank == 0:
        forget_empty(folder)
    others = [] if world > 1 else _start(words, processes)
    try:
        cells = _work(benchmark, folder, rank, max(world, processes))
    except BaseException:
        for process in others:  # Python would wait for them
            process.terminate()
        raise
    for process in others:
        process.join()
    if rank == 0:
        command = shlex.join(["ppn", "benchmark", *by_name(words)])
        _finish(benchmark, cells, folder, command)
        write_bytes(folder / "config.yaml", text.encode())
    return 0


def _parse(words: list[str]) -> tuple[Benchmark, Path, str, int] | None:
    """What is to be run, where, the configuration as text, and by how many; None after --help."""
    parser = make_parser()
    try:
        given = parser.parse_args(resolve(words))
        text = parser.dump(given)
        made = parser.instantiate(given)
    except ArgumentError as error:
        raise PPNError(mistake(error, PROG, parser.format_help()) or str(error)) from None
    except SystemExit:  # --help
        return None
    expect_least(1, PPNError, **{"--processes": made.processes})
    files = [Path(str(path)) for path in made.config or []]
    name = files[-1].stem if files else "benchmark"
    folder = Path(made.out or Path("runs", "benchmark", name))
    options = {key: made[key] for key in parser_options()}
    return Benchmark(**options), folder, text, made.processes


def parser_options() -> list[str]:
    """Return the names of the options of a benchmark."""
    return list(inspect.signature(Benchmark).parameters)


def _rank() -> tuple[int, int]:
    """Which process this is, of how many that `torchrun` or SLURM have started."""
    for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and world in os.environ:
            return int(os.environ[rank]), int(os.environ[world])
    return 0, 1


def _start(words: list[str], processes: int) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    # Not daemons, which may start no workers that load images.
    others = [
        context.Process(target=_help_out, args=(words, rank, processes, os.getpid()))
        for rank in range(1, processes)
    ]
    for process in others:
        process.start()
    return others


def _help_out(words: list[str], rank: int, processes: int, parent: int) -> None:
    """Work in another process, as long as the one that has started it lives."""
    watch(lambda: os.getppid() != parent)
    parsed = _parse(words)
    assert parsed is not None
    benchmark, folder, _, _ = parsed
    _work(benchmark, folder, rank, processes)


def _work(benchmark: Benchmark, folder: Path, rank: int, processes: int) -> list[Cell]:
    """Compute cells with a progress bar; those of this process, then wait for the others."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", str(rank))))
        device = torch.device("cuda", local % torch.cuda.device_count())
    elif processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    # Whatever is wrong with data or black box is told before there is a progress bar.
    first = Setting(benchmark, benchmark.seeds[0], folder, device)
    total = len(benchmark.explainers) * len(benchmark.seeds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console(True), disable=rank > 0) as bar:
        every = bar.add_task("cells", total=total)
        one = bar.add_task("", total=None)

        def tell(name: str, done: int, count: int) -> None:
            bar.update(one, description=name, completed=done, total=count)

        cells = []
        for cell in work(benchmark, folder, first, tell):
            cells.append(cell)
            bar.update(every, completed=len(cells))
    return cells


def _finish(benchmark: Benchmark, cells: list[Cell], folder: Path, command: str) -> None:
    outcome = Outcome(benchmark, cells)
    rivals = [
        outcome.measured.explainers[name].kind in ("method", "control") for name in outcome.names
    ]
    if outcome.empty and not any(rivals):
        raise PPNError(next(iter(outcome.empty.values())))
    files = write(outcome, folder, command)
    tidy(folder)
    terminal = console()
    for name, why in outcome.empty.items():
        terminal.print(f"Empty: {name}: {why}")
    for file in files:
        terminal.print(str(file))
