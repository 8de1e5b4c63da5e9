"""A classifier together with its prototypes, outside of any Trainer."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ppn.data.dataset import Annotated
from ppn.data.images import read_image
from ppn.data.transforms import Transform
from ppn.errors import DataError
from ppn.explanation.explain import explain
from ppn.prototypes.files import write_prototypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ppn.classifier import Classifier
    from ppn.explanation.record import Explanation, Patch
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.head import HeadOutput, PrototypeHead
    from ppn.prototypes.stored import Prototypes


class PrototypeNetwork(nn.Module):
    """A classifier and the prototypes whose sums are the rows of its head.

    Made by `ppn.from_classifier` or `ppn.load`.

    Args:
        classifier: The classifier.
        head: Its head as sums of prototypes.
        dictionary: What discovery has found.
        class_names: Name of each class.
        certificate: What was measured at the end of discovery, as plain values.
        describe: Gives what defines the prototypes, for `save`.
        patch: Gives a patch of class, prototype and rank, or None where its image is not at hand.
    """

    def __init__(
        self,
        classifier: Classifier,
        head: PrototypeHead,
        dictionary: PartDictionary,
        class_names: Sequence[str],
        certificate: dict[str, object],
        describe: Callable[[], Prototypes],
        patch: Callable[[int, int, int], Patch | None] | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.head = head
        self.dictionary = dictionary
        self.class_names = list(class_names)
        self.certificate = certificate
        self._describe = describe
        self._patch = patch
        self.eval()

    @property
    def exactness(self) -> str:
        """One sentence on what is exact about the explanations."""
        return self.classifier.inspection.exactness

    def save(self, folder: str | Path) -> Path:
        """Write the prototypes, without the classifier, for `ppn.load(folder, model=...)`.

        Args:
            folder: Gets `prototypes.safetensors` and `prototypes.json`; it is made.

        Returns:
            The folder.

        Raises:
            DataError: If the files cannot be written.
        """
        write_prototypes(Path(folder), self._describe())
        return Path(folder)

    @torch.no_grad()
    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits (B, C) and contributions (B, C, k) of images."""
        images = self.classifier.accept(images)
        output: HeadOutput = self.head(self.classifier(images, patches=False))
        return output

    def patch(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return a training patch near a prototype; None where its image is not at hand.

        Args:
            label: The class.
            part: Which of its prototypes, from 0.
            rank: 0 for the nearest.
        """
        return None if self._patch is None else self._patch(label, part, rank)

    def explain(
        self,
        image: str | Path | Image.Image | np.ndarray | Tensor,
        target: int | str | None = None,
    ) -> Explanation:
        """Explain one logit of one image.

        Args:
            image: A file, a PIL image, an array (H, W, 3) or (H, W) of uint8, or a tensor
                (C, H, W) that is already what the network expects.
            target: The class, by index or name; None explains the predicted one.

        Raises:
            DataError: If the image cannot be read or has another shape, or there is no such class.
        """
        pixels, name = self._prepare(image)
        label = None if target is None else [self._label(target)]
        return explain(self, pixels[None], [name], label, patch=self.patch)[0]

    def _prepare(self, image: str | Path | Image.Image | np.ndarray | Tensor) -> tuple[Tensor, str]:
        config = self.classifier.config
        if isinstance(image, Tensor):
            expected = (config.channels, *config.size)
            if image.shape != expected:
                raise DataError(
                    f"The image is a tensor of shape {tuple(image.shape)}, but the classifier "
                    f"takes {expected}: give a PIL image to have it resized and normalised."
                )
            return image.float(), "image"
        name = "image"
        if isinstance(image, str | Path):
            name = str(image)
            image = read_image(Path(image), upright=True)
        elif not isinstance(image, Image.Image):
            array = np.asarray(image)
            shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
            if not shaped or array.dtype != np.uint8:
                raise DataError(
                    f"The image is an array of shape {array.shape} and type {array.dtype}, but "
                    "must be (H, W, 3) or (H, W) of uint8."
                )
            image = Image.fromarray(array)
        return Transform(config)(Annotated(image.convert("RGB"))).image, name

    def _label(self, target: int | str) -> int:
        if isinstance(target, str):
            if target not in self.class_names:
                raise DataError(
                    f"There is no class '{target}': the first ones are "
                    f"{', '.join(self.class_names[:3])}."
                )
            return self.class_names.index(target)
        try:
            label = operator.index(target)  # of numpy's and torch's numbers too
        except TypeError:
            label = -1
        if not 0 <= label < len(self.class_names):
            raise DataError(
                f"There is no class {target}: classes are 0 to {len(self.class_names) - 1}."
            )
        return label
