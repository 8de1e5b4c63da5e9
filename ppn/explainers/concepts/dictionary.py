"""One dictionary for all classes: PCA, semi-NMF and k-means of tokens of all training images."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import one_hot

from ppn.discovery.factorization import nonnegative_coefficients
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.errors import DiscoveryError
from ppn.explainers.concepts.base import Concepts, expect_concepts, most_important
from ppn.explainers.concepts.overcomplete_package import overcomplete
from ppn.explainers.concepts.sampling import sample_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.network import PrototypeNetwork


class SharedDictionary(Concepts):
    """Concepts of all classes; each class is shown by the k that contribute most to its logit.

    The importance of a concept for a class is the class's row of the head projected on it,
    <v_c, d_j>. Shown are the k with the largest importance times mean pooled code over the class's
    training images; what the others contribute is left out.

    Args:
        concepts: K, size of the dictionary.
        k: Concepts shown for each class; None: as many as the network has prototypes.
        tokens: Size of the sample that the dictionary is learned from.
        seed: Seed of the sample and of what is random in learning.

    Attributes:
        dictionary: (K, D) float32.

    Raises:
        PPNError: If a number is not positive.
    """

    fitted: ClassVar[tuple[str, ...]] = ("dictionary", "chosen", "importance")
    dictionary: Tensor

    def __init__(
        self, concepts: int = 64, k: int | None = None, tokens: int = 20_000, seed: int = 0
    ) -> None:
        self.concepts = concepts
        self.k = k
        self.tokens = tokens
        self.seed = seed
        self._expect_least(1, "concepts", "tokens")
        self._expect_seed()

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the head, and whether there are enough concepts for a class."""
        super().prepare(network)
        expect_concepts(self.concepts, self._shown, self.key)

    def fit(self, images: TrainingImages) -> None:
        """Learn the dictionary from a sample of tokens, then choose each class's concepts.

        The training images are read twice.

        Raises:
            DiscoveryError: If there are fewer tokens than concepts.
        """
        sample = sample_tokens(images, self.tokens, self.seed)
        if len(sample) < self.concepts:
            raise DiscoveryError(
                f"{self.key} has {len(sample)} patch tokens for {self.concepts} concepts: lower "
                "concepts or add images."
            )
        self.learn(sample)
        weight = images.network.classifier.effective_head()[0].float()
        importance = weight @ self.dictionary.T
        self.chosen = torch.arange(self._shown, device=weight.device).repeat(len(weight), 1)
        self.importance = torch.zeros_like(importance[:, : self._shown])
        for seen in images.classes():
            activation = self.pooled_codes(seen.tokens, seen.batch["label"]).mean(0)
            found = most_important(importance[seen.label], activation, self._shown)
            self.chosen[seen.label], self.importance[seen.label] = found

    @abstractmethod
    def learn(self, sample: Tensor) -> None:
        """Set `dictionary`, and what else `encode` needs, from tokens (n, D)."""

    @abstractmethod
    def encode(self, tokens: Tensor) -> Tensor:
        """Return the codes (..., K) of tokens (..., D), each by itself."""

    def codes(self, tokens: Tensor, target: Tensor) -> Tensor:
        """Return the codes, the same for all classes."""
        return self.encode(tokens)

    def class_directions(self) -> Tensor:
        """Return the concepts that each class is shown by."""
        return self.dictionary[self.chosen]

    def surrogate(self, inputs: Inputs) -> Tensor:
        """Return importance times pooled code, of every class, and the bias."""
        self.move(inputs.images.device)
        tokens = inputs.tokens
        with torch.autocast(tokens.pooled.device.type, enabled=False):
            nobody = torch.zeros(len(tokens.pooled), dtype=torch.long)
            codes = self.pooled_codes(tokens, nobody)
            spread = codes.new_zeros(len(self.chosen), self.concepts)
            spread.scatter_(1, self.chosen, self.importance)
            return codes @ spread.T * tokens.scale.float()[:, None] + self.bias


class PCADictionary(SharedDictionary):
    """Principal components; a code is the projection on one, of the token less the sample's mean.

    Components have no sign of their own: each is turned so that its entry of largest size is
    positive. The mean's own share of the logit belongs to no concept.

    Args:
        concepts: See `SharedDictionary`.
        k: See `SharedDictionary`.
        tokens: See `SharedDictionary`.
        seed: See `SharedDictionary`.
    """

    key = "pca"
    title = "PCA"
    fitted = (*SharedDictionary.fitted, "mean")
    mean: Tensor

    def learn(self, sample: Tensor) -> None:
        """Take the leading eigenvectors of the covariance.

        Raises:
            DiscoveryError: If there are more concepts than channels.
        """
        if self.concepts > sample.shape[1]:
            raise DiscoveryError(
                f"pca has {self.concepts} concepts for {sample.shape[1]} channels: lower concepts."
            )
        self.mean = sample.mean(0)
        centred = sample - self.mean
        _, vectors = torch.linalg.eigh((centred.T @ centred).double())
        found = vectors.flip(1)[:, : self.concepts].T
        largest = found.abs().argmax(1, keepdim=True)
        self.dictionary = (found * found.gather(1, largest).sign()).float()

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the projections."""
        return (tokens - self.mean) @ self.dictionary.T


class SemiNMFDictionary(SharedDictionary):
    """Semi-NMF (Ding et al., TPAMI 2010), by overcomplete: signed concepts, non-negative codes.

    Codes of new tokens are non-negative least squares on the dictionary, the problem that
    overcomplete solves from a random start; ours are the same for every batch.

    Args:
        concepts: See `SharedDictionary`.
        k: See `SharedDictionary`.
        tokens: See `SharedDictionary`.
        iterations: Of overcomplete's multiplicative updates.
        seed: See `SharedDictionary`.
    """

    key = "semi_nmf"
    title = "semi-NMF"

    def __init__(
        self,
        concepts: int = 64,
        k: int | None = None,
        tokens: int = 20_000,
        iterations: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(concepts, k, tokens, seed)
        self.iterations = iterations

    def prepare(self, network: PrototypeNetwork) -> None:
        """See `SharedDictionary.prepare`.

        Raises:
            MissingPackageError: Without overcomplete.
        """
        super().prepare(network)
        self._package = overcomplete("optimization")

    def learn(self, sample: Tensor) -> None:
        """Factorise the sample; concepts get unit norm."""
        with torch.random.fork_rng([sample.device] if sample.is_cuda else []):
            torch.manual_seed(self.seed)
            model: Any = self._package.SemiNMF(self.concepts, device=str(sample.device))
            model.fit(sample, max_iter=self.iterations)
        found = model.get_dictionary()
        self.dictionary = torch.nn.functional.normalize(found, dim=1)

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the non-negative least-squares coefficients."""
        flat = nonnegative_coefficients(tokens.reshape(-1, tokens.shape[-1]), self.dictionary)
        return flat.reshape(*tokens.shape[:-1], -1)


class KMeansDictionary(SharedDictionary):
    """FAISS spherical k-means: a token's only code is its product with its nearest centroid.

    Args:
        concepts: See `SharedDictionary`.
        k: See `SharedDictionary`.
        tokens: See `SharedDictionary`.
        seed: See `SharedDictionary`.
    """

    key = "kmeans"
    title = "k-means"

    def learn(self, sample: Tensor) -> None:
        """Cluster the sample by direction."""
        self.dictionary = spherical_kmeans(sample, self.concepts, self.seed).centroids

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the product with the nearest centroid (by angle), zero for the others."""
        products = tokens @ self.dictionary.T
        member = one_hot(products.argmax(-1), self.concepts).to(products)
        return products * member
