"""What a discoverer may ask of the training images before it sees their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

AnnotationKind = Literal["keypoints", "masks", "boxes"]
"""Which of a data set's annotations tell where parts are; "boxes" have one part, "box"."""


class Annotations(NamedTuple):
    """Where parts are on m images, in pixels of the classifier's input.

    `indices` (m) which training images; `names` (P) of what is annotated; `size` height and width
    of the input; `keypoints` (m, P, 3) x, y and visibility; `areas` (m, P, h, w) in [0, 1], how
    much of each place of the input belongs to it, at any resolution; one of the two is None.
    """

    indices: list[int]
    names: list[str]
    size: tuple[int, int]
    keypoints: Tensor | None = None
    areas: Tensor | None = None


class TrainingImages(Protocol):
    """The training images, as a shared discoverer may ask for some of them.

    Indices are those of `ClassTokens.indices`. What is drawn is drawn from the images that
    prototypes are found on, not from those held out for validation.
    """

    def clicked(self, path: str) -> Annotations:
        """Return the points of a CSV file of clicks or a JSON file of COCO keypoints.

        Raises:
            DataError: If the file is wrong, or names an image that there is not.
        """

    def annotated(
        self, kind: AnnotationKind, names: Collection[str] | None, count: int, seed: int
    ) -> Annotations:
        """Return the data set's own annotations of images drawn at random.

        Args:
            kind: Which of them.
            names: Only images that show one of these count; None: of all.
            count: How many images, at most.
            seed: Seed of the draw.

        Raises:
            DataError: If the data set has none.
        """

    def drawn(self, count: int, seed: int) -> list[int]:
        """Return images drawn at random, at most so many."""

    def expect(self, indices: Sequence[int]) -> None:
        """Refuse an index of no image, as far as it is known how many there are.

        Raises:
            DataError: If there is one.
        """

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Return images (m, C, H, W) as the classifier sees them, where it is."""
