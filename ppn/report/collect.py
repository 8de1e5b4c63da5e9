"""From an evaluated network and its data to what the report shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ppn.explanation.attribute import shown_kind
from ppn.explanation.explain import explain
from ppn.explanation.versus import Versus
from ppn.report.cards import batches, class_cards
from ppn.report.confusion import confusion
from ppn.report.content import Report
from ppn.report.examined import Examined, examine
from ppn.report.measured import measured
from ppn.report.named import entries, flagged, named_parts
from ppn.report.summary import certificate_facts, explainers, facts, metrics, notes, sensitivity

if TYPE_CHECKING:
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.explanation.record import Explanation
    from ppn.explanation.terms import MapKind
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.report.content import ClassCard
    from ppn.types import Split

_CANDIDATES = 96
"""Evaluated images among which those that are explained are chosen."""
_WRONG = 8
"""Most explained images whose prediction is wrong."""
_AMONG = 2
"""As many of them take the place of right ones; the others come in addition."""
_ALL = 24
"""Patches of each prototype on a page of its class, as far as the network keeps them."""


@dataclass(frozen=True)
class Selection:
    """How much the report shows.

    Attributes:
        samples: Explained images.
        classes: Most classes on one page; where there are more, each has a page of its own.
        patches: Nearest training patches of each prototype; all that are kept, on pages of classes.
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
    seen = examine(network, data, split)
    samples, versus = _samples(network, data, split, selection, seen)
    count = len(data.labels)
    first = [sample.label for sample in samples]
    first += [pair.second.label for pair in versus.values()]
    every = sorted(data.labels)
    many = count > selection.classes
    labels = sorted(set(first)) if many else every
    total = len(data.class_names)
    of = "" if count == total else f" of the classifier's {total}"
    flags = flagged(network, results)
    make = partial(class_cards, network, data, split, results=results, seen=seen, flags=flags)
    cards = make(labels, patches=selection.patches)
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
        confusion=confusion(seen, data.class_names, samples),
        lines=make(every, patches=0) if many else [],
        card=(lambda label: make([label], patches=_ALL)[0]) if many else None,
        parts=named_parts(network, data, split, labels, results.having("share", "accuracy"))
        if network.part_names
        else entries(network, labels, results.having("share", "accuracy")),
        flags=flags,
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
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    selection: Selection,
    seen: Examined,
) -> tuple[list[Explanation], dict[Explanation, Versus]]:
    """Explain clear right predictions of different classes, and some wrong ones.

    Wrong ones come with their predicted class held against the true one, where that has parts.
    """
    wanted = selection.samples
    view = data.view(split)
    spread = np.unique(np.linspace(0, len(view) - 1, min(_CANDIDATES, len(view))).astype(int))
    mistakes = seen.indices[seen.mistakes[:_WRONG]]
    candidates = view.at(list(dict.fromkeys([*mistakes.tolist(), *view.indices[spread].tolist()])))
    index_of: dict[Explanation, int] = {}
    rivals: dict[Explanation, Explanation] = {}
    known = set(network.dictionary.found.nonzero()[:, 0].tolist())
    for batch in batches(candidates, data.batch_size, network):
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
    rank = {int(index): place for place, index in enumerate(mistakes)}
    wrong = [sample for sample in explained if _wrong(sample) and index_of[sample] in rank]
    wrong.sort(key=lambda sample: rank[index_of[sample]])
    wrong = wrong if wanted else []
    # The clearest of each class first, then the rest.
    clearest = {sample.label: sample for sample in reversed(right)}
    different = sorted(clearest.values(), key=lambda sample: -sample.probability)
    others = [sample for sample in right if clearest[sample.label] is not sample]
    chosen = [*different, *others][: wanted - min(len(wrong), _AMONG)] + wrong
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
    (batch,) = batches(data.view(split).at(np.array([index])), 1, network)
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
