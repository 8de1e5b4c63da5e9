"""A class's prototypes as the report shows them: on training images, and on evaluated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.data.transforms import to_picture
from ppn.explanation.record import Patch
from ppn.report.named import entry_title
from ppn.report.parts import ClassCard, Prototype, Sighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import AnnotatedDataset, ImageView
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.report.examined import Examined
    from ppn.report.parts import Flagged
    from ppn.types import Split


def class_cards(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    labels: list[int],
    results: Results,
    seen: Examined,
    flags: Sequence[Flagged],
    patches: int,
) -> list[ClassCard]:
    """Return one card for each class, with its prototypes on their nearest images.

    Args:
        network: A complete network.
        data: The data it was evaluated on.
        split: The evaluated split.
        labels: The classes.
        results: What was measured.
        seen: What was seen on the evaluated images.
        flags: What speaks against prototypes.
        patches: Nearest training patches of each prototype; of 0 there are no pictures at all.
    """
    found = network.dictionary
    pictures = _pictures(network, data, labels, patches) if patches else {}
    sightings = _sightings(network, data, split, labels, seen) if patches else {}
    parts, names = data.part_names, network.part_names
    consistency = results.having("covered", "images")
    shares = results.having("share", "accuracy")
    against: dict[tuple[int, int], tuple[str, ...]] = {}
    for flag in flags:
        place = flag.label, flag.index
        against[place] = (*against.get(place, ()), flag.words)
    cards = []
    for label in labels:
        prototypes = []
        for index in range(network.k):
            # The map of a part that was removed is zero everywhere, and lies nowhere.
            gone = not bool(network.head.prototypes[label, index].any())
            here = not gone and bool(seen.places[label, index].any())
            covered = consistency.covered(label, index) if consistency and not gone else None
            outside = float("nan") if gone else float(seen.outside[label, index])
            prototypes.append(
                Prototype(
                    index=index,
                    patches=pictures.get((label, index), []),
                    share=float(shares.share[label, index]),
                    cosine=float(found.cosine[label, index]),
                    part=parts[covered[0]] if covered else None,
                    part_rate=covered[1] if covered else None,
                    consistent=covered[2] if covered else None,
                    name=entry_title(network, label, index) or (names[index] if names else None),
                    outside=None if np.isnan(outside) else outside,
                    place=seen.places[label, index] if here else None,
                    flags=() if gone else against.get((label, index), ()),
                    sightings=[] if gone else sightings.get((label, index), []),
                )
            )
        evaluated = int(shares.images[label]) > 0
        cards.append(
            ClassCard(
                label=label,
                name=data.class_names[label],
                prototypes=prototypes,
                images=int(found.images[label]),
                accuracy=float(shares.accuracy[label]) if evaluated else None,
            )
        )
    return cards


def _sightings(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    labels: list[int],
    seen: Examined,
) -> dict[tuple[int, int], list[Sighting]]:
    """The evaluated images to which each part adds most; each image is run once."""
    found: dict[tuple[int, int], list[Sighting]] = {}
    view = data.view(split)
    for label in labels:
        wanted = np.unique(seen.best[label])
        shown: dict[int, tuple[Any, Any, str]] = {}
        for batch in batches(view.at(wanted[wanted >= 0]), data.batch_size, network):
            maps = network.head.maps(network.tokens(batch["image"]), batch["label"])
            for row, index in enumerate(batch["index"].tolist()):
                picture = to_picture(batch["image"][row], network.input_config)
                shown[index] = picture, maps[row].cpu().numpy(), view.source.name(index)
        for part in range(network.k):
            found[label, part] = [
                Sighting(shown[index][0], shown[index][1][part], shown[index][2])
                for index in seen.best[label, part].tolist()
                if index >= 0
            ]
    return found


def _pictures(
    network: PrototypeNetwork, data: FineGrainedDataModule, labels: list[int], count: int
) -> dict[tuple[int, int], list[Patch]]:
    """The nearest training patches of each (class, prototype), with the prototype's map."""
    found, source = network.dictionary, data.train_source
    view = data.view("train")
    pictures: dict[tuple[int, int], list[Patch]] = {}
    for label in labels:
        # Of other training images than those of `fit`, the same index may be another image.
        shown = {
            part: [
                (rank, int(found.patch_index[label, part, rank]))
                for rank, name in enumerate(names[:count])
                if _is_named(source, int(found.patch_index[label, part, rank])) == name
            ]
            for part, names in enumerate(network.image_names[label])
        }
        seen: dict[int, tuple[Any, Any, str]] = {}  # each image once, whatever parts it is near
        wanted = sorted({index for ranks in shown.values() for _, index in ranks})
        for batch in batches(view.at(wanted), data.batch_size, network):
            maps = network.head.maps(network.tokens(batch["image"]), batch["label"])
            for row, index in enumerate(batch["index"].tolist()):
                picture = to_picture(batch["image"][row], network.input_config)
                seen[index] = picture, maps[row].cpu().numpy(), view.source.name(index)
        for part, ranks in shown.items():
            pictures[label, part] = []
            for rank, index in ranks:
                image, grids, name = seen[index]
                x0, y0, x1, y1 = found.patch_box[label, part, rank].tolist()
                score = float(found.patch_score[label, part, rank])
                pictures[label, part].append(
                    Patch(image, (x0, y0, x1, y1), score, name, grids[part])
                )
    return pictures


def _is_named(source: AnnotatedDataset, index: int) -> str | None:
    return source.name(index) if index < len(source) else None


def batches(view: ImageView, size: int, network: PrototypeNetwork) -> Any:  # noqa: ANN401
    """Yield a view's batches on the network's device, without workers: few images, read once."""
    device = network.dictionary.parts.device
    for batch in torch.utils.data.DataLoader(view, batch_size=size):
        yield {key: value.to(device) for key, value in batch.items()}
