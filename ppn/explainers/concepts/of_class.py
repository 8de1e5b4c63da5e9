"""Concepts of one class: non-negative factors of its training images' tokens."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from ppn.discovery.base import ClassTokens
from ppn.discovery.factorization import nonnegative_coefficients
from ppn.discovery.nmf import NMF
from ppn.explainers.concepts.base import Concepts, expect_concepts, most_important

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Attribution, Inputs
    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.network import PrototypeNetwork


class ClassConcepts(Concepts):
    """Concepts that each class has for itself; codes are non-negative least squares on them.

    Negative entries of tokens count as zero, for finding concepts and for codes.

    Attributes:
        parts: (C, K, D) float32, concepts of unit norm.
    """

    fitted: ClassVar[tuple[str, ...]] = ("parts", "chosen", "importance")
    parts: Tensor
    concepts: int | None
    seed: int

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the numbers of concepts, and the bias."""
        super().prepare(network)
        self._concepts = self._shown if self.concepts is None else self.concepts
        expect_concepts(self._concepts, self._shown, self.key)

    def codes(self, tokens: Tensor, target: Tensor) -> Tensor:
        """Return (B, N, K) >= 0; see `nonnegative_coefficients`."""
        return nonnegative_coefficients(tokens.clamp(min=0), self.parts[target])

    def class_directions(self) -> Tensor:
        """Return the concepts that each class is shown by."""
        rows = torch.arange(len(self.parts), device=self.parts.device)
        return self.parts[rows[:, None], self.chosen]

    def start(self, network: PrototypeNetwork) -> Tensor:
        """Make room for what `fit` finds, and return the head (C, D)."""
        weight = network.classifier.effective_head()[0].float()
        count, width = weight.shape
        self.parts = weight.new_zeros(count, self._concepts, width)
        self.chosen = torch.arange(self._shown).repeat(count, 1).to(weight.device)
        self.importance = weight.new_zeros(count, self._shown)
        return weight

    def factorise(self, vectors: Tensor, label: int, name: str) -> Tensor:
        """Return non-negative concepts (K, D) of vectors (n, D), of unit norm.

        Raises:
            DiscoveryError: If vectors are not finite, or there are fewer than concepts.
        """
        item = ClassTokens(label, name, vectors[:, None], torch.arange(len(vectors)))
        nmf = NMF(token_weighting="none", seed=self.seed)
        head = torch.zeros(0)  # which this NMF does not look at
        (found,) = nmf.discover([item], head, self._concepts)
        return found.parts


class FactorsOfTokens(ClassConcepts):
    """Concepts that are factors of the class's patch tokens."""

    def fit(self, images: TrainingImages) -> None:
        """Factorise the tokens of each class."""
        names = images.network.class_names
        weight = self.start(images.network)
        for seen in images.classes():
            label, tokens = seen.label, seen.tokens.tokens.float()
            self.parts[label] = self.factorise(tokens.flatten(0, 1), label, names[label])
            target = seen.batch["label"]
            activation = self.pooled_codes(seen.tokens, target).mean(0)
            found = self.weigh(self.parts[label] @ weight[label], activation)
            self.chosen[label], self.importance[label] = found

    @abstractmethod
    def weigh(self, derivative: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Return which concepts of a class are shown (k,), and their importance (k,).

        Args:
            derivative: (K,) of the logit along each concept.
            activation: (K,) its mean pooled code over the class's training images.
        """


class DeepFeatureFactorization(FactorsOfTokens):
    """Deep feature factorization (Collins et al., ECCV 2018): NMF of the class's tokens.

    Maps are the factors' coefficients. The method has no importance, hence no contributions and no
    surrogate. As many factors as are shown. Our NMF starts from NNDSVDa, the package `grad-cam`'s
    at random; it also moves the smallest value of each channel to zero where ours clips.

    Args:
        k: Concepts of each class; None: as many as the network has prototypes.
        seed: Seed of the factorisation's start.
    """

    key = "dff"
    title = "DFF"
    concepts = None

    def __init__(self, k: int | None = None, seed: int = 0) -> None:
        self.k = k
        self.seed = seed
        self._expect_seed()

    def weigh(self, derivative: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
        """All of them, in the order of their mean code."""
        order = activation.argsort(descending=True)
        return order, torch.zeros_like(activation)

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the maps alone."""
        return super().attribute(inputs, target)._replace(contributions=None)

    def surrogate(self, inputs: Inputs) -> None:
        """Return None: there is no importance."""


class ICE(FactorsOfTokens):
    """Invertible concept-based explanations (Zhang et al., AAAI 2021), with the NMF reducer.

    The importance of a concept is the logit's derivative along it, which for a linear head is
    exact: <v_c, p_j>. The k concepts with the largest mean contribution over the class's training
    images are shown (the paper ranks by importance, which depends on the norm of p_j; ours have
    unit norm). Beside the head's own norm, what NMF cannot reconstruct is lost, so contributions
    do not add up to the logit.

    Args:
        concepts: Factors of each class.
        k: How many of them are shown; None: as many as the network has prototypes.
        seed: Seed of the factorisation's start.
    """

    title = "ICE"

    def __init__(self, concepts: int = 10, k: int | None = None, seed: int = 0) -> None:
        self.concepts = concepts
        self.k = k
        self.seed = seed
        self._expect_seed()

    def weigh(self, derivative: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
        """See `most_important`."""
        return most_important(derivative, activation, self._shown)
