"""ProtoPNet: a classifier that says which training patches an image's patches look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ppn.classifier.architecture import is_code
from ppn.classifier.build import build_classifier
from ppn.classifier.record import expect_content, expect_model, read_record
from ppn.classifier.weights import read_checkpoint
from ppn.configured import expect_least
from ppn.errors import CheckpointError, PPNError
from ppn.explainers.trained import TrainedMaps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ppn.classifier import Classifier
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch

Similarity = Literal["l2", "cosine"]
EPSILON = 1e-4
TASK = "ProtoPNetTask"
"""Name of the LightningModule that trains it, as its checkpoints tell."""


class Seen(NamedTuple):
    """`similarity` (B, C, k, N) of each prototype at each patch; `grid` (H, W) of the patches."""

    similarity: Tensor
    grid: tuple[int, int]


class ProtoPNet(nn.Module):
    """ProtoPNet (Chen et al., NeurIPS 2019) on the patch tokens of a classifier.

    Tokens pass two 1 x 1 layers into the prototypes' space. With "l2" the similarity is
    log((d^2 + 1) / (d^2 + 1e-4)) behind a sigmoid, as in the paper; with "cosine" the cosine,
    without the sigmoid. The largest similarity of each prototype goes into a linear layer without
    bias, which starts at 1 for the prototype's own class and -0.5 for the others.

    Args:
        classifier: Gives tokens; its head is not used.
        k: Prototypes per class (the paper's number is 10).
        width: Length of a prototype.
        similarity: "l2" or "cosine".

    Attributes:
        prototypes: (C, k, width).

    Raises:
        PPNError: If an option is none of these.
    """

    def __init__(
        self, classifier: Classifier, k: int, width: int = 128, similarity: Similarity = "l2"
    ) -> None:
        super().__init__()
        expect_least(1, PPNError, " of ProtoPNet", k=k, width=width)
        if similarity not in get_args(Similarity):
            raise PPNError(f"similarity of ProtoPNet is {similarity!r:.40}: choose l2 or cosine.")
        self.classifier = classifier
        self.similarity = similarity
        count = len(classifier.effective_head()[1])
        self.add_on = nn.Sequential(
            nn.Linear(classifier.width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.Sigmoid() if similarity == "l2" else nn.Identity(),
        )
        start = torch.rand if similarity == "l2" else torch.randn
        self.prototypes = nn.Parameter(start(count, k, width))
        self.last = nn.Linear(count * k, count, bias=False)
        own = torch.eye(count).repeat_interleave(k, dim=1)
        self.register_buffer("own", own, persistent=False)
        with torch.no_grad():
            self.last.weight.copy_(1.5 * own - 0.5)

    own: Tensor
    """(C, C * k), 1 where a prototype is the class's own."""

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the patches (B, N, width) of images in the prototypes' space, and their grid."""
        frozen = not any(p.requires_grad for p in self.classifier.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            tokens = self.classifier(self.classifier.accept(images))
        return self.add_on(tokens.tokens.float()), tokens.grid

    def compare(self, patches: Tensor) -> Tensor:
        """Return the similarity (B, C, k, N) of all prototypes to patches (B, N, width)."""
        flat = self.prototypes.flatten(0, 1)
        if self.similarity == "cosine":
            found = normalize(flat, dim=1) @ normalize(patches, dim=2).mT
        else:
            square = squared_distances(flat, patches)
            found = torch.log((square + 1) / (square + EPSILON))
        return found.unflatten(1, self.prototypes.shape[:2])  # type: ignore[no-untyped-call,no-any-return]

    def see(self, images: Tensor) -> Seen:
        """Return where each prototype is found in images."""
        patches, grid = self.embed(images)
        return Seen(self.compare(patches), grid)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """Return the similarity maps (B, k, H, W) of one class per image."""
        seen = self.see(images)
        rows = torch.arange(len(target), device=target.device)
        return seen.similarity[rows, target].reshape(len(target), -1, *seen.grid)

    def contributions(self, images: Tensor, target: Tensor) -> Tensor:
        """Return what the class's own prototypes (B, k) add to its logit.

        Other classes' prototypes take from it too, so these do not add up to the logit.
        """
        rows = torch.arange(len(target), device=target.device)
        largest = self.see(images).similarity.amax(3)[rows, target]
        k = self.prototypes.shape[1]
        weight = self.last.weight.reshape(len(self.last.weight), -1, k)
        return largest * weight[target, target]

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's own logits (B, C)."""
        return self.decide(self.see(images).similarity)

    def decide(self, similarity: Tensor) -> Tensor:
        """Return the logits (B, C) for similarities (B, C, k, N)."""
        found: Tensor = self.last(similarity.amax(3).flatten(1))
        return found

    @torch.no_grad()
    def project(self, batches: Iterable[Batch]) -> None:
        """Put each prototype where the most similar patch of its class's training images is.

        Args:
            batches: Un-augmented training images, no batch of two classes.
        """
        best: dict[int, tuple[Tensor, Tensor]] = {}
        for batch in batches:
            label = int(batch["label"][0])
            patches, _ = self.embed(batch["image"].to(self.prototypes.device))
            found, place = self.compare(patches)[:, label].transpose(0, 1).flatten(1).max(1)
            vectors = patches.flatten(0, 1)[place]
            if label in best:
                before, kept = best[label]
                better = found > before
                found = torch.where(better, found, before)
                vectors = torch.where(better[:, None], vectors, kept)
            best[label] = (found, vectors)
        for label, (_, vectors) in best.items():
            self.prototypes[label] = vectors


def squared_distances(prototypes: Tensor, patches: Tensor) -> Tensor:
    """Return squared distances (B, M, N) of prototypes (M, d) and patches (B, N, d)."""
    square = patches.square().sum(2)[:, None] + prototypes.square().sum(1)[:, None]
    return (square - 2 * prototypes @ patches.mT).clamp(min=0)


def class_losses(similarity: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far an image is from its class, and how near to others (eq. 2, costs).

    Both are of the most similar prototype and patch. In the paper they are squared distances;
    similarities fall with those.

    Args:
        similarity: (B, C, k, N).
        labels: (B,).

    Returns:
        Cluster cost, minus the mean similarity to the own class; separation cost, the mean
        similarity to the nearest other class.
    """
    largest = similarity.amax((2, 3))
    own = torch.nn.functional.one_hot(labels, similarity.shape[1]).bool()
    cluster = -largest[own].mean()
    return cluster, largest.masked_fill(own, -torch.inf).amax(1).mean()


def read_protopnet(path: str) -> ProtoPNet:
    """Return the network in a checkpoint of `ProtoPNetTask`.

    Raises:
        CheckpointError: If it is damaged, of another class, or names code to run.
    """
    content = read_checkpoint(path)
    record = read_record(path, content)
    expect_model(path, record, TASK, "give one that ppn:model/protopnet has trained")
    made = record.structure
    kept = content.get("state_dict")
    prototypes = kept.get("network.prototypes") if isinstance(kept, dict) else None
    sizes = [record.num_classes, made.get("k"), made.get("width")]
    if list(getattr(prototypes, "shape", ())) != sizes:  # before memory is taken for a network
        raise CheckpointError(
            f"Checkpoint {path} does not hold what it says (its prototypes are not those that it "
            "describes): it is damaged, or made by another version of ppn."
        )
    if is_code(made["architecture"]):
        raise CheckpointError(
            f"Checkpoint {path} wants to run '{made['architecture']}' to make its backbone: make "
            "the ProtoPNet in your own code and give it to TrainedMaps."
        )
    holder = nn.Module()
    try:
        classifier = build_classifier(
            made["architecture"],
            record.num_classes,
            image_size=made.get("image_size"),
            model_options=made.get("model_options"),
        )
        holder.network = network = ProtoPNet(
            classifier, made["k"], made["width"], made["similarity"]
        )
    except Exception as error:  # whatever a made-up architecture makes timm stumble over
        if isinstance(error, PPNError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"Checkpoint {path} describes a network that cannot be made ({reason}): it is damaged, "
            "or made by another version of ppn."
        ) from None
    expect_content(path, content, holder, {})
    holder.load_state_dict(content["state_dict"])
    return network


class TrainedProtoPNet(TrainedMaps):
    """A ProtoPNet that ppn:model/protopnet has trained on the same data.

    It is ante-hoc: what it explains are its own predictions.

    Args:
        checkpoint: The checkpoint of its `ppn fit`.

    Raises:
        CheckpointError: If it is damaged, or of something else.
    """

    key = "protopnet"

    def __init__(self, checkpoint: str) -> None:
        network = read_protopnet(checkpoint)
        super().__init__(network)
        self.checkpoint = checkpoint
        self.title = f"ProtoPNet, {'cosine' if network.similarity == 'cosine' else 'L2'}"
        self.label = f"protopnet_{network.similarity}"

    def prepare(self, network: PrototypeNetwork) -> None:
        """See `TrainedMaps.prepare`.

        Raises:
            CheckpointError: If it is for other classes or images than the network.
        """
        ours = self.module
        assert isinstance(ours, ProtoPNet)
        if len(ours.prototypes) != len(network.class_names):
            raise CheckpointError(
                f"The ProtoPNet in {self.checkpoint} has {len(ours.prototypes)} classes, the data "
                f"{len(network.class_names)}: give one that was trained on the same data."
            )
        if ours.classifier.config != network.input_config:
            raise CheckpointError(
                f"The ProtoPNet in {self.checkpoint} expects other images ("
                f"{ours.classifier.config}) than the classifier ({network.input_config}): train it "
                "on a backbone with the same input."
            )
        super().prepare(network)
