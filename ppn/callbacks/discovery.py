"""Prototype discovery at the start of `fit`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.split import balanced
from ppn.distributed import ending_on_sigterm
from ppn.errors import DiscoveryError
from ppn.prototypes.certificate import CertificateSample, certify
from ppn.prototypes.decompose import DiscoverySettings
from ppn.prototypes.dictionary import merge_ranks
from ppn.prototypes.files import write_prototypes
from ppn.prototypes.journal import Journal, fingerprint
from ppn.prototypes.patches import FOLDER, write_gallery
from ppn.prototypes.stream import TokenBatch, class_by_class, decompose_stream, group_size
from ppn.refinement.refine import STRENGTH
from ppn.tasks.prototypes import PrototypeTask
from ppn.tasks.stored_prototypes import describe
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule, Trainer

    from ppn.discovery.parts import Discoverer, Seeding, TokenWeighting
    from ppn.refinement.refine import AlphaSolver

CHECKPOINT = "prototypes.ckpt"
JOURNALS = ".journal"
"""Folder beside the run's directory: the next run of the same command has another directory."""


class PrototypeDiscovery(Callback):
    """Finds the prototypes of every class and refines the head, before the first epoch.

    Streams each class's un-augmented training images, class after class, and keeps the tokens of
    one group of classes in memory. Under DDP each process owns some groups; processes exchange
    only what they found. Then the certificate is measured, and `trainer.max_epochs: 0` leaves
    `checkpoints/prototypes.ckpt` in the run's directory. At the end of `fit`, after epochs that
    learn, `prototypes.safetensors` and `prototypes.json` are written beside it: the prototypes for
    everybody, with the names of their nearest training images.

    A network that was loaded complete (`--ckpt_path`) is left as it is.

    Args:
        discoverer: "nmf", or "kmeans" for FAISS spherical k-means.
        seeding: What NMF starts from.
        token_weighting: "cam" shows NMF the tokens of positive class activation, times its square
            root; "none" all tokens as they are.
        alpha_solver: Whether the coefficients alpha of the parts may be negative.
        strength: lambda of `cam_split`.
        seed: Seed of discovery.
        classes_per_group: Most classes whose tokens are kept in memory and factorised together,
            on a CPU fewer where their images do not fit into one batch. None takes as many as fit
            into a GPU's free memory, up to 16, and eight on a CPU.
    """

    def __init__(
        self,
        discoverer: Discoverer = "nmf",
        seeding: Seeding = "nndsvda",
        token_weighting: TokenWeighting = "cam",
        alpha_solver: AlphaSolver = "least_squares",
        strength: float = STRENGTH,
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
        if not isinstance(pl_module, PrototypeTask) or not isinstance(data, FineGrainedDataModule):
            raise DiscoveryError(
                f"PrototypeDiscovery works on a PrototypeTask with one of ppn's DataModules, "
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
                    "The classifier is not trained: set model.init_args.classifier_ckpt."
                )
            self._journal = self._discover(trainer, pl_module, data)
            if trainer.is_global_zero:
                folder = Path(trainer.default_root_dir) / FOLDER
                write_gallery(pl_module.dictionary, data.view("train"), folder, data.num_workers)
        if trainer.max_epochs == 0:
            path = Path(trainer.default_root_dir) / "checkpoints" / CHECKPOINT
            trainer.save_checkpoint(path, weights_only=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the prototypes, and delete the journal: what it kept is in files now."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.is_global_zero and isinstance(pl_module, PrototypeTask):
            source = data.train_source

            def name(index: int) -> str:  # a checkpoint may have been made on other images
                return source.name(index) if index < len(source) else f"training image {index}"

            write_prototypes(Path(trainer.default_root_dir), describe(pl_module, name))
        if self._journal is not None and trainer.is_global_zero:
            self._journal.remove()
            self._journal = None

    def _discover(
        self, trainer: Trainer, network: PrototypeTask, data: FineGrainedDataModule
    ) -> Journal:
        training = network.training
        network.eval()
        every, images = self._groups(trainer, network, data)
        owned = [every[i] for i in balanced(images, trainer.world_size)[trainer.global_rank]]
        weight, bias = network.classifier.effective_head()
        sample = CertificateSample(len(bias), weight.shape[1]).to(network.device)
        for module in (network.dictionary, *network.strategies.values()):
            for buffer in module.buffers():  # of a checkpoint that was written on the way
                buffer.zero_()
        journal = Journal(
            Path(trainer.default_root_dir).parent / JOURNALS,
            self._key(trainer, network, data, every),
            {str(name): head for name, head in network.strategies.items()},
            network.dictionary,
            sample,
        )
        missing = [group for group in owned if not journal.restore(group)]
        if len(missing) < len(owned):
            total, left = (sum(map(len, groups)) for groups in (owned, missing))
            rank_zero_info(f"Going on: {total - left} of {total} classes are in {journal.folder}.")
        try:
            with ending_on_sigterm():
                decompose_stream(
                    class_by_class(
                        self._batches(trainer, network, data, missing), data.class_names, sample
                    ),
                    weight,
                    network.strategies,
                    network.refinement,
                    network.dictionary,
                    network.input_config.size,
                    self.settings,
                    map(len, missing),
                    journal.write,
                )
                merge_ranks(network.dictionary, sample, *network.strategies.values())
        except (KeyboardInterrupt, SIGTERMException):
            rank_zero_info(
                f"Stopped; the classes that are done are in {journal.folder}: run the same command "
                "again to go on."
            )
            raise
        for head in network.strategies.values():
            head.bias.copy_(bias)
        certificate = certify(network.dictionary, *sample.outputs(network.head))
        level = network.classifier.report.level
        network.certificate = {"level": level, **certificate.to_dict()}
        network.class_names = list(data.class_names)
        network.settings = asdict(self.settings)
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

    def _groups(
        self, trainer: Trainer, network: PrototypeTask, data: FineGrainedDataModule
    ) -> tuple[list[list[int]], list[int]]:
        """Return which classes are factorised together, and how many images each group has.

        Groups do not depend on the number of processes, hence neither do the bits of the result.
        """
        most = self.classes_per_group
        if most is None:
            height, width = network.classifier.report.grid
            largest = int(np.bincount(data.view("train").labels).max())
            content = 4 * largest * height * width * network.classifier.width
            # One choice for all processes, whose GPUs may differ.
            most = int(trainer.strategy.broadcast(group_size(content, network.device)))
        # A CPU factorises class by class anyway, and small groups are shared out more evenly.
        images = data.batch_size if network.device.type == "cpu" else None
        return data.discovery_groups(most, images)

    def _key(
        self,
        trainer: Trainer,
        network: PrototypeTask,
        data: FineGrainedDataModule,
        groups: list[list[int]],
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
            groups,
            str(trainer.precision),
            network.device.type,
            data.batch_size,
            data.crop,
            data.class_names,
        )
        weights = network.classifier.state_dict().values()
        labels = torch.from_numpy(np.ascontiguousarray(view.labels))
        return fingerprint([repr(settings), names, labels, *weights])

    def _batches(
        self,
        trainer: Trainer,
        network: PrototypeTask,
        data: FineGrainedDataModule,
        groups: list[list[int]],
    ) -> Iterator[TokenBatch]:
        """Yield tokens, labels and indices of the images of groups of classes, class by class."""
        if not groups:
            return
        loader = data.discovery_loader(*groups)
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
