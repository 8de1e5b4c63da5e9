"""What every explainer is: from images and classes to maps, and contributions where it has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from ppn.configured import Configured
from ppn.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Tokens

Kind = Literal["method", "control", "floor", "ceiling"]
"""What a row of a table is for: a method; a control that any exact method must beat; a level that
knows nothing of the image; a level that uses annotations."""


class Inputs(NamedTuple):
    """Images, and what one run of the classifier has already computed of them.

    `images` (B, C, H, W) as the classifier takes them; `tokens` of them, shared by all explainers;
    `indices` (B,) of each image in its data set; `draw`: 0 for the images themselves, 1 for the
    same images with noise; `seed` of the evaluation. Whatever is random is seeded by these three.
    """

    images: Tensor
    tokens: Tokens
    indices: Tensor
    draw: int = 0
    seed: int = 0


class Attribution(NamedTuple):
    """What an explainer says of one class per image.

    On the device of the images: `maps` (B, k, H, W), of any resolution; `contributions` (B, k) to
    the logit, or None; `elsewhere` (B, k): what of them is not in the maps by intent, such as a
    baseline's term.
    """

    maps: Tensor
    contributions: Tensor | None = None
    elsewhere: Tensor | None = None

    def expect_numbers(self, of: str) -> None:
        """Refuse what is infinite or no number: metrics would say anything of it.

        Args:
            of: Name of the explainer.

        Raises:
            DataError: If a map or a contribution is.
        """
        for what, values in (("maps", self.maps), ("contributions", self.contributions)):
            if values is not None and not bool(values.isfinite().all()):
                raise DataError(
                    f"{of} gives {what} with NaN or infinity: leave it out, or correct it."
                )


class Explainer(Configured, ABC):
    """Says where, for each image, the evidence for a class is (captum's `attribute`).

    Attributes:
        kind: What its row is for.
        exact: Whether contributions and bias add up to the classifier's logit.
        additive: Whether the mean of each map is meant to be its contribution.
        title: Name in tables and figures; empty: `name`.
        needs_training_images: Whether `fit` must be called after `prepare`.
        fitted: Names of the attributes, tensors, that `fit` sets and `attribute` uses.
    """

    kind: ClassVar[Kind] = "method"
    exact: bool = False
    additive: bool = False
    title: str = ""
    needs_training_images: ClassVar[bool] = False
    fitted: ClassVar[tuple[str, ...]] = ()

    @property
    def maps_per_class(self) -> int:
        """Number of maps k that it gives for one class."""
        return 1

    @property
    def places(self) -> int:
        """How many of them, the first ones, have a place; a remainder has none."""
        return self.maps_per_class

    def prepare(self, network: PrototypeNetwork) -> None:
        """Look at the fitted network before the first image; called once per evaluation."""

    def fit(self, images: TrainingImages) -> None:
        """Learn from the training images; called once, if `needs_training_images`.

        No gradient is recorded, unless `torch.enable_grad` is used. Everything random is seeded by
        an option.

        Args:
            images: Can be read class by class, any number of times, and each time costs a run of
                the classifier; only one class of it fits into memory.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what `fit` has learned."""
        return {name: getattr(self, name) for name in self.fitted if hasattr(self, name)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what another one of the same options has learned on the same network."""
        for name in self.fitted:
            setattr(self, name, state[name])

    def class_directions(self) -> Tensor | None:
        """Return the directions (C, k, D) of each class's parts, in the space of the tokens.

        None where parts have none. They tell whether two fits have found the same parts.
        """
        return None

    def surrogate(self, inputs: Inputs) -> Tensor | None:
        """Return what the explanation alone says the logits are; None where it says nothing.

        Returns:
            (B, C) float32: of every class, importance times activation summed over its concepts,
            plus the classifier's bias.
        """
        return None

    @abstractmethod
    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the maps of one class per image.

        Args:
            inputs: B images.
            target: (B,) int64, the class to explain on each of them.
        """

    def contributions(self, inputs: Inputs, target: Tensor) -> Tensor | None:
        """Return those (B, k) of `attribute` alone, where they cost less than the maps.

        Args:
            inputs: B images.
            target: (B,) int64, the class to explain on each of them.
        """
        return self.attribute(inputs, target).contributions
