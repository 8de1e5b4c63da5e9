"""Plan, run what can run, and write tables and figures: `make reproduce`.

Usage: python -m experiments.reproduce [--data.root DATA] [--preset smoke|cpu|full] [--seeds 3]
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import lightning
import timm
import torch

from experiments.arguments import add_root
from experiments.reproduce import expected
from experiments.reproduce.collect import described, head_case, rows, summarise
from experiments.reproduce.figures import draw
from experiments.reproduce.plan import plan
from experiments.reproduce.run import MARKER, run, steps
from experiments.reproduce.tables import Circumstances, Ran, comma_separated, latex, markdown
from ppn.errors import DataError
from ppn.io.files import write_bytes
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.reproduce.plan import Lacking, Ready

EXPECTED = Path(__file__).with_name("expected.yaml")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m experiments.reproduce", description=__doc__.splitlines()[0]
    )
    add_root(made, "folder that holds data sets, directly or one level below")
    made.add_argument("--weights", help="folder of files ARCHITECTURE.safetensors or .pth")
    made.add_argument("--online", action="store_true", help="let timm download weights")
    made.add_argument("--preset", default="cpu", choices=("smoke", "cpu", "full"))
    made.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    made.add_argument("--out", default="runs/reproduce", help="where everything goes")
    made.add_argument("--dry_run", action="store_true", help="say what would run, and stop")
    made.add_argument("--expected", default=str(EXPECTED), help="file of expected values")
    made.add_argument(
        "--write_expected", action="store_true", help="take the results as expected values"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and check.

    Args:
        arguments: Command line; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 1 after a failed step or where results are not as expected.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    made = parser()
    given = made.parse_args(words)
    if given.seeds < 1:
        made.error("--seeds must be at least 1")
    for name, folder in (("data.root", given.root), ("weights", given.weights)):
        if folder and not Path(folder).is_dir():
            made.error(f"--{name} {folder} is no folder")
    ready, lacking = plan(given.preset, _path(given.root), _path(given.weights), given.online)
    tell(ready, lacking)
    if given.dry_run:
        return 0
    base = Path(given.out, given.preset)
    failed = _run_all(ready, given.seeds, base)
    try:
        found = [r for one in ready for r in rows(one.chain, given.seeds, base / one.chain.name)]
        measured = described([one.chain for one in ready], base)
    except DataError as error:
        print(f"{error} Delete its folder, and this command does that.")
        return 1
    summary = summarise(found)
    names = [one.chain.name for one in ready]
    ran = [
        Ran(one.chain, one.note, head_case(base / one.chain.name), _page(base, one))
        for one in ready
    ]
    command = shlex.join(["python", "-m", "experiments.reproduce", *words])
    about = _circumstances(given.preset, given.seeds, command, base)
    write_bytes(base / "results.md", markdown(ran, lacking, summary, measured, about).encode())
    write_bytes(base / "results.csv", comma_separated(found).encode())
    write_bytes(base / "results.tex", latex(names, summary, measured).encode())
    draw(names, summary, measured, base / "figures")
    print(f"results: {base / 'results.md'}")
    for folder in failed:
        print(f"failed: {folder}")
    if failed:
        return 1
    if given.write_expected:
        expected.write(Path(given.expected), given.preset, summary, measured)
        print(f"expected values: {given.expected}")
        return 0
    return _judge(expected.check(Path(given.expected), given.preset, summary, names), given.preset)


def tell(ready: Sequence[Ready], lacking: Sequence[Lacking]) -> None:
    """Print what will run, and how to get what is missing."""
    print(f"Will run ({len(ready)}):")
    for one in ready:
        print(f"  {one.chain.name} ({one.chain.recipe}; {one.note})")
    if lacking:
        print("Missing:")
    for missing in lacking:
        print(f"  {missing.what}: {missing.how}\n    for {', '.join(missing.chains)}")
    sys.stdout.flush()


def _run_all(ready: Sequence[Ready], seeds: int, base: Path) -> list[Path]:
    """Run all chains; after a failed step the rest of its chain is left out."""
    failed = []
    for one in ready:
        for step in steps(one, seeds, base / one.chain.name):
            if not run(step):
                failed.append(step.folder)
                break
    return failed


def _page(base: Path, ready: Ready) -> str:
    page = Path(ready.chain.name, "benchmark", "results.md")
    return page.as_posix() if (base / page).is_file() else ""


def _judge(drifts: list[expected.Drift] | None, preset: str) -> int:
    if drifts is None:
        print(f"Nothing is expected of the preset {preset} yet: see --write_expected.")
        return 0
    if not drifts:
        print("All results are as expected.")
        return 0
    print(f"{len(drifts)} results are not as expected:")
    for drift in drifts:
        print(f"  {drift}")
    return 1


def _circumstances(preset: str, seeds: int, command: str, base: Path) -> Circumstances:
    ended = max((file.stat().st_mtime for file in base.glob(f"*/*/*/{MARKER}")), default=0.0)
    date = datetime.fromtimestamp(ended, timezone.utc).strftime("%Y-%m-%d")
    machine = f"{os.cpu_count()} CPU cores"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    python = ".".join(map(str, sys.version_info[:3]))
    versions = (
        f"ppn {__version__}, torch {torch.__version__}, lightning {lightning.__version__}, "
        f"timm {timm.__version__}, Python {python}"
    )
    return Circumstances(preset, command, machine, versions, date, seeds)


def _path(folder: str | None) -> Path | None:
    return Path(folder) if folder else None


if __name__ == "__main__":
    sys.exit(main())
