"""Lightning's CLI with one directory per run."""

from __future__ import annotations

import math
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info

from ppn.callbacks.predictions import PredictionsFile
from ppn.classifier.record import expect_model, expect_trusted, read_record
from ppn.commands.mistakes import damaged, sentence
from ppn.commands.next_step import next_step
from ppn.commands.results_table import show
from ppn.commands.run_directory import (
    CHECKPOINTS,
    KEYWORDS,
    RUN_DIR,
    listed,
    place_loggers,
    run_directory,
    set_aside,
)
from ppn.data.datamodule import FineGrainedDataModule
from ppn.distributed import expect_launched
from ppn.errors import PPNError
from ppn.io.files import user_path
from ppn.lightning_internals import end_together
from ppn.tasks.checkpoint_io import WholeCheckpointIO

if TYPE_CHECKING:
    from lightning import Trainer

_PRECISIONS = ("32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed")
"""Those in which the weights of a network stay as they are."""


class PrototypeCLI(LightningCLI):
    """Lightning's CLI with linked class counts, run directories and guarded checkpoints."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the number of classes from the data to the model."""
        self._parsers = [*getattr(self, "_parsers", []), parser]
        parser.link_arguments(
            "data.num_classes", "model.init_args.num_classes", apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Take from a checkpoint what shapes its tensors, and refuse one of another class.

        Lightning would merge all hyper-parameters of the checkpoint over the command line, and
        build the checkpoint's class whatever `--model` says; both in silence. So it gets the path
        later.
        """
        parsers = dict(zip(self.subcommands(), self._parsers, strict=False))
        for command in ("validate", "test"):
            if "verbose" in (known := parsers.get(command, parser)).get_defaults():
                known.set_defaults({"verbose": False})  # `results_table` says it in fewer lines
        try:
            super().parse_arguments(parser, args)
        except (ArgumentError, UnicodeDecodeError) as error:
            words = args if isinstance(args, list) else sys.argv[1:]
            prog = " ".join(["ppn", *words[:1]])
            known = parsers.get("".join(words[:1]), self._parsers[-1])
            said = damaged(words) or sentence(str(error), prog, known.format_help())
            raise PPNError(said) from error
        command = self.config.get("subcommand")
        self._ckpt_path = self.config[command].get("ckpt_path") if command else None
        if self._ckpt_path is None:
            return
        self.config[command].ckpt_path = None
        if self._ckpt_path in KEYWORDS:
            return
        path = self._ckpt_path = str(user_path(self._ckpt_path))
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

    def before_instantiate_classes(self) -> None:
        """Give everything that writes files the run's directory."""
        command = self.config.get("subcommand")
        config = self.config[command] if command else self.config
        trainer = config.trainer
        if self._ckpt_path is not None:
            config.ckpt_path = self._ckpt_path
        if "weights_only" in config:  # nothing but tensors and plain values in our checkpoints
            config.weights_only = True
        if "return_predictions" in config:  # `PredictionsFile` keeps what is needed of them
            config.return_predictions = False
        _expect_precision(trainer.precision, config.model.class_path)
        if trainer.default_root_dir is None:
            trainer.default_root_dir = run_directory(config)
        run_dir = str(trainer.default_root_dir)
        os.environ[RUN_DIR] = run_dir
        place_loggers(trainer, run_dir)
        given = listed(trainer.callbacks)
        if not any(callback.class_path.endswith("PredictionsFile") for callback in given):
            always = self.trainer_defaults.get("callbacks", [])
            self.trainer_defaults["callbacks"] = [*always, PredictionsFile()]
        saving = [c for c in given if c.class_path.endswith("ModelCheckpoint")]
        for callback in saving:
            if not callback.init_args.dirpath:
                callback.init_args.dirpath = str(Path(run_dir) / CHECKPOINTS)
        if trainer.max_epochs == 0 and not saving:  # no epoch ends that could be saved
            trainer.enable_checkpointing = False

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with checkpoints that appear whole and processes that end together.

        Raises:
            PPNError: If there is no such trainer.
        """
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            if "--ntasks-per-node" in str(error):
                raise PPNError(
                    "SLURM was told --ntasks alone: say --ntasks-per-node (and --nodes) instead, "
                    "by which Lightning counts processes."
                ) from None
            reason = " ".join(str(error).split()).rstrip(".")
            raise PPNError(f"The options of --trainer do not fit: {reason}.") from error
        # First, for what other loggers write is no log of an earlier run.
        trainer.loggers = sorted(trainer.loggers, key=lambda one: not isinstance(one, CSVLogger))
        expect_launched(trainer.num_devices, trainer.num_nodes)
        end_together(trainer)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            evaluating = self.subcommand not in ("fit", None)
            trainer.strategy.checkpoint_io = WholeCheckpointIO(evaluating)
        return trainer

    def before_fit(self) -> None:
        """Set the trainer to the data, and keep the checkpoints of an earlier run.

        Raises:
            PPNError: If something watches validation, and there are no validation images.
        """
        trainer, options = self.trainer, self.config[self.subcommand]
        if isinstance(self.datamodule, FineGrainedDataModule):
            data = self.datamodule
            batches = math.ceil(len(data.view("train")) / (data.batch_size * trainer.world_size))
            limit = trainer.limit_train_batches
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            interval = min(options.trainer.log_every_n_steps or 50, batches)
            trainer.log_every_n_steps = max(1, interval)  # type: ignore[attr-defined]
            if len(data.view("val")) == 0:
                trainer.limit_val_batches = 0
                self._save_last()
        given = (self._ckpt_path, *options.model.init_args.values())
        read = [value for value in given if isinstance(value, str)]
        if trainer.is_global_zero and not set_aside(Path(trainer.default_root_dir), read):
            # The run goes on from these, so they are meant to be there.
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty")

    def after_fit(self) -> None:
        """Tell who has typed this command what to run next."""
        self._tell_next()

    def _tell_next(self) -> None:
        said = next_step(sys.argv[1:], self.trainer, self.model)
        if said is not None:
            rank_zero_info(said)

    def after_validate(self) -> None:
        """Show who has typed this command what was measured."""
        self._show("validate")

    def after_test(self) -> None:
        """Show who has typed this command what was measured."""
        self._show("test")
        self._tell_next()

    def _show(self, command: str) -> None:
        if sys.argv[1:2] == [command] and self.trainer.is_global_zero:
            show(Path(self.trainer.default_root_dir) / "metrics.json")

    def _save_last(self) -> None:
        """Let checkpoints hold the last epoch, where validation cannot tell which is best."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            watched = str(getattr(callback, "monitor", None))
            if not watched.startswith("val"):
                continue
            if not isinstance(callback, ModelCheckpoint):
                raise PPNError(
                    f"{type(callback).__name__} watches {watched}, but there are no validation "
                    "images: raise --data.val_fraction."
                )
            callback.monitor = None
            rank_zero_info(
                "There are no validation images, so the last epoch is saved, not the best one: "
                "raise --data.val_fraction to have one chosen."
            )


def _expect_precision(precision: Any, model: str) -> None:  # noqa: ANN401 - Lightning's union
    """Refuse to find or use prototypes in a network whose weights are rounded or widened."""
    if model.endswith("PrototypeTask") and str(precision or "32") not in _PRECISIONS:
        raise PPNError(
            f"trainer.precision is {precision}, in which the head is no longer the classifier's "
            "own: prototypes need 32-true, 16-mixed or bf16-mixed."
        )
