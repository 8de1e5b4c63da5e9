"""`ppn fit|validate|test|predict|trial`: Lightning's CLI with one directory per run."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

# Imported so that the command line knows them by their short names.
from ppn.callbacks.discovery import PrototypeDiscovery  # noqa: F401
from ppn.callbacks.html_report import HTMLReport  # noqa: F401
from ppn.callbacks.results import ResultsFile
from ppn.callbacks.tracking import (
    STAGING,
    LoggedConfig,
    RunTracking,
    closing_wandb,
    needed_package,
)
from ppn.classifier.record import expect_model, expect_trusted, read_record
from ppn.data import catalog  # noqa: F401
from ppn.data.folder import ImageFolderDataModule  # noqa: F401
from ppn.data.synthetic import SyntheticBirdsDataModule  # noqa: F401
from ppn.distributed import LOST, WatchfulLauncher, expect_launched
from ppn.errors import PPNError
from ppn.tasks.checkpoint_io import WholeCheckpointIO
from ppn.tasks.classification import ClassificationTask  # noqa: F401
from ppn.tasks.prototypes import PrototypeTask  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_LOST = re.compile(r"Connection closed by peer|Connection reset|NCCL.*(remote|abort)")
COMMANDS = ("fit", "validate", "test", "predict", "trial")
RUN_DIR = "PPN_RUN_DIR"
"""Environment variable by which the processes of one run agree on its directory."""

_LOGGER = {
    "class_path": "lightning.pytorch.loggers.CSVLogger",
    "init_args": {"save_dir": "runs", "name": "", "version": ""},
}
"""Unless told otherwise: `metrics.csv` in the run's directory, which replaces `save_dir`."""


class PrototypeCLI(LightningCLI):
    """Lightning's CLI with linked class counts, run directories and guarded checkpoints."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the number of classes from the data to the model."""
        parser.link_arguments(
            "data.num_classes", "model.init_args.num_classes", apply_on="instantiate"
        )

    def _parse_ckpt_path(self) -> None:
        """Take from a checkpoint what shapes its tensors, and refuse one of another class.

        Lightning merges all hyper-parameters of the checkpoint over the command line, and builds
        the checkpoint's class whatever `--model` says; both in silence.
        """
        command = self.config.get("subcommand")
        path = self.config[command].get("ckpt_path") if command else None
        if path is None or path in ("best", "last", "hpc", "registry"):
            return
        record = read_record(path)
        model = self.config[command].model
        name = model.class_path.rsplit(".", 1)[-1]
        expect_model(path, record, name, f"give the checkpoint of a {name}, or its own --config")
        expect_trusted(path, record, model.init_args.get("architecture"))
        for key, value in record.structure.items():
            given = model.init_args.get(key)
            if given is not None and given != value and value is not None:
                rank_zero_info(f"{key}: {value} of the checkpoint replaces {given}.")
            model.init_args[key] = value

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with checkpoints that appear whole and processes that end together."""
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except RuntimeError as error:
            if "--ntasks-per-node" not in str(error):
                raise
            raise PPNError(
                "SLURM was told --ntasks alone: say --ntasks-per-node (and --nodes) instead, by "
                "which Lightning counts processes."
            ) from None
        expect_launched(trainer.num_devices, trainer.num_nodes)
        launcher = trainer.strategy.launcher
        if type(launcher) is _SubprocessScriptLauncher:
            trainer.strategy._launcher = WatchfulLauncher.taking_over(launcher)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpointIO()
        return trainer

    def before_instantiate_classes(self) -> None:
        """Give everything that writes files the run's directory."""
        command = self.config.get("subcommand")
        config = self.config[command] if command else self.config
        trainer = config.trainer
        if "weights_only" in config:  # nothing but tensors and plain values in our checkpoints
            config.weights_only = True
        if trainer.default_root_dir is None:
            trainer.default_root_dir = _run_dir(config)
        run_dir = str(trainer.default_root_dir)
        os.environ[RUN_DIR] = run_dir
        for logger in _listed(trainer.logger):
            if logger is True:
                continue
            needed_package(logger.class_path)
            if "save_dir" in logger.init_args:
                logger.init_args.save_dir = run_dir
            if logger.class_path.endswith("WandbLogger"):
                os.environ.setdefault(STAGING, str(Path(run_dir, "wandb").absolute()))
                if not logger.init_args.name:
                    logger.init_args.name = "/".join(Path(run_dir).parts[-2:])
        for callback in _listed(trainer.callbacks):
            if callback.class_path.endswith("ModelCheckpoint") and not callback.init_args.dirpath:
                callback.init_args.dirpath = str(Path(run_dir) / "checkpoints")


