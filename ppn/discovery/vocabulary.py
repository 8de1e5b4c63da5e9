"""A vocabulary of parts that classes share, each class using a few of its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ppn.discovery.base import Discoverer, Parts
from ppn.discovery.factorization import nonnegative_coefficients
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.discovery.nmf import NMF
from ppn.discovery.positive import positive_tokens
from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ppn.discovery.base import ClassTokens

_LINKED = 8000
"""Most parts whose distances are all taken: a quarter of a gigabyte."""


class Vocabulary(Discoverer):
    """K entries for all classes, of which each class uses k (ours).

    Non-negative matrix factorisation finds the parts of each class; parts of all classes that are
    alike become one entry, their mean direction; and each class takes the entries that its parts
    are nearest to, no entry twice. Where an entry is in a class's tokens is where the class's own
    part is, its variant of the entry. The class's row is then split by a
    refinement, as ever, so that the sum is exact: an entry is what classes share, its prototype is
    what a class's row makes of it. With `rest` the last prototype of every class is its own
    remainder: what none of its entries covers.

    Args:
        entries: K, at most as many as all classes have parts; fewer are found if there are fewer.
        rest: Weight of what entries leave of a token against what they cover, at least 0; with 0
            there is no remainder, and the entries share everything.
        variants: Whether a class has its own variant of an entry, the part that was found in it;
            else its tokens are decomposed into the entries themselves, the same for all classes.
        seed: Seed of k-means and of the randomised SVD.

    Attributes:
        directions: (K, D) of unit length, once `fit` has seen all classes.
        uses: The entries of each class, by its label, one for each of its parts.

    Raises:
        DiscoveryError: If an option is out of range.
    """

    shared: ClassVar[bool] = True

    def __init__(
        self, entries: int = 60, rest: float = 0.0, variants: bool = True, seed: int = 0
    ) -> None:
        self.entries = entries
        self.rest = rest
        self.variants = variants
        self.seed = seed
        self._expect_least(1, "entries")
        self._expect_least(0, "rest")
        self._expect_seed()
        self.remainder = rest > 0
        self.directions: Tensor | None = None
        self.uses: dict[int, list[int]] = {}

    @property
    def account(self) -> dict[str, Any]:
        """How many entries there are, and which ones each class uses, by label."""
        if self.directions is None:
            return {}
        uses = {str(label): own for label, own in sorted(self.uses.items())}
        return {"entries": len(self.directions), "uses": uses, "remainder": self.remainder}

    def fit(self, classes: Iterable[ClassTokens], weight: Tensor, k: int) -> None:
        """Find the parts of all classes, and make entries of those that are alike.

        Raises:
            DiscoveryError: If k leaves no entry, or entries are fewer than a class needs.
        """
        own = self._own(k)
        way = NMF(seed=self.seed)
        parts = {
            item.label: way.discover([item], weight, own)[0].parts.float().cpu() for item in classes
        }
        if not parts:
            raise DiscoveryError("There is no class to make a vocabulary of.")
        every = torch.cat(list(parts.values()))
        self.directions = alike_directions(every, self.entries, self.seed)
        if len(self.directions) < own:
            raise DiscoveryError(
                f"A vocabulary of {len(self.directions)} entries is too small for {own} in each "
                "class: raise entries, or lower k."
            )
        self.uses = {label: distinct_nearest(own, self.directions) for label, own in parts.items()}

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the entries that each class uses in its tokens.

        Raises:
            DiscoveryError: If nothing is learned, or not for this class or k.
        """
        own = self._own(k)
        for item in group:
            if self.directions is None or len(self.uses.get(item.label, [])) != own:
                raise DiscoveryError(
                    f"The vocabulary has no {own} entries for class {item.name}: call fit with all "
                    "classes and this k first."
                )
        if self.variants:
            found = NMF(seed=self.seed).discover(group, weight, own)
        else:
            found = [self._decompose(item, own) for item in group]
        if not self.remainder:
            return found
        return [
            self._with_rest(positive_tokens(item, k), parts)
            for item, parts in zip(group, found, strict=True)
        ]

    def _decompose(self, item: ClassTokens, own: int) -> Parts:
        assert self.directions is not None
        tokens = positive_tokens(item, own)
        parts = self.directions[self.uses[item.label]].to(tokens)
        return Parts(parts, nonnegative_coefficients(tokens, parts))

    def _with_rest(self, tokens: Tensor, found: Parts) -> Parts:
        """Add what parts leave of the tokens (n, D) as a remainder."""
        left = tokens - found.coefficients @ found.parts
        size = left.norm(dim=1)
        direction = functional.normalize((size @ left.clamp(min=0))[None], dim=1)
        coefficients = torch.cat([found.coefficients, self.rest * size[:, None]], dim=1)
        return Parts(torch.cat([found.parts, direction]), coefficients, remainder=True)

    def _own(self, k: int) -> int:
        """How many entries a class uses."""
        if k - self.remainder < 1:
            raise DiscoveryError(f"k is {k}, which leaves no entry beside the rest: raise it.")
        return k - self.remainder


