"""The command `ppn`: answers what it can at once and imports the rest only when needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ppn.allocator import keep_memory
from ppn.commands.recipes import resolve
from ppn.commands.short_help import ABOUT, FULL, SMALL_COMMANDS, lightning_parser
from ppn.errors import PPNError, nearest
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
usage: ppn [--version] [--help] COMMAND ...

Post-hoc part-prototype networks: every logit of a trained classifier as an exact sum of parts.

commands (each has its own --help; options come from YAML files and flags):
  check      say what is exact about explanations of a model, before any training
  fit        train a classifier, or discover the prototypes of a trained one
  validate   measure on the validation images, write metrics.json and the report
  test       measure on the test images, write metrics.json and the report
  predict    write a table of the test images: prediction and contributions
  trial      fit and then validate in one run, which is what a sweep repeats
  explain    explain images, one or thousands: pictures, JSON, a page, class against class
  app        see, switch off, compare and flag parts on a page in a browser
  edit       remove, scale or merge parts of a fitted network, and save another one
  export     write a network as one ONNX or torch.export graph: logits, contributions, maps
  compare    put finished runs side by side: a table, and a figure or file
  benchmark  score many explainers on the same images: tables and figures
  data       list the data sets, check one, or draw a sheet of its images
  annotate   click where named parts are on a few images, in a browser
  index      keep the patches of all training images, to search them
  search     find what looks like a crop, or what a part fires on
  recipes    list the recipes and fragments that --config ppn:NAME takes, or copy one
  completion print a script that completes commands and options in bash or zsh

  ppn fit --config ppn:probe --model ppn:backbone/resnet50 --data ppn:data/folder --data.root IMAGES
  ppn fit --config ppn:prototypes --data ppn:data/folder --data.root IMAGES \\
      --model.classifier_ckpt CKPT
  ppn test --config ppn:prototypes --data ppn:data/folder --data.root IMAGES --ckpt_path CKPT

Results go to runs/EXPERIMENT/TIME, or where --trainer.default_root_dir says.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command line without the program's name; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 2 after a mistake in the input.
    """
    given = list(sys.argv[1:] if args is None else args)
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    if given[0] == "--version":
        sys.stdout.write(f"ppn {__version__}\n")
        return 0
    if given[0] in ABOUT and {"-h", "--help"} & set(given[1:2]):
        lightning_parser(given[0]).print_help()
        return 0
    if given[0] not in (*ABOUT, *SMALL_COMMANDS):
        hint = nearest(given[0], (*SMALL_COMMANDS, *ABOUT)) or "see ppn --help."
        sys.stderr.write(f"ppn: There is no command '{given[0]}': {hint}\n")
        return 2
    keep_memory()
    try:
        given = given if given[0] == "recipes" else resolve(given)
    except PPNError as error:
        sys.stderr.write(f"ppn: {error}\n")
        return 2
    if given[0] in SMALL_COMMANDS:
        return _small(given[0], given[1:])
    from ppn.cli import run

    return run(["--help" if word == FULL else word for word in given])


def _small(name: str, arguments: list[str]) -> int:
    from ppn.commands.mistakes import mistake
    from ppn.commands.parsing import command_of, run

    try:
        if name == "benchmark":
            from ppn.commands.benchmark import main as benchmark

            return benchmark(arguments)
        return run(f"ppn {name}", command_of(name), arguments)
    except Exception as error:
        said = mistake(error, f"ppn {name}")
        if said is None:
            raise
        sys.stderr.write(f"ppn: {said}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
