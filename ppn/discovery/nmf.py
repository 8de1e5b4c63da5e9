"""Parts as factors of the patch tokens: non-negative matrix factorisation, class by class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from ppn.discovery.base import Discoverer, Parts
from ppn.discovery.factorization import (
    Factors,
    Sketch,
    make_sketch,
    nmf,
    nndsvda,
    nonnegative_coefficients,
)
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.discovery.positive import positive_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.discovery.base import ClassTokens

Init = Literal["kmeans", "nndsvda"]
TokenWeighting = Literal["none", "cam"]


class NMF(Discoverer):
    """min over E, P >= 0 of ||F - E P||_F^2 for the tokens F of a class (method: step 1).

    Args:
        init: What the factorisation starts from: FAISS k-means centroids, or NNDSVDa.
        token_weighting: "cam" shows NMF each token times the square root of its positive class
            activation, so that it models what the classifier uses; coefficients always refer to
            the unweighted tokens. A class with fewer than k positive activations is not weighted.
            "none" takes all tokens as they are.
        earlier: Weight >= 0 of features of an earlier layer, in which more parts differ than in the
            last ones: they are appended to the tokens, with as large a mean square times the square
            of this. 1 helps some classifiers from five parts on (docs/refinement/unlabelled.md).
            Where a classifier has no such layer, the last features are all there is.
        seed: Seed of k-means or of the randomised SVD.

    Raises:
        DiscoveryError: If an option is none of these.
    """

    def __init__(
        self,
        init: Init = "nndsvda",
        token_weighting: TokenWeighting = "cam",
        seed: int = 0,
        earlier: float = 0.0,
    ) -> None:
        self.init: Init = init
        self.token_weighting: TokenWeighting = token_weighting
        self.seed = seed
        self.earlier = earlier
        self._expect_word("init", Init)
        self._expect_word("token_weighting", TokenWeighting)
        self._expect_seed()
        self._expect_least(0, "earlier")

    def looks_earlier(self) -> bool:
        """Say whether an earlier layer has a weight."""
        return self.earlier > 0

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Factorise the tokens of each class."""
        positive = [
            _with_earlier(positive_tokens(item, k), item.earlier, self.earlier) for item in group
        ]
        width = group[0].tokens.shape[-1]
        if self.token_weighting == "none":
            found = self._factorise(positive, k)
            return [Parts(_directions(f.parts, width), f.coefficients) for f in found]
        seen = [
            _weighted(tokens, item.tokens.float().flatten(0, 1) @ weight[item.label].float(), k)
            for tokens, item in zip(positive, group, strict=True)
        ]
        return [
            Parts(_directions(found.parts, width), nonnegative_coefficients(tokens, found.parts))
            for tokens, found in zip(positive, self._factorise(seen, k), strict=True)
        ]

    def _factorise(self, tokens: list[Tensor], k: int) -> list[Factors]:
        """Factorise classes: one by one on a CPU, whose caches hold one, else all at once."""
        sketches = [make_sketch(rows, min(_rank(k), *rows.shape), self.seed) for rows in tokens]
        starts = [
            self._start(rows, k, sketch) for rows, sketch in zip(tokens, sketches, strict=True)
        ]
        if tokens[0].device.type == "cpu":
            return [nmf(*problem) for problem in zip(tokens, starts, sketches, strict=True)]
        return _together(tokens, starts, sketches)

    def _start(self, tokens: Tensor, k: int, sketch: Sketch) -> Tensor:
        if self.init == "nndsvda":
            return nndsvda(tokens, k, sketch)
        return spherical_kmeans(tokens, k, self.seed).centroids.clamp(min=0)


def _with_earlier(tokens: Tensor, earlier: Tensor | None, share: float) -> Tensor:
    """Append features (n_c, N, E) of an earlier layer to tokens (n, D); negative ones apart."""
    if earlier is None or share == 0:
        return tokens
    more = earlier.float().flatten(0, 1)
    if bool((more < 0).any()):
        more = torch.cat([more.clamp(min=0), more.clamp(max=0).neg()], dim=1)
    size = tokens.square().sum(1).mean() / more.square().sum(1).mean().clamp(min=1e-12)
    return torch.cat([tokens, share * size.sqrt() * more], dim=1)


def _directions(parts: Tensor, width: int) -> Tensor:
    """Return what of parts (k, D + E) is in the space of the tokens (k, D), of unit norm."""
    return parts if parts.shape[1] == width else functional.normalize(parts[:, :width], dim=1)


def _together(tokens: list[Tensor], starts: list[Tensor], sketches: list[Sketch]) -> list[Factors]:
    """Factorise classes of unequal sizes in one batch: what is missing is filled up with zeros."""
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    rank = max(sketch.left.shape[1] for sketch in sketches)
    wide = [functional.pad(left, (0, rank - left.shape[1])) for left, _ in sketches]
    sketch = Sketch(pad(wide), pad([right for _, right in sketches]))
    batch = nmf(pad(tokens), torch.stack(starts), sketch)
    return [
        Factors(coefficients[: len(group)], parts, error, batch.iterations)
        for group, coefficients, parts, error in zip(
            tokens, batch.coefficients, batch.parts, batch.error, strict=True
        )
    ]


def _rank(k: int) -> int:
    """Rank of the sketch: ten more than there are parts, and a multiple of eight."""
    return -(-(k + 10) // 8) * 8


def _weighted(tokens: Tensor, activation: Tensor, k: int) -> Tensor:
    """Return the (n, D) tokens whose class activation (n,) is positive, times its square root."""
    seen = activation > 0
    if int(seen.count_nonzero()) < k:  # too few are left to find k parts in
        return tokens
    return tokens[seen] * activation[seen].sqrt()[:, None]
