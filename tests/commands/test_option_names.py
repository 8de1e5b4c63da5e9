"""One name for one concept, in every command and in the Python functions beside them."""

import argparse
import importlib
import inspect
import re
from pathlib import Path

import pytest

import ppn
from experiments.zoo.__main__ import zoo
from ppn.__main__ import HELP
from ppn.commands.completion import parser_of
from ppn.commands.parsing import command_of, make_parser
from ppn.commands.short_help import ABOUT, OPTIONS, SMALL_COMMANDS
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.protopnet import ProtoPNetTask
from ppn.tasks.prototypes import PrototypeTask

NAMES = {
    # what is explained
    "checkpoint of a prototype network": "ckpt",
    "checkpoint of a classifier": "classifier_ckpt",
    "name of a model, or what makes it": "architecture",
    "weights of a model": "weights",
    "a model in memory": "model",
    "further arguments of the model": "model_options",
    "side of the input": "image_size",
    "module that gives the features": "features",
    "module at whose output the model is cut": "cut",
    "number of classes": "num_classes",
    "number of classes of the classifier": "classifier_classes",
    "names of classes": "class_names",
    # data
    "the data set": "data",
    "folder of the data set": "data.root",
    "any other argument of the data set": "data.KEY",
    "images of a batch": "batch_size",
    "what reads images at a time": "num_workers",
    "a loader in memory": "loader",
    "part of the data set": "split",
    "what images go through": "transform",
    "one image file": "image",
    "image files": "images",
    "at most so many images of a class": "images_per_class",
    # prototypes
    "prototypes per class": "k",
    "patches of a prototype": "num_patches",
    "how parts are found": "discoverer",
    "several of these": "discoverers",
    "how rows of the head are split": "refinement",
    "several of them": "refinements",
    "refinements measured beside it": "compare",
    "folder of prototypes": "prototypes",
    "folder of training patches": "gallery",
    "folder of the patches of all images": "index",
    # what is asked
    "class that is explained": "target",
    "class that it is held against": "versus",
    "so many of the likeliest classes": "top",
    "kind of map": "maps",
    "which classes' maps": "maps_of",
    "error that maps may have": "tolerance",
    "what an image is compared with": "baseline",
    "crop of one image": "box",
    "part of a class": "part",
    "how many": "count",
    # what is measured
    "an explainer": "explainer",
    "explainers": "explainers",
    "metrics": "metrics",
    "metrics of a table": "columns",
    "directory of a finished run": "run",
    "directories of finished runs": "runs",
    # where results go, and how
    "output": "out",
    "kind of file": "format",
    "one line of JSON": "json",
    "a table of the documentation": "markdown",
    "a FiftyOne dataset": "fiftyone",
    "seed": "seed",
    "seeds": "seeds",
    "processes": "processes",
    "share of the work": "shard",
    "kind of index": "kind",
    "YAML file of all this": "config",  # in Python, which has none: of the input
    # pages
    "file of clicks": "clicks",
    "names of parts": "parts",
    "address": "host",
    "port": "port",
    # of one command
    "look for repeats": "leaks",
    "as the network sees it": "transformed",
    "take parts out": "remove",
    "scale parts": "scale",
    "merge parts": "merge",
    "take edits back": "restore",
    "take the last edit back": "undo",
    "take flagged parts out": "flagged",
    "count again on other images": "changed",
    "print a recipe": "show",
    "shell": "shell",
}
"""Concept -> its name. A new option goes here: under its concept, or as a new one."""

LIGHTNING = {
    "ckpt_path": "ckpt",
    "trainer.default_root_dir": "out",
    "seed_everything": "seed",
    "trainer.devices": "processes",
    "trainer.max_epochs": "",
    "trainer.logger": "",
    "trainer.callbacks": "",
    "print_config": "",
}
"""Names that Lightning gives, and what we would call them."""

TRAINING = {
    *("optimizer", "lr", "weight_decay", "warmup_epochs", "label_smoothing"),
    *("pretrained", "freeze_backbone", "frozen_modules"),
}
"""Of the training of classifiers; in no other command."""


