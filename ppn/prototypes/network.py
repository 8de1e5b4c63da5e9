"""A classifier together with its prototypes, outside of any Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ppn.data.dataset import Annotated
from ppn.data.images import read_image
from ppn.data.transforms import Transform, to_picture
from ppn.errors import DataError
from ppn.explanation.explanation import Explanation, Ranked
from ppn.prototypes.files import write_prototypes
from ppn.report.content import Patch, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ppn.classifier import Classifier
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.head import HeadOutput, PrototypeHead
    from ppn.prototypes.stored import Prototypes

_RANKED = 5


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
        patch: Callable[[int, int], Patch | None] | None = None,
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

    @torch.no_grad()
    def explain(
        self, image: str | Path | Image.Image | np.ndarray | Tensor, of: int | str | None = None
    ) -> Explanation:
        """Explain one logit of one image.

        Args:
            image: A file, a PIL image, an array (H, W, 3) or (H, W) of uint8, or a tensor
                (C, H, W) that is already what the network expects.
            of: The class, by index or name; None explains the predicted one.

        Raises:
            DataError: If the image cannot be read or has another shape, or there is no such class.
        """
        pixels, name = self._prepare(image)
        device = self.head.bias.device
        tokens = self.classifier(self.classifier.accept(pixels[None]), patches=False)
        logits = tokens.logits[0].float()
        label = int(logits.argmax()) if of is None else self._label(of)
        chosen = torch.tensor([label], device=device)
        contributions = self.head(tokens).contributions[0, label]
        maps = self.head.maps(tokens, chosen)[0].cpu().numpy()
        probability = logits.softmax(0)
        patches = [self._patch(label, part) for part in range(len(maps))] if self._patch else []
        found = [patch for patch in patches if patch is not None]
        factor = float(tokens.scale[0])
        sample = Sample(
            image=to_picture(pixels, self.classifier.config),
            name=name,
            true_class="",
            predicted_class=self.class_names[label],
            probability=float(probability[label]),
            logit=float(logits[label]),
            bias=float(self.head.bias[label]),
            contributions=contributions.tolist(),
            maps=list(maps),
            predicted_label=label,
            scale_note=None if factor == 1 else f"This image's factor 1/s is {factor:.3g}.",
            looks_like=found if len(found) == len(patches) else [],
        )
        best = logits.topk(min(_RANKED, len(logits)))
        ranking = tuple(
            Ranked(i, self.class_names[i], value, float(probability[i]))
            for value, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        return Explanation(sample, ranking, self.exactness)

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

    def _label(self, of: int | str) -> int:
        if isinstance(of, str):
            if of not in self.class_names:
                raise DataError(
                    f"There is no class '{of}': the first ones are "
                    f"{', '.join(self.class_names[:3])}."
                )
            return self.class_names.index(of)
        if not 0 <= of < len(self.class_names):
            raise DataError(
                f"There is no class {of}: classes are 0 to {len(self.class_names) - 1}."
            )
        return of
