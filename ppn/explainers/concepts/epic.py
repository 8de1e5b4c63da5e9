"""EPIC: the features turned so that channels are pure, and the head turned back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from ppn.errors import DiscoveryError
from ppn.explainers.concepts.base import expect_concepts, shown
from ppn.explainers.directions import Directions
from ppn.refinement.base import exact_sum

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.network import PrototypeNetwork


class Examples(NamedTuple):
    """The images that activate each channel most.

    `tokens` (n, N, D) of the images; `rows` (m, D) int64, which m of them are each channel's.
    """

    tokens: Tensor
    rows: Tensor


def purest(examples: Examples, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's purest directions, and its purity.

    Args:
        examples: The channels' images.
        rotation: (D, D) orthogonal, rows are channels.

    Returns:
        (D, D), for each channel the mean over its images of the unit token at the channel's
        maximum, and (D,) in [-1, 1]: there the share of the channel in the token's length. Zeros
        for a channel that is nowhere positive.
    """
    found = torch.zeros_like(rotation)
    purity = rotation.new_zeros(len(rotation))
    for channel, axis in enumerate(rotation):
        tokens = examples.tokens[examples.rows[:, channel]].float()
        values, places = (tokens @ axis).max(1)
        at = tokens[torch.arange(len(tokens), device=tokens.device), places]
        unit = torch.nn.functional.normalize(at, dim=1) * (values > 0)[:, None]
        found[channel] = unit.mean(0)
        purity[channel] = (unit @ axis).mean()
    return found, purity


def purified(examples: Examples, rounds: int) -> tuple[Tensor, Tensor]:
    """Return the orthogonal matrix of the largest mean purity that alternation finds.

    An orthogonal matrix keeps lengths, so that with the maxima where they are purity is linear in
    it, and its maximum the polar factor (the Procrustes problem). Maxima are then found again.

    Args:
        examples: The channels' images.
        rounds: Most alternations.

    Returns:
        (D, D) float32, and the mean purity (2,) of the channels as they were, and turned.
    """
    width = examples.tokens.shape[2]
    rotation = torch.eye(width, device=examples.tokens.device)
    goal, purity = purest(examples, rotation)
    before = best = purity.mean()
    for _ in range(rounds):
        # Where no image says anything, a channel stays as it was.
        left, _, right = torch.linalg.svd(goal.double() + 1e-6 * rotation.double())
        turned = (left @ right).float()
        goal, purity = purest(examples, turned)
        if purity.mean() <= best + 1e-6:
            break
        rotation, best = turned, purity.mean()
    return rotation, torch.stack([before, best])


class EPIC(Directions):
    """EPIC (Borycki et al., AAAI 2026, arXiv 2505.12897): pure channels, shared by all classes.

    Features f become U f with an orthogonal U, the head W becomes W U^-1: logits stay. U is to make
    channels pure: where a channel is largest, in the images that it is largest in, the token
    should be that channel alone. The D channels' contributions add up to the logit; shown are the
    k that contribute most on average over the class's training images (the reference code shows
    each image its own).

    Read in the abstract and in parts of the authors' code; there U is a matrix exponential,
    learned by Adam in a few steps, and which activation of a channel ranks images could not be read
    (ours: its maximum). Ours finds U by alternating the Procrustes problem.

    Args:
        images: Images that stand for each channel.
        rounds: Most alternations.
        k: Channels shown for each class; None: as many as the network has prototypes.
        remainder: Whether the other channels together are shown as one more map, the last.
            Without it contributions lack what they add.

    Raises:
        PPNError: If a number is not positive.
    """

    key = "epic"
    title = "EPIC"
    needs_training_images: ClassVar[bool] = True
    fitted: ClassVar[tuple[str, ...]] = ("directions", "rotation", "purity")
    rotation: Tensor
    purity: Tensor

    def __init__(
        self, images: int = 5, rounds: int = 10, k: int | None = None, remainder: bool = False
    ) -> None:
        self.images = images
        self.rounds = rounds
        self.k = k
        self.remainder = remainder
        self._expect_least(1, "images", "rounds")
        self.exact = remainder

    @property
    def maps_per_class(self) -> int:
        """Channels shown, and the remainder if it is."""
        return self._shown + self.remainder

    @property
    def places(self) -> int:
        """Channels shown; the remainder has no place."""
        return self._shown

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the number of channels."""
        super().prepare(network)
        self._shown = shown(self.k, network, self.key)
        expect_concepts(network.classifier.width, self._shown, self.key)

    def fit(self, images: TrainingImages) -> None:
        """Turn the features, and choose each class's channels; reads the images three times."""
        self.rotation, self.purity = purified(self._examples(images), self.rounds)
        weight, _ = images.network.classifier.effective_head()
        turned = weight @ self.rotation.double().T
        activation = torch.zeros_like(turned)
        for seen in images.classes():
            channels = (seen.tokens.pooled.float() @ self.rotation.T).clamp(min=0)
            activation[seen.label] = channels.double().mean(0)
        chosen = (turned * activation).topk(self._shown, dim=1).indices
        scale = turned.gather(1, chosen)[:, :, None]
        parts = scale * self.rotation.double()[chosen]
        if self.remainder:
            rest = weight[:, None] - parts.sum(1, keepdim=True)
            pairs = zip(torch.cat([parts, rest], dim=1), weight, strict=True)
            parts = torch.stack([exact_sum(split, row) for split, row in pairs])
        self.directions = parts.float()

    def _examples(self, images: TrainingImages) -> Examples:
        """The images in which each channel's maximum is largest."""
        values = indices = None
        for batch, seen in images.classes():
            largest = seen.tokens.float().amax(1)
            own = batch["index"][:, None].expand_as(largest)
            if values is not None and indices is not None:
                largest, own = torch.cat([values, largest]), torch.cat([indices, own])
            values, order = largest.topk(min(self.images, len(largest)), dim=0)
            indices = own.gather(0, order)
        if indices is None:
            raise DiscoveryError("There is no training image to learn channels from.")
        wanted, rows = torch.unique(indices, return_inverse=True)
        kept: list[Tensor] = []
        order_of: list[Tensor] = []
        for batch, seen in images.classes():
            member = torch.isin(batch["index"], wanted)
            # Half the memory; where a token points is all that matters.
            kept.append(seen.tokens[member].bfloat16())
            order_of.append(batch["index"][member])
        place = torch.cat(order_of).argsort()
        return Examples(torch.cat(kept)[place], rows)
