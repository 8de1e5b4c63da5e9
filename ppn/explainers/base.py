"""What every explainer is: from images and classes to maps, and contributions where it has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from ppn.configured import Configured

if TYPE_CHECKING:
    from torch import Tensor

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
    """`maps` (B, k, H, W), of any resolution; `contributions` (B, k) to the logit, or None."""

    maps: Tensor
    contributions: Tensor | None = None


class Explainer(Configured, ABC):
    """Says where, for each image, the evidence for a class is (captum's `attribute`).

    Attributes:
        kind: What its row is for.
        exact: Whether contributions and bias add up to the classifier's logit.
        additive: Whether the mean of each map is meant to be its contribution.
        title: Name in tables and figures; empty: `name`.
    """

    kind: ClassVar[Kind] = "method"
    exact: bool = False
    additive: bool = False
    title: str = ""

    @property
    @abstractmethod
    def maps_per_class(self) -> int:
        """Number of maps k that it gives for one class."""

    @property
    def places(self) -> int:
        """How many of them, the first ones, have a place; a remainder has none."""
        return self.maps_per_class

    def prepare(self, network: PrototypeNetwork) -> None:
        """Look at the fitted network before the first image; called once per evaluation."""

    @abstractmethod
    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the maps of one class per image.

        Args:
            inputs: B images.
            target: (B,) int64, the class to explain on each of them.
        """
