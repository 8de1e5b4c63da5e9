"""A classifier together with its prototypes, outside of any Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ppn.classifier.head_case import LEVELS, MAPS
from ppn.data.conversion import Preprocessing
from ppn.data.transforms import to_picture
from ppn.explanation.explanation import Explanation, Ranked
from ppn.io.files import user_path
from ppn.prototypes.arguments import class_index
from ppn.prototypes.files import write_prototypes
from ppn.report.content import Patch, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.data.batches import LabelMode
    from ppn.data.conversion import UserImage
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
        preprocessing: Turns an image into the classifier's input; None does as its config says.
        mode: How probabilities follow from logits; see `Source.mode`.
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
        preprocessing: Preprocessing | None = None,
        mode: LabelMode = "single",
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.head = head
        self.dictionary = dictionary
        self.class_names = list(class_names)
        self.certificate = certificate
        self._describe = describe
        self._patch = patch
        self.preprocessing = preprocessing or Preprocessing(classifier.config)
        self.mode: LabelMode = mode
        self.eval()

    @property
    def exactness(self) -> str:
        """One sentence on what is exact about the explanations."""
        report = self.classifier.report
        error = report.completeness_error
        measured = f" (completeness error {error:.1e})" if error and not report.averages else ""
        return f"{LEVELS[report.case].capitalize()}: {MAPS[report.case]}{measured}."

    def save(self, folder: str | Path) -> Path:
        """Write the prototypes, without the classifier, for `ppn.load(folder, model=...)`.

        Args:
            folder: Gets `prototypes.safetensors` and `prototypes.json`; it is made.

        Returns:
            The folder.

        Raises:
            DataError: If the files cannot be written.
        """
        target = user_path(folder)
        write_prototypes(target, self._describe())
        return target

    @torch.no_grad()
    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits (B, C) and contributions (B, C, k) of images."""
        images = self.classifier.accept(images)
        output: HeadOutput = self.head(self.classifier(images, patches=False))
        return output

    @torch.no_grad()
    def explain(self, image: UserImage, of: int | str | None = None) -> Explanation:
        """Explain one logit of one image.

        Args:
            image: A file, a PIL image, an array (H, W, 3) or (H, W) of uint8, all preprocessed as
                the loader did; or a tensor (C, H, W) that is already what the network expects.
            of: The class, by name or index; None explains the predicted one.

        Raises:
            DataError: If the image cannot be read or has another shape, or there is no such class.
        """
        label = None if of is None else class_index(of, self.class_names)
        pixels, name = self.preprocessing(image)
        device = self.head.bias.device
        tokens = self.classifier(self.classifier.accept(pixels[None]), patches=False)
        logits = tokens.logits[0].float()
        label = int(logits.argmax()) if label is None else label
        chosen = torch.tensor([label], device=device)
        contributions = self.head(tokens).contributions[0, label]
        maps = self.head.maps(tokens, chosen)[0].cpu().numpy()
        probability = logits.softmax(0) if self.mode == "single" else logits.sigmoid()
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
