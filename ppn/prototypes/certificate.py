"""The exactness certificate: how far the prototypes are from the black box, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppn.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.head import HeadOutput, PrototypeHead


@dataclass(frozen=True)
class Certificate:
    """What was measured at the end of discovery, on training images.

    Exactness is linear algebra, not interpretability: the last five numbers say how much the
    refinement changed the discovered parts.

    Attributes:
        max_sum_error: max over classes of max |sum_i p~_i - v| / max |v|.
        max_logit_error: max |logit - black box's logit|.
        relative_logit_error: The same over the standard deviation of the black box's logits.
        agreement: Share of images on which both predict the same class.
        images: Number of images the three numbers above were measured on.
        classes: Number of classes that have prototypes; the numbers below are about them.
        residual_share: Mean over classes of ||r|| / ||v||.
        cosine: Mean over prototypes of cos(p~_i, p_i).
        peak_shift: Mean share of images on which the maximum of a map moved by refinement.
        negative_share: Mean share of negative contributions to the own class's logit.
        fell_back: Classes in which the refinement strategy fell back to `equal`.
    """

    max_sum_error: float
    max_logit_error: float
    relative_logit_error: float
    agreement: float
    images: int
    classes: int
    residual_share: float
    cosine: float
    peak_shift: float
    negative_share: float
    fell_back: int


class CertificateSample(nn.Module):
    """Pooled features and black-box logits of a bounded number of training images.

    Fixed-shape buffers, zero in rows not filled, so that ranks are merged by a sum. Classes share
    the rows evenly; with more classes than rows only some classes are sampled.

    Args:
        num_classes: C.
        width: D.
        rows: Most images kept.
        labels: The classes that have images; None: all. Where it is empty they are not known, and
            those that come first are sampled.
    """

    used: Tensor
    pooled: Tensor
    scale: Tensor
    logits: Tensor

    def __init__(
        self, num_classes: int, width: int, rows: int = 2048, labels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        known = range(num_classes) if labels is None else labels
        expected = len(known) or num_classes
        self.per_class = max(1, rows // expected)
        step = -(-expected // rows)
        self.places = -(-expected // step)
        self.open = len(known) == 0
        self.sampled = {label: place for place, label in enumerate(known[::step])}
        count = self.per_class * self.places
        self.register_buffer("used", torch.zeros(count, dtype=torch.long))
        self.register_buffer("pooled", torch.zeros(count, width, dtype=torch.float32))
        self.register_buffer("scale", torch.zeros(count, dtype=torch.float32))
        self.register_buffer("logits", torch.zeros(count, num_classes, dtype=torch.float32))

    def add(self, label: int, tokens: Tokens) -> None:
        """Keep images of one class, as far as there is room for the class."""
        place = self.rows(label)
        first = place.start + int(self.used[place].sum())
        count = min(len(tokens.pooled), place.stop - first)
        rows = slice(first, first + count)
        self.used[rows] = 1
        self.pooled[rows] = tokens.pooled[:count].float()
        self.scale[rows] = tokens.scale[:count].float()
        self.logits[rows] = tokens.logits[:count].float()

    def rows(self, label: int) -> slice:
        """Return the rows that belong to a class; none where the class is not sampled."""
        if self.open and len(self.sampled) < self.places:
            self.sampled.setdefault(label, len(self.sampled))
        first = self.sampled.get(label, 0) * self.per_class
        return slice(first, first + self.per_class if label in self.sampled else first)

    @property
    def labels(self) -> Tensor:
        """(n,) int64, the class of each image kept."""
        of_place = torch.zeros(self.places, dtype=torch.long)
        for label, place in self.sampled.items():
            of_place[place] = label
        return of_place.repeat_interleave(self.per_class)[(self.used == 1).cpu()]

    def outputs(self, head: PrototypeHead) -> tuple[HeadOutput, Tensor]:
        """Return what the prototypes give on the images kept, and the black box's logits (n, C)."""
        used = self.used == 1
        pooled, logits = self.pooled[used], self.logits[used]
        tokens = Tokens(pooled[:, None], (1, 1), pooled, self.scale[used], logits)
        output: HeadOutput = head(tokens)
        return output, logits


def certify(dictionary: PartDictionary, logits: Tensor, blackbox_logits: Tensor) -> Certificate:
    """Summarise a dictionary and the logits of some training images.

    Args:
        dictionary: What discovery has found.
        logits: (n, C) of the prototypes.
        blackbox_logits: (n, C) of the black box on the same images.
    """
    error = (logits.double() - blackbox_logits.double()).abs().max().item()
    spread = blackbox_logits.double().std().clamp(min=torch.finfo(torch.float32).tiny).item()
    agree = (logits.argmax(1) == blackbox_logits.argmax(1)).double().mean().item()
    found = dictionary.found == 1
    return Certificate(
        max_sum_error=dictionary.exactness.max().item(),
        max_logit_error=error,
        relative_logit_error=error / spread,
        agreement=agree,
        images=len(logits),
        classes=int(found.sum()),
        residual_share=dictionary.residual_share[found].mean().item(),
        cosine=dictionary.cosine[found].mean().item(),
        peak_shift=dictionary.peak_shift[found].mean().item(),
        negative_share=dictionary.negative_share[found].mean().item(),
        fell_back=int(dictionary.fell_back.sum()),
    )


def remainder_share(contributions: Tensor, logits: Tensor) -> float:
    """How much of a logit the last part holds: the mean share of absolute contributions, in [0, 1].

    Args:
        contributions: (n, C, k) of images to all logits.
        logits: (n, C); the contributions to the largest count.
    """
    rows = torch.arange(len(logits), device=logits.device)
    own = contributions[rows, logits.argmax(1)].double().abs()
    return float((own[:, -1] / own.sum(1).clamp(min=1e-30)).mean())
