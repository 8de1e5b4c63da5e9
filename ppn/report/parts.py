"""What a report says of classes and their parts: plain records, without torch; see `content`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ppn.prototypes.flags import WORDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ppn.explanation.record import Patch
    from ppn.prototypes.flags import FlagKind

SEPARATING = 4
"""Evaluated images of each class on which named parts are said to tell it from others."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A part on an evaluated image.

    Attributes:
        image: The image as the network saw it.
        heatmap: (H, W) the part's map.
        name: The image's name.
    """

    image: Image.Image
    heatmap: NDArray[np.floating[Any]]
    name: str


@dataclass(frozen=True)
class Prototype:
    """One part of a class.

    Attributes:
        index: Position within the class, from 0; it also picks the identity colour.
        patches: The nearest training patches, nearest first.
        share: Mean share of the class's logit (without bias) that it contributes, a fraction;
            may be negative.
        cosine: Cosine between the refined and the discovered direction.
        name: What the part is called, for every class alike; None where parts have no names.
        part: The annotated part that it covers most often, e.g. "crown".
        part_rate: How often it covers that part where the part is visible, a fraction.
        consistent: Whether `part_rate` reaches the protocol's threshold.
        outside: Mean share of its evidence outside of the object, a fraction; None where unknown.
        place: (G, G) mean share of its evidence in each cell of the object's box.
        flags: What speaks against it, in a few words each.
        sightings: Evaluated images of the class to which it adds most.
    """

    index: int
    patches: list[Patch]
    share: float | None = None
    cosine: float | None = None
    part: str | None = None
    part_rate: float | None = None
    consistent: bool | None = None
    name: str | None = None
    outside: float | None = None
    place: NDArray[np.floating[Any]] | None = None
    flags: tuple[str, ...] = ()
    sightings: list[Sighting] = field(default_factory=list)

    @property
    def guess(self) -> str | None:
        """What a part without a name may be: what it covers, if it does so consistently."""
        return self.part if self.consistent and self.name is None else None


@dataclass(frozen=True)
class ClassCard:
    """One class and its prototypes.

    Attributes:
        label: Index of the class in the head.
        name: Name shown to the reader.
        prototypes: Its prototypes, in the head's order.
        images: Number of training images that the prototypes come from.
        accuracy: Share of the class's evaluated images that are classified right, a fraction.
    """

    label: int
    name: str
    prototypes: list[Prototype]
    images: int
    accuracy: float | None = None


@dataclass(frozen=True)
class Separation:
    """How a part tells a class from its strongest rival, on images of the class.

    `part` is what the part adds to the lead of the class's logit over the rival's, `lead` all of
    it.
    """

    name: str
    rival: str
    part: float
    lead: float


@dataclass(frozen=True)
class NamedPart:
    """A part that has one name for every class, or an entry that classes share.

    Attributes:
        index: Position within each class, from 0.
        name: Its name.
        remainder: Whether it is what no name covers.
        share: Mean over classes of its mean share of the logit (without bias), a fraction.
        accuracy: Share of held-out points that got this name, a fraction.
        shares: The same as `share` for each class shown, by label.
        separates: The classes that it tells apart best.
        positions: Of an entry of a shared vocabulary, which prototype it is in each class that
            uses it, by label; None: the same in every class.
    """

    index: int
    name: str
    remainder: bool = False
    share: float | None = None
    accuracy: float | None = None
    shares: dict[int, float] = field(default_factory=dict)
    separates: list[Separation] = field(default_factory=list)
    positions: dict[int, int] | None = None

    def position(self, label: int) -> int | None:
        """Return which prototype of a class it is, or None."""
        return self.index if self.positions is None else self.positions.get(label)


@dataclass(frozen=True)
class Flagged:
    """A prototype that deserves a second look.

    Attributes:
        label: Its class, of the name `name`.
        index: Position within the class, from 0, and `title` what it is called.
        kind: Why, in a word, and `value` by how much.
        other: What the part is called that it duplicates.
    """

    label: int
    name: str
    index: int
    title: str
    kind: FlagKind
    value: float
    other: str | None = None

    @property
    def words(self) -> str:
        """What speaks against the part, in plain words."""
        return WORDS[self.kind].format(other=(self.other or "").lower())
