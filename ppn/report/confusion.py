"""Which class is taken for which, as a table whose cells open explained mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.explanation.record import Explanation
    from ppn.report.examined import Examined

_MOST = 24
"""Classes in the table; those with most mistakes, where there are more."""


@dataclass(frozen=True)
class Cell:
    """Images of one class predicted as one class.

    Attributes:
        count: How many.
        sample: Position of the explained image among the report's; None where none is.
        strength: The count over the largest one off the diagonal, in [0, 1].
    """

    count: int
    sample: int | None = None
    strength: float = 0.0


@dataclass(frozen=True)
class Confusion:
    """The table.

    Attributes:
        names: Name of each class shown, in the order of rows and columns.
        rows: Row by row, the true class, which is predicted as the column's.
        wrong: Images predicted wrong, of all classes.
        images: All images.
        classes: All classes.
        pairs: The most frequent mistakes: true class, predicted class and the cell.
    """

    names: list[str]
    rows: list[list[Cell]]
    wrong: int
    images: int
    classes: int
    pairs: list[tuple[str, str, Cell]] = field(default_factory=list)


def confusion(
    seen: Examined, names: Sequence[str], samples: Sequence[Explanation]
) -> Confusion | None:
    """Return the table; None where there is no image.

    Args:
        seen: Predictions.
        names: Name of each class.
        samples: The explained images.
    """
    if not len(seen.labels):
        return None
    explained: dict[tuple[str, str], int] = {}
    for number, sample in enumerate(samples):
        explained.setdefault((sample.true_class, sample.class_name), number)
    wrong = seen.labels != seen.predicted
    errors = np.bincount(seen.labels[wrong], minlength=len(names))
    errors += np.bincount(seen.predicted[wrong], minlength=len(names))
    present = np.union1d(seen.labels, seen.predicted)
    shown = np.sort(present[np.argsort(-errors[present], kind="stable")][:_MOST])
    place = {int(label): index for index, label in enumerate(shown)}
    counts = np.zeros((len(shown), len(shown)), dtype=int)
    pairs: dict[tuple[int, int], int] = {}
    for true, guess in zip(seen.labels.tolist(), seen.predicted.tolist(), strict=True):
        if true in place and guess in place:
            counts[place[true], place[guess]] += 1
        if true != guess:
            pairs[true, guess] = pairs.get((true, guess), 0) + 1
    largest = max(pairs.values(), default=1)

    def cell(true: int, guess: int, count: int) -> Cell:
        off = true != guess and count > 0
        at = explained.get((names[true], names[guess])) if off else None
        return Cell(count, at, count / largest if off else 0.0)

    frequent = sorted(pairs.items(), key=lambda item: -item[1])[:10]
    return Confusion(
        [names[label] for label in shown],
        [
            [cell(true, guess, int(counts[i, j])) for j, guess in enumerate(shown.tolist())]
            for i, true in enumerate(shown.tolist())
        ],
        int(wrong.sum()),
        len(seen.labels),
        len(present),
        [(names[true], names[guess], cell(true, guess, n)) for (true, guess), n in frequent],
    )
