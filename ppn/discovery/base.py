"""What every discoverer is: from the patch tokens of classes to their parts (method: step 1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ppn.configured import Configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ppn.discovery.token_classifier import TokenClassifier
    from ppn.discovery.training import TrainingImages


class ClassTokens(NamedTuple):
    """The un-augmented training images of one class.

    `label`; `name`; `tokens` (n_c, N, D) patch tokens; `indices` (n_c,) which images; `pooled`
    (n_c, D) what the head acts on, None where it is the mean token; `grid` (H, W) of the tokens;
    `earlier` (n_c, N, E) features of an earlier layer on that grid, None unless asked for.
    """

    label: int
    name: str
    tokens: Tensor
    indices: Tensor
    pooled: Tensor | None = None
    grid: tuple[int, int] = (0, 0)
    earlier: Tensor | None = None


class Parts(NamedTuple):
    """The parts of one class.

    `parts` (k, D) directions, of unit L2 norm unless zero; `coefficients` (n_c * N, k) >= 0, how
    much of each part is in each token, image after image, row by row; `remainder` whether the
    last part is what no other covers, wherever in the image it is.
    """

    parts: Tensor
    coefficients: Tensor
    remainder: bool = False


class Discoverer(Configured, ABC):
    """Finds the parts of classes in their patch tokens.

    The constructor holds options only. Everything random is seeded by an option.

    Attributes:
        shared: Whether all classes share one dictionary. Then `fit` is given the tokens of all
            classes, or of the images that `choose` names, before `discover` is asked about the
            first one.
        remainder: Whether the last part is what no other covers.
        classifier: What names parts by their tokens, once it is learned; None without names.
    """

    shared: ClassVar[bool] = False
    remainder: bool = False
    classifier: TokenClassifier | None = None

    @property
    def part_names(self) -> list[str]:
        """Name of each part, the same for every class, so that k is their number; or nothing."""
        return []

    @property
    def given(self) -> list[Tensor]:
        """What results depend on beside options and tokens, such as annotations."""
        return []

    @property
    def account(self) -> dict[str, Any]:
        """What the certificate says of it, as plain values."""
        return {}

    def choose(self, training: TrainingImages) -> list[int] | None:
        """Name the training images that `fit` must see; called before it, if `shared`.

        Args:
            training: What there is.

        Returns:
            Their indices, of whichever classes; None: all images of all classes.

        Raises:
            PPNError: If it needs what there is not.
        """
        del training
        return None

    def looks_earlier(self) -> bool:
        """Say whether features of an earlier layer are wanted too."""
        return False

    def fit(self, classes: Iterable[ClassTokens], weight: Tensor, k: int) -> None:
        """Learn what all classes share; called only if `shared`.

        Args:
            classes: The tokens of one class after the other; each may be kept no longer than its
                turn, as all of them together need not fit into memory.
            weight: (C, D) float64, the effective head.
            k: Parts per class.
        """

    def joined(self, looks: Tensor, labels: Sequence[int]) -> dict[str, Any]:
        """Say which entry of a shared vocabulary each part is, once all classes are done.

        Args:
            looks: (C, k, E) what parts of all classes look like: the mean features at each of an
                earlier layer if `looks_earlier` says so and there is one, else the parts.
            labels: The classes that have parts.

        Returns:
            Plain values for the certificate: how many `entries` there are, their `names`, and
            `uses`, by label the entries of a class's parts; nothing where parts are no entries.
        """
        del looks, labels
        return {}

    @abstractmethod
    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find k parts in the tokens of each of a group of classes.

        Args:
            group: The classes; the same ones on every machine and number of processes.
            weight: (C, D) float64, the effective head.
            k: Parts per class.

        Returns:
            The parts of each class of the group.

        Raises:
            DiscoveryError: If tokens are not finite, or a class has fewer than k of them.
        """
