"""What a report says: plain records, without torch, that the templates lay out.

Two conventions hold throughout. Rates that belong to a record (`share`, `accuracy`, `part_rate`,
`probability`, `cosine`) are fractions: 0.92, not 92. Values that carry a `unit` (`MetricCard`,
`Fact`, `Column`) are printed as they are: 92.0 with the unit "%".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ppn.prototypes.flags import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ppn.explanation.record import Explanation, Patch
    from ppn.explanation.versus import Versus
    from ppn.prototypes.flags import FlagKind
    from ppn.report.confusion import Confusion

Better = Literal["higher", "lower"]
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


@dataclass(frozen=True)
class MetricCard:
    """One measured number and what is needed to read it.

    Attributes:
        name: E.g. "Consistency".
        value: In units of `unit`.
        unit: E.g. "%"; empty for a plain number.
        levels: Name of each level that knows nothing of the image, or that uses annotations, and
            its value in the same unit.
        protocol: Name of the protocol, e.g. "evalprotopnet-2023".
        constants: The protocol's constants, printed as they are.
        help: One or two sentences: what is measured.
        error: Standard error, in the same unit.
        interval: Ends of the 95 % interval over classes; shown in place of the error.
        image_interval: Ends of the 95 % interval over images.
        share: Share of the way from the best floor to the ceiling, 1 at the ceiling.
        better: Which direction is good; None where neither is.
        bounds: Ends of the scale; None: 0 to 100 for "%", 0 to 1 for plain numbers that fit.
    """

    name: str
    value: float
    unit: str = ""
    levels: dict[str, float] = field(default_factory=dict)
    protocol: str = ""
    constants: dict[str, Any] = field(default_factory=dict)
    help: str = ""
    error: float | None = None
    interval: tuple[float, float] | None = None
    image_interval: tuple[float, float] | None = None
    share: float | None = None
    better: Better | None = "higher"
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Column:
    """A column of the explainers' table: its head, the unit of its values, and what is good."""

    title: str
    unit: str = ""
    better: Better | None = "higher"


@dataclass(frozen=True)
class ExplainerRow:
    """One way to explain the same classifier, and what it scores.

    Attributes:
        name: E.g. "cam_split".
        values: What it scores, by column; rows may differ in their columns.
        chosen: Whether this report's prototypes come from it.
        exact: Whether its contributions add up to the logit; others are shown for reference only.
        kind: "method", or what else the row is for.
        differences: The value minus that of the chosen row, and ends of its 95 % interval, paired
            over classes; of the chosen row, its value and interval.
    """

    name: str
    values: dict[Column, float]
    chosen: bool = False
    exact: bool = True
    kind: str = "method"
    differences: dict[Column, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivity:
    """A metric as a function of two of its protocol's constants.

    Attributes:
        metric: Title of the metric and its unit.
        rows: Name and (R) values of the first constant.
        columns: Name and (T) values of the second.
        values: (R) lists of (T) scores.
        default: The two constants of the protocol itself.
        bounds: Ends of the scores' scale.
    """

    metric: str
    rows: tuple[str, list[float]]
    columns: tuple[str, list[float]]
    values: list[list[float]]
    default: tuple[float, float] | None = None
    bounds: tuple[float, float] = (0.0, 100.0)

    def __post_init__(self) -> None:
        (first, down), (second, across) = self.rows, self.columns
        shape = {len(row) for row in self.values}
        if len(self.values) != len(down) or shape != {len(across)}:
            raise ValueError(
                f"sensitivity has {len(self.values)} rows of {sorted(shape)} values: give one row "
                f"per {first} ({len(down)}) and one value per {second} ({len(across)})."
            )


@dataclass(frozen=True)
class Fact:
    """A label, a value, and the small print.

    Attributes:
        label: E.g. "Agreement with the black box".
        value: A number, or text that is printed as it is.
        help: Small print: on what it was measured, against which chance level.
        unit: Printed after the value.
        technical: Whether it is for those who know the method.
    """

    label: str
    value: float | str
    help: str = ""
    unit: str = ""
    technical: bool = False


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    Attributes:
        title: The page's title.
        subtitle: One sentence under it; empty: a default that says what the page shows.
        model: Name of the explained model.
        dataset: Name of the data set.
        split: Which images were evaluated, e.g. "test".
        facts: The key numbers, shown large; three to five.
        certificate: The numbers that show exactness, and what they were computed on.
        metrics: Measured metrics.
        explainers: The ways to explain the same classifier that are compared.
        sensitivity: Metrics over the constants of their protocols.
        samples: Explained images, each of its predicted class; the first one also opens the page.
        versus: By position in `samples`, the predicted class of a wrong one beside the true one.
        classes: The classes shown, in order.
        parts: What each named part, or entry of a shared vocabulary, does over all classes.
        notes: Honest limits, one sentence or two each.
        confusion: Which class is taken for which.
        run: What was run, and where its files are.
        lines: All classes with their parts, without pictures; empty: those of `classes`.
        card: Gives the class of a label with its pictures. Where it is there, each class of
            `lines` has a page of its own, and this page lists them.
        total_classes: Number of the model's classes when only some are shown.
        created: Date of the report, printed as it is.
    """

    title: str
    model: str
    dataset: str
    split: str
    subtitle: str = ""
    facts: list[Fact] = field(default_factory=list)
    certificate: list[Fact] = field(default_factory=list)
    metrics: list[MetricCard] = field(default_factory=list)
    explainers: list[ExplainerRow] = field(default_factory=list)
    sensitivity: list[Sensitivity] = field(default_factory=list)
    samples: list[Explanation] = field(default_factory=list)
    versus: dict[int, Versus] = field(default_factory=dict)
    classes: list[ClassCard] = field(default_factory=list)
    parts: list[NamedPart] = field(default_factory=list)
    flags: list[Flagged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    confusion: Confusion | None = None
    run: list[Fact] = field(default_factory=list)
    lines: list[ClassCard] = field(default_factory=list)
    card: Callable[[int], ClassCard] | None = None
    total_classes: int | None = None
    created: str | None = None
