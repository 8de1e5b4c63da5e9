"""Ways to find parts without labels, on training images that were held out.

Usage: python -m experiments.unlabelled --data cub --data.root ROOT
       [--classifier_ckpt CKPT] [--head own|norm] [--split val|test] [--out runs/shares]

Tokens are those of `experiments.shares`, extracted once. Every way only gives coefficients; the
split is `CompactSplit` for all of them, so every row stays an exact sum.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from experiments.arguments import add_classifier, parse, study_parser
from experiments.shares.present import table
from experiments.shares.study import held_out, tested
from experiments.shares.tokens import extract, logistic_head
from ppn.data.build import parse_options
from ppn.discovery import NMF, Discoverer, Parts
from ppn.discovery.factorization import coordinate_descent, nonnegative_coefficients
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.discovery.positive import positive_tokens
from ppn.refinement.cam_split import cam_shares
from ppn.refinement.compact_split import CompactSplit
from ppn.refinement.shares import centres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from experiments.shares.study import Setting, Table
    from experiments.shares.tokens import Extracted
    from ppn.discovery import ClassTokens


def foreground(tokens: Tensor, activation: Tensor) -> Tensor:
    """Soft foreground (n,) in [0, 1]: the first principal component of tokens (n, D).

    Its sign is the one that goes along with the class activation (n,).
    """
    unit = functional.normalize(tokens, dim=1)
    centred = unit - unit.mean(0)
    torch.manual_seed(0)
    _, _, right = torch.pca_lowrank(centred, q=4, center=False)
    score = centred @ right[:, 0]
    if float(score @ (activation - activation.mean())) < 0:
        score = -score
    return torch.sigmoid(4 * score / score.std().clamp(min=1e-12))


def balanced(scores: Tensor, weight: Tensor, sharpness: float = 20.0, rounds: int = 30) -> Tensor:
    """Sinkhorn's assignment (n, k): rows sum to `weight` (n,), columns are equal."""
    plan = (sharpness * (scores - scores.amax(1, keepdim=True))).exp() * weight[:, None]
    for _ in range(rounds):
        plan = plan / plan.sum(0).clamp(min=1e-12) * (weight.sum() / scores.shape[1])
        plan = plan / plan.sum(1, keepdim=True).clamp(min=1e-12) * weight[:, None]
    return plan


class ForegroundNMF(Discoverer):
    """NMF of tokens that are weighted by their foreground as well as by the class activation."""

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the parts of classes."""
        found = []
        for item in group:
            tokens = positive_tokens(item, k)
            front = foreground(tokens, tokens @ weight[item.label].float())
            seen = item._replace(
                tokens=(tokens * front[:, None].sqrt()).view_as(item.tokens), earlier=None
            )
            parts = NMF().discover([seen], weight, k)[0].parts
            found.append(Parts(parts, nonnegative_coefficients(tokens, parts)))
        return found


class BalancedClusters(Discoverer):
    """Spherical k-means of the foreground's tokens, with an assignment that fills parts equally."""

    def __init__(self, front: bool = True) -> None:
        self.front = front

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the parts of classes."""
        found = []
        for item in group:
            tokens = positive_tokens(item, k)
            activation = tokens @ weight[item.label].float()
            front = foreground(tokens, activation) if self.front else activation.clamp(min=0)
            chosen = front >= front.quantile(0.6)
            unit = functional.normalize(tokens, dim=1)
            unit = unit - unit[chosen].mean(0)
            parts = spherical_kmeans(unit[chosen], k).centroids
            for _ in range(10):
                plan = balanced(functional.normalize(unit, dim=1) @ parts.T, front)
                parts = functional.normalize(plan.T @ unit, dim=1)
            plan = balanced(functional.normalize(unit, dim=1) @ parts.T, front)
            directions = functional.normalize(plan.T @ tokens, dim=1)
            found.append(Parts(directions, plan * tokens.norm(dim=1, keepdim=True)))
        return found


class StableNMF(Discoverer):
    """Of several NMFs the one whose parts are found again in both halves of the images.

    Args:
        count: How many, with other starts.
        average: Whether parts of all of them, matched, are averaged instead.
    """

    def __init__(self, count: int = 6, average: bool = False) -> None:
        self.count = count
        self.average = average

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the parts of classes."""
        return [self._one(item, weight, k) for item in group]

    def _one(self, item: ClassTokens, weight: Tensor, k: int) -> Parts:
        halves = [
            item._replace(
                tokens=item.tokens[first::2], indices=item.indices[first::2], earlier=None
            )
            for first in (0, 1)
        ]
        item = item._replace(earlier=None)
        ways = [NMF(), *(NMF(init="kmeans", seed=seed) for seed in range(self.count - 1))]
        best: tuple[float, Tensor] | None = None
        every = []
        for way in ways:
            (whole,), (one,), (two,) = (way.discover([some], weight, k) for some in (item, *halves))
            every.append(whole.parts)
            again = min(float((whole.parts @ half.parts.T).amax(1).mean()) for half in (one, two))
            if best is None or again > best[0]:
                best = (again, whole.parts)
        assert best is not None
        parts = best[1]
        if self.average:
            near = [other[(parts @ other.T).argmax(1)] for other in every]
            parts = functional.normalize(torch.stack(near).mean(0), dim=1)
        return Parts(parts, nonnegative_coefficients(positive_tokens(item, k), parts))


