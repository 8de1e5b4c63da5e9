"""What concept explainers share: codes of tokens, and the few concepts that a class is shown by."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from ppn.configured import expect_least
from ppn.errors import PPNError
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Tokens


def shown(k: int | None, network: PrototypeNetwork, key: str) -> int:
    """Return how many concepts of a class are shown: k, or the network's prototypes per class.

    Raises:
        PPNError: If k is not positive.
    """
    expect_least(1, PPNError, f" of {key}", k=k)
    return network.k if k is None else k


def expect_concepts(count: int, k: int, key: str) -> None:
    """Refuse a dictionary of fewer concepts than are shown for a class."""
    if count < k:
        raise PPNError(
            f"concepts of {key} is {count}, but {k} are shown for each class: raise concepts or "
            "lower k."
        )


class Concepts(Explainer):
    """Explains a class by k concepts that were found in training images.

    A token's codes say how much of each concept is in it; the map of a concept is its code, on the
    grid. The contribution of a concept is its importance times its pooled code, times the factor of
    a normalised head: the mean code where the head acts on the mean token, else the code of the
    vector that it acts on. Such contributions need not add up to the logit.

    Attributes:
        chosen: (C, k) int64, which concepts each class is shown by.
        importance: (C, k) float32 of these; zeros for a class without training images.
    """

    needs_training_images: ClassVar[bool] = True
    chosen: Tensor
    importance: Tensor
    k: int | None

    @property
    def maps_per_class(self) -> int:
        """Concepts shown for each class."""
        return self._shown

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the number of concepts, and the bias."""
        self._shown = shown(self.k, network, self.key)
        self.bias = network.classifier.effective_head()[1].float()
        self._averages = network.classifier.inspection.averages
        self._network = network

    @abstractmethod
    def codes(self, tokens: Tensor, target: Tensor) -> Tensor:
        """Return the codes of tokens.

        Args:
            tokens: (B, N, D), in the space that the head acts on.
            target: (B,) int64, the class whose concepts are meant.

        Returns:
            (B, N, K) for all K concepts of the dictionary.
        """

    def pooled_codes(self, tokens: Tokens, target: Tensor) -> Tensor:
        """Return the codes (B, K) of whole images."""
        if self._averages:
            return self.codes(tokens.tokens.float(), target).mean(1)
        return self.codes(tokens.pooled.float()[:, None], target)[:, 0]

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the codes of the class's concepts as maps, and what they contribute."""
        self.move(target.device)
        tokens = inputs.tokens
        if tokens.tokens.shape[1] == 0:  # where patches cost many runs of the head
            tokens = self._network.tokens(inputs.images, patches=True)
        chosen = self.chosen[target]
        with torch.autocast(target.device.type, enabled=False):
            codes = self.codes(tokens.tokens.float(), target)
            picked = codes.gather(2, chosen[:, None].expand(-1, codes.shape[1], -1))
            if self._averages:
                pooled = picked.mean(1)
            else:
                pooled = self.pooled_codes(tokens, target).gather(1, chosen)
        maps = picked.mT.reshape(*chosen.shape, *tokens.grid)
        return Attribution(maps, self._contributions(tokens, pooled, self.importance[target]))

    def surrogate(self, inputs: Inputs) -> Tensor | None:
        """Return importance times pooled code, of every class, and the bias."""
        self.move(inputs.images.device)
        found = [self._logits(inputs.tokens, label) for label in range(len(self.chosen))]
        return torch.stack(found, dim=1) + self.bias

    def _logits(self, tokens: Tokens, label: int) -> Tensor:
        """What the concepts of one class add up to (B,)."""
        target = torch.full((len(tokens.pooled),), label, device=tokens.pooled.device)
        with torch.autocast(target.device.type, enabled=False):
            pooled = self.pooled_codes(tokens, target)[:, self.chosen[label]]
        return self._contributions(tokens, pooled, self.importance[label]).sum(1)

    def _contributions(self, tokens: Tokens, pooled: Tensor, importance: Tensor) -> Tensor:
        return pooled * importance * tokens.scale.float()[:, None]

    def move(self, device: torch.device) -> None:
        """Move the bias, and what was learned by now, to a device."""
        for name in ("bias", *self.fitted):
            if hasattr(self, name):
                setattr(self, name, getattr(self, name).to(device))


def most_important(importance: Tensor, activation: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return which k concepts contribute most on average, and their importance.

    Importance alone would depend on how long a concept's direction was made.

    Args:
        importance: (K,) of each concept.
        activation: (K,) its mean pooled code over the class's training images.
        k: How many, at most K.
    """
    order = (importance * activation).topk(k).indices
    return order, importance[order]
