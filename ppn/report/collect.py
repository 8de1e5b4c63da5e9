"""From an evaluated network and its data to what the report shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ppn.explanation.explain import explain
from ppn.explanation.terms import MapOptions
from ppn.explanation.versus import Versus
from ppn.report.cards import batches, class_cards
from ppn.report.confusion import confusion
from ppn.report.content import Report
from ppn.report.measured import measured
from ppn.report.named import entries, flagged, named_parts
from ppn.report.summary import certificate_facts, explainers, facts, metrics, notes, sensitivity

if TYPE_CHECKING:
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import ImageView
    from ppn.explanation.record import Explanation
    from ppn.explanation.terms import MapKind
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.report.examined import Examined
    from ppn.report.parts import ClassCard
    from ppn.types import Split

_CANDIDATES = 96
"""Evaluated images among which those that are explained are chosen."""
_WRONG = 8
"""Most explained images whose prediction is wrong."""
_AMONG = 2
"""As many of them take the place of right ones; the others come in addition."""
_ALL = 24
"""Patches of each prototype on a page of its class, as far as the network keeps them."""
_EDITS = 3
"""Edits that the top of the page names; the certificate has all."""


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
    patches: int = 20
    maps: MapKind | None = None


@torch.no_grad()
def collect(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    results: Results,
    seen: Examined,
    selection: Selection,
) -> Report:
    """Gather everything the report shows.

    Args:
        network: A complete network.
        data: The data it was evaluated on.
        split: The evaluated split.
        results: What was measured.
        seen: What was seen on its images.
        selection: How much to show.
    """
    network.eval()
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
    dataset = data.title
    return Report(
        title=f"{dataset}: every logit is a sum of parts",
        subtitle="" if network.is_black_box else _edited(network),
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
        parts=[
            *named_parts(network, data, split, labels, results.having("share", "accuracy")),
            *entries(network, labels, results.having("share", "accuracy")),
        ],
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


def _edited(network: PrototypeNetwork) -> str:
    """Say at the top that this is another classifier than the one that was trained."""
    words = [edit.words(network.class_names) for edit in network.edits]
    more = f" and {len(words) - _EDITS} more edits" if len(words) > _EDITS else ""
    return (
        f"Each logit is the sum of a few parts. This network was edited "
        f"({'; '.join(words[:_EDITS])}{more}), so its logits are no longer the black box's."
    )


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
    labels, predicted = seen.labels.tolist(), seen.predicted.tolist()
    spread = np.linspace(0, len(labels) - 1, min(_CANDIDATES, len(labels))).astype(int)
    mistakes = seen.mistakes[:_WRONG]
    # A class without training images has no parts to show.
    found = network.dictionary.found.cpu().numpy() > 0
    candidates = [at for at in dict.fromkeys([*mistakes, *spread.tolist()]) if found[predicted[at]]]
    explained = sorted(candidates, key=lambda at: -seen.probability[at])
    right = [at for at in explained if predicted[at] == labels[at]]
    wrong = [at for at in mistakes if found[predicted[at]]] if selection.samples else []
    # The clearest of each class first, then the rest.
    clearest = {labels[at]: at for at in reversed(right)}
    different = sorted(clearest.values(), key=lambda at: -seen.probability[at])
    others = [at for at in right if clearest[labels[at]] != at]
    room = max(0, selection.samples - min(len(wrong), _AMONG))
    chosen = [*different, *others][:room] + wrong
    one = partial(_explained, network, data.view(split), MapOptions(selection.maps))
    shown = [one(int(seen.indices[at]), predicted[at]) for at in chosen]
    versus = {
        sample: Versus(sample, one(int(seen.indices[at]), labels[at]))
        for at, sample in zip(chosen, shown, strict=True)
        if predicted[at] != labels[at] and found[labels[at]]
    }
    return shown, versus


def _explained(
    network: PrototypeNetwork, view: ImageView, options: MapOptions, index: int, label: int
) -> Explanation:
    """Explain a class on an image."""
    (batch,) = batches(view.at([index]), 1, network)
    names, true = [view.source.name(index)], batch["label"].tolist()
    (found,) = explain(network, batch["image"], names, [label], true, options=options)
    return found


def _with_patches(sample: Explanation, cards: list[ClassCard]) -> Explanation:
    """Give an explanation the nearest patches of its class, where the report shows that."""
    for card in cards:
        if card.label == sample.label:
            nearest = (p.patches[0] if p.patches else None for p in card.prototypes)
            return replace(sample, patches=tuple(nearest))
    return sample
