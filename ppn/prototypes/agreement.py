"""Whether a classifier predicts the labels that it is given at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.stats import binom

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.data.batches import LabelMode

_SURPRISING = 0.05
_SURE = 0.2
"""How sure a classifier must be, from 0 (any class is as likely) to 1: an untrained one is not."""


def agreement_warning(
    predicted_right: int, total: int, num_classes: int, confidence: float | None = None
) -> str | None:
    """Return a warning if a classifier predicts hardly any label, or None.

    A classifier promises to be right as often as its mean confidence says. One that is sure of
    itself and right less than half as often, beyond chance, contradicts the labels. One that was
    never trained is not sure, and is not warned about: it often predicts one class for every image.

    Args:
        predicted_right: Images whose label is predicted.
        total: Images.
        num_classes: Classes between which the classifier chooses.
        confidence: Mean probability that it gives to the class it predicts; None holds it to what
            guessing would give.
    """
    promised = 1 / max(2, num_classes)
    if confidence is not None:
        if (confidence - promised) / (1 - promised) < _SURE:
            return None
        promised = confidence / 2
    if total == 0 or binom.cdf(predicted_right, total, promised) >= _SURPRISING:
        return None
    return (
        f"The classifier predicts the label of {predicted_right} of {total} images: is the order "
        "of classes the same?"
    )


class Agreement:
    """Counts how often a classifier predicts the labels, batch by batch.

    Args:
        mode: How labels are to be read. Where an image may have several classes, what is counted
            is how many of the predicted ones it has.
    """

    def __init__(self, mode: LabelMode) -> None:
        self.mode = mode
        self.right = 0
        self.total = 0
        self.num_classes = 2
        self._confidence = 0.0

    @torch.no_grad()
    def add(self, logits: Tensor, rows: list[int], labels: list[int]) -> None:
        """Add a batch.

        Args:
            logits: (B, C) of all images of the batch.
            rows: M of them, as `LabelledImages` has them.
            labels: The class of each of these.
        """
        device = logits.device
        at, classes = torch.tensor(rows, device=device), torch.tensor(labels, device=device)
        if self.mode == "single":
            chosen = logits[at].float()
            self.num_classes = logits.shape[1]
            right = chosen.argmax(1) == classes
            sure = chosen.softmax(1).amax(1)
        elif self.mode == "binary":
            chances = logits[at, 0].float().sigmoid()
            right = chances > 0.5
            sure = torch.maximum(chances, 1 - chances)
        else:
            chances = logits.float().sigmoid()
            given = torch.zeros_like(chances, dtype=torch.bool)
            given[at, classes] = True
            predicted = chances > 0.5
            right, sure = given[predicted], chances[predicted]
        self.right += int(right.sum())
        self.total += len(right)
        self._confidence += float(sure.double().sum())

    def warning(self) -> str | None:
        """Return a warning if hardly any label was predicted, or None."""
        if self.total == 0:
            return None
        return agreement_warning(
            self.right, self.total, self.num_classes, self._confidence / self.total
        )