class TrialCLI(PrototypeCLI):
    """`ppn trial`: `fit`, then validation by the same trainer, so that one run has both.

    The numbers that a sweep selects on, consistency above all, are measured by validation alone,
    and `fit` with `trainer.max_epochs: 0` has none.
    """

    def after_fit(self) -> None:
        """Validate the best checkpoint, or the network as it is where no epoch has made one."""
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        self.trainer.validate(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=best or None,
            weights_only=True if best else None,
            verbose=False,
        )


def run(args: Sequence[str] | None = None) -> int:
    """Run a command of Lightning's CLI, or a trial: `fit` and then validation.

    Args:
        args: Command line; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 2 after a mistake in the input, which is told in one sentence on stderr;
        143 after SIGTERM.
    """
    _quieten()
    given = None if args is None else list(args)
    kind: type[PrototypeCLI] = PrototypeCLI
    if (sys.argv[1:2] if given is None else given[:1]) == ["trial"]:
        kind = TrialCLI
        given = ["fit", *(sys.argv[2:] if given is None else given[1:])]
    inherited = os.environ.get(RUN_DIR)
    try:
        with closing_wandb():
            kind(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=LoggedConfig,
                save_config_kwargs={"overwrite": True},
                trainer_defaults={"callbacks": [ResultsFile(), RunTracking()], "logger": _LOGGER},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                args=given,
            )
    except SIGTERMException:  # which would end the process as if all had gone well
        return 128 + signal.SIGTERM
    except Exception as error:
        mistake = _mistake(error)
        if mistake is None:
            raise
        return _fail(mistake)
    finally:
        if inherited is None:
            os.environ.pop(RUN_DIR, None)
    return 0


def _mistake(error: BaseException | None) -> str | None:
    """Find the user's mistake behind an error; jsonargparse wraps those of constructors."""
    while error is not None:
        if isinstance(error, PPNError):
            return str(error)
        if isinstance(error, MisconfigurationException):
            return " ".join(str(error).split())
        if isinstance(error, RuntimeError) and _LOST.search(str(error)):
            return LOST
        if isinstance(error, OSError) and error.errno in _FULL:
            place = error.filename or "The run's directory"
            return f"{place} cannot be written ({error.strerror}): check the space left on it."
        error = error.__cause__
    return None


def _quieten() -> None:
    """Leave out what Lightning says about things that are meant to be so."""
    for message in (
        ".*LeafSpec.*",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
        ".*module.s. in eval mode at the start of training.*",  # frozen backbones are meant to be
        ".*LightningCLI's args parameter.*",  # tests and the demo do call it from Python
        ".*configure_optimizers. returned .None.*",  # closed-form refinement has none
    ):
        warnings.filterwarnings("ignore", message)
    # Advertisements of Lightning's other products.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )


def _fail(message: str) -> int:
    sys.stderr.write(f"ppn: {message}\n")
    return 2


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - jsonargparse's namespace
    """One entry, several or none, as YAML allows them."""
    if not value:
        return []
    return value if isinstance(value, list) else [value]


def _run_dir(config: Any) -> str:  # noqa: ANN401 - jsonargparse's namespace
    """runs/EXPERIMENT/ID, the same in every process of the run."""
    inherited = os.environ.get(RUN_DIR)
    if inherited is not None:
        return inherited
    files = [Path(str(path)) for path in config.config or []]
    if files:
        experiment = Path(files[-1].resolve().parent.name, files[-1].stem)
    else:
        experiment = Path(config.model.class_path.rsplit(".", 1)[-1])
    # The first, because an agent runs many trials in one job.
    names = ("WANDB_RUN_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")
    job = next((os.environ[name] for name in names if os.environ.get(name)), None)
    stamp = job if job and job != "none" else time.strftime("%Y%m%d-%H%M%S")
    return str(Path("runs", experiment, stamp))
