"""Trains a ProtoPNet on the classifier's own backbone, to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from ppn.classifier.build import build_classifier, freeze
from ppn.classifier.record import Record, classifier_record, expect_classes, read_record
from ppn.configured import expect_least, expect_positive
from ppn.errors import CheckpointError, PPNError
from ppn.explainers.protopnet import ProtoPNet, Similarity, class_losses

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from torch import Tensor

    from ppn.types import Batch, InputConfig

CLUSTER, SEPARATION = 0.8, 0.08
"""Weights of the two costs (paper, section 2.2)."""
SPARSITY = 1e-4
"""Weight of the absolute connections to other classes' prototypes (paper, eq. 5)."""


class ProtoPNetTask(LightningModule):
    """Trains a `ProtoPNet` in the paper's three stages (Chen et al., NeurIPS 2019, section 2.2).

    First the layers before the prototypes, the prototypes and, unless frozen, the backbone learn;
    then prototypes are projected on the nearest training patches of their class; then the last
    layer alone learns, in the last epochs. The paper repeats the stages; this runs each once.

    Args:
        num_classes: Number of classes; the command line links it from the data.
        classifier_ckpt: The trained classifier whose backbone is used, a checkpoint of
            `ClassificationTask`; None when a checkpoint of this class is loaded.
        architecture: See `PrototypeTask`.
        image_size: See `PrototypeTask`.
        model_options: See `PrototypeTask`.
        k: Prototypes per class (the paper's number is 10).
        width: Length of a prototype.
        similarity: "l2" as in the paper, or "cosine".
        freeze_backbone: Keep the classifier's features as they are.
        lr: Learning rate of prototypes and the layers before them.
        backbone_lr: Learning rate of the backbone, unless it is frozen.
        last_lr: Learning rate of the last layer.
        last_epochs: Epochs after projection, in which the last layer learns.

    Raises:
        CheckpointError: If there is no classifier.
        PPNError: If a number is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        classifier_ckpt: str | None = None,
        architecture: str | None = None,
        image_size: int | None = None,
        model_options: dict[str, Any] | None = None,
        k: int = 3,
        width: int = 128,
        similarity: Similarity = "l2",
        freeze_backbone: bool = True,
        lr: float = 3e-3,
        backbone_lr: float = 1e-4,
        last_lr: float = 1e-3,
        last_epochs: int = 5,
    ) -> None:
        super().__init__()
        expect_positive(PPNError, lr=lr, backbone_lr=backbone_lr, last_lr=last_lr)
        expect_least(1, PPNError, last_epochs=last_epochs)
        if classifier_ckpt is not None and architecture is None:
            trained = classifier_record(classifier_ckpt)
            expect_classes(classifier_ckpt, trained, num_classes)
            made = trained.structure
            architecture, model_options = made["architecture"], made["model_options"]
            image_size = image_size or made["image_size"]
        if architecture is None:
            raise CheckpointError(
                "No classifier was given: set --model.classifier_ckpt to the checkpoint of "
                "a trained classifier, or --ckpt_path to that of a ProtoPNet."
            )
        self.save_hyperparameters(logger=False)
        classifier = build_classifier(
            architecture, num_classes, classifier_ckpt, False, image_size, model_options, whole=True
        )
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            freeze(classifier)
        for linear in classifier.linears:  # the head that is not used, and has no gradient
            linear.requires_grad_(False)
        self.network = ProtoPNet(classifier, k, width, similarity)
        self.lr, self.backbone_lr, self.last_lr = lr, backbone_lr, last_lr
        self.last_epochs = last_epochs
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.results: dict[str, Any] = {}
        self.automatic_optimization = False
        structure: dict[str, Any] = {
            "classifier_ckpt": None,
            "architecture": architecture,
            "image_size": image_size,
            "model_options": model_options,
            "k": k,
            "width": width,
            "similarity": similarity,
        }
        self.record = Record(type(self).__name__, num_classes, structure)

    @property
    def input_config(self) -> InputConfig:
        """What the model expects of its input image; the DataModule follows it."""
        return self.network.classifier.config

    @property
    def projected(self) -> bool:
        """Whether the epoch is one of the last, of the last layer alone."""
        return self.current_epoch >= (self.trainer.max_epochs or 0) - self.last_epochs

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's own logits (B, C)."""
        return self.network.logits(images)

    def train(self, mode: bool = True) -> ProtoPNetTask:
        """Switch to training mode; the classifier, run as in evaluation, keeps its statistics."""
        super().train(mode)
        self.network.classifier.eval()
        return self

    def on_fit_start(self) -> None:
        """Refuse to train without a first stage."""
        if (self.trainer.max_epochs or 0) <= self.last_epochs:
            raise PPNError(
                f"trainer.max_epochs is {self.trainer.max_epochs}, of which the last layer takes "
                f"last_epochs, {self.last_epochs}: raise one or lower the other."
            )

    def on_train_epoch_start(self) -> None:
        """Project the prototypes when the last stage begins."""
        trainer = self.trainer
        if self.current_epoch != (trainer.max_epochs or 0) - self.last_epochs:
            return
        rank_zero_info("Projecting prototypes on training patches.")
        prototypes = self.network.prototypes
        if trainer.is_global_zero:
            self.network.project(trainer.datamodule.class_loader())  # type: ignore[attr-defined]
        shared = trainer.strategy.broadcast(prototypes.detach().cpu())
        with torch.no_grad():
            prototypes.copy_(shared)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take a step of the stage's optimiser."""
        optimizers: Any = self.optimizers()
        joint, last = optimizers
        optimizer = last if self.projected else joint
        seen = self.network.see(batch["image"]).similarity
        loss = cross_entropy(self.network.decide(seen), batch["label"])
        if self.projected:
            others = self.network.last.weight * (1 - self.network.own)
            loss = loss + SPARSITY * others.abs().sum()
        else:
            cluster, separation = class_losses(seen, batch["label"])
            loss = loss + CLUSTER * cluster + SEPARATION * separation
        joint.zero_grad()
        last.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss.detach(), batch_size=len(seen), prog_bar=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the accuracy on validation images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the accuracy on test images."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Keep the results for `metrics.json`."""
        self.results = {"accuracy": float(self.accuracy.compute())}

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return one optimiser for the first stage, and one for the last layer."""
        network = self.network
        groups: list[dict[str, Any]] = [
            {"params": [*network.add_on.parameters(), network.prototypes], "lr": self.lr}
        ]
        if not self.freeze_backbone:
            groups.append({"params": network.classifier.parameters(), "lr": self.backbone_lr})
        return [
            torch.optim.Adam(groups),
            torch.optim.Adam(network.last.parameters(), lr=self.last_lr),
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what is needed to build the network again."""
        self.record.write(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other classes."""
        record = read_record("to load", checkpoint)
        expect_classes("to load", record, self.record.num_classes)

    def _evaluate(self, batch: Batch, stage: str) -> None:
        self.accuracy(self(batch["image"]), batch["label"])
        size = len(batch["label"])
        self.log(f"{stage}/accuracy", self.accuracy, prog_bar=True, batch_size=size)
