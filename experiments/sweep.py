"""Run a W&B sweep file, with an agent or, without an account, on this machine.

Usage: python experiments/sweep.py FILE [--trials N] [--seed S] [--out DIR] [--dry_run] [--wandb]
       [-- further arguments of ppn]

From the repository's root. Trials that have finished with the same configuration are not run again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.table import Table  # noqa: E402

from experiments.sweeping.space import Proposals, proposals  # noqa: E402
from experiments.sweeping.spec import Sweep, read_sweep  # noqa: E402
from ppn.errors import PPNError  # noqa: E402
from ppn.io.files import replacing, write_json  # noqa: E402
from ppn.io.terminal import console  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGGER = "--trainer.logger=configs/logger/csv.yaml"
"""Replaces the sweep's logger where there is no account."""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what follows `--` is for ppn."""
    words = list(sys.argv[1:] if given is None else given)
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="sweep.py", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a W&B sweep file")
    parser.add_argument("--trials", type=int, help="most trials (default: the file's run_cap)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random and bayes")
    parser.add_argument("--out", help="folder of the trials (default: runs/sweeps/NAME)")
    parser.add_argument("--dry_run", action="store_true", help="print the commands only")
    parser.add_argument(
        "--wandb", action="store_true", help="start a W&B agent if WANDB_API_KEY is set"
    )
    found = parser.parse_args(words[:cut])
    found.more = words[cut + 1 :]
    return found


def trial_command(sweep: Sweep, values: dict[str, Any], folder: Path, more: list[str]) -> list[str]:
    """Return the command of one trial on this machine, as arguments of ppn."""
    last = [LOGGER, f"--trainer.default_root_dir={folder}"]
    return [*sweep.arguments(values), *last, *more]


def folder_of(sweep: Sweep, values: dict[str, Any], out: Path, more: list[str]) -> Path:
    """Return a trial's folder, named after everything that its result depends on."""
    words = [*sweep.arguments(values), *more]
    files = [Path(word.split("=")[-1]) for word in words if word.endswith((".yaml", ".yml"))]
    files += sorted(Path("configs").rglob("*.yaml"))
    content = [file.read_text() for file in files if file.is_file()]
    digest = hashlib.sha256(json.dumps([words, content]).encode()).hexdigest()
    return out / digest[:12]


def run_trial(
    sweep: Sweep, values: dict[str, Any], folder: Path, more: list[str]
) -> dict[str, Any]:
    """Run one trial in a process of its own, unless it has finished before.

    Returns:
        Its row: parameters, "value" (None if it failed), "error" (standard error of the metric,
        where there is one), "seconds" and "folder".
    """
    record = folder / "trial.json"
    if record.is_file():
        found: dict[str, Any] = json.loads(record.read_text())
        return {**found, "again": True}
    began = time.monotonic()
    words = [sys.executable, "-m", "ppn", *trial_command(sweep, values, folder, more)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, check=False)
    row: dict[str, Any] = {"parameters": values, "value": None, "error": None}
    row |= {"seconds": round(time.monotonic() - began, 1), "folder": str(folder)}
    if done.returncode == 0:
        figures = json.loads((folder / "metrics.json").read_text())
        row["value"] = sweep.value(figures)
        row["error"] = figures.get(f"{sweep.key}_standard_error")
        write_json(record, row)
    return row


def run_local(sweep: Sweep, found: Proposals, out: Path, more: list[str]) -> list[dict[str, Any]]:
    """Run the trials one after another, and tell each result to what proposes the next."""
    rows = []
    for number, values in enumerate(found, 1):
        print(f"== trial {number}: {shown(values)}", flush=True)
        row = run_trial(sweep, values, folder_of(sweep, values, out, more), more)
        state = "failed" if row["value"] is None else f"{sweep.metric} {row['value']:.4g}"
        print(f"== {state}{' (done before)' if row.get('again') else ''}", flush=True)
        found.tell(row["value"])
        rows.append(row)
        write_csv(sweep, rows, out / "results.csv")
    return rows


def shown(values: dict[str, Any]) -> str:
    """Parameters by the last part of their names."""
    return ", ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in values.items())


def ranked(sweep: Sweep, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best first, and those that failed last."""
    sign = -1 if sweep.maximize else 1
    return sorted(rows, key=lambda r: (r["value"] is None, sign * (r["value"] or 0.0)))


def write_csv(sweep: Sweep, rows: list[dict[str, Any]], path: Path) -> None:
    """Write what is known so far, the best first."""
    names = list(sweep.parameters)
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, sweep.metric, "standard error", "seconds", "folder"])
        for row in ranked(sweep, rows):
            cells = [row["parameters"][name] for name in names]
            writer.writerow([*cells, row["value"], row["error"], row["seconds"], row["folder"]])


def print_table(sweep: Sweep, rows: list[dict[str, Any]]) -> None:
    """Print the trials, the best first."""
    table = Table(title=f"{sweep.name}: {sweep.metric}", title_justify="left")
    for name in sweep.parameters:
        table.add_column(name.rsplit(".", 1)[-1])
    for name in (sweep.metric, "seconds"):
        table.add_column(name, justify="right")
    for row in ranked(sweep, rows):
        value = "failed" if row["value"] is None else f"{row['value']:.4g}"
        if row["error"] is not None:
            value += f" ± {row['error']:.2g}"
        cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row["parameters"].values()]
        table.add_row(*cells, value, f"{row['seconds']:.0f}")
    console().print(table)


def run_agent(sweep: Sweep, trials: int | None) -> int:
    """Register the sweep with W&B and work on it; more agents may join from elsewhere."""
    import wandb

    found = wandb.sweep(sweep.content, project=sweep.content.get("project"))
    count = [] if trials is None else ["--count", str(trials)]
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    words = [sys.executable, "-m", "wandb", "agent", *count, found]
    return subprocess.run(words, env={**os.environ, "PATH": scripts}, check=False).returncode


def main(given: Sequence[str] | None = None) -> int:
    """Run a sweep.

    Returns:
        Exit code: 0, 1 if a trial failed, or 2 after a mistake in the input.
    """
    options = arguments(given)
    try:
        sweep = read_sweep(Path(options.file))
        if options.wandb and os.environ.get("WANDB_API_KEY"):
            return run_agent(sweep, options.trials)
        if options.wandb:
            print("WANDB_API_KEY is not set: the sweep runs on this machine, without W&B.")
        found = proposals(sweep, options.trials, options.seed)
        out = Path(options.out or Path("runs/sweeps", sweep.name))
        if options.dry_run:
            for values in found:
                folder = folder_of(sweep, values, out, options.more)
                print(shlex.join(["ppn", *trial_command(sweep, values, folder, options.more)]))
                found.tell(None)
            return 0
        rows = run_local(sweep, found, out, options.more)
    except PPNError as error:
        sys.stderr.write(f"sweep: {error}\n")
        return 2
    print_table(sweep, rows)
    print(f"results: {out / 'results.csv'}")
    return int(any(row["value"] is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
