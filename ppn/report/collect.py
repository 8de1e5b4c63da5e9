"""From an evaluated network and its data to what the report shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.data.transforms import to_picture
from ppn.explanation.attribute import shown_kind
from ppn.explanation.explain import explain
from ppn.explanation.record import Patch
from ppn.explanation.versus import Versus
from ppn.report.content import ClassCard, Prototype, Report
from ppn.report.measured import measured
from ppn.report.named import entries, entry_title, flagged, named_parts
from ppn.report.summary import certificate_facts, explainers, facts, metrics, notes, sensitivity

if TYPE_CHECKING:
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import AnnotatedDataset, ImageView
    from ppn.explanation.record import Explanation
    from ppn.explanation.terms import MapKind
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Split

_CANDIDATES = 96
"""Evaluated images among which those that are explained are chosen."""
_WRONG = 2
"""Most of the explained images whose prediction is wrong: mistakes must be explained too."""


@dataclass(frozen=True)
class Selection:
    """How much the report shows.

    Attributes:
        samples: Explained images.
        classes: Classes with their prototypes; those of the samples come first.
        patches: Nearest training patches of each prototype.
        maps: Which maps are shown; None as `ppn.explanation.explain` does.
    """

    samples: int = 10
    classes: int = 40
    patches: int = 4
    maps: MapKind | None = None


@torch.no_grad()
def collect(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    results: Results,
    selection: Selection,
) -> Report:
    """Gather everything the report shows.

    Args:
        network: A complete network.
        data: The data it was evaluated on.
        split: The evaluated split.
        results: What was measured.
        selection: How much to show.
    """
    network.eval()
    samples, versus = _samples(network, data, split, selection)
    count = len(data.labels)
    first = [sample.label for sample in samples]
    first += [pair.second.label for pair in versus.values()]
    labels = sorted(list(dict.fromkeys([*first, *data.labels]))[: selection.classes])
    total = len(data.class_names)
    of = "" if count == total else f" of the classifier's {total}"
    cards = _cards(network, data, labels, results, selection.patches)
    figures = {
        **results.figures,
        "head": network.classifier.inspection.to_dict(),
        "certificate": network.certificate,
    }
    found = measured(figures, "The evaluation")
    dataset = type(data).__name__.removesuffix("DataModule")
    return Report(
        title=f"{dataset}: every logit is a sum of parts",
        model=str(network.structure["architecture"]),
        dataset=f"{dataset}, {count}{of} classes",
        split=f"{split}, {figures['images']} images",
        facts=facts(found),
        certificate=certificate_facts(network),
        metrics=metrics(found),
        explainers=explainers(found),
        sensitivity=sensitivity(found),
        samples=[_with_patches(sample, cards) for sample in samples],
        versus={
            samples.index(sample): Versus(
                _with_patches(pair.first, cards), _with_patches(pair.second, cards)
            )
            for sample, pair in versus.items()
        },
        classes=cards,
        parts=named_parts(network, data, split, labels, results.having("share", "accuracy"))
        if network.part_names
        else entries(network, labels, results.having("share", "accuracy")),
        flags=flagged(network, results),
        notes=[*notes(network, found), *_about_maps(samples), *filter(None, [data.split_note])],
        total_classes=count,
        created=date.today().isoformat(),
    )


def _about_maps(samples: list[Explanation]) -> list[str]:
    """Tell the maps that are shown from those that were measured, where they are not the same."""
    if not any(sample.terms for sample in samples):
        return []
    return [
        "The explained images show maps that are made to add up, and say by how much each misses "
        "its contribution. What is said above of maps, and the metrics, are of the maps of cells."
    ]


def _samples(
    network: PrototypeNetwork, data: FineGrainedDataModule, split: Split, selection: Selection
) -> tuple[list[Explanation], dict[Explanation, Versus]]:
    """Explain clear right predictions of different classes, and some wrong ones.

    Wrong ones come with their predicted class held against the true one, where that has parts.
    """
    wanted = selection.samples
    view = data.view(split)
    spread = np.unique(np.linspace(0, len(view) - 1, min(_CANDIDATES, len(view))).astype(int))
    candidates = view.at(view.indices[spread])
    index_of: dict[Explanation, int] = {}
    rivals: dict[Explanation, Explanation] = {}
    known = set(network.dictionary.found.nonzero()[:, 0].tolist())
    for batch in _batches(candidates, data.batch_size, network):
        names = [view.source.name(index) for index in batch["index"].tolist()]
        true = batch["label"].tolist()
        # Maps that take many passes are made for those alone that are chosen.
        found = explain(network, batch["image"], names, true=true, maps="cells")
        # A class without training images has no parts to show.
        indexed = zip(found, batch["index"].tolist(), strict=True)
        index_of |= {one: index for one, index in indexed if one.label in known}
        missed = [row for row, label in enumerate(true) if label in known and _wrong(found[row])]
        if missed:
            labels = [true[row] for row in missed]
            theirs = [names[row] for row in missed]
            held = explain(network, batch["image"][missed], theirs, labels, labels, maps="cells")
            rivals |= {found[row]: rival for row, rival in zip(missed, held, strict=True)}
    explained = sorted(index_of, key=lambda sample: -sample.probability)
    right = [sample for sample in explained if not _wrong(sample)]
    wrong = [sample for sample in explained if _wrong(sample)]
    wrong = wrong[: min(_WRONG, wanted)]
    # The clearest of each class first, then the rest.
    clearest = {sample.label: sample for sample in reversed(right)}
    different = sorted(clearest.values(), key=lambda sample: -sample.probability)
    others = [sample for sample in right if clearest[sample.label] is not sample]
    chosen = [*different, *others][: wanted - len(wrong)] + wrong
    pairs = {sample: rivals[sample] for sample in wrong if sample in rivals}
    if shown_kind(network.classifier, selection.maps) == "cells":
        return chosen, {sample: Versus(sample, rival) for sample, rival in pairs.items()}
    again = partial(_again, network, data, split, selection)
    shown = {sample: again(sample, index_of[sample]) for sample in chosen}
    versus = {
        shown[sample]: Versus(shown[sample], again(rival, index_of[sample]))
        for sample, rival in pairs.items()
    }
    return list(shown.values()), versus


def _wrong(sample: Explanation) -> bool:
    return sample.class_name != sample.true_class


def _again(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    selection: Selection,
    sample: Explanation,
    index: int,
) -> Explanation:
    """Explain an image with the maps that were asked for."""
    (batch,) = _batches(data.view(split).at(np.array([index])), 1, network)
    true = batch["label"].tolist()
    (found,) = explain(
        network, batch["image"], [sample.name], [sample.label], true, maps=selection.maps
    )
    return found


def _with_patches(sample: Explanation, cards: list[ClassCard]) -> Explanation:
    """Give an explanation the nearest patches of its class, where the report shows that."""
    for card in cards:
        if card.label == sample.label:
            nearest = (p.patches[0] if p.patches else None for p in card.prototypes)
            return replace(sample, patches=tuple(nearest))
    return sample


def _cards(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    labels: list[int],
    results: Results,
    patches: int,
) -> list[ClassCard]:
    """One card for each class, with the maps of its prototypes on their nearest images."""
    found = network.dictionary
    pictures = _pictures(network, data, labels, patches)
    parts, names = data.part_names, network.part_names
    consistency = results.having("covered", "images")
    shares = results.having("share", "accuracy")
    cards = []
    for label in labels:
        prototypes = []
        for index in range(network.k):
            covered = None if consistency is None else consistency.covered(label, index)
            prototypes.append(
                Prototype(
                    index=index,
                    patches=pictures[label, index],
                    share=float(shares.share[label, index]),
                    cosine=float(found.cosine[label, index]),
                    part=parts[covered[0]] if covered else None,
                    part_rate=covered[1] if covered else None,
                    consistent=covered[2] if covered else None,
                    name=names[index] if names else entry_title(network, label, index),
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


def _pictures(
    network: PrototypeNetwork, data: FineGrainedDataModule, labels: list[int], count: int
) -> dict[tuple[int, int], list[Patch]]:
    """The nearest training patches of each (class, prototype), with the prototype's map."""
    found, source = network.dictionary, data.train_source
    shown = [
        (label, index, rank)
        for label in labels
        for index in range(network.k)
        for rank in range(min(count, len(network.image_names[label][index])))
        # Of other training images than those of `fit`, the same index may be another image.
        if _is_named(source, int(found.patch_index[label, index, rank]))
        == network.image_names[label][index][rank]
    ]
    pictures: dict[tuple[int, int], list[Patch]] = {
        (label, index): [] for label in labels for index in range(network.k)
    }
    view = data.view("train")
    indices = [int(found.patch_index[key]) for key in shown]
    wanted = view.at(indices)
    remaining = iter(shown)
    for batch in _batches(wanted, data.batch_size, network):
        tokens = network.tokens(batch["image"])
        maps = network.head.maps(tokens, batch["label"]).cpu().numpy()
        for row, image in enumerate(batch["image"]):
            label, index, rank = next(remaining)
            x0, y0, x1, y1 = found.patch_box[label, index, rank].tolist()
            pictures[label, index].append(
                Patch(
                    image=to_picture(image, network.input_config),
                    box=(x0, y0, x1, y1),
                    score=float(found.patch_score[label, index, rank]),
                    name=view.source.name(int(batch["index"][row])),
                    heatmap=maps[row, index],
                )
            )
    return pictures


def _is_named(source: AnnotatedDataset, index: int) -> str | None:
    return source.name(index) if index < len(source) else None


def _batches(view: ImageView, size: int, network: PrototypeNetwork) -> Any:  # noqa: ANN401
    """Batches of a view on the network's device, without workers: few images, read once."""
    device = network.dictionary.parts.device
    for batch in torch.utils.data.DataLoader(view, batch_size=size):
        yield {key: value.to(device) for key, value in batch.items()}
