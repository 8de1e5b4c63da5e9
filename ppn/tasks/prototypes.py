"""Stage 2: the black box with its head rewritten as a sum of part-prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from ppn.classifier.build import build_classifier, freeze
from ppn.classifier.hugging_face import HUGGING_FACE, class_names_in, describe
from ppn.classifier.record import (
    Record,
    classifier_record,
    expect_classes,
    expect_content,
    read_record,
)
from ppn.data.class_names import class_names_of, names_in_checkpoint
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.interventions import Interventions
from ppn.errors import CheckpointError
from ppn.explainers.base import Explainer, Inputs
from ppn.metrics.base import EvaluationShape, Metric
from ppn.metrics.defaults import default_metrics
from ppn.metrics.evaluation import Evaluation
from ppn.metrics.flagging import flag_figures, network_flags
from ppn.metrics.noise import stability_noise
from ppn.metrics.part_figures import part_figures
from ppn.prototypes.checkpoint import read_entry, write_entry
from ppn.prototypes.composition import DEFAULT_PATCHES
from ppn.prototypes.files import read_prototypes
from ppn.prototypes.network import DEFAULT_K, PrototypeNetwork
from ppn.refinement import CompactSplit, Refinement
from ppn.tasks.explainers import evaluated_explainers

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from ppn.metrics.base import Need
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.head import HeadOutput
    from ppn.types import Batch, InputConfig


class PrototypeTask(LightningModule):
    """Fits and evaluates a `PrototypeNetwork` of a frozen classifier.

    The callback `PrototypeDiscovery` finds the prototypes at the start of `fit`, in closed form:
    `trainer.max_epochs` is 0. Everything that inference needs is in buffers, so validating a
    checkpoint needs neither the callback nor the black box's own checkpoint.

    Args:
        num_classes: Number of the data's classes; the command line links it from the data.
        classifier_ckpt: The trained classifier: a checkpoint of `ClassificationTask`, or, together
            with `architecture`, a `.pth` or `.safetensors` state dict; or `hf:NAME` or `hf:FOLDER`,
            an image classifier of transformers. None when a checkpoint of
            this class is loaded, which holds the classifier's weights too.
        architecture: timm's name of the model, `torchvision:NAME` or `package.module:factory`;
            read from the checkpoint if that is ours and of the first two kinds.
        image_size: Side of the square input in pixels; None takes the classifier's.
        model_options: Further arguments of the model; read from the checkpoint too.
        k: Prototypes per class; None: as many as parts have names, or else 3.
        num_patches: Nearest training patches kept for each prototype.
        refinement: How the rows of the head are split; None: `CompactSplit`.
        compare: Further refinements to evaluate beside it.
        seed: Seed of the noise and chance maps of the metrics.
        metrics: Metrics beside those of every evaluation; one takes the place of the one of its
            key, as `Consistency` with another threshold does.
        explainers: What to score beside the refinements and the floors of every evaluation.
        prototypes: A folder with `prototypes.safetensors` and `prototypes.json`, found before for
            this very classifier: they are taken instead of new ones, with their number, patches
            and refinement, and nothing to compare.
        class_names: File with the names of the classifier's classes, in any form that
            `class_names_of` reads; None takes those of its checkpoint, or of a config.json beside
            that. By these names, or by the classifier's numbers, data is matched that has only
            some of its classes.
        classifier_classes: Number of the classifier's classes, if there are more than the data
            has; read from checkpoints.
    """

    def __init__(
        self,
        num_classes: int,
        classifier_ckpt: str | None = None,
        architecture: str | None = None,
        image_size: int | None = None,
        model_options: dict[str, Any] | None = None,
        k: int | None = None,
        num_patches: int = DEFAULT_PATCHES,
        refinement: Refinement | None = None,
        compare: list[Refinement] | None = None,
        seed: int = 0,
        prototypes: str | None = None,
        metrics: list[Metric] | None = None,
        explainers: list[Explainer] | None = None,
        class_names: str | None = None,
        classifier_classes: int | None = None,
    ) -> None:
        super().__init__()
        # Names that the data's are to be compared with, and where they come from.
        self.trained_names: dict[str, list[str] | None] = {}
        stored = None
        count = classifier_classes or num_classes
        if prototypes is not None:
            if classifier_ckpt is None:
                raise CheckpointError(
                    "prototypes holds no classifier: set --model.classifier_ckpt to the one that "
                    "they were found for."
                )
            stored = read_prototypes(Path(prototypes))
            stored.expect_classes(prototypes, num_classes)
            _, k, _, num_patches = stored.shape
            compare = None
            image_size = image_size or stored.structure["image_size"]
        self.trained = classifier_ckpt is not None
        self.k_given = k is not None
        k = DEFAULT_K if k is None else k
        named = classifier_ckpt if (classifier_ckpt or "").startswith(HUGGING_FACE) else None
        if named is not None:
            architecture, classifier_ckpt = named, None
        if classifier_ckpt is not None and architecture is None:
            trained = classifier_record(classifier_ckpt)
            made, count = trained.structure, trained.num_classes
            architecture, model_options = made["architecture"], made["model_options"]
            image_size = image_size or made["image_size"]
        if architecture is None:
            raise CheckpointError(
                "No classifier was given: set --model.classifier_ckpt to the checkpoint of "
                "a trained classifier, or --ckpt_path to that of a prototype network."
            )
        # config.yaml has them; objects do not belong into checkpoints.
        self.save_hyperparameters(
            logger=False, ignore=["refinement", "compare", "metrics", "explainers"]
        )
        classifier = build_classifier(
            architecture,
            count,
            classifier_ckpt,
            named is not None,
            image_size,
            model_options,
            whole=True,
        )
        if named is not None:  # the config in place of the folder, which may be gone later
            made = describe(classifier.model) or {}
            architecture, model_options = made["architecture"], made["model_options"]
            self.trained_names[named] = class_names_in(classifier.model)
        freeze(classifier)
        count = len(classifier.effective_head()[0])
        found = [refinement or CompactSplit(), *(compare or [])]
        self.refinements = list({way.name: way for way in found}.values())
        heads = {way.name: way.exact for way in self.refinements}
        self.network = PrototypeNetwork(classifier, k, heads, num_patches)
        # A checkpoint is loaded without the classifier's own: it holds those weights too.
        structure: dict[str, Any] = {
            "classifier_ckpt": None,
            "architecture": architecture,
            "image_size": image_size,
            "model_options": model_options,
            "k": k,
            "num_patches": num_patches,
            "prototypes": None,
            "class_names": None,
            "classifier_classes": count,
        }
        self.record = Record(type(self).__name__, count, structure)
        self.network.structure = {**structure, "features": classifier.features}
        # DistributedDataParallel refuses a module without a trainable parameter.
        self.unused = nn.Parameter(torch.zeros(()))
        self.seed = seed
        self.metrics = list(metrics or [])
        self.explainers = list(explainers or [])
        self.results: dict[str, Any] = {}
        self.per_class: Results | None = None
        if classifier_ckpt is not None:
            names = names_in_checkpoint(classifier_ckpt, count)
            if class_names is not None:
                names = class_names_of(class_names, count)
            if names is None and stored is not None:
                names = stored.class_names
            self.trained_names[f"Checkpoint {classifier_ckpt}"] = names
        if stored is not None:
            self.network.take(stored, str(prototypes))
            self.trained_names[str(prototypes)] = stored.class_names

    @property
    def input_config(self) -> InputConfig:
        """What the model expects of its input image; the DataModule follows it."""
        return self.network.input_config

    def hold_named(self, names: list[str]) -> None:
        """Have a prototype for each name of a part, unless the user has said how many."""
        if names and not self.k_given:
            self.network.hold_parts(len(names))
            self.record.structure["k"] = self.network.structure["k"] = len(names)

    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits (B, C) and contributions (B, C, k) of images (B, channels, H, W)."""
        output: HeadOutput = self.network(images)
        return output

    def setup(self, stage: str) -> None:
        """Find the data's classes among those that the classifier was trained on."""
        for place, names in self.trained_names.items():
            self._find_classes(place, names)

    def on_test_start(self) -> None:
        """Make the metrics that the data allows."""
        self.on_predict_start()
        data, network = self.trainer.datamodule, self.network  # type: ignore[attr-defined]
        height, width = self.input_config.size
        # The protocols of parts are defined on square inputs.
        part_names = getattr(data, "part_names", []) if height == width else []
        shape = EvaluationShape(len(network.class_names), network.k, part_names, height)
        masks = bool(getattr(data, "masks", False) and data.train_source.mask_names)
        explainers = evaluated_explainers(network, self.explainers, self.trainer, bool(part_names))
        annotations: list[Need] = ["box", "mask"] if masks else ["box"]
        self.evaluation = Evaluation(
            shape,
            explainers,
            default_metrics(self.metrics),
            annotations,
            network.classifier,
            self._interventions(),
        ).to(self.device)

    on_validation_start = on_test_start

    def _interventions(self) -> Interventions | None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FineGrainedDataModule):
            return None
        return Interventions.of(data.view("test" if self.trainer.testing else "val"))

    def on_predict_start(self) -> None:
        """Refuse to predict with a network without prototypes.

        Raises:
            CheckpointError: If discovery has not run and no checkpoint was loaded.
        """
        if not self.network.dictionary.filled:
            raise CheckpointError(
                "This network has no prototypes yet: run `ppn fit` with the PrototypeDiscovery "
                "callback first, or give its checkpoint with --ckpt_path."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Never called: prototypes are found before the first epoch, of which there is none."""
        raise NotImplementedError

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Update all metrics on test images.

        Returns:
            The images' `tokens` and the `output` of the head, for callbacks.
        """
        inputs = self._inputs(batch["image"], batch["index"], 0)
        noisy = None
        if self.evaluation.needs_noise:
            noise = stability_noise(batch["image"], batch["index"], self.seed)
            noisy = self._inputs(batch["image"] + noise, batch["index"], 1)
        output = self.network.head(inputs.tokens)
        self.evaluation.update(batch, inputs, noisy, output)
        return {"tokens": inputs.tokens, "output": output}

    validation_step = test_step

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return index, logits, prediction and the predicted class's contributions.

        Contributions are NaN where the predicted class had no training images, hence no prototypes.
        """
        logits, contributions = self(batch["image"])
        predicted = logits.argmax(1)
        contributions[:, self.network.dictionary.found == 0] = torch.nan
        return {
            "index": batch["index"],
            "logits": logits,
            "prediction": predicted,
            "contributions": contributions[torch.arange(len(predicted)), predicted],
            "bias": self.network.head.bias[predicted],
        }

    def on_validation_epoch_end(self) -> None:
        """Compute, log and keep the results."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Compute, log and keep the results."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return nothing: refinement is in closed form."""
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what is needed to build the network again."""
        self.record.write(checkpoint)
        write_entry(self.network, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not fit; take over what is beside its tensors."""
        record = read_record("to load", checkpoint)
        expect_classes("to load", record, self.record.num_classes)
        read_entry(self.network, checkpoint, "The checkpoint to load")
        self._find_classes("The checkpoint to load", self.network.class_names)
        expect_content("to load", checkpoint, self, {})
        self.trained = True

    def _find_classes(self, place: str, names: list[str] | None) -> None:
        data = getattr(self._trainer, "datamodule", None)
        if isinstance(data, FineGrainedDataModule):
            data.follow_classes(place, names, self.record.num_classes)

    def _inputs(self, images: Tensor, indices: Tensor, draw: int) -> Inputs:
        return Inputs(images, self.network.tokens(images), indices, draw, self.seed)

    def _finish(self, stage: str) -> None:
        self.per_class = self.evaluation.compute()
        self.results = {
            **self.per_class.figures,
            "head": self.network.classifier.inspection.to_dict(),
            "certificate": self.network.certificate,
            "flags": flag_figures(network_flags(self.network, self.per_class)),
        }
        if self.network.part_names:
            self.results["parts"] = part_figures(self.network, self.per_class)
        numbers = {f"{stage}/{name}": value for name, value in self.per_class.numbers().items()}
        self.log_dict(numbers, rank_zero_only=True)