class CompactNMF(Discoverer):
    """NMF that goes on with coefficients that are near their centre in each image.

    Args:
        spread: Standard deviation of the Gaussian round the centre, in units of the side.
        rounds: How often directions are fitted to what is near.
    """

    def __init__(self, spread: float = 0.2, rounds: int = 6) -> None:
        self.spread = spread
        self.rounds = rounds

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the parts of classes."""
        found = []
        for item in group:
            parts = NMF().discover([item], weight, k)[0].parts
            tokens = positive_tokens(item, k)
            activation = item.tokens.flatten(0, 1) @ weight[item.label].float()
            seen = tokens * activation.clamp(min=0).sqrt()[:, None]
            for _ in range(self.rounds):
                near = self._near(nonnegative_coefficients(seen, parts).T, item.grid)
                parts = parts.clone()
                coordinate_descent(parts, near @ seen, near @ near.T, 1)
                parts = functional.normalize(parts, dim=1)
            found.append(Parts(parts, nonnegative_coefficients(tokens, parts)))
        return found

    def _near(self, coefficients: Tensor, grid: tuple[int, int]) -> Tensor:
        """Coefficients (k, n), less the further they are from their centre in the image."""
        where, present = centres(coefficients, grid, power=4.0)
        cells = torch.cartesian_prod(*(torch.arange(float(side)) for side in grid))
        squared = (where[:, :, None] - cells).square().sum(3) / (grid[0] * grid[1])
        closeness = torch.exp(-squared / (2 * self.spread**2))
        return coefficients * torch.where(present[..., None], closeness, 0.0).flatten(1)


class MeanShares(Discoverer):
    """Mean of the shares of several factorisations, whose parts are matched to those of the first.

    Args:
        more: Factorisations into so many more parts, of which those with the most class activation
            are kept, take part, too.
    """

    def __init__(self, more: int = 2) -> None:
        self.more = more

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Find the parts of classes."""
        ways = (NMF(), NMF(init="kmeans"), NMF(earlier=1.0), NMF(token_weighting="none"))
        found = []
        for item in group:
            activation = (item.tokens.flatten(0, 1) @ weight[item.label].float()).clamp(min=0)
            several = [way.discover([item], weight, k)[0] for way in ways]
            every = [parts.coefficients for parts in several]
            for more in range(1, self.more + 1):
                coefficients = NMF().discover([item], weight, k + more)[0].coefficients
                every.append(coefficients[:, (activation @ coefficients).topk(k).indices])
            shares = [cam_shares(coefficients) for coefficients in every]
            seen = [share * activation.sqrt()[:, None] for share in shares]
            matched = [
                share[:, _matched(seen[0], own)] for share, own in zip(shares, seen, strict=True)
            ]
            found.append(Parts(several[0].parts, torch.stack(matched).mean(0)))
        return found


def _matched(first: Tensor, second: Tensor) -> Tensor:
    """Which columns of (n, k) correlate best with the columns of another, none twice."""
    one, two = (functional.normalize(each - each.mean(0), dim=0) for each in (first, second))
    _, columns = linear_sum_assignment((one.T @ two).numpy(), maximize=True)
    return torch.from_numpy(columns)


WAYS: dict[str, Callable[[], Discoverer]] = {
    "nmf of the last features": NMF,
    "nmf, earlier layer": lambda: NMF(earlier=1.0),
    "nmf, earlier layer, twice": lambda: NMF(earlier=2.0),
    "foreground, nmf": ForegroundNMF,
    "foreground, balanced clusters": BalancedClusters,
    "activation, balanced clusters": lambda: BalancedClusters(front=False),
    "nmf, chosen by halves": StableNMF,
    "nmf, averaged over restarts": lambda: StableNMF(average=True),
    "mean of six factorisations": MeanShares,
    "compact nmf, spread 0.2": CompactNMF,
    "compact nmf, spread 0.3": lambda: CompactNMF(spread=0.3),
}


def prototypes(setting: Setting, way: Discoverer) -> Tensor:
    """Return prototypes (C, k, D) of one way."""
    found = setting.empty(setting.k)
    for label, problem in setting.problems(way, setting.k):
        found[label] = CompactSplit().refine(problem).prototypes
    return found


def with_norm(extracted: Extracted) -> Extracted:
    """Put a layer norm and a new logistic regression on the mean tokens.

    The logits are rows / std + bias, with the standard deviation of an image's mean token, so it is
    these rows, without their mean, that are split.
    """
    pooled = extracted.train.tokens["clean"].mean(1)
    normed = functional.layer_norm(pooled, pooled.shape[1:])
    weight, _ = logistic_head(normed, extracted.train.labels, len(extracted.weight))
    return extracted._replace(weight=weight - weight.mean(1, keepdim=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Score all ways on held-out training images, and those that are named on test images."""
    parser = study_parser("unlabelled", __doc__, [3, 5], "runs/shares")
    add_classifier(parser, list(WAYS))
    parser.add_argument(
        "--split", choices=["val", "test"], default="val", help="val: held-out training images"
    )
    parser.add_argument(
        "--head", choices=["own", "norm"], default="own", help="norm: a new one after a layer norm"
    )
    given = parse(parser, arguments)
    test = given.split == "test"
    extracted = extract(
        given.data,
        given.root,
        given.architecture,
        given.classifier_ckpt or "pypi",
        Path(given.out, given.data),
        parse_options(given.set),
    )
    if given.head == "norm":
        extracted = with_norm(extracted)
    for k in given.k:
        found: Table = defaultdict(list)
        for seed in range(1 if test else given.seeds):
            setting = tested(extracted, k) if test else held_out(extracted, k, seed)
            for name in given.ways:
                found[name].append(setting.score(prototypes(setting, WAYS[name]())))
        where = "test images" if test else f"held-out images, {given.seeds} splits"
        print("\n".join(["", f"## k = {k}, {where}", "", *table(found, given.ways[0])]), flush=True)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
