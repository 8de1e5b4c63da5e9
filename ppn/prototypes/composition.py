"""What a network of prototypes consists of: the classifier, heads, dictionary, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppn.configured import expect_least
from ppn.discovery.token_classifier import TokenClassifier
from ppn.errors import DataError
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.head import PrototypeHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Self

    from ppn.classifier import Classifier
    from ppn.data.conversion import Preprocessing
    from ppn.discovery.base import Discoverer
    from ppn.explanation.record import Patch
    from ppn.prototypes.editing import Edit
    from ppn.prototypes.head import HeadOutput
    from ppn.types import InputConfig, Tokens


DEFAULT_PATCHES = 20
"""Nearest training patches kept for each prototype: 28 bytes each, and the name of an image."""


class Composition(nn.Module):
    """A classifier, and prototypes whose sums are the rows of its head, without what they are for.

    Args:
        classifier: The classifier.
        k: Prototypes per class.
        refinements: Name of each refinement to hold a head for, and whether it is exact. The first
            one explains; the others are compared with it.
        num_patches: Nearest training patches kept for each prototype.

    Attributes:
        heads: One `PrototypeHead` for each refinement.
        dictionary: The parts, their nearest training patches, and how they were refined.
        class_names: Name of each class.
        image_names: Names of the training images of the nearest patches, by class, prototype
            and rank.
        edits: What was done to parts since they were found, in order; empty for a network whose
            logits are the black box's.
        part_names: Name of each part, the same for every class; empty where they have none.
        remainder: Whether the last part is what no other covers.
        token_classifier: What names parts by their tokens; None without names.
        certificate: What was measured at the end of discovery, as plain values; empty before.
        settings: How discovery and refinement were set, as plain values; and `labels` where they
            are not one class per image; see `LabelMode`.
        preprocessing: Turns an image into the classifier's input; None does as its config says.
        structure: How the classifier is made: `architecture`, `image_size`, `model_options`, and
            the `features` that were named, as far as they are known.
        patches: Gives the picture of a training patch by class, prototype and rank; None where no
            pictures are at hand.

    Raises:
        DiscoveryError: If k is not positive.
    """

    def __init__(
        self,
        classifier: Classifier,
        k: int,
        refinements: Mapping[str, bool],
        num_patches: int = DEFAULT_PATCHES,
    ) -> None:
        super().__init__()
        expect_least(1, k=k)
        weight, _ = classifier.effective_head()
        count, width = weight.shape
        self.classifier = classifier
        self.dictionary = PartDictionary(count, k, width, num_patches).to(weight.device)
        self.hold_heads(refinements)
        self.part_names: list[str] = []
        self.remainder = False
        self.token_classifier: TokenClassifier | None = None
        self.class_names = [str(label) for label in range(count)]
        self.image_names: list[list[list[str]]] = []
        self.certificate: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.structure: dict[str, Any] = {}
        self.patches: Callable[[int, int, int], Patch | None] | None = None
        self.preprocessing: Preprocessing | None = None

    def hold_heads(self, refinements: Mapping[str, bool]) -> None:
        """Make an empty head for each refinement; see the constructor."""
        self.edits: tuple[Edit, ...] = ()
        count, k, width = self.dictionary.parts.shape
        self.heads = nn.ModuleList(
            PrototypeHead(count, k, width, name, exact).to(self.device)
            for name, exact in refinements.items()
        )

    def hold_parts(self, k: int) -> None:
        """Make room for another number of prototypes per class; those that were there are gone.

        Raises:
            DiscoveryError: If k is not positive.
        """
        expect_least(1, k=k)
        count, _, width = self.dictionary.parts.shape
        patches = self.dictionary.patch_index.shape[2]
        self.dictionary = PartDictionary(count, k, width, patches).to(self.device)
        self.hold_heads({head.name: head.exact for head in self.each_head()})

    def hold_names(self, names: list[str], remainder: bool) -> None:
        """Make room for what names parts; see the attributes."""
        self.part_names, self.remainder, self.token_classifier = list(names), remainder, None
        if names:
            made = TokenClassifier(self.dictionary.parts.shape[2], len(names) - remainder)
            self.token_classifier = made.to(self.device)

    def take_names(self, discoverer: Discoverer) -> None:
        """Take over the names of a discoverer's parts, and what it names them by."""
        self.hold_names(discoverer.part_names, discoverer.remainder)
        if self.token_classifier is not None and discoverer.classifier is not None:
            self.token_classifier.load_state_dict(discoverer.classifier.state_dict())

    @property
    def input_config(self) -> InputConfig:
        """What the classifier expects of its input image."""
        return self.classifier.config

    @property
    def device(self) -> torch.device:
        """Where its prototypes are."""
        return self.dictionary.parts.device

    @property
    def k(self) -> int:
        """Prototypes per class."""
        return self.dictionary.parts.shape[1]

    @property
    def head(self) -> PrototypeHead:
        """The head that explains."""
        return next(iter(self.each_head()))

    def each_head(self) -> Iterable[PrototypeHead]:
        """Yield the head of each refinement, the one that explains first."""
        for head in self.heads:
            assert isinstance(head, PrototypeHead)
            yield head

    @property
    def level(self) -> str:
        """What is exact about the explanations, in a few words."""
        return self.classifier.inspection.level

    @property
    def independent(self) -> bool:
        """Whether each class has a probability of its own (sigmoid), rather than a share (softmax).

        Found from the labels of the training images: 0 or 1 for one logit, or rows of them.
        """
        return self.settings.get("labels") in ("binary", "multilabel")

    @property
    def exactness(self) -> str:
        """One sentence on what is exact about the explanations."""
        return self.classifier.inspection.exactness

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is ours; the classifier's own is left alone."""
        self.training = mode
        return self

    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits (B, C) and contributions (B, C, k) of images (B, channels, H, W)."""
        output: HeadOutput = self.head(self.tokens(images))
        return output

    @torch.no_grad()
    def tokens(self, images: Tensor, patches: bool = False) -> Tokens:
        """Return what the heads need of images, and the classifier's own logits.

        Args:
            images: (B, channels, H, W), on any device.
            patches: Whether patch tokens are wanted even where they cost many runs of the head.
        """
        tokens: Tokens = self.classifier(self.classifier.accept(images), patches)
        return tokens

    def expect_prototypes(self, label: int) -> None:
        """Refuse to explain a class that had no training image.

        Raises:
            DataError: If it has no prototypes.
        """
        if not bool(self.dictionary.found[label]):
            found = [self.class_names[i] for i in self.dictionary.found.nonzero()[:3, 0].tolist()]
            raise DataError(
                f"Class '{self.class_names[label]}' has no prototypes, because there was no "
                f"training image of it: explain another one ({', '.join(found)}, ...) with "
                "target, or fit with images of it."
            )
