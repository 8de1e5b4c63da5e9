"""From an evaluated network and its data to what the report shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.data.transforms import to_picture
from ppn.report.content import ClassCard, Patch, Prototype, Report, Sample
from ppn.report.measured import measured
from ppn.report.summary import certificate_facts, explainers, facts, metrics, notes, sensitivity

if TYPE_CHECKING:
    from ppn.classifier.head_case import HeadCase
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import ImageView
    from ppn.metrics.evaluation import Results
    from ppn.tasks.prototypes import PrototypeTask
    from ppn.types import Batch, Split

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
    """

    samples: int = 10
    classes: int = 40
    patches: int = 4


@torch.no_grad()
def collect(
    network: PrototypeTask,
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
    samples = _samples(network, data, split, selection.samples)
    count = len(data.class_names)
    first = [sample.predicted_label for sample in samples]
    labels = sorted(list(dict.fromkeys([*first, *range(count)]))[: selection.classes])
    figures = {
        **results.figures,
        "head": network.classifier.report.to_dict(),
        "certificate": network.certificate,
    }
    found = measured(figures, "The evaluation")
    dataset = type(data).__name__.removesuffix("DataModule")
    return Report(
        title=f"{dataset}: every logit is a sum of parts",
        model=str(network.record.structure["architecture"]),
        dataset=f"{dataset}, {count} classes",
        split=f"{split}, {figures['images']} images",
        facts=facts(found),
        certificate=certificate_facts(network),
        metrics=metrics(found),
        explainers=explainers(found),
        sensitivity=sensitivity(found),
        samples=samples,
        classes=_cards(network, data, labels, results, selection.patches),
        notes=notes(network, found),
        total_classes=count,
        created=date.today().isoformat(),
    )


def _samples(
    network: PrototypeTask, data: FineGrainedDataModule, split: Split, wanted: int
) -> list[Sample]:
    """Explain clear right predictions of different classes, and some wrong ones."""
    view = data.view(split)
    spread = np.unique(np.linspace(0, len(view) - 1, min(_CANDIDATES, len(view))).astype(int))
    candidates = view.at(view.indices[spread])
    right: list[Sample] = []
    wrong: list[Sample] = []
    for batch in _batches(candidates, data.batch_size, network):
        for sample, correct in _explain(network, data, view, batch):
            (right if correct else wrong).append(sample)
    right.sort(key=lambda sample: -sample.probability)
    wrong.sort(key=lambda sample: -sample.probability)
    wrong = wrong[: min(_WRONG, wanted)]
    # The clearest of each class first, then the rest.
    clearest = {sample.predicted_label: sample for sample in reversed(right)}
    different = sorted(clearest.values(), key=lambda sample: -sample.probability)
    others = [sample for sample in right if clearest[sample.predicted_label] is not sample]
    return [*different, *others][: wanted - len(wrong)] + wrong


def _explain(
    network: PrototypeTask, data: FineGrainedDataModule, view: ImageView, batch: Batch
) -> list[tuple[Sample, bool]]:
    tokens = network.tokens(batch["image"])
    logits, contributions = network.head(tokens)
    predicted = logits.argmax(1)
    maps = network.head.maps(tokens, predicted).cpu().numpy()
    probability = logits.softmax(1)
    explained = []
    for row, label in enumerate(predicted.tolist()):
        true = int(batch["label"][row])
        sample = Sample(
            image=to_picture(batch["image"][row], network.input_config),
            name=view.source.name(int(batch["index"][row])),
            true_class=data.class_names[true],
            predicted_class=data.class_names[label],
            probability=float(probability[row, label]),
            logit=float(tokens.logits[row, label]),
            bias=float(network.head.bias[label]),
            contributions=contributions[row, label].tolist(),
            maps=list(maps[row]),
            predicted_label=label,
            scale_note=_note(network.classifier.report.case, float(tokens.scale[row])),
        )
        explained.append((sample, label == true))
    return explained


def _note(case: HeadCase, scale: float) -> str | None:
    """What a reader of one explanation must know of the head behind it."""
    return {
        "mean_linear": None,
        "mean_norm_linear": (
            "The classifier normalises its pooled features: contributions carry this image's "
            f"factor 1/s = {scale:.3g}."
        ),
        "class_token": (
            "The classifier reads its class token alone: contributions are exact, heatmaps "
            "indicative."
        ),
        "pre_logits": (
            "Layers lie between patches and classifier: contributions are exact, heatmaps are "
            "gradient times feature."
        ),
    }[case]


def _cards(
    network: PrototypeTask,
    data: FineGrainedDataModule,
    labels: list[int],
    results: Results,
    patches: int,
) -> list[ClassCard]:
    """One card for each class, with the maps of its prototypes on their nearest images."""
    found = network.dictionary
    pictures = _pictures(network, data, labels, patches)
    parts = data.part_names
    consistency = results.having("best_part", "best_share", "consistent")
    shares = results.having("share", "accuracy")
    cards = []
    for label in labels:
        prototypes = []
        for index in range(network.k):
            rated = consistency is not None and int(consistency.images[label]) > 0
            prototypes.append(
                Prototype(
                    index=index,
                    patches=pictures[label, index],
                    share=float(shares.share[label, index]),
                    cosine=float(found.cosine[label, index]),
                    part=parts[int(consistency.best_part[label, index])]
                    if consistency is not None and rated
                    else None,
                    part_rate=float(consistency.best_share[label, index])
                    if consistency is not None and rated
                    else None,
                    consistent=bool(consistency.consistent[label, index])
                    if consistency is not None and rated
                    else None,
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
    network: PrototypeTask, data: FineGrainedDataModule, labels: list[int], count: int
) -> dict[tuple[int, int], list[Patch]]:
    """The nearest training patches of each (class, prototype), with the prototype's map."""
    found = network.dictionary
    shown = [
        (label, index, rank)
        for label in labels
        for index in range(network.k)
        for rank in range(min(count, found.patch_index.shape[2]))
        if float(found.patch_score[label, index, rank]) > -float("inf")
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


def _batches(view: ImageView, size: int, network: PrototypeTask) -> Any:  # noqa: ANN401
    """Batches of a view on the network's device, without workers: few images, read once."""
    for batch in torch.utils.data.DataLoader(view, batch_size=size):
        yield {key: value.to(network.device) for key, value in batch.items()}
