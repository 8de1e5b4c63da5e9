"""A classifier whose head is a sum of prototypes: fitted, saved, loaded and explained."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppn.classifier.complete import TOLERANCE
from ppn.classifier.running import without_autocast
from ppn.data.conversion import Preprocessing
from ppn.errors import DataError
from ppn.explanation.explain import explain
from ppn.explanation.record import ClassImages
from ppn.explanation.terms import MapOptions
from ppn.explanation.versus import Versus, expect_two
from ppn.io.files import user_path
from ppn.prototypes.arguments import class_index
from ppn.prototypes.editing import Editable
from ppn.prototypes.files import write_prototypes
from ppn.prototypes.flags import read_flags
from ppn.prototypes.patches import FOLDER, write_patches
from ppn.prototypes.stored import Prototypes, tensors_of, weights_hash
from ppn.prototypes.whole import write_classifier

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ppn.classifier.complete import Baseline
    from ppn.data.conversion import UserImage
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.explanation.record import Explanation, Patch
    from ppn.explanation.terms import MapKind
    from ppn.prototypes.effects import CachedImages
    from ppn.prototypes.flags import Flag, FlagKind

DEFAULT_K = 3
"""Prototypes per class, where neither the user nor names of parts say how many."""


class PrototypeNetwork(Editable):
    """A classifier, and the prototypes whose sums are the rows of its head.

    Made by `ppn.from_classifier` or `ppn.load`, and by `ppn fit`. The classifier is used as it is:
    its weights, and the modes of its modules, stay the caller's. See `Composition` for what it
    consists of.
    """

    def cache(self, loader: Iterable[Any] | FineGrainedDataModule) -> CachedImages:
        """Keep what edits need of labelled images: `network.cache(loader).effect(network)`.

        Args:
            loader: Images with labels, as for `ppn.from_classifier`.

        Raises:
            DataError: If labels do not fit, or each class has a probability of its own.
        """
        from ppn.prototypes.effects import cache_images  # reading loaders takes much to import

        return cache_images(self, loader)

    def class_images(self, label: int) -> ClassImages:
        """Return how many training images a class has, and how like each other they are."""
        found = self.dictionary
        return ClassImages(int(found.images[label]), float(found.least_likeness[label]))

    def patch(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the picture of a training patch near a prototype; None where there is none.

        Args:
            label: The class.
            part: Which of its prototypes.
            rank: 0 for the nearest patch, 1 for the next.
        """
        return None if self.patches is None else self.patches(label, part, rank)

    def flagged(
        self, run: str | os.PathLike[str] | Mapping[str, Any], *kinds: FlagKind
    ) -> list[Flag]:
        """Return the prototypes that deserve a second look, as an evaluation found them.

        Args:
            run: Directory of a `ppn test`, its `metrics.json`, or what that holds.
            kinds: "outside" of the object, "duplicate", "little" carried, "foreign" classes fire
                it, "unsteady" when surroundings change; none: all.

        Raises:
            DataError: If there is no such kind or file, or it is of another network.
        """
        return read_flags(run, kinds, (len(self.class_names), self.k))

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
            classifier: Write the classifier too, where timm, torchvision or transformers make it:
                then `ppn.load(folder)` needs no model.

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
                its mean "colour", or, behind a layer, its mean patch "tokens" everywhere.
            cut: Name of the module whose output complete maps are of; None takes the default.

        Raises:
            DataError: If the image cannot be read or has another shape, there is no such class, or
                it has no prototypes.
            HeadError: If the classifier cannot be cut there.
            PPNError: If there are no such maps.
        """
        options = MapOptions(maps, tolerance, baseline, cut)
        label = None if target is None else [class_index(target, self.class_names)]
        if label is not None:
            self.expect_prototypes(label[0])
        prepare = self.preprocessing or Preprocessing(self.classifier.config)
        pixels, name = prepare(image)
        look = partial(explain, self, patch=self.patch, options=options)
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
