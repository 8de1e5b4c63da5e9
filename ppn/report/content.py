"""What a report says: plain records, without torch, that the templates lay out.

Two conventions hold throughout. Rates that belong to a record (`share`, `accuracy`, `part_rate`,
`probability`, `cosine`) are fractions: 0.92, not 92. Values that carry a `unit` (`MetricCard`,
`Fact`, `Column`) are printed as they are: 92.0 with the unit "%".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.explanation.record import Explanation
    from ppn.explanation.versus import Versus
    from ppn.report.confusion import Confusion
    from ppn.report.parts import ClassCard, Flagged, NamedPart

Better = Literal["higher", "lower"]


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
