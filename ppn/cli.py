"""`ppn fit|validate|test|predict|trial`: what is run, and what it says."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException

# Imported so that the command line knows them by their short names.
from ppn.callbacks.discovery import PrototypeDiscovery  # noqa: F401
from ppn.callbacks.html_report import HTMLReport  # noqa: F401
from ppn.callbacks.results import ResultsFile
from ppn.callbacks.tracking import LoggedConfig, RunTracking, closing_wandb
from ppn.commands.lightning_cli import PrototypeCLI
from ppn.commands.mistakes import mistake
from ppn.commands.run_directory import (
    RUN_DIR,
)
from ppn.data import catalog  # noqa: F401
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.folder import ImageFolderDataModule  # noqa: F401
from ppn.data.synthetic import SyntheticBirdsDataModule  # noqa: F401
from ppn.errors import PPNError
from ppn.tasks.classification import ClassificationTask  # noqa: F401
from ppn.tasks.protopnet import ProtoPNetTask  # noqa: F401
from ppn.tasks.prototypes import PrototypeTask  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("fit", "validate", "test", "predict", "trial")
_PARSER = {"exit_on_error": False, "allow_abbrev": False}
_LOGGER = {
    "class_path": "lightning.pytorch.loggers.CSVLogger",
    "init_args": {"save_dir": "runs", "name": "", "version": ""},
}
"""Unless told otherwise: `metrics.csv` in the run's directory, which replaces `save_dir`."""


class TrialCLI(PrototypeCLI):
    """`ppn trial`: `fit`, then validation by the same trainer, so that one run has both.

    The numbers that a sweep selects on, consistency above all, are measured by validation alone,
    and `fit` with `trainer.max_epochs: 0` has none.
    """

    def before_fit(self) -> None:
        """Refuse a trial that could not be measured.

        Raises:
            PPNError: If there are no validation images.
        """
        data = self.datamodule
        if isinstance(data, FineGrainedDataModule) and len(data.view("val")) == 0:
            raise PPNError(
                "A trial is measured on validation images, and there are none: raise "
                "--data.val_fraction."
            )
        super().before_fit()

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
                save_config_kwargs={"save_to_log_dir": False},
                trainer_defaults={"callbacks": [ResultsFile(), RunTracking()], "logger": _LOGGER},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                parser_kwargs={**_PARSER, **dict.fromkeys(COMMANDS[:4], _PARSER)},
                args=given,
            )
    except SIGTERMException:  # which would end the process as if all had gone well
        return 128 + signal.SIGTERM
    except Exception as error:
        if _terminated(error):
            return 128 + signal.SIGTERM
        said = mistake(error, "ppn")
        if said is None:
            raise
        sys.stderr.write(f"ppn: {said}\n")
        return 2
    finally:
        if inherited is None:
            os.environ.pop(RUN_DIR, None)
    return 0


def _terminated(error: BaseException | None) -> bool:
    """Whether an error came up on the way out after SIGTERM, which ends workers as well."""
    while error is not None and not isinstance(error, SIGTERMException):
        error = error.__cause__ or error.__context__
    return error is not None


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
