"""A classifier whose head is a sum of prototypes: fitted, saved, loaded and explained."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppn.classifier.complete import TOLERANCE
from ppn.classifier.running import without_autocast
from ppn.configured import expect_least
from ppn.data.conversion import Preprocessing
from ppn.discovery.token_classifier import TokenClassifier
from ppn.errors import DataError
from ppn.explanation.explain import explain
from ppn.explanation.versus import Versus, expect_two
from ppn.io.files import user_path
from ppn.prototypes.arguments import class_index
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.editing import Editable
from ppn.prototypes.files import write_prototypes
from ppn.prototypes.flags import read_flags
from ppn.prototypes.head import PrototypeHead
from ppn.prototypes.patches import FOLDER, write_patches
from ppn.prototypes.stored import Prototypes, tensors_of, weights_hash
from ppn.prototypes.whole import write_classifier

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from ppn.classifier import Classifier
    from ppn.classifier.complete import Baseline
    from ppn.data.conversion import UserImage
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.discovery.base import Discoverer
    from ppn.explanation.record import Explanation, Patch
    from ppn.explanation.terms import MapKind
    from ppn.prototypes.effects import CachedImages
    from ppn.prototypes.flags import Flag, FlagKind
    from ppn.prototypes.head import HeadOutput
    from ppn.types import InputConfig, Tokens

DEFAULT_K = 3
"""Prototypes per class, where neither the user nor names of parts say how many."""


class PrototypeNetwork(Editable, nn.Module):
    """A classifier, and the prototypes whose sums are the rows of its head.

    Made by `ppn.from_classifier` or `ppn.load`, and by `ppn fit`. The classifier is used as it is:
    its weights, and the modes of its modules, stay the caller's.

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
        num_patches: int = 5,
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
        self.edits = ()
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

    def cache(self, loader: Iterable[Any] | FineGrainedDataModule) -> CachedImages:
        """Keep what edits need of labelled images: `network.cache(loader).effect(network)`.

        Args:
            loader: Images with labels, as for `ppn.from_classifier`.

        Raises:
            DataError: If labels do not fit, or each class has a probability of its own.
        """
        from ppn.prototypes.effects import cache_images  # reading loaders takes much to import

        return cache_images(self, loader)

    def patch(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the picture of a training patch near a prototype; None where there is none.

        Args:
            label: The class.
            part: Which of its prototypes.
            rank: 0 for the nearest patch, 1 for the next.
        """
        return None if self.patches is None else self.patches(label, part, rank)

    def flagged(
        self, measured: str | os.PathLike[str] | Mapping[str, Any], *kinds: FlagKind
    ) -> list[Flag]:
        """Return the prototypes that deserve a second look, as an evaluation found them.

        Args:
            measured: Directory of a `ppn test`, its `metrics.json`, or what that holds.
            kinds: "outside" of the object, "duplicate", "little" carried, "foreign" classes fire
                it, "unsteady" when surroundings change; none: all.

        Raises:
            DataError: If there is no such kind or file, or it is of another network.
        """
        return read_flags(measured, kinds, (len(self.class_names), self.k))

    def name_images(self, name: Callable[[int], str]) -> None:
        """Note the names of the training images of the nearest patches.

        Args:
            name: Gives the name of a training image by its index.
        """
        known = self.dictionary.patch_score > -torch.inf
        self.image_names = [
            [
                [name(index) for index in ranks[there].tolist()]
                for ranks, there in zip(of_class, known[label], strict=True)
            ]
            for label, of_class in enumerate(self.dictionary.patch_index)
        ]

    def stored(self) -> Prototypes:
        """Return all that defines the prototypes, without the classifier."""
        return Prototypes(
            tensors_of(self.head, self.dictionary, self.token_classifier),
            list(self.class_names),
            self.image_names,
            self.head.name,
            self.head.exact,
            weights_hash(self.classifier.model),
            self.input_config,
            self.structure,
            self.settings,
            self.certificate,
            part_names=self.part_names,
            remainder=self.remainder,
            edits=self.edits,
        )

    def take(self, stored: Prototypes, place: Path | str) -> None:
        """Take over prototypes that were found before, of the same shape.

        Args:
            stored: The prototypes.
            place: Where they are, for the message.

        Raises:
            CheckpointError: If they were found for another classifier.
        """
        head = self.classifier.effective_head()
        stored.expect_classifier(place, self.classifier.model, *head)
        self.hold_heads({stored.refinement: stored.exact})
        self.hold_names(stored.part_names, stored.remainder)
        stored.fill(self.head, self.dictionary, self.token_classifier)
        self.class_names, self.image_names = stored.class_names, stored.images
        self.certificate, self.settings = stored.certificate, stored.settings
        self.edit(stored.edits)

    def save(self, folder: str | Path, classifier: bool = False) -> Path:
        """Write the prototypes, without the classifier, for `ppn.load(folder, model=...)`.

        Args:
            folder: Gets `prototypes.safetensors`, `prototypes.json` and, where training images are
                at hand, `gallery/` with the nearest patches; it is made.
            classifier: Write the classifier too, where timm or torchvision can make it by name, so
                that `ppn.load(folder)` needs no model.

        Returns:
            The folder.

        Raises:
            DataError: If the files cannot be written.
        """
        target = user_path(folder)
        if self.patches is not None:
            write_patches(self.dictionary, self.patches, target / FOLDER)
        if classifier:
            write_classifier(self, target)
        write_prototypes(target, self.stored())
        return target

    def push_to_hub(
        self,
        repo_id: str,
        run: str | Path | None = None,
        classifier: bool = True,
        private: bool = True,
        token: str | None = None,
    ) -> str:
        """Share the network on the Hugging Face Hub, with a model card, for `ppn.load("hf://...")`.

        Args:
            repo_id: `USER/NAME`; the repository is made where it is not there.
            run: Folder of a `ppn test`, whose `metrics.json` goes into the card.
            classifier: Whether the classifier goes along; see `save`.
            private: Whether a new repository is private.
            token: Of the Hub; None takes the one that is logged in.

        Returns:
            Address of the commit.

        Raises:
            DataError: If huggingface_hub is missing, the classifier cannot be made by name, there
                is no such run, or the Hub refuses.
        """
        from ppn.prototypes.hub import push

        return push(self, repo_id, run, classifier, private, token)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything, or say how else to keep it."""
        try:
            pickle.dumps(self.preprocessing)
        except Exception as error:  # a user's transform raises whatever it stumbles over
            raise DataError(
                f"The transform of the loader's images cannot be pickled ({error}): write the "
                "network with network.save(folder) and read it with ppn.load(folder, model=...)."
            ) from None
        return self.__dict__

    @torch.no_grad()
    @without_autocast()
    def explain(
        self,
        image: UserImage,
        target: int | str | None = None,
        maps: MapKind | None = None,
        tolerance: float = TOLERANCE,
        baseline: Baseline = "blurred",
        cut: str | None = None,
    ) -> Explanation:
        """Explain one logit of one image.

        Args:
            image: A file, a PIL image, an array (H, W, 3) or (H, W) of uint8, all preprocessed as
                the loader did; or a tensor (C, H, W) that is already what the network expects.
            target: The class, by name or index; None explains the predicted one.
            maps: "cells" of the last features; "complete": integrated along a path from a layer,
                so that they add up for every head; "pixels": the same from the picture itself,
                with the cells beside. None: cells where they are exact, else complete.
            tolerance: Largest completeness error of the last two, over the contributions' standard
                deviation; what was reached is in `explanation.terms`.
            baseline: What the image is compared with: itself "blurred", a "grey" image, or one of
                its mean "colour".
            cut: Name of the module whose output complete maps are of; None takes the default.

        Raises:
            DataError: If the image cannot be read or has another shape, there is no such class, or
                it has no prototypes.
            HeadError: If the classifier cannot be cut there.
            PPNError: If there are no such maps.
        """
        label = None if target is None else [class_index(target, self.class_names)]
        if label is not None:
            self.expect_prototypes(label[0])
        prepare = self.preprocessing or Preprocessing(self.classifier.config)
        pixels, name = prepare(image)
        look = partial(
            explain,
            self,
            patch=self.patch,
            maps=maps,
            tolerance=tolerance,
            baseline=baseline,
            cut=cut,
        )
        (explanation,) = look(pixels[None], [name], label)
        self.expect_prototypes(explanation.label)
        against = partial(self._against, look, pixels, name, explanation.label)
        return replace(explanation, against=against)

    def _against(
        self,
        look: Callable[..., list[Explanation]],
        pixels: Tensor,
        name: str,
        label: int,
        target: int | str,
    ) -> Versus:
        """Explain two classes of one image, in one state of the network."""
        other = class_index(target, self.class_names)
        self.expect_prototypes(other)
        images = pixels.expand(2, *pixels.shape)
        first, second = look(images, [name] * 2, [label, other])
        expect_two(first, second)
        return Versus(first, second)

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
