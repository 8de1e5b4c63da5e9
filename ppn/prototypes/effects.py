"""What edits do to a set of images, from what the head was given of each: no classifier runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from ppn.data.source import Source
from ppn.errors import DataError
from ppn.prototypes.editing import edit_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.editing import Edit
    from ppn.prototypes.network import PrototypeNetwork


@dataclass(frozen=True)
class ClassEffect:
    """What edits do to one edited class.

    Attributes:
        label: Index of the class.
        name: Its name.
        images: Images of it.
        recall: Share of them that are predicted right, before and after; None without images.
        predicted: Images that are predicted as it, before and after.
        logit_change: Mean change of its logit over all images.
        own_change: The same over images of the class; None without images.
        largest_change: The change that is largest in size.
    """

    label: int
    name: str
    images: int
    recall: tuple[float, float] | None
    predicted: tuple[int, int]
    logit_change: float
    own_change: float | None
    largest_change: float


@dataclass(frozen=True)
class Confusion:
    """Images of class `true` that are predicted as another, before and after."""

    true: str
    predicted: str
    before: int
    after: int


@dataclass(frozen=True)
class Effect:
    """What edits do to a set of images; "before" is the black box.

    Attributes:
        edits: The edits, in words.
        images: Number of images.
        accuracy: Share of images that are predicted right, before and after.
        changed: Images whose predicted class changes.
        classes: The edited classes.
        confusions: Pairs of classes whose confusions change, the largest change first.
    """

    edits: tuple[str, ...]
    images: int
    accuracy: tuple[float, float]
    changed: int
    classes: tuple[ClassEffect, ...]
    confusions: tuple[Confusion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class CachedImages:
    """What a head was given of each image of a set, and what the black box said.

    Attributes:
        inputs: (n, D) float32, pooled features times the image's factor, on the CPU.
        logits: (n, C) float32, the black box's.
        labels: (n,) int64, true classes.
        images: (n,) which image of the data set each is.
    """

    inputs: Tensor
    logits: Tensor
    labels: Tensor
    images: Tensor

    @torch.no_grad()
    def contributions(self, network: PrototypeNetwork, label: int) -> Tensor:
        """Return (n, k), what each part of a class contributes on each image."""
        return self.inputs @ network.head.prototypes[label].cpu().T

    @torch.no_grad()
    def edited_logits(
        self, network: PrototypeNetwork, edits: Sequence[Edit] | None = None
    ) -> Tensor:
        """Return (n, C), the logits with edits; see `effect`."""
        chosen = network.edits if edits is None else tuple(edits)
        labels = sorted({edit.label for edit in chosen})
        rows = network.head.unedited()[labels].cpu()
        place = {label: index for index, label in enumerate(labels)}
        before = rows.clone()
        edit_rows(rows, [_moved(edit, place[edit.label]) for edit in chosen])
        logits = self.logits.clone()
        logits[:, labels] += self.inputs @ (rows - before).sum(1).T
        return logits

    @torch.no_grad()
    def effect(self, network: PrototypeNetwork, edits: Sequence[Edit] | None = None) -> Effect:
        """Return what edits do.

        Args:
            network: The network whose contributions these are.
            edits: The edits; None takes those that the network has. It is not changed.
        """
        chosen = network.edits if edits is None else tuple(edits)
        logits = self.edited_logits(network, chosen)
        labels = sorted({edit.label for edit in chosen})
        change = (logits - self.logits)[:, labels]
        old, new = self.logits.argmax(1), logits.argmax(1)
        return Effect(
            tuple(edit.words(network.class_names) for edit in chosen),
            len(old),
            (_share(old == self.labels), _share(new == self.labels)),
            int((old != new).sum()),
            tuple(
                self._class_effect(network.class_names[label], label, change[:, index], old, new)
                for index, label in enumerate(labels)
            ),
            self._confusions(network.class_names, old, new),
        )

    def _class_effect(
        self, name: str, label: int, change: Tensor, old: Tensor, new: Tensor
    ) -> ClassEffect:
        own = self.labels == label
        recall = _share(old[own] == label), _share(new[own] == label)
        return ClassEffect(
            label,
            name,
            int(own.sum()),
            recall if bool(own.any()) else None,
            (int((old == label).sum()), int((new == label).sum())),
            float(change.mean()),
            float(change[own].mean()) if bool(own.any()) else None,
            float(change[change.abs().argmax()]),
        )

    def _confusions(self, names: Sequence[str], old: Tensor, new: Tensor) -> tuple[Confusion, ...]:
        counts: dict[tuple[int, int], list[int]] = {}
        for index, predicted in enumerate((old, new)):
            pairs = zip(self.labels.tolist(), predicted.tolist(), strict=True)
            for true, guess in pairs:
                if true != guess:
                    counts.setdefault((true, guess), [0, 0])[index] += 1
        found = [
            Confusion(names[true], names[guess], before, after)
            for (true, guess), (before, after) in sorted(counts.items())
            if before != after
        ]
        return tuple(sorted(found, key=lambda pair: -abs(pair.after - pair.before)))


@torch.no_grad()
def cache_images(
    network: PrototypeNetwork, loader: Iterable[Any] | FineGrainedDataModule
) -> CachedImages:
    """Run the classifier once over labelled images, and keep what its head was given.

    Args:
        network: The network.
        loader: Images with labels, as for `ppn.from_classifier`.

    Raises:
        DataError: If a class has a probability of its own, so that none is predicted alone; or
            labels do not fit.
    """
    count = len(network.class_names)
    if network.independent:
        raise DataError(
            "Effects of edits are counted on predicted classes, but each class of this network has "
            "a probability of its own: explain images before and after instead."
        )
    source = Source(loader, network.input_config)
    inputs: list[Tensor] = []
    logits: list[Tensor] = []
    labels: list[int] = []
    which: list[Tensor] = []
    for images, rows, targets, indices in source.batches(count, "Running the classifier once"):
        tokens = network.tokens(images).rows(rows)
        inputs.append((tokens.pooled.float() * tokens.scale.float()[:, None]).cpu())
        logits.append(tokens.logits.float().cpu())
        labels += targets
        which.append(indices.cpu())
    if not inputs:
        raise DataError("There is no image on which edits could have an effect: check the loader.")
    return CachedImages(
        torch.cat(inputs), torch.cat(logits), torch.tensor(labels), torch.cat(which)
    )


def _moved(edit: Edit, label: int) -> Edit:
    return type(edit)(edit.kind, label, edit.parts, edit.factor)


def _share(right: Tensor) -> float:
    return float(right.double().mean()) if len(right) else 0.0
