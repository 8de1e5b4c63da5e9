"""One directory per run: where it is, and that nothing of an earlier run in it is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from ppn.callbacks.tracking import STAGING, needed_package
from ppn.commands.recipes import recipes_root

RUN_DIR = "PPN_RUN_DIR"
"""Environment variable by which the processes of one run agree on its directory."""
CHECKPOINTS = "checkpoints"
KEYWORDS = ("best", "last", "hpc", "registry")
"""What `--ckpt_path` may be instead of a file."""
_LOGS = "logs"


def listed(value: Any) -> list[Any]:  # noqa: ANN401 - jsonargparse's namespace
    """One entry, several or none, as YAML allows them."""
    if not value:
        return []
    return value if isinstance(value, list) else [value]


def run_directory(config: Any) -> str:  # noqa: ANN401 - jsonargparse's namespace
    """Return runs/EXPERIMENT/ID, the same in every process of the run."""
    inherited = os.environ.get(RUN_DIR)
    if inherited is not None:
        return inherited
    files = [Path(str(path)) for path in config.config or []]
    if files:
        file = files[-1].resolve()
        own = file.parent != recipes_root().resolve() / "experiments"
        experiment = Path(file.parent.name if own else "", file.stem)
    else:
        experiment = Path(config.model.class_path.rsplit(".", 1)[-1])
    # The first, because an agent runs many trials in one job.
    names = ("WANDB_RUN_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")
    job = next((os.environ[name] for name in names if os.environ.get(name)), None)
    stamp = job if job and job != "none" else time.strftime("%Y%m%d-%H%M%S")
    return str(Path("runs", experiment, stamp))


def place_loggers(trainer: Any, run_dir: str) -> None:  # noqa: ANN401 - jsonargparse's namespace
    """Give every logger the run's directory.

    Lightning's CSVLogger deletes what an earlier run has logged in its directory. So `metrics.csv`
    is in the run's directory where that is new, and otherwise in the next folder of `logs/`.

    Args:
        trainer: The configuration of the trainer.
        run_dir: The run's directory.

    Raises:
        PPNError: If a logger's package is not installed.
    """
    loggers = [logger for logger in listed(trainer.logger) if logger is not True]
    for logger in loggers:
        needed_package(logger.class_path)
        options = logger.init_args
        if "save_dir" in options:
            options.save_dir = run_dir
        if logger.class_path.endswith("WandbLogger"):
            os.environ.setdefault(STAGING, str(Path(run_dir, "wandb").absolute()))
            if not options.name:
                options.name = "/".join(Path(run_dir).parts[-2:])
        if logger.class_path.endswith("CSVLogger") and options.version is not None:
            version = options.version
            folder = version if isinstance(version, str) else f"version_{version}"
            if _used(Path(run_dir, options.name or "", folder)):
                options.name, options.version = options.name or _LOGS, None


def set_aside(run_dir: Path, read: list[str]) -> bool:
    """Rename the folder of an earlier run's checkpoints, so that none of them is replaced.

    Args:
        run_dir: The run's directory.
        read: What this run reads: files, or Lightning's words for one of its own checkpoints. The
            folder stays if one of them is in it, and if SLURM has put this very run back in its
            queue.

    Returns:
        Whether the folder is new or empty now.
    """
    folder = run_dir / CHECKPOINTS
    if not _used(folder):
        return True
    here = folder.resolve()
    if any(word in KEYWORDS or Path(word).resolve().is_relative_to(here) for word in read):
        return False
    if any(run_dir.glob("hpc_ckpt_*")):
        return False
    number = 1
    while (aside := folder.with_name(f"{CHECKPOINTS}-{number}")).exists():
        number += 1
    folder.rename(aside)
    rank_zero_info(f"The checkpoints of an earlier run in {run_dir} are in {aside} now.")
    return True


def _used(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
