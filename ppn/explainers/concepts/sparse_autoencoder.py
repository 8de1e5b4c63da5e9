"""A sparse autoencoder of tokens, trained by overcomplete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ppn.errors import PPNError
from ppn.explainers.concepts.dictionary import SharedDictionary
from ppn.explainers.concepts.overcomplete_package import overcomplete

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork


class LinearEncoder(nn.Module):
    """A linear map and a ReLU: what is left to keep of an autoencoder when it is trained.

    Args:
        width: D.
        concepts: K.
    """

    def __init__(self, width: int, concepts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, concepts)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (n, K) before and after the ReLU, as overcomplete expects."""
        before = self.linear(tokens)
        return before, before.relu()


class SparseAutoencoder(SharedDictionary):
    """A TopK sparse autoencoder (Gao et al., ICLR 2025), by overcomplete.

    Tokens are centred by the sample's mean and scaled to a mean squared norm of one. The importance
    of a concept is the head's row projected on its (unit) dictionary entry, in the scale of the
    tokens; the mean's own share of the logit belongs to no concept.

    Args:
        concepts: K, size of the dictionary.
        active: Concepts that a token may have.
        k: Concepts shown for each class; None: as many as the network has prototypes.
        tokens: Size of the sample that it is trained on.
        epochs: Passes over the sample.
        lr: Learning rate of Adam.
        batch_size: Tokens of a step.
        seed: Seed of the sample, the weights' start, and the order of tokens.

    Raises:
        PPNError: If a number is not positive, or more concepts may be active than there are.
    """

    title = "sparse autoencoder"
    fitted = (*SharedDictionary.fitted, "mean", "size", "encoder", "offset")
    mean: Tensor
    size: Tensor
    encoder: Tensor
    offset: Tensor

    def __init__(
        self,
        concepts: int = 512,
        active: int = 16,
        k: int | None = None,
        tokens: int = 20_000,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(concepts, k, tokens, seed)
        self.active = active
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        if not 1 <= active <= concepts:
            raise PPNError(
                f"active of {self.key} is {active}, but must be between 1 and concepts, {concepts}."
            )
        self._expect_least(1, "epochs", "batch_size")
        self._expect_positive("lr")

    def prepare(self, network: PrototypeNetwork) -> None:
        """See `SharedDictionary.prepare`.

        Raises:
            MissingPackageError: Without overcomplete.
        """
        super().prepare(network)
        self._package = overcomplete("sae")

    def learn(self, sample: Tensor) -> None:
        """Train it on the sample."""
        self.mean = sample.mean(0)
        centred = sample - self.mean
        size = centred.square().sum(1).mean().sqrt().clamp(min=1e-12)
        model = self._trained(centred / size)
        linear = model.encoder.linear
        self.size = size.reshape(1)
        self.encoder, self.offset = linear.weight.detach().clone(), linear.bias.detach().clone()
        self.dictionary = model.get_dictionary().detach().clone()

    def _trained(self, tokens: Tensor) -> Any:  # noqa: ANN401 - a class of a package without types
        devices = [tokens.device] if tokens.is_cuda else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(self.seed)
            encoder = LinearEncoder(tokens.shape[1], self.concepts).to(tokens.device)
            model: Any = self._package.TopKSAE(
                tokens.shape[1],
                self.concepts,
                top_k=self.active,
                encoder_module=encoder,
                device=str(tokens.device),
            )
            loader = DataLoader(TensorDataset(tokens), self.batch_size, shuffle=True)
            self._package.train_sae(
                model,
                loader,
                lambda x, x_hat, *_: (x - x_hat).square().sum(1).mean(),
                torch.optim.Adam(model.parameters(), self.lr),
                nb_epochs=self.epochs,
                monitoring=0,
                device=str(tokens.device),
            )
        return model

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the codes in the scale of the tokens; all but the `active` largest are zero."""
        before = (tokens - self.mean) / self.size @ self.encoder.T + self.offset
        largest = before.relu().topk(self.active, dim=-1)
        codes = torch.zeros_like(before).scatter(-1, largest.indices, largest.values)
        return codes * self.size

    def reconstruct(self, tokens: Tensor) -> Tensor:
        """Return what the autoencoder makes of tokens (..., D)."""
        return self.encode(tokens) @ self.dictionary + self.mean
