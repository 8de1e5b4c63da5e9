"""What a classifier says of images without some of their parts, or an object around the bird."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.metrics.part_importance import widened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ppn.metrics.probe import Probe


class Changed:
    """What the classifier says of a batch's images without parts or objects; each asked once.

    Attributes:
        kinds: K, how many kinds of parts there are.
        regions: Of each image (K + n, H, W) of `widened`, where parts and its n objects show.
        known: (B, M) bool, the places of regions that an image has.
    """

    def __init__(self, probe: Probe) -> None:
        assert probe.interventions is not None
        self.probe = probe
        self.changes = probe.interventions
        self.kinds = len(self.changes.kinds)
        self.indices = probe.inputs.indices.tolist()
        device = probe.inputs.images.device
        shown = (self.changes.regions(index).to(device) for index in self.indices)
        self.regions = [widened(masks) for masks in shown]
        counts = torch.tensor([len(masks) for masks in self.regions], device=device)
        self.known = torch.arange(int(counts.max()), device=device) < counts[:, None]
        self._said = {
            (row, gone): logits.to(device)
            for row, index in enumerate(self.indices)
            for gone, logits in self.changes.answers(index).items()
        }
        self._said |= {(row, 0): logits for row, logits in enumerate(probe.logits)}

    def without_parts(self, gone: Tensor) -> Tensor:
        """Return logits (B, n, C) without sets of parts (B, n), as bits."""
        asked = [[(row, parts) for parts in own] for row, own in enumerate(gone.tolist())]
        self._ask(key for own in asked for key in own)
        return torch.stack([torch.stack([self._said[key] for key in own]) for own in asked])

    def losses(self, labels: Tensor) -> Tensor:
        """Return (B, M) float64: how much of its class's logit is lost without each."""
        # Objects have the bits behind those of the parts: of one each, they can be asked as well.
        places = range(self.known.shape[1])
        own = [
            [(row, 1 << place) for place in places if place < len(self.regions[row])]
            for row in range(len(labels))
        ]
        self._ask(key for keys in own for key in keys)
        lost = torch.zeros(self.known.shape, dtype=torch.float64, device=labels.device)
        for row, (keys, label) in enumerate(zip(own, labels.tolist(), strict=True)):
            after = torch.stack([self._said[key][label] for key in keys])
            lost[row, : len(keys)] = (self._said[row, 0][label] - after).double()
        return lost

    def _ask(self, keys: Iterable[tuple[int, int]]) -> None:
        missing = list(dict.fromkeys(key for key in keys if key not in self._said))
        for start in range(0, len(missing), len(self.indices)):
            some = missing[start : start + len(self.indices)]
            images = torch.stack([self._draw(*key) for key in some])
            logits = self.probe.classify(images.to(self.probe.inputs.images))
            self._said |= dict(zip(some, logits, strict=True))
        for row in {row for row, _ in missing}:
            said = {gone: logits for (other, gone), logits in self._said.items() if other == row}
            self.changes.learn(self.indices[row], said)

    def _draw(self, row: int, gone: int) -> Tensor:
        index, objects = self.indices[row], gone >> self.kinds
        if objects:
            return self.changes.without_object(index, objects.bit_length() - 1)
        parts = [kind for place, kind in enumerate(self.changes.kinds) if gone >> place & 1]
        return self.changes.without_parts(index, parts)
