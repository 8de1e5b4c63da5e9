"""`ppn edit`: remove, scale, merge and restore parts of a fitted network, and save another one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ppn.commands.parsing import parts_of_class
from ppn.errors import PPNError
from ppn.io.files import user_path
from ppn.io.terminal import console
from ppn.visualization.numbers import number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.prototypes.effects import Effect
    from ppn.prototypes.flags import Flag, FlagKind
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
    flagged: list[str] = [],  # noqa: B006
    run: str | None = None,
    data: str | None = None,
    root: str | None = None,
    split: str = "test",
    set: list[str] = [],  # noqa: B006 - as in `ppn data`
    changed: list[str] = [],  # noqa: B006
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
        flagged: Kind of flag whose parts are taken out: outside (mostly background), foreign,
            unsteady or little; duplicate merges a part into the one that it is like.
        run: Directory of the ppn test that raised the flags.
        data: The data on which to count what the edits do: a file of configs/data, or a short name,
            as `ppn data list` shows it.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        split: Which of its images: train, val or test.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        changed: KEY=VALUE, an option with which images are counted a second time, such as
            background=1 to have another background behind the same birds.
        architecture: module:factory, if the model is your own code.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If there is no such class or part, or out holds a network already.
    """
    from ppn.data.build import build_config, parse_options
    from ppn.prototypes.edited import expect_free, write_edited
    from ppn.prototypes.load import load

    if split not in ("train", "val", "test"):
        raise PPNError(f"There is no split '{split}': choose train, val or test.")
    if not (remove or scale or merge or restore or undo or flagged):
        raise PPNError(
            "There is nothing to edit: give --remove, --scale, --merge, --restore or --flagged."
        )
    if flagged and run is None:
        raise PPNError("--flagged needs --run, the directory of a `ppn test` with flags.")
    if changed and data is None:
        raise PPNError("--changed needs --data, the data set whose images are counted again.")
    folder = user_path(out)
    expect_free(folder)
    modules = {} if data is None else {"as they are": build_config(data, root, parse_options(set))}
    if data is not None and changed:
        modules[" ".join(changed)] = build_config(data, root, parse_options([*set, *changed]))
    network = load(ckpt, architecture=architecture)
    if undo:
        network.undo()
    for text in restore:
        name, part = (None, None) if text == "all" else _restored(text, network.class_names)
        network.restore(name, part)
    for text in remove:
        name, parts = parts_of_class(text, network.class_names, "remove")
        network.remove(name, *parts)
    for text in scale:
        words, _, factor = text.rpartition("=")
        name, parts = parts_of_class(words or text, network.class_names, "scale")
        if len(parts) != 1 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", factor):
            raise PPNError(f"--scale {text} is not of the form CLASS:PART=FACTOR.")
        network.scale(name, parts[0], float(factor))
    for text in merge:
        name, parts = parts_of_class(text, network.class_names, "merge")
        network.merge(name, *parts)
    kept = [] if run is None else _drop(network, run, flagged)
    if flagged and not (network.edits or restore or undo):
        raise PPNError(f"No part is flagged as {' or '.join(flagged)}: there is nothing to edit.")
    effects = {}
    for images, module in modules.items():
        if list(module.class_names) != network.class_names:
            raise PPNError(f"{data} has other classes than {ckpt}: give the data it was fitted on.")
        module.input_config = network.input_config
        effects[images] = _effect(network, module, split)
    target = write_edited(network, ckpt, folder, _counted(effects, data, split, changed))
    _tell(network, effects, kept, target)
    return 0


def _restored(text: str, names: Sequence[str]) -> tuple[str, str | None]:
    if text in names or ":" not in text:
        return text, None
    name, parts = parts_of_class(text, names, "restore")
    return name, parts[0]


def _drop(network: PrototypeNetwork, run: str, kinds: Sequence[str]) -> list[Flag]:
    from ppn.prototypes.dropping import drop

    chosen: list[FlagKind] = list(kinds)  # type: ignore[arg-type]  # `flagged` checks them
    return drop(network, network.flagged(run, *chosen)) if chosen else []


def _counted(
    effects: dict[str, Effect], data: str | None, split: str, changed: Sequence[str]
) -> dict[str, Any] | None:
    """What `edits.json` says of the effects."""
    if not effects:
        return None
    first, *others = effects.values()
    again = {"again": {"set": list(changed), **others[0].to_dict()}} if others else {}
    return {"data": data, "split": split, **first.to_dict(), **again}


def _effect(network: PrototypeNetwork, module: Any, split: str) -> Effect:  # noqa: ANN401
    import torch
    from torch.utils.data import DataLoader

    network.to("cuda" if torch.cuda.is_available() else "cpu")
    view = module.view(split)
    if not len(view):
        raise PPNError(f"There are no {split} images: choose another --split.")
    return network.cache(DataLoader(view, module.batch_size)).effect(network)


def _tell(
    network: PrototypeNetwork, effects: dict[str, Effect], kept: Sequence[Flag], target: Path
) -> None:
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
    for flag in kept:
        name = network.class_names[flag.label]
        terminal.print(f"Part {flag.number} of {name} stays: it is the only one left.")
    for images, effect in effects.items():
        before, after = effect.accuracy
        which = f" ({images})" if len(effects) > 1 else ""
        terminal.print(
            f"Accuracy {percent(before, 2)} -> {percent(after, 2)} on {effect.images} images"
            f"{which}; {effect.changed} predictions change."
        )
        table = Table(
            *("edited class", "images", "found", "predicted as it"),
            *("mean change of its logit on its images", "on all"),
        )
        for item in effect.classes:
            found = "" if item.recall is None else " -> ".join(map(percent, item.recall))
            predicted = " -> ".join(map(str, item.predicted))
            changes = map(_change, (item.own_change, item.logit_change))
            table.add_row(item.name, str(item.images), found, predicted, *changes)
        terminal.print(table)
        if effect.confusions:
            table = Table("true class", "predicted", "images before", "after")
            for pair in effect.confusions[:_LISTED]:
                table.add_row(pair.true, pair.predicted, str(pair.before), str(pair.after))
            terminal.print(table)
    terminal.print(f"-> {target}")


def _change(value: float | None) -> str:
    """A change of a logit with its sign; what is but rounding, as after a merge, is none."""
    text = number(value if value is None or abs(value) > 1e-6 else 0.0)
    return f"+{text}" if value is not None and value > 1e-6 else text
