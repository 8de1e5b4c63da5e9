"""`ppn index`: all patches of the training images, so that they can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppn.errors import PPNError
from ppn.io.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.prototypes.patch_index import PatchIndex
    from ppn.prototypes.patch_shards import PatchShards


def index(
    *,
    ckpt: str,
    data: str | None = None,
    root: str | None = None,
    set: list[str] = [],  # noqa: B006 - the parser copies it
    out: str | None = None,
    shard: str = "1/1",
    kind: Literal["auto", "flat", "ivf_sq8", "ivf_pq"] = "auto",
    architecture: str | None = None,
) -> int:
    """Keep the patches of all training images, to search them and to see what else parts fire on.

    Args:
        ckpt: Checkpoint of a prototype network.
        data: Its data: a file of configs/data, or a short name; None: the config.yaml of its run.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        out: Folder of the index; `index` in the run's directory unless given. What is there already
            is gone on with.
        shard: A/B: only the A-th of B shares of the classes, so that B processes divide the work;
            the one that ends last completes the index.
        kind: flat searches exactly, the others by FAISS; auto chooses by the number of patches.
        architecture: module:factory, if the model is your own code.

    Returns:
        Exit code 0.

    Raises:
        PPNError: After a mistake in the input.
    """
    import torch

    from ppn.prototypes.load import load
    from ppn.prototypes.patch_index import FOLDER, build_index
    from ppn.prototypes.patch_shards import PatchShards, about_patches

    share, shares = _shard(shard)
    network = load(ckpt, architecture=architecture)
    module = training_data(network, ckpt, data, root, set)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    folder = Path(out).expanduser() if out else Path(ckpt).resolve().parent.parent / FOLDER
    shards = PatchShards(folder, about_patches(network, module))
    there, labels = frozenset(shards.labels), module.labels
    wanted = [label for label in labels[share - 1 :: shares] if label not in there]
    terminal = console()
    if len(wanted) < len(labels[share - 1 :: shares]):
        terminal.print(f"Going on: {len(there)} of {len(labels)} classes are in {folder}.")
    _fill(network, module, shards, wanted)
    left = len({*labels}.difference(shards.labels))
    if left and shares > 1:
        terminal.print(f"Shard {shard} is done; {left} classes are left to the other shards.")
        return 0
    made = build_index(shards, labels, None if kind == "auto" else kind)
    _tell(network, made, folder)
    return 0


def training_data(
    network: PrototypeNetwork, ckpt: str, data: str | None, root: str | None, set: Sequence[str]
) -> FineGrainedDataModule:
    """Return the data that a network was fitted on.

    Args:
        network: The network.
        ckpt: Its checkpoint, beside whose folder the run's config.yaml is.
        data: See `index`.
        root: See `index`.
        set: See `index`.

    Raises:
        PPNError: If it is not said, or has other classes.
    """
    from ppn.data.build import build_config, parse_options

    if data is None:
        config = Path(ckpt).resolve().parent.parent / "config.yaml"
        if not config.is_file():
            raise PPNError(f"There is no {config} that says what {ckpt} was fitted on: add --data.")
        data = str(config)
    module = build_config(data, root, {"num_workers": 0, **parse_options(set)})
    module.follow_classes(f"Checkpoint {ckpt}", network.class_names, len(network.class_names))
    module.input_config = network.input_config
    return module


def _shard(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise PPNError(f"--shard {text} is not of the form A/B, as in --shard 2/4.")
    return int(first), int(second)


def _fill(
    network: PrototypeNetwork,
    module: FineGrainedDataModule,
    shards: PatchShards,
    wanted: Sequence[int],
) -> None:
    """Run the classifier over the images of some classes, one after the other."""
    import torch
    from rich.progress import track

    from ppn.prototypes.stream import class_by_class

    if not wanted:
        return
    loader = module.discovery_loader(*([label] for label in wanted))
    batches = (
        (network.tokens(batch["image"], patches=True), batch["label"].tolist(), batch["index"])
        for batch in track(loader, "Indexing patches", console=console())
    )
    with torch.no_grad():
        for item in class_by_class(batches, module.class_names):
            shards.write(item, module.train_source.name)


def _tell(network: PrototypeNetwork, made: PatchIndex, folder: Path) -> None:
    """Look up every prototype, keep what is near it, and name those that fire on others."""
    from ppn.io.files import write_json
    from ppn.prototypes.flags import LIMITS
    from ppn.prototypes.foreign import foreign_shares

    found = network.dictionary.found.cpu() == 1
    shares = foreign_shares(made, network.head.prototypes, network.dictionary.images)
    shares = shares.masked_fill(~found[:, None], float("nan"))
    limit = LIMITS["foreign"]
    rows = [
        {"label": label, "class": network.class_names[label], "prototype": part + 1, "foreign": v}
        for label, own in enumerate(shares.tolist())
        for part, v in enumerate(own)
        if v == v
    ]
    write_json(folder / "foreign.json", {"limit": limit, "prototypes": rows})
    flagged = [row for row in rows if row["foreign"] >= limit]
    terminal = console()
    terminal.print(f"{len(made):,} patches of {made.images:,} images are in {folder}.")
    terminal.print(
        f"{len(flagged)} of {len(rows)} prototypes fire on other classes as much as on their own; "
        f"foreign.json there has all."
    )
    for row in sorted(flagged, key=lambda row: -row["foreign"])[:10]:
        terminal.print(f"  {row['class']}, part {row['prototype']}: {row['foreign']:.0%} others")