def alike_directions(parts: Tensor, count: int, seed: int = 0) -> Tensor:
    """Join parts that are alike: the mean direction of each cluster, largest cluster first.

    What all parts have in common is left out when they are compared: it would make them all alike.
    Clusters come from average linkage; of too many parts for that, from k-means.

    Args:
        parts: (n, D) non-negative, of unit length unless zero.
        count: Clusters, at most; one of zeros alone is none.
        seed: Seed of k-means.

    Returns:
        (K, D) of unit length, K <= count.
    """
    parts = parts[parts.any(1)]
    count = min(count, len(parts))
    if count == 0:
        return parts
    apart = functional.normalize(parts - parts.mean(0), dim=1)
    if len(parts) > _LINKED:
        member = spherical_kmeans(apart, count, seed, iterations=50).assignment
    elif count < len(parts):
        from scipy.cluster.hierarchy import fcluster, linkage  # slow to import

        tree = linkage(apart.double().numpy(), "average")
        member = torch.from_numpy(fcluster(tree, count, "maxclust")).long() - 1
    else:
        member = torch.arange(count)
    sums = parts.new_zeros(count, parts.shape[1]).index_add_(0, member, parts)
    sizes = torch.bincount(member, minlength=count)
    order = sizes.argsort(descending=True, stable=True)
    order = order[sizes[order] > 0]
    return functional.normalize(sums[order], dim=1)


def divided(
    looks: Tensor, labels: Sequence[int], names: Sequence[str], count: int
) -> dict[str, Any]:
    """Make entries of named parts: classes whose part of a name looks alike share one.

    Args:
        looks: (C, k, E) features of parts; the first K of every class have the same names.
        labels: The classes that have parts.
        names: The K names.
        count: Entries of all names together, see `divide`.

    Returns:
        What `Discoverer.joined` says: "wing 1" and "wing 2" are entries, or "wing" if it is one.
    """
    own = divide(looks[list(labels), : len(names)], count)
    called: list[str] = []
    for name, column in zip(names, own.T, strict=True):
        numbers = range(len(called), int(column.max()) + 1)
        called += [
            f"{name} {place + 1}" if len(numbers) > 1 else name for place in range(len(numbers))
        ]
    uses = {str(label): row for label, row in zip(labels, own.tolist(), strict=True)}
    return {"entries": len(called), "names": called, "uses": uses}


def divide(looks: Tensor, count: int) -> Tensor:
    """Divide parts of each name by what they look like.

    Ward's linkage joins classes after what all of them have in common at a name is left out. Those
    that are most alike are joined first, whatever the name, until `count` entries are left.

    Args:
        looks: (C, K, E) features of parts: part i of every class has the same name.
        count: Entries of all names together, at least K; at most C K are found.

    Returns:
        (C, K) int64 number of the entry of each part, from 0, name by name; of a name, those of the
        most classes first.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage  # slow to import

    classes, names = looks.shape[:2]
    if classes == 1:
        return torch.arange(names)[None]
    apart = functional.normalize(looks - looks.mean(0), dim=2).double().cpu()
    trees = [linkage(own.numpy(), "ward") for own in apart.unbind(1)]
    heights = torch.from_numpy(np.concatenate([tree[:, 2] for tree in trees]))
    joined = heights.argsort(stable=True)[: max(0, classes * names - max(count, names))]
    merges = torch.bincount(joined // (classes - 1), minlength=names).tolist()
    columns: list[Tensor] = []
    for tree, own in zip(trees, merges, strict=True):
        member = torch.from_numpy(cut_tree(tree, classes - own)[:, 0]).long()
        order = torch.bincount(member).argsort(descending=True, stable=True)
        before = int(columns[-1].max()) + 1 if columns else 0
        columns.append(before + order.argsort()[member])
    return torch.stack(columns, dim=1)


def distinct_nearest(parts: Tensor, directions: Tensor) -> list[int]:
    """Return a direction (K, D) for each part (k, D), the nearest ones without using one twice."""
    cosine = functional.normalize(parts, dim=1) @ directions.T
    from scipy.optimize import linear_sum_assignment  # slow to import

    rows, columns = linear_sum_assignment(cosine.double().numpy(), maximize=True)
    return [int(column) for _, column in sorted(zip(rows, columns, strict=True))]
