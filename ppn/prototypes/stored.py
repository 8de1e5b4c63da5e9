"""All that defines the prototypes of a classifier, apart from the classifier itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ppn.errors import CheckpointError
from ppn.prototypes.journal import fingerprint
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.discovery.token_classifier import TokenClassifier
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.editing import Edit
    from ppn.prototypes.head import PrototypeHead
    from ppn.types import InputConfig

NAMING = "token_classifier."
"""Before the names of the tensors that name parts."""
TOLERANCE = 1e-6
"""How far sums of prototypes may be from a row of the head, over the row's largest entry."""


@dataclass(frozen=True)
class Prototypes:
    """All that defines the prototypes of a classifier, and where they come from.

    Attributes:
        tensors: `prototypes` (C, k, D), whose sums over k are the rows of the head; `bias` (C,);
            the buffers of a `PartDictionary`; and with names `token_classifier.weight` (K + 1, D)
            and `token_classifier.bias` (K + 1), see `TokenClassifier`.
        class_names: C names.
        images: Names of the training images of the nearest patches, [class][prototype][rank].
        refinement: Name of the refinement that split the rows.
        exact: Whether prototypes sum to the rows.
        weights: Fingerprint of the classifier's weights; see `weights_hash`.
        input: What the classifier expects of an image.
        structure: Its `architecture`, `image_size`, `model_options`, and the `features` that were
            named, as far as they are known.
        settings: How discovery was set.
        certificate: What was measured at its end.
        version: Of the package that found them.
        part_names: Name of each of the k parts, the same for every class; empty without names.
        remainder: Whether the last one is what no other covers.
        edits: What was done to them since; `prototypes` are as they were found.
    """

    tensors: dict[str, Tensor]
    class_names: list[str]
    images: list[list[list[str]]]
    refinement: str
    exact: bool
    weights: str
    input: InputConfig
    structure: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    certificate: dict[str, Any] = field(default_factory=dict)
    version: str = __version__
    part_names: list[str] = field(default_factory=list)
    remainder: bool = False
    edits: tuple[Edit, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Classes C, prototypes per class k, width D and patches per prototype m."""
        classes, k, width = self.tensors["prototypes"].shape
        return classes, k, width, self.tensors["patch_index"].shape[2]

    def expect_classes(self, place: Path | str, count: int) -> None:
        """Refuse data of more classes than there are prototypes for.

        Raises:
            CheckpointError: If there are.
        """
        if self.shape[0] < count:
            raise CheckpointError(
                f"The prototypes in {place} are for {self.shape[0]} classes, the data has {count}: "
                "use the data that they were found on."
            )

    def expect_classifier(
        self, place: Path | str, model: nn.Module, weight: Tensor, bias: Tensor
    ) -> None:
        """Refuse a classifier that the prototypes do not add up to.

        Args:
            place: Where the prototypes are, for the message.
            model: The classifier.
            weight: (C, D), its effective head.
            bias: (C,).

        Raises:
            CheckpointError: If they were found for another one.
        """
        classes, _, width, _ = self.shape
        why = None
        if (classes, width) != tuple(weight.shape):
            sizes = f"{classes} classes and {width} channels, not {weight.shape[0]} and"
            why = f"one of {sizes} {weight.shape[1]}"
        elif not sum_error(self._terms, weight.cpu()) <= TOLERANCE:
            why = "they do not sum to the rows of this one's head"
        elif not sum_error(self.tensors["bias"][None, None], bias.cpu()[None]) <= TOLERANCE:
            why = "this one's bias differs"
        elif weights_hash(model) != self.weights:
            why = "this one's weights differ"
        if why is not None:
            raise CheckpointError(
                f"The prototypes in {place} belong to another classifier ({why}): give the one "
                "that they were found for, or find prototypes for this one."
            )

    @property
    def _terms(self) -> Tensor:
        """(C, terms, D), what sums to the head: a baseline that is not exact has but the rows."""
        return self.tensors["prototypes"] if self.exact else self.tensors["weight"][:, None]

    @property
    def inexactness(self) -> float:
        """How far sums are from the rows that the prototypes were found for; see `sum_error`."""
        return sum_error(self._terms, self.tensors["weight"])

    def fill(
        self,
        head: PrototypeHead,
        dictionary: PartDictionary,
        classifier: TokenClassifier | None = None,
    ) -> None:
        """Copy the prototypes into modules of their shape."""
        head.prototypes.copy_(self.tensors["prototypes"])
        head.bias.copy_(self.tensors["bias"])
        for name, buffer in dictionary.named_buffers():
            buffer.copy_(self.tensors[name])
        for name, buffer in classifier.named_buffers() if classifier else ():
            buffer.copy_(self.tensors[NAMING + name])


def tensors_of(
    head: PrototypeHead, dictionary: PartDictionary, classifier: TokenClassifier | None = None
) -> dict[str, Tensor]:
    """Return the tensors of `Prototypes`, on the CPU."""
    found = {
        "prototypes": head.unedited(),
        "bias": head.bias,
        **dict(dictionary.named_buffers()),
        **({NAMING + name: b for name, b in classifier.named_buffers()} if classifier else {}),
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def weights_hash(model: nn.Module) -> str:
    """Return a fingerprint of a model's weights and statistics, as float32 and without names."""
    values = [v for v in model.state_dict().values() if isinstance(v, Tensor)]
    return fingerprint([v.float() if v.is_floating_point() else v for v in values])


def sum_error(prototypes: Tensor, weight: Tensor) -> float:
    """Return max over classes of max |sum_i p_i - v| / max |v|.

    Args:
        prototypes: (C, k, D).
        weight: (C, D), the rows v.
    """
    rows = weight.double()
    missing = (prototypes.double().sum(1) - rows).abs().amax(1)
    return float((missing / rows.abs().amax(1).clamp(min=1e-30)).max())


def misnamed(names: Sequence[str], remainder: bool, k: int) -> str | None:
    """Say why names cannot be those of k parts, in half a sentence; None where they can.

    Args:
        names: Of all parts, or none.
        remainder: Whether the last part is what no other covers.
        k: Parts per class.
    """
    if k <= remainder:
        return "it has nothing but a remainder"
    if not names:
        return None
    if len(names) != k:
        return f"it names {len(names)} parts, but has {k}"
    if len(set(names)) < k or not all(name.strip() for name in names):
        return "two of its parts have one name, or one has none"
    return None
