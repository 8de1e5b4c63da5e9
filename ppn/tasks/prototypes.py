"""Stage 2: the black box with its head rewritten as a sum of part-prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from ppn.classifier.build import build_classifier, freeze
from ppn.classifier.record import (
    CLASS_NAMES,
    KEY,
    Record,
    classifier_structure,
    expect_classes,
    expect_content,
    read_record,
)
from ppn.data.class_names import expect_same_names, names_in_checkpoint
from ppn.errors import CheckpointError
from ppn.io.schema import Maybe
from ppn.metrics.evaluation import Evaluation, Outputs, Results
from ppn.metrics.noise import stability_noise
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.head import HeadOutput, PrototypeHead, split_loss
from ppn.tasks.stored_prototypes import take_stored

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from ppn.refinement.refine import Strategy
    from ppn.types import Batch, InputConfig, Tokens

CERTIFICATE = KEY + "_certificate"
SETTINGS = KEY + "_settings"
EXTRAS = {CERTIFICATE: Maybe(dict), CLASS_NAMES: Maybe([str]), SETTINGS: Maybe(dict)}


class PrototypeTask(LightningModule):
    """A frozen classifier, and the prototypes whose sums are the rows of its head.

    The callback `PrototypeDiscovery` finds the prototypes at the start of `fit`. Everything that
    inference needs is in buffers, so validating a checkpoint needs neither the callback nor the
    black box's own checkpoint.

    Args:
        num_classes: Number of classes; the command line links it from the data.
        classifier_ckpt: The trained classifier: a checkpoint of `ClassificationTask`, or, together
            with `architecture`, a `.pth` or `.safetensors` state dict. None when a checkpoint of
            this class is loaded, which holds the classifier's weights too.
        architecture: timm's name of the model, `torchvision:NAME` or `package.module:factory`;
            read from the checkpoint if that is ours and of the first two kinds.
        image_size: Side of the square input in pixels; None takes the classifier's.
        model_options: Further arguments of the model; read from the checkpoint too.
        k: Prototypes per class, k.
        num_patches: Nearest training patches kept for each prototype.
        refinement: How the rows of the head are split; see `ppn.refinement.refine`.
        compare: Further strategies to evaluate beside it.
        learn: Let the epochs of `fit` refine the split by gradient, starting from `refinement`;
            exact at every step. Without it `trainer.max_epochs` must be 0.
        lr: Learning rate of that.
        seed: Seed of the noise and chance maps of the metrics.
        prototypes: A folder with `prototypes.safetensors` and `prototypes.json`, found before for
            this very classifier: they are taken instead of new ones, with their number, patches
            and refinement, and nothing to compare.
    """

    def __init__(
        self,
        num_classes: int,
        classifier_ckpt: str | None = None,
        architecture: str | None = None,
        image_size: int | None = None,
        model_options: dict[str, Any] | None = None,
        k: int = 3,
        num_patches: int = 5,
        refinement: Strategy = "cam_split",
        compare: list[Strategy] | None = None,
        learn: bool = False,
        lr: float = 1e-4,
        seed: int = 0,
        prototypes: str | None = None,
    ) -> None:
        super().__init__()
        stored = None
        if prototypes is not None:
            stored = take_stored(prototypes, num_classes, classifier_ckpt)
            _, k, _, num_patches = stored.shape
            refinement, compare = stored.refinement, None
            image_size = image_size or stored.structure["image_size"]
        self.trained = classifier_ckpt is not None
        if classifier_ckpt is not None and architecture is None:
            classifier = classifier_structure(classifier_ckpt, num_classes)
            architecture = classifier["architecture"]
            model_options = classifier["model_options"]
            image_size = image_size or classifier["image_size"]
        if architecture is None:
            raise CheckpointError(
                "No classifier was given: set model.init_args.classifier_ckpt to the checkpoint of "
                "a trained classifier, or --ckpt_path to that of a prototype network."
            )
        self.save_hyperparameters(logger=False)  # config.yaml has them
        self.classifier = build_classifier(
            architecture, num_classes, classifier_ckpt, False, image_size, model_options, whole=True
        )
        freeze(self.classifier)
        strategies = list(dict.fromkeys([refinement, *(compare or [])]))
        # A checkpoint is loaded without the classifier's own: it holds those weights too.
        structure: dict[str, Any] = {
            "classifier_ckpt": None,
            "architecture": architecture,
            "image_size": image_size,
            "model_options": model_options,
            "k": k,
            "num_patches": num_patches,
            "refinement": refinement,
            "compare": strategies[1:],
            "learn": learn,
            "prototypes": None,
        }
        self.record = Record(type(self).__name__, num_classes, structure)
        self.refinement: Strategy = refinement
        self.learn = learn
        self.lr = lr
        self.seed = seed
        width = self.classifier.width
        self.heads = nn.ModuleDict(
            {
                name: PrototypeHead(num_classes, k, width, learnable=learn and name == refinement)
                for name in strategies
            }
        )
        if not learn:  # DistributedDataParallel refuses a module without a trainable parameter
            self.unused = nn.Parameter(torch.zeros(()))
        self.dictionary = PartDictionary(num_classes, k, width, num_patches)
        self.certificate: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.class_names = [str(label) for label in range(num_classes)]
        self.trained_names: dict[str, list[str] | None] = {}
        if classifier_ckpt is not None:
            names = names_in_checkpoint(classifier_ckpt, num_classes)
            self.trained_names[f"Checkpoint {classifier_ckpt}"] = names
        self.results: dict[str, Any] = {}
        self.per_class: Results | None = None
        if stored is not None:
            head = self.classifier.effective_head()
            stored.expect_classifier(str(prototypes), self.classifier.model, *head)
            stored.fill(self.head, self.dictionary)
            self.certificate, self.settings = stored.certificate, stored.settings
            self.class_names = stored.class_names
            self.trained_names[str(prototypes)] = stored.class_names

    @property
    def input_config(self) -> InputConfig:
        """What the model expects of its input image; the DataModule follows it."""
        return self.classifier.config

    @property
    def k(self) -> int:
        """Prototypes per class, k."""
        return self.dictionary.parts.shape[1]

    @property
    def strategies(self) -> dict[Strategy, PrototypeHead]:
        """The head of each refinement strategy, the chosen one first."""
        return dict(self.heads.items())  # type: ignore[arg-type]

    @property
    def head(self) -> PrototypeHead:
        """The head of the chosen refinement strategy."""
        return self.strategies[self.refinement]

    def train(self, mode: bool = True) -> PrototypeTask:
        """Switch to training mode; the frozen classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits (B, C) and contributions (B, C, k) of images (B, 3, H, W)."""
        output: HeadOutput = self.head(self.tokens(images))
        return output

    @torch.no_grad()
    def tokens(self, images: Tensor, patches: bool = False) -> Tokens:
        """Return what the head needs of images (B, 3, H, W), and the black box's own logits.

        Args:
            images: (B, 3, H, W).
            patches: Whether patch tokens are wanted even where they cost many runs of the head.
        """
        tokens: Tokens = self.classifier(images, patches)
        return tokens

    def setup(self, stage: str) -> None:
        """Hold the data's classes against the classifier's; make the metrics that it allows."""
        for place, names in self.trained_names.items():
            expect_same_names(place, names, self._names_of_data())
        part_names = getattr(self.trainer.datamodule, "part_names", [])  # type: ignore[attr-defined]
        height, width = self.input_config.size
        if height != width:  # the protocols are defined on square inputs
            part_names = []
        self.evaluation = Evaluation(
            len(self.dictionary.found),
            self.k,
            part_names,
            height,
            list(self.strategies),
            self.seed,
            summing=self.classifier.report.case != "class_token",
        )
        self.part_names = list(part_names)

    def on_validation_start(self) -> None:
        """Refuse to evaluate a network without prototypes.

        Raises:
            CheckpointError: If discovery has not run and no checkpoint was loaded.
        """
        if not self.dictionary.complete:
            raise CheckpointError(
                "This network has no prototypes yet: run `ppn fit` with the PrototypeDiscovery "
                "callback first, or give its checkpoint with --ckpt_path."
            )

    def on_test_start(self) -> None:
        """Refuse to evaluate a network without prototypes."""
        self.on_validation_start()

    def on_predict_start(self) -> None:
        """Refuse to predict with a network without prototypes."""
        self.on_validation_start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the split on a batch; only the chosen head's offset can move."""
        tokens = self.tokens(batch["image"], patches=True)
        maps = self.head.maps(tokens, batch["label"])
        loss = split_loss(tokens, maps, self.dictionary.parts[batch["label"]])
        self.log("train/split_loss", loss, prog_bar=True, batch_size=len(maps))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update all metrics on validation images."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update all metrics on test images."""
        self._evaluate(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return index, logits, prediction and the predicted class's contributions."""
        logits, contributions = self(batch["image"])
        predicted = logits.argmax(1)
        return {
            "index": batch["index"],
            "logits": logits,
            "prediction": predicted,
            "contributions": contributions[torch.arange(len(predicted)), predicted],
            "bias": self.head.bias[predicted],
        }

    def on_validation_epoch_end(self) -> None:
        """Compute, log and keep the results."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Compute, log and keep the results."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser of the split, or nothing where refinement is in closed form."""
        if not self.learn:
            return None
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=self.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what is needed to build the network again."""
        self.record.write(checkpoint)
        checkpoint[CERTIFICATE] = self.certificate
        checkpoint[CLASS_NAMES] = self.class_names
        checkpoint[SETTINGS] = self.settings

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not fit; take over what is beside its tensors."""
        record = read_record("to load", checkpoint)
        expect_classes("to load", record, self.record.num_classes)
        expect_content("to load", checkpoint, self, EXTRAS)
        names = checkpoint.get(CLASS_NAMES)
        expect_same_names("Checkpoint to load", names, self._names_of_data())
        self.certificate = checkpoint.get(CERTIFICATE) or {}
        self.class_names = checkpoint.get(CLASS_NAMES) or self.class_names
        self.settings = checkpoint.get(SETTINGS) or {}
        self.trained = True

    def _names_of_data(self) -> list[str]:
        """The data's names of classes; none without a Trainer, or where it has no names."""
        data = getattr(self._trainer, "datamodule", None)
        return list(getattr(data, "class_names", []))

    def _evaluate(self, batch: Batch) -> None:
        tokens = self.tokens(batch["image"])
        labels = batch["label"]
        logits, contributions = self.head(tokens)
        noisy_maps = None
        if self.part_names:
            noise = stability_noise(batch["image"], batch["index"], self.seed)
            noisy = self.tokens(batch["image"] + noise)
            noisy_maps = {n: head.maps(noisy, labels) for n, head in self.strategies.items()}
        outputs = Outputs(
            logits,
            tokens.logits.float(),
            contributions[torch.arange(len(labels), device=labels.device), labels],
            {name: head.maps(tokens, labels) for name, head in self.strategies.items()},
            {str(n): m for n, m in noisy_maps.items()} if noisy_maps is not None else None,
        )
        self.evaluation.update(batch, outputs)

    def _finish(self, stage: str) -> None:
        self.per_class = self.evaluation.compute()
        self.evaluation.reset()
        self.results = {
            **self.per_class.figures,
            "head": self.classifier.report.to_dict(),
            "certificate": self.certificate,
        }
        numbers = {f"{stage}/{name}": value for name, value in self.per_class.numbers().items()}
        self.log_dict(numbers, rank_zero_only=True)
