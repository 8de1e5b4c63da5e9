"""Prototype discovery at the start of `fit`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ppn.callbacks.files import write_json
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.split import balanced_classes
from ppn.decomposition.certificate import CertificateSample, certify
from ppn.decomposition.dictionary import merge_ranks
from ppn.decomposition.discovery import ClassTokens, DiscoverySettings, Grid, decompose
from ppn.errors import DiscoveryError
from ppn.models.prototype_network import PrototypeNetwork
from ppn.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule, Trainer

    from ppn.decomposition.parts import Discoverer, Seeding, TokenWeighting
    from ppn.decomposition.refine import AlphaSolver

CHECKPOINT = "prototypes.ckpt"


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
        classes_per_group: Classes whose tokens are kept in memory and factorised together.
    """

    def __init__(
        self,
        discoverer: Discoverer = "nmf",
        seeding: Seeding = "nndsvda",
        token_weighting: TokenWeighting = "none",
        alpha_solver: AlphaSolver = "least_squares",
        strength: float = 3.0,
        seed: int = 0,
        classes_per_group: int = 8,
    ) -> None:
        if strength <= 0:
            raise DiscoveryError(f"strength is {strength}, but must be positive.")
        self.settings = DiscoverySettings(
            discoverer, seeding, token_weighting, alpha_solver, strength, seed
        )
        self.classes_per_group = classes_per_group

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
            self._discover(trainer, pl_module, data)
            _write_patches(trainer, pl_module, data)
        if trainer.max_epochs == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / CHECKPOINT)

    def _discover(
        self, trainer: Trainer, network: PrototypeNetwork, data: FineGrainedDataModule
    ) -> None:
        training = network.training
        network.eval()
        counts = np.bincount(data.view("train").labels, minlength=data.num_classes).tolist()
        owned = balanced_classes(counts, trainer.world_size)[trainer.global_rank]
        weight, bias = network.backbone.effective_head()
        sample = CertificateSample(len(bias), weight.shape[1]).to(network.device)
        grid = Grid((0, 0), network.input_config.size)
        group: list[ClassTokens] = []
        for item, cells in self._stream(network, data, owned, sample, trainer.is_global_zero):
            group.append(item)
            grid = Grid(cells, network.input_config.size)
            if len(group) == self.classes_per_group:
                self._decompose(network, group, weight, grid)
                group = []
        if group:
            self._decompose(network, group, weight, grid)
        merge_ranks(network.dictionary, sample, *network.strategies.values())
        for head in network.strategies.values():
            head.bias.copy_(bias)
        certificate = certify(network.dictionary, *sample.outputs(network.head))
        level = network.backbone.report.level
        network.certificate = {"level": level, **certificate.to_dict()}
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

    def _decompose(
        self,
        network: PrototypeNetwork,
        group: list[ClassTokens],
        weight: torch.Tensor,
        grid: Grid,
    ) -> None:
        decompose(
            group,
            weight,
            network.strategies,
            network.refinement,
            network.dictionary,
            grid,
            self.settings,
        )

    def _stream(
        self,
        network: PrototypeNetwork,
        data: FineGrainedDataModule,
        owned: list[int],
        sample: CertificateSample,
        show: bool,
    ) -> Iterator[tuple[ClassTokens, tuple[int, int]]]:
        """Yield the tokens of one class after the other, with their grid."""
        if not owned:
            return
        loader = data.discovery_loader(owned)
        columns = (
            TextColumn("Discovering prototypes"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
        )
        pending: list[tuple[Tokens, torch.Tensor]] = []
        current, cells = owned[0], (0, 0)
        with Progress(*columns, disable=not show) as progress:
            task = progress.add_task("", total=len(loader.dataset))  # type: ignore[arg-type]
            for batch in loader:
                tokens = network.tokens(batch["image"].to(network.device), patches=True)
                cells = tokens.grid
                labels = batch["label"].tolist()
                for label, positions in groupby(range(len(labels)), key=labels.__getitem__):
                    if label != current:
                        yield _joined(current, data, pending), cells
                        current, pending = label, []
                    rows = list(positions)
                    chosen = _rows(tokens, rows)
                    sample.add(label, chosen)
                    pending.append((chosen, batch["index"][rows].to(network.device)))
                progress.advance(task, len(labels))
            yield _joined(current, data, pending), cells


def _rows(tokens: Tokens, rows: list[int]) -> Tokens:
    return Tokens(
        tokens.tokens[rows],
        tokens.grid,
        tokens.pooled[rows],
        tokens.scale[rows],
        tokens.logits[rows],
    )


def _joined(
    label: int, data: FineGrainedDataModule, pending: list[tuple[Tokens, torch.Tensor]]
) -> ClassTokens:
    return ClassTokens(
        label,
        data.class_names[label],
        torch.cat([tokens.tokens for tokens, _ in pending]),
        torch.cat([indices for _, indices in pending]),
        torch.cat([tokens.pooled for tokens, _ in pending]),
    )


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
