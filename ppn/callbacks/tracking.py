"""What loggers get beside numbers: configuration, prototypes, pictures, files, certificate."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from lightning import Callback
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from ppn.callbacks.outcome import gather
from ppn.callbacks.wandb_run import send
from ppn.errors import PPNError
from ppn.io.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule, Trainer

    from ppn.callbacks.outcome import Outcome

# Logger: the packages of which it needs one, and how to get it.
_PACKAGES = {
    "WandbLogger": (("wandb",), "pip install 'ppn[wandb]'"),
    "TensorBoardLogger": (("tensorboard", "tensorboardX"), "pip install 'ppn[tensorboard]'"),
}


STAGING = "WANDB_DATA_DIR"
"""Environment variable that says where W&B keeps what it has yet to upload."""


class RunTracking(Callback):
    """Gives the loggers of a run what is more than a number.

    W&B gets a table of prototypes with thumbnails, the gallery, the certificate in the summary, and
    checkpoint, prototypes and report as artifacts; TensorBoard the gallery and the certificate.
    Other loggers get numbers, which Lightning logs. Only the first process does anything. The
    command line adds it to every run.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send what `fit` has made."""
        self._send(trainer, pl_module, "fit")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send what was measured, unless this is part of `fit`."""
        if trainer.state.fn == "validate":
            self._send(trainer, pl_module, "validate")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send what was measured."""
        self._send(trainer, pl_module, "test")

    def _send(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        loggers = [x for x in trainer.loggers if isinstance(x, (WandbLogger, TensorBoardLogger))]
        if not loggers or not trainer.is_global_zero:
            return
        outcome = gather(trainer, module, stage)
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                send(logger.experiment, outcome)
            else:
                _write_events(logger.experiment, outcome)


class LoggedConfig(SaveConfigCallback):
    """`config.yaml` in the run's directory, and the same under one key in W&B and TensorBoard."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write and send the configuration; called in the first process only.

        Raises:
            DataError: If the file cannot be written.
        """
        text = self.parser.dump(self.config, skip_none=False)
        write_bytes(Path(trainer.default_root_dir) / "config.yaml", text.encode())
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                content = {"config": yaml.safe_load(text)}
                logger.experiment.config.update(content, allow_val_change=True)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", _as_code(text))


def needed_package(class_path: str) -> None:
    """Check that the package behind a logger is installed.

    Args:
        class_path: The logger's class.

    Raises:
        PPNError: If it is not.
    """
    name = class_path.rsplit(".", 1)[-1]
    packages, fix = _PACKAGES.get(name, ((), ""))
    if packages and not any(importlib.util.find_spec(package) for package in packages):
        raise PPNError(f"{name} needs the package {packages[0]}, which is not installed: {fix}.")


@contextlib.contextmanager
def closing_wandb() -> Iterator[None]:
    """End the W&B run that is begun inside, or the next run of this process would go on in it."""
    before, place = _current(), os.environ.get(STAGING)
    code = 1
    try:
        yield
        code = 0
    finally:
        run = _current()
        if run is not None and run is not before:
            run.finish(exit_code=code)
        if place is None:
            os.environ.pop(STAGING, None)


def _current() -> Any:  # noqa: ANN401 - wandb may not be installed
    return getattr(sys.modules.get("wandb"), "run", None)


def _write_events(writer: Any, outcome: Outcome) -> None:  # noqa: ANN401 - of either TensorBoard
    for name, picture in outcome.gallery:
        writer.add_image(f"gallery/{name}", np.asarray(picture), outcome.step, dataformats="HWC")
    if outcome.certificate:
        writer.add_text("certificate", _as_code(yaml.safe_dump(outcome.certificate)), outcome.step)


def _as_code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
