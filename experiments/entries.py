"""How well entries of a vocabulary match what is true of their patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Patches(NamedTuple):
    """For each patch its class, the entry that fires there, and its true pair."""

    labels: np.ndarray
    entries: np.ndarray
    pairs: np.ndarray

    def purity(self, told: Patches) -> np.ndarray:
        """(C,) share of each class's patches that are of their entry's commonest pair in `told`."""
        commonest = {}
        for entry in np.unique(told.entries):
            names, counts = np.unique(told.pairs[told.entries == entry], return_counts=True)
            commonest[entry] = names[counts.argmax()]
        right = self.pairs == np.array([commonest[entry] for entry in self.entries])
        sizes = np.bincount(self.labels)
        return np.asarray(np.bincount(self.labels, right) / sizes)

    def tables(self) -> np.ndarray:
        """(C, entries, pairs) how many patches there are of each."""
        columns = [np.unique(c, return_inverse=True)[1] for c in (self.entries, self.pairs)]
        found = np.zeros((self.labels.max() + 1, *(column.max() + 1 for column in columns)))
        np.add.at(found, (self.labels, *columns), 1)
        return found


def v_measure(entries: Sequence[object], pairs: Sequence[object]) -> tuple[float, float, float]:
    """Return purity, completeness and V-measure, each in [0, 1]."""
    columns = (np.array([str(value) for value in column]) for column in (entries, pairs))
    return measures(Patches(np.zeros(len(entries), dtype=int), *columns).tables()[0])


def measures(table: np.ndarray) -> tuple[float, float, float]:
    """Return purity, completeness and V-measure of counts (entries, pairs), each in [0, 1]."""
    joint = table / table.sum()

    def entropy(share: np.ndarray) -> float:
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    whole, of_entries, of_pairs = entropy(joint), entropy(joint.sum(1)), entropy(joint.sum(0))
    homogeneity = 1 - (whole - of_entries) / of_pairs if of_pairs else 1.0
    completeness = 1 - (whole - of_pairs) / of_entries if of_entries else 1.0
    both = homogeneity + completeness
    score = 2 * homogeneity * completeness / both if both else 0.0
    return float(joint.max(1).sum()), completeness, score


def v_interval(first: Sequence[Patches], second: Patches, draws: int = 500) -> tuple[float, float]:
    """95 % interval of the difference of V-measures, over classes drawn with replacement.

    Args:
        first: One or more draws of a way, whose mean counts.
        second: What it is compared with.
        draws: How often classes are drawn.
    """
    tables = [own.tables() for own in (*first, second)]
    classes = len(tables[0])
    rng = np.random.default_rng(0)
    found = []
    for counts in rng.multinomial(classes, np.full(classes, 1 / classes), draws):
        *own, other = (measures(np.tensordot(counts, table, 1))[2] for table in tables)
        found.append(np.mean(own) - other)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def shared_residual(prototypes: Tensor, uses: Sequence[Sequence[int]]) -> float:
    """How much of rows is left if every class must use the very same vector for an entry.

    An entry's vector is the first principal direction of its prototypes, and each class gives it
    the weight that fits best; returned is the mean share of the squared norm that is left.

    Args:
        prototypes: (C, k, D).
        uses: The entry of each prototype.
    """
    left, whole = 0.0, float(prototypes.double().square().sum())
    entry = torch.tensor(uses)
    for number in entry.unique().tolist():  # type: ignore[no-untyped-call]
        rows = prototypes[entry == number].double()
        left += float(torch.linalg.svdvals(rows)[1:].square().sum())
    return left / whole
