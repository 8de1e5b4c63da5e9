"""Prototype discovery at the start of `fit`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ppn.configured import expect_least
from ppn.data.annotated import AnnotatedTraining
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.split import balanced
from ppn.discovery import NMF, Discoverer
from ppn.distributed import ending_on_sigterm
from ppn.errors import DiscoveryError
from ppn.prototypes.agreement import Agreement
from ppn.prototypes.fit import FEW, Fit
from ppn.prototypes.journal import Journal, fingerprint
from ppn.prototypes.patch_index import FOLDER as INDEX
from ppn.prototypes.patch_index import place_index
from ppn.prototypes.patch_shards import PatchShards, about_patches
from ppn.prototypes.patches import FOLDER, write_gallery
from ppn.prototypes.stream import group_size
from ppn.tasks.prototypes import PrototypeTask
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning import LightningModule, Trainer
    from torch.utils.data import DataLoader

    from ppn.prototypes.stream import TokenBatch
    from ppn.types import Batch

CHECKPOINT = "prototypes.ckpt"
JOURNALS = ".journal"
"""Folder beside the run's directory: the next run of the same command has another directory."""


class PrototypeDiscovery(Callback):
    """Finds the prototypes of every class and refines the head, before the first epoch.

    Streams each class's un-augmented training images, class after class, and keeps the tokens of
    one group of classes in memory. Under DDP each process owns some groups; processes exchange
    only what they found. Then the certificate is measured, and `checkpoints/prototypes.ckpt` is
    written in the run's directory, with `prototypes.safetensors` and `prototypes.json` beside it:
    the prototypes for everybody, with the names of their nearest training images.

    A network that was loaded with prototypes (`--ckpt_path`) is left as it is.

    Args:
        discoverer: How parts are found; None: `NMF`.
        classes_per_group: Most classes whose tokens are kept in memory and factorised together,
            on a CPU fewer where their images do not fit into one batch. None takes as many as fit
            into a GPU's free memory, up to 16, and eight on a CPU.
        index: Whether to keep the patches of all training images in `index/` of the run's
            directory, for `ppn search`; `ppn index` does so later.
    """

    def __init__(
        self,
        discoverer: Discoverer | None = None,
        classes_per_group: int | None = None,
        index: bool = False,
    ) -> None:
        expect_least(1, classes_per_group=classes_per_group)
        self.discoverer = NMF() if discoverer is None else discoverer
        self.classes_per_group = classes_per_group
        self.index = index
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
        if trainer.max_epochs != 0:
            raise DiscoveryError(
                f"trainer.max_epochs is {trainer.max_epochs}, but prototypes are found in closed "
                "form: set it to 0."
            )
        network = pl_module.network
        # A checkpoint that was written on the way holds some of the classes only.
        wanted = torch.from_numpy(np.unique(data.view("train").labels))
        if bool((network.dictionary.found.cpu()[wanted] == 1).all()):
            rank_zero_info("The checkpoint holds all prototypes: discovery is skipped.")
        else:
            if not pl_module.trained:
                raise DiscoveryError("The classifier is not trained: set --model.classifier_ckpt.")
            chosen = self._choose(trainer, pl_module, data)
            pl_module.hold_named(self.discoverer.part_names)
            self._journal = self._discover(trainer, pl_module, data, chosen)
            if trainer.is_global_zero:
                folder = Path(trainer.default_root_dir) / FOLDER
                write_gallery(network.dictionary, data.view("train"), folder, data.num_workers)
        path = Path(trainer.default_root_dir) / "checkpoints" / CHECKPOINT
        trainer.save_checkpoint(path, weights_only=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the prototypes, and delete the journal: what it kept is in files now."""
        if trainer.is_global_zero and isinstance(pl_module, PrototypeTask):
            pl_module.network.save(trainer.default_root_dir)
            if self.index and self._journal is not None:
                data, target = trainer.datamodule, Path(trainer.default_root_dir) / INDEX  # type: ignore[attr-defined]
                index = place_index(self._journal.folder / INDEX, target, data.labels)
                rank_zero_info(f"{len(index)} patches of {index.images} images are in {target}.")
        if self._journal is not None and trainer.is_global_zero:
            self._journal.remove()
            self._journal = None

    def _choose(
        self, trainer: Trainer, task: PrototypeTask, data: FineGrainedDataModule
    ) -> list[int] | None:
        """Let the first process find out which images the discoverer must see, and tell others."""
        chosen = None
        if not self.discoverer.shared:
            return None
        if trainer.is_global_zero:
            chosen = self.discoverer.choose(AnnotatedTraining(data.view("train"), task.device))
        chosen, self.discoverer = trainer.strategy.broadcast((chosen, self.discoverer))
        return chosen

    def _discover(
        self,
        trainer: Trainer,
        task: PrototypeTask,
        data: FineGrainedDataModule,
        chosen: list[int] | None,
    ) -> Journal:
        network, names = task.network, data.class_names
        every, images = self._groups(trainer, task, data)
        owned = [every[i] for i in balanced(images, trainer.world_size)[trainer.global_rank]]
        fit = Fit(network, task.refinements, self.discoverer, data.labels)
        journal = Journal(
            Path(trainer.default_root_dir).parent / JOURNALS,
            self._key(trainer, task, data, every),
            {head.name: head for head in network.each_head()},
            network.dictionary,
            fit.sample,
            fit.looks,
        )
        shards = (
            PatchShards(journal.folder / INDEX, about_patches(network, data))
            if self.index
            else None
        )
        kept = None if shards is None else {*shards.labels}
        missing = [
            group
            for group in owned
            if not journal.restore(group) or (kept is not None and not kept.issuperset(group))
        ]
        if len(missing) < len(owned):
            total, left = (sum(map(len, groups)) for groups in (owned, missing))
            rank_zero_info(f"Going on: {total - left} of {total} classes are in {journal.folder}.")
        try:
            with ending_on_sigterm():
                if self.discoverer.shared:
                    self._learn(trainer, task, data, fit, every, chosen)
                fit.run(
                    self._batches(trainer, task, data, missing),
                    names,
                    list(map(len, missing)),
                    finished=journal.write,
                    seen=None
                    if shards is None
                    else partial(shards.write, name=data.train_source.name),
                )
                fit.merge()
        except (KeyboardInterrupt, SIGTERMException):
            rank_zero_info(
                f"Stopped; the classes that are done are in {journal.folder}: run the same command "
                "again to go on."
            )
            raise
        view = data.view("train")
        some = torch.stack([view[at]["image"] for at in range(min(FEW, len(view)))])
        certificate = fit.finish(names, data.train_source.name, some.to(task.device))
        rank_zero_info(
            f"Certificate on {certificate.images} training images: agreement "
            f"{certificate.agreement:.2%}, max logit error {certificate.max_logit_error:.1e}, "
            f"sum of prototypes off by {certificate.max_sum_error:.1e}; {network.level}."
        )
        agreement = Agreement("single")
        _, logits = fit.sample.outputs(network.head)
        agreement.add(logits, list(range(len(logits))), fit.sample.labels.tolist())
        disagreement = agreement.warning()
        if disagreement is not None:
            rank_zero_warn(disagreement)
        if certificate.fell_back:
            rank_zero_info(
                f"Refinement '{network.head.name}' is ill-conditioned for "
                f"{certificate.fell_back} classes, which share the residual equally instead."
            )
        return journal

    def _learn(
        self,
        trainer: Trainer,
        task: PrototypeTask,
        data: FineGrainedDataModule,
        fit: Fit,
        groups: list[list[int]],
        chosen: list[int] | None,
    ) -> None:
        """Let the first process learn what classes share, and give it to the others."""
        if trainer.is_global_zero and chosen is None:
            fit.learn(self._batches(trainer, task, data, groups), data.class_names)
        elif trainer.is_global_zero and chosen is not None:
            loader = data.chosen_loader(chosen)
            tokens = self._tokens(trainer, task, loader, "Learning from chosen images")
            fit.learn(tokens, data.class_names, sort=True)
        fit.discoverer = trainer.strategy.broadcast(fit.discoverer)

    def _groups(
        self, trainer: Trainer, task: PrototypeTask, data: FineGrainedDataModule
    ) -> tuple[list[list[int]], list[int]]:
        """Return which classes are factorised together, and how many images each group has.

        Groups do not depend on the number of processes, hence neither do the bits of the result.
        """
        most = self.classes_per_group
        if most is None:
            network = task.network
            height, width = network.classifier.inspection.grid
            largest = int(np.bincount(data.view("train").labels).max())
            content = 4 * largest * height * width * network.classifier.width
            # One choice for all processes, whose GPUs may differ.
            most = int(trainer.strategy.broadcast(group_size(content, task.device)))
        # A CPU factorises class by class anyway, and small groups are shared out more evenly.
        images = data.batch_size if task.device.type == "cpu" else None
        return data.discovery_groups(most, images)

    def _key(
        self,
        trainer: Trainer,
        task: PrototypeTask,
        data: FineGrainedDataModule,
        groups: list[list[int]],
    ) -> str:
        """Everything that the bits of the result depend on."""
        view = data.view("train")
        names = "\n".join(view.source.name(int(index)) for index in view.indices)
        settings = (
            __version__,
            torch.__version__,
            task.record,
            task.input_config,
            [(part.key, part.options) for part in (self.discoverer, *task.refinements)],
            self.discoverer.part_names,
            groups,
            str(trainer.precision),
            task.device.type,
            data.batch_size,
            data.crop,
            data.class_names,
        )
        weights = task.network.classifier.state_dict().values()
        labels = torch.from_numpy(np.ascontiguousarray(view.labels))
        given = self.discoverer.given
        return fingerprint([repr(settings), names, labels, *given, *weights])

    def _batches(
        self,
        trainer: Trainer,
        task: PrototypeTask,
        data: FineGrainedDataModule,
        groups: Sequence[Sequence[int]],
    ) -> Iterator[TokenBatch]:
        """Yield tokens, labels and indices of the images of groups of classes, class by class."""
        if not groups:
            return
        loader = data.discovery_loader(*groups)
        yield from self._tokens(trainer, task, loader, "Discovering prototypes")

    def _tokens(
        self, trainer: Trainer, task: PrototypeTask, loader: DataLoader[Batch], title: str
    ) -> Iterator[TokenBatch]:
        """Yield tokens, labels and indices of the images of a loader, with a progress bar."""
        columns = (
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=not trainer.is_global_zero) as progress:
            bar = progress.add_task("", total=len(loader.dataset))  # type: ignore[arg-type]
            for batch in loader:
                images = batch["image"].to(task.device, non_blocking=True)
                tokens = task.network.tokens(images, patches=True)
                yield tokens, batch["label"].tolist(), batch["index"].to(task.device)
                progress.advance(bar, len(batch["label"]))
