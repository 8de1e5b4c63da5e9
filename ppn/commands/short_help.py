"""The help of Lightning's commands: what people use, and where the rest is; also for the shell."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import NamedTuple

ABOUT = {
    "fit": "Train a classifier, or discover the prototypes of a trained one.",
    "validate": "Measure on the validation images; write metrics.json and the report.",
    "test": "Measure on the test images; write metrics.json and the report.",
    "predict": "Write a table of the test images: prediction and contributions.",
    "trial": "Fit and then validate in one run, which is what a sweep repeats.",
}
"""Lightning's commands, and `trial`."""

SMALL_COMMANDS = (
    "check",
    "explain",
    "edit",
    "export",
    "compare",
    "benchmark",
    "data",
    "app",
    "annotate",
    "index",
    "search",
    "recipes",
    "completion",
)
"""Commands beside Lightning's; each is a function of its name in a module of its name, or several
in that module's `COMMANDS`; `benchmark` parses its own command line."""

FULL = "--help_all"
"""Asks for every option, which takes Lightning some seconds."""


class Option(NamedTuple):
    """An option: its name, what it takes, what it does, and the only commands that have it."""

    name: str
    takes: str
    help: str
    only: tuple[str, ...] = ()


_EVALUATING = ("validate", "test", "predict")
_FITTING = ("fit", "trial")
OPTIONS = (
    Option("config", "FILE", "a recipe: a YAML file, or ppn:NAME (`ppn recipes` lists them)"),
    Option("data", "NAME|FILE", "a DataModule, or a fragment such as ppn:data/folder"),
    Option("data.root", "DIR", "where the images are"),
    Option("data.batch_size", "N", "images of a batch"),
    Option("data.num_workers", "N", "processes that read images"),
    Option("data.help", "NAME", "all options of a DataModule: --data.help ImageFolderDataModule"),
    Option("model", "NAME|FILE", "ClassificationTask, PrototypeTask, or a fragment"),
    Option("model.architecture", "NAME", "timm's name, torchvision:NAME, or module:factory"),
    Option("model.classifier_ckpt", "FILE", "the trained classifier to explain", _FITTING),
    Option("model.k", "N", "prototypes per class", _FITTING),
    Option("model.refinement", "NAME", "how rows of the head are split", _FITTING),
    Option("model.help", "NAME", "all options of a model: --model.help PrototypeTask"),
    Option("ckpt_path", "FILE", "checkpoint to measure", _EVALUATING),
    Option("ckpt_path", "FILE", "checkpoint to go on from", _FITTING),
    Option("trainer.default_root_dir", "DIR", "where results go"),
    Option("trainer.max_epochs", "N", "epochs of training", _FITTING),
    Option("trainer.devices", "N", "GPUs or processes"),
    Option("trainer.logger", "FILE", "a logger, such as ppn:logger/wandb"),
    Option("trainer.callbacks+", "NAME", "one more callback, such as HTMLReport"),
    Option("seed_everything", "N", "seed of all that is random; 0 unless given"),
    Option("print_config", "", "print the whole configuration and stop"),
)


def lightning_parser(command: str) -> ArgumentParser:
    """Return a parser that is there to print help and to complete words, not to parse.

    Args:
        command: A key of `ABOUT`.
    """
    parser = ArgumentParser(
        f"ppn {command}",
        usage=f"ppn {command} --config FILE [options]",
        description=ABOUT[command],
        epilog=f"Every option of every part: ppn {command} {FULL}, or --model.help NAME, "
        "--data.help NAME\nand --trainer.help. Options of a part go under its name, on the command "
        "line and in YAML.",
        formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, max_help_position=38),
    )
    for option in OPTIONS:
        if not option.only or command in option.only:
            flag = f"--{option.name}"
            if option.takes:
                parser.add_argument(flag, metavar=option.takes, help=option.help)
            else:
                parser.add_argument(flag, action="store_true", help=option.help)
    parser.add_argument(FULL, action="store_true", help="print every option")
    return parser
