"""Prototype discovery at the start of `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.split import balanced_classes
from ppn.decomposition.certificate import CertificateSample, certify
from ppn.decomposition.dictionary import merge_ranks
from ppn.decomposition.discovery import DiscoverySettings
from ppn.decomposition.journal import Journal, fingerprint
from ppn.decomposition.stream import Seen, class_by_class, decompose_stream, group_size
from ppn.errors import DiscoveryError
from ppn.explain.gallery import FOLDER, write_gallery
from ppn.files import write_json
from ppn.models.prototype_network import PrototypeNetwork
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule, Trainer

    from ppn.decomposition.parts import Discoverer, Seeding, TokenWeighting
    from ppn.decomposition.refine import AlphaSolver

CHECKPOINT = "prototypes.ckpt"
JOURNALS = ".journal"
"""Folder beside the run's directory: the next run of the same command has another directory."""


class PrototypeDiscovery(Callback):
    """Finds the prototypes of every class and refines the head, before the first epoch.

    Streams each class's un-augmented training images, class after class, and keeps the tokens of
    one group of classes in memory. Under DDP each process owns some classes; processes exchange
    only what they found. At the end the certificate is measured and `checkpoints/prototypes.ckpt`
    and `prototypes.json` (each prototype's nearest training patches) are written to the run's
    directory, so `trainer.max_epochs: 0` leaves a complete checkpoint.

    A network that was loaded complete (`--ckpt_path`) is left as it is.

    Args:
        discoverer: "nmf", or "kmeans" for FAISS spherical k-means.
        seeding: What NMF starts from.
        token_weighting: "cam" weights tokens by the square root of their class activation.
        alpha_solver: Whether the coefficients alpha of the parts may be negative.
        strength: lambda of `cam_split`.
        seed: Seed of discovery.
        classes_per_group: Classes whose tokens are kept in memory and factorised together; None
            takes as many as fit into a GPU's free memory, and eight on a CPU.
    """

    def __init__(
        self,
        discoverer: Discoverer = "nmf",
        seeding: Seeding = "nndsvda",
        token_weighting: TokenWeighting = "none",
        alpha_solver: AlphaSolver = "least_squares",
        strength: float = 3.0,
        seed: int = 0,
        classes_per_group: int | None = None,
    ) -> None:
        if strength <= 0:
            raise DiscoveryError(f"strength is {strength}, but must be positive.")
        if classes_per_group is not None and classes_per_group < 1:
            raise DiscoveryError(f"classes_per_group is {classes_per_group}, but must be positive.")
        self.settings = DiscoverySettings(
            discoverer, seeding, token_weighting, alpha_solver, strength, seed
        )
        self.classes_per_group = classes_per_group
        self._journal: Journal | None = None

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the network's heads and dictionary.

        Raises:
            DiscoveryError: If the model or data are of another kind, or features cannot be
                decomposed.
            DataError: If a class has no training image.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, PrototypeNetwork) or not isinstance(
            data, FineGrainedDataModule
        ):
            raise DiscoveryError(
                f"PrototypeDiscovery works on a PrototypeNetwork with one of ppn's DataModules, "
                f"not on {type(pl_module).__name__} with {type(data).__name__}."
            )
        if trainer.max_epochs != 0 and not pl_module.learn:
            raise DiscoveryError(
                f"trainer.max_epochs is {trainer.max_epochs}, but this network has nothing to "
                "learn: set it to 0, or model.init_args.learn to true."
            )
        if pl_module.dictionary.complete:
            rank_zero_info("The checkpoint holds all prototypes: discovery is skipped.")
        else:
            if not pl_module.trained:
                raise DiscoveryError(
                    "The classifier is not trained: set model.init_args.backbone_ckpt."
                )
            self._journal = self._discover(trainer, pl_module, data)
            _write_patches(trainer, pl_module, data)
            if trainer.is_global_zero:
                folder = Path(trainer.default_root_dir) / FOLDER
                write_gallery(pl_module.dictionary, data.view("train"), folder, data.num_workers)
        if trainer.max_epochs == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / CHECKPOINT)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Delete the journal: what it kept is in a checkpoint now."""
        if self._journal is not None and trainer.is_global_zero:
            self._journal.remove()
            self._journal = None

    def _discover(
        self, trainer: Trainer, network: PrototypeNetwork, data: FineGrainedDataModule
    ) -> Journal:
        training = network.training
        network.eval()
        counts = np.bincount(data.view("train").labels, minlength=data.num_classes).tolist()
        owned = balanced_classes(counts, trainer.world_size)[trainer.global_rank]
        group = self.classes_per_group
        if group is None:
            height, width = network.backbone.report.grid
            largest = 4 * max(counts) * height * width * network.backbone.width
            # One choice for all processes: it is part of the journal's key.
            group = trainer.strategy.broadcast(group_size(largest, network.device))
        weight, bias = network.backbone.effective_head()
        sample = CertificateSample(len(bias), weight.shape[1]).to(network.device)
        journal = Journal(
            Path(trainer.default_root_dir).parent / JOURNALS,
            self._key(trainer, network, data, group),
            {str(name): head for name, head in network.strategies.items()},
            network.dictionary,
            sample,
        )
        groups = [owned[i : i + group] for i in range(0, len(owned), group)]
        missing = [label for labels in groups if not journal.restore(labels) for label in labels]
        if len(missing) < len(owned):
            rank_zero_info(
                f"Going on: {len(owned) - len(missing)} of {len(owned)} classes are in "
                f"{journal.folder}."
            )
        try:
            decompose_stream(
                class_by_class(
                    self._batches(trainer, network, data, missing, group), data.class_names, sample
                ),
                weight,
                network.strategies,
                network.refinement,
                network.dictionary,
                network.input_config.size,
                self.settings,
                group,
                journal.write,
            )
        except KeyboardInterrupt:
            rank_zero_info(
                f"Stopped; the classes that are done are in {journal.folder}: run the same command "
                "again to go on."
            )
            raise
        merge_ranks(network.dictionary, sample, *network.strategies.values())
        for head in network.strategies.values():
            head.bias.copy_(bias)
        certificate = certify(network.dictionary, *sample.outputs(network.head))
        level = network.backbone.report.level
        network.certificate = {"level": level, **certificate.to_dict()}
        network.class_names = list(data.class_names)
        network.train(training)
        rank_zero_info(
            f"Certificate on {certificate.images} training images: agreement "
            f"{certificate.agreement:.2%}, max logit error {certificate.max_logit_error:.1e}, "
            f"sum of prototypes off by {certificate.max_sum_error:.1e}; {level}."
        )
        if certificate.fell_back:
            rank_zero_info(
                f"Refinement '{network.refinement}' is ill-conditioned for "
                f"{certificate.fell_back} classes, which use 'equal' instead."
            )
        return journal

    def _key(
        self, trainer: Trainer, network: PrototypeNetwork, data: FineGrainedDataModule, group: int
    ) -> str:
        """Everything that the bits of the result depend on."""
        view = data.view("train")
        names = "\n".join(view.source.name(int(index)) for index in view.indices)
        settings = (
            __version__,
            torch.__version__,
            network.record,
            network.input_config,
            self.settings,
            group,
            trainer.world_size,
            str(trainer.precision),
            network.device.type,
            data.batch_size,
            data.crop,
            data.class_names,
        )
        weights = network.backbone.state_dict().values()
        labels = torch.from_numpy(np.ascontiguousarray(view.labels))
        return fingerprint([repr(settings), names, labels, *weights])

    def _batches(
        self,
        trainer: Trainer,
        network: PrototypeNetwork,
        data: FineGrainedDataModule,
        classes: list[int],
        group: int,
    ) -> Iterator[Seen]:
        """Yield tokens, labels and indices of the images of some classes, class by class."""
        if not classes:
            return
        loader = data.discovery_loader(classes, group)
        columns = (
            TextColumn("Discovering prototypes"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=not trainer.is_global_zero) as progress:
            task = progress.add_task("", total=len(loader.dataset))  # type: ignore[arg-type]
            for batch in loader:
                images = batch["image"].to(network.device, non_blocking=True)
                tokens = network.tokens(images, patches=True)
                yield tokens, batch["label"].tolist(), batch["index"].to(network.device)
                progress.advance(task, len(batch["label"]))


@rank_zero_only
def _write_patches(
    trainer: Trainer, network: PrototypeNetwork, data: FineGrainedDataModule
) -> None:
    """Write which real training patches are nearest to each prototype, by image name."""
    found = network.dictionary
    index, box, score = (
        found.patch_index.tolist(),
        found.patch_box.tolist(),
        found.patch_score.tolist(),
    )
    source = data.train_source
    classes = [
        {
            "label": label,
            "name": name,
            "prototypes": [
                [
                    {"image": source.name(i), "box": b, "score": s}
                    for i, b, s in zip(index[label][k], box[label][k], score[label][k], strict=True)
                    if s > -float("inf")
                ]
                for k in range(network.num_prototypes)
            ],
        }
        for label, name in enumerate(data.class_names)
    ]
    write_json(Path(trainer.default_root_dir) / "prototypes.json", {"classes": classes})
