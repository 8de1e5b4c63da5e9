"""`ppn edit`: remove, scale, merge and restore parts of a fitted network, and save another one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ppn.errors import PPNError
from ppn.io.files import user_path
from ppn.io.terminal import console
from ppn.visualization.numbers import number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.prototypes.effects import Effect
    from ppn.prototypes.network import PrototypeNetwork

_LISTED = 10


def edit(
    *,
    ckpt: str,
    out: str,
    remove: list[str] = [],  # noqa: B006 - the parser copies it
    scale: list[str] = [],  # noqa: B006
    merge: list[str] = [],  # noqa: B006
    restore: list[str] = [],  # noqa: B006
    undo: bool = False,
    data: str | None = None,
    root: str | None = None,
    split: str = "test",
    set: list[str] = [],  # noqa: B006 - as in `ppn data`
    architecture: str | None = None,
) -> int:
    """Edit the parts of a network in closed form, and save it as another one.

    Args:
        ckpt: Checkpoint of a prototype network; it is left as it is.
        out: Folder for the edited network: checkpoints/prototypes.ckpt, prototypes.safetensors,
            prototypes.json, gallery/ and edits.json.
        remove: CLASS:PART, or several parts as CLASS:1,3, numbered from 1 as in pictures.
        scale: CLASS:PART=FACTOR.
        merge: CLASS:1,3 adds part 3 to part 1; the logit stays as it is.
        restore: CLASS or CLASS:PART whose edits are taken back first, or "all".
        undo: Take back the last edit, before anything else.
        data: Data set on which to count what the edits do; see ppn data list.
        root: Its folder.
        split: Which of its images: train, val or test.
        set: KEY=VALUE, an option of the data set.
        architecture: module:factory, if the model is your own code.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If there is no such class or part, or out holds a network already.
    """
    from ppn.data.build import build, parse_options
    from ppn.prototypes.edited import expect_free, write_edited
    from ppn.prototypes.load import load

    if split not in ("train", "val", "test"):
        raise PPNError(f"There is no split '{split}': choose train, val or test.")
    if not (remove or scale or merge or restore or undo):
        raise PPNError("There is nothing to edit: give --remove, --scale, --merge or --restore.")
    folder = user_path(out)
    expect_free(folder)
    module = None if data is None else build(data, root, parse_options(set))
    network = load(ckpt, architecture=architecture)
    if undo:
        network.undo()
    for text in restore:
        name, part = (None, None) if text == "all" else _restored(text, network.class_names)
        network.restore(name, part)
    for text in remove:
        name, parts = _parts(text, network.class_names, "remove")
        network.remove(name, *parts)
    for text in scale:
        words, _, factor = text.rpartition("=")
        name, parts = _parts(words or text, network.class_names, "scale")
        if len(parts) != 1 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", factor):
            raise PPNError(f"--scale {text} is not of the form CLASS:PART=FACTOR.")
        network.scale(name, parts[0], float(factor))
    for text in merge:
        name, parts = _parts(text, network.class_names, "merge")
        network.merge(name, *parts)
    effect = None
    if module is not None:
        if list(module.class_names) != network.class_names:
            raise PPNError(f"{data} has other classes than {ckpt}: give the data it was fitted on.")
        module.input_config = network.input_config
        effect = _effect(network, module, split)
    counted = None if effect is None else {"data": data, "split": split, **effect.to_dict()}
    target = write_edited(network, ckpt, folder, counted)
    _tell(network, effect, target)
    return 0


def _parts(text: str, names: Sequence[str], option: str) -> tuple[str, list[str]]:
    """Split CLASS:1,3 into the class and its parts; a class may have a colon in its name."""
    name, colon, parts = text.rpartition(":")
    if not colon or not name or not parts.strip():
        raise PPNError(f"--{option} {text} is not of the form CLASS:PART, as in '{names[0]}:2'.")
    return name, [part.strip() for part in parts.split(",")]


def _restored(text: str, names: Sequence[str]) -> tuple[str, str | None]:
    if text in names or ":" not in text:
        return text, None
    name, parts = _parts(text, names, "restore")
    return name, parts[0]


def _effect(network: PrototypeNetwork, module: Any, split: str) -> Effect:  # noqa: ANN401
    import torch
    from torch.utils.data import DataLoader

    network.to("cuda" if torch.cuda.is_available() else "cpu")
    view = module.view(split)
    if not len(view):
        raise PPNError(f"There are no {split} images: choose another --split.")
    return network.cache(DataLoader(view, module.batch_size)).effect(network)


def _tell(network: PrototypeNetwork, effect: Effect | None, target: Path) -> None:
    """Print what was edited, what it does, and where the network is."""
    terminal = console()
    for made in network.edits:
        terminal.print(made.words(network.class_names))
    if not network.edits:
        terminal.print("Nothing is edited any more: this is the black box again.")
    elif network.is_black_box:
        terminal.print("Logits are still the black box's.")
    else:
        terminal.print("This network is no longer the black box: its certificate says so.")
    if effect is not None:
        before, after = effect.accuracy
        terminal.print(
            f"Accuracy {percent(before, 2)} -> {percent(after, 2)} on {effect.images} images; "
            f"{effect.changed} predictions change."
        )
        table = Table("edited class", "images", "found", "predicted as it", "mean change of logit")
        for item in effect.classes:
            found = "" if item.recall is None else " -> ".join(map(percent, item.recall))
            predicted = " -> ".join(map(str, item.predicted))
            table.add_row(item.name, str(item.images), found, predicted, number(item.logit_change))
        terminal.print(table)
        if effect.confusions:
            table = Table("true class", "predicted", "images before", "after")
            for pair in effect.confusions[:_LISTED]:
                table.add_row(pair.true, pair.predicted, str(pair.before), str(pair.after))
            terminal.print(table)
    terminal.print(f"-> {target}")
