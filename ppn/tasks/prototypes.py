"""Stage 2: the black box with its head rewritten as a sum of part-prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from ppn.classifier.build import build_classifier, freeze
from ppn.classifier.record import (
    KEY,
    Record,
    classifier_structure,
    expect_classes,
    expect_content,
    read_record,
)
from ppn.errors import CheckpointError
from ppn.explainers.base import Explainer, Inputs
from ppn.explainers.prototypes import PrototypeExplainer
from ppn.io.schema import Maybe
from ppn.metrics.base import EvaluationShape, Metric
from ppn.metrics.defaults import default_floors, default_metrics
from ppn.metrics.evaluation import Evaluation
from ppn.metrics.noise import stability_noise
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.head import HeadOutput, PrototypeHead, split_loss
from ppn.tasks.stored_prototypes import take_stored

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from ppn.metrics.base import Need
    from ppn.metrics.evaluation import Results
    from ppn.refinement.refine import Strategy
    from ppn.types import Batch, InputConfig, Tokens

CERTIFICATE = KEY + "_certificate"
CLASS_NAMES = KEY + "_class_names"
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
        metrics: Metrics beside those of every evaluation; one takes the place of the one of its
            key, as `Consistency` with another threshold does.
        explainers: What to score beside the refinements and the floors of every evaluation.
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
        metrics: list[Metric] | None = None,
        explainers: list[Explainer] | None = None,
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
        # config.yaml has them
        self.save_hyperparameters(logger=False, ignore=["metrics", "explainers"])
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
        self.metrics = list(metrics or [])
        self.explainers = list(explainers or [])
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
        self.results: dict[str, Any] = {}
        self.per_class: Results | None = None
        if stored is not None:
            head = self.classifier.effective_head()
            stored.expect_classifier(str(prototypes), self.classifier.model, *head)
            stored.fill(self.head, self.dictionary)
            self.certificate, self.settings = stored.certificate, stored.settings
            self.class_names = stored.class_names

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

    def on_validation_start(self) -> None:
        """Make the metrics that the data allows."""
        self._start()

    def on_test_start(self) -> None:
        """Make the metrics that the data allows."""
        self._start()

    def on_predict_start(self) -> None:
        """Refuse to predict with a network without prototypes.

        Raises:
            CheckpointError: If discovery has not run and no checkpoint was loaded.
        """
        if not self.dictionary.complete:
            raise CheckpointError(
                "This network has no prototypes yet: run `ppn fit` with the PrototypeDiscovery "
                "callback first, or give its checkpoint with --ckpt_path."
            )

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
        self.certificate = checkpoint.get(CERTIFICATE) or {}
        self.class_names = checkpoint.get(CLASS_NAMES) or self.class_names
        self.settings = checkpoint.get(SETTINGS) or {}
        self.trained = True

    def _start(self) -> None:
        self.on_predict_start()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        height, width = self.input_config.size
        # The protocols of parts are defined on square inputs.
        part_names = getattr(data, "part_names", []) if height == width else []
        shape = EvaluationShape(len(self.dictionary.found), self.k, part_names, height)
        additive = self.classifier.report.case != "class_token"
        explainers: list[Explainer] = [
            PrototypeExplainer(head, name, name != "unrefined", additive)
            for name, head in self.strategies.items()
        ]
        explainers += self.explainers
        names = {explainer.name for explainer in explainers}
        explainers += [floor for floor in default_floors() if floor.name not in names]
        for explainer in explainers:
            explainer.prepare(self)  # type: ignore[arg-type]
        masks = getattr(data, "masks", False) and data.train_source.mask_names
        annotations: list[Need] = ["box", "mask"] if masks else ["box"]
        self.evaluation = Evaluation(
            shape, explainers, default_metrics(self.metrics), annotations
        ).to(self.device)

    def _evaluate(self, batch: Batch) -> None:
        inputs = self._inputs(batch["image"], batch["index"], 0)
        noisy = None
        if self.evaluation.needs_noise:
            noise = stability_noise(batch["image"], batch["index"], self.seed)
            noisy = self._inputs(batch["image"] + noise, batch["index"], 1)
        self.evaluation.update(batch, inputs, noisy, self.head(inputs.tokens))

    def _inputs(self, images: Tensor, indices: Tensor, draw: int) -> Inputs:
        return Inputs(images, self.tokens(images), indices, draw, self.seed)

    def _finish(self, stage: str) -> None:
        self.per_class = self.evaluation.compute()
        self.results = {
            **self.per_class.figures,
            "head": self.classifier.report.to_dict(),
            "certificate": self.certificate,
        }
        numbers = {f"{stage}/{name}": value for name, value in self.per_class.numbers().items()}
        self.log_dict(numbers, rank_zero_only=True)
