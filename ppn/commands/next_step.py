"""What to type after `ppn fit` and `ppn test`, made of what was typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ppn.callbacks.discovery import CHECKPOINT
from ppn.commands.recipes import SCHEME, available
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.prototypes import PrototypeTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning import LightningModule, Trainer

_DATA = ("--config", "-c", "--data", "--model.architecture")
_STAGE_2 = ("--model", "ppn:model/prototypes", "--trainer", "ppn:trainer/prototypes")


def next_step(words: Sequence[str], trainer: Trainer, module: LightningModule) -> str | None:
    """Return what to run next, with the same recipe and data; None if nothing follows.

    Args:
        words: What was typed after `ppn`.
        trainer: The trainer of a finished `fit` or `test`.
        module: What it has fitted or tested.
    """
    command = "".join(words[:1])
    if trainer.interrupted or command not in ("fit", "test"):
        return None
    if command == "test" and not (trainer.ckpt_path and isinstance(module, PrototypeTask)):
        return None
    if command == "test":
        saved, data = str(trainer.ckpt_path), _kept(words, ("--data",))
        lines = [
            ["ppn", "explain", "IMAGE", "--ckpt", saved],
            ["ppn", "edit", "--ckpt", saved, "--remove", "CLASS:2", "--out", "FOLDER", *data],
        ]
    elif isinstance(module, PrototypeTask):
        made = str(Path(trainer.default_root_dir, "checkpoints", CHECKPOINT))
        kept = _kept(words, (*_DATA, "--model", "--trainer"))
        lines = [
            ["ppn", "test", *kept, "--ckpt_path", _short(made)],
            ["ppn", "explain", "IMAGE", "--ckpt", _short(made)],
        ]
    elif isinstance(module, ClassificationTask):
        made = getattr(trainer.checkpoint_callback, "best_model_path", "")
        ckpt = ["--model.classifier_ckpt", _short(made)]
        kept = _kept(words, _DATA)
        paired = [_pair(word) for word in kept]
        following = [*kept, *_STAGE_2] if paired == kept else paired
        lines = [["ppn", "fit", *following, *ckpt]] if made else []
    else:
        lines = []
    return "\n".join(["next:", *(f"  {shlex.join(line)}" for line in lines)]) if lines else None


def _pair(word: str) -> str:
    """The recipe of prototypes that goes with the classifier's, where both are ours."""
    named = {f"{SCHEME}{name}": name for name in available()}
    ours = {str(path): name for name, path in available().items()}
    name = named.get(word.removesuffix(".yaml")) or ours.get(str(Path(word).absolute()))
    pair = re.sub(r"(^|/)(classifier|probe|finetune)", r"\1prototypes", name or "")
    return f"{SCHEME}{pair}" if pair != name and pair in available() else word


def _kept(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Options of these names and those of the data, each with its values."""
    keeping, kept = False, []
    for word in words[1:]:
        if word.startswith("-") and not word[1:2].isdigit():
            name = word.split("=")[0].rstrip("+")
            keeping = name in names or name.startswith("--data.")
        if keeping:
            kept.append(word)
    return kept


def _short(path: str) -> str:
    """As seen from here, where it is below."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else path