EXPERIMENTS = {
    # what is tried
    *("ways", "head", "draws", "clicked", "choosing", "entries", "spread", "first", "only"),
    *("preset", "train_per_class", "test_per_class", "trials", "limit", "repeats"),
    # of what size, where, how long
    *("device", "memory", "timeout", "nodes", "patches", "width", "processor_time"),
    *("tflops", "bandwidth", "cores", "network"),
    # what is read and written
    *("files", "file", "filter", "again", "transformer", "expected", "write_expected"),
    *("online", "wandb", "dry_run"),
}
"""What only `python -m experiments.*` have."""

OWN = {
    "PrototypeNetwork.flagged: kinds",  # several words of --flagged
    *(f"ProtoPNetTask: {name}" for name in ("backbone_lr", "last_epochs", "last_lr", "width")),
    "ProtoPNetTask: similarity",
}
"""Parameters that no command has as an option."""


def options(parser):
    """Names of a parser's options, as they are typed, and of what it takes without a name."""
    for action in parser._actions:
        names = [word for word in action.option_strings if word.startswith("--")] or [action.dest]
        for name in names:
            if name not in ("--help", "help"):
                yield name.removeprefix("--").removesuffix("+")


def given():
    """(command, option) of all commands."""
    for name in SMALL_COMMANDS:
        command = command_of(name) if name != "benchmark" else None
        if isinstance(command, dict):
            for word, function in command.items():
                for option in options(make_parser(f"ppn {name} {word}", function)):
                    yield f"{name} {word}", option
        else:
            for option in options(parser_of(name)):
                yield name, option
    for option in OPTIONS:
        yield "/".join(option.only or ABOUT), option.name.removesuffix("+")


def plain(name):
    """A name without what it belongs to: `model.k` and `k` are one."""
    if name in ("data.root", "data.KEY"):
        return name
    return re.sub(r"^(model|data)\.", "", name)


def test_every_option_of_every_command_has_the_name_of_its_concept():
    known = [*NAMES.values()]
    assert len(set(known)) == len(known), "one name for two concepts"
    strange = [
        f"{command}: --{name}"
        for command, name in given()
        if plain(name) not in {*known, *LIGHTNING, *TRAINING} and not name.endswith("help")
    ]
    assert strange == []


def test_functions_call_things_as_the_commands_do():
    network = ppn.PrototypeNetwork
    functions = [ppn.from_classifier, network.explain, network.flagged]
    functions += [ClassificationTask, PrototypeTask, ProtoPNetTask]
    commands = {plain(name) for _, name in given()}
    strange = {
        f"{function.__qualname__}: {name}"
        for function in functions
        for name in inspect.signature(function).parameters
        if name not in {*commands, *NAMES.values(), *TRAINING, "self"}
    }
    assert strange == OWN


def test_the_help_lists_every_command():
    listed = re.findall(r"^  (\w+) +\S", HELP.partition("commands")[2], re.MULTILINE)
    assert {*ABOUT, *SMALL_COMMANDS} <= {*listed}


ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "experiments").rglob("*.py")
    if re.search(r"(ArgumentParser|study_parser)\(.*__main__", file.read_text(), re.DOTALL)
)


class Seen(Exception):
    """A parser that was about to parse."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_experiments_call_things_as_the_commands_do(program, monkeypatch):
    def caught(parser, *_):
        raise Seen(parser)

    monkeypatch.setattr("sys.argv", [program])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", caught)
    with pytest.raises(Seen) as seen:
        importlib.import_module(program).main()
    names = {plain(name) for name in options(seen.value.args[0])}
    assert names - {*NAMES.values(), *EXPERIMENTS} == set()


def test_the_crawl_calls_things_as_the_commands_do():
    assert {*options(make_parser("", zoo))} <= {*NAMES.values(), *EXPERIMENTS}


def test_no_name_of_an_experiment_is_out_of_use():
    assert not EXPERIMENTS & {*NAMES.values()}
