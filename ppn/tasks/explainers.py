"""What an evaluation scores beside the network's own maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_info

from ppn.data.datamodule import FineGrainedDataModule
from ppn.explainers.ceiling import ceiling_of
from ppn.explainers.integrated import IntegratedMaps
from ppn.explainers.prototypes import PrototypeExplainer
from ppn.explainers.training import TrainingImages, fit_explainers, state_file
from ppn.metrics.defaults import default_controls, default_floors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning import Trainer

    from ppn.explainers.base import Explainer
    from ppn.prototypes.network import PrototypeNetwork

LEARNED = "learned"
"""Folder beside a checkpoint that keeps what explainers have learned from its training images."""


def evaluated_explainers(
    network: PrototypeNetwork, given: Sequence[Explainer], trainer: Trainer, parts: bool
) -> list[Explainer]:
    """Return every explainer of an evaluation, ready to explain; a collective call.

    Args:
        network: Its refinements come first.
        given: Those that the user asks for.
        trainer: Has the data, and the checkpoint beside which what is learned is kept.
        parts: Whether keypoints can be scored.

    Returns:
        The network's refinements, those given, and the levels that scores are held against: the
        ceiling where parts are annotated, controls, floors.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    additive = not network.classifier.inspection.indicative
    if not (
        additive or trainer.sanity_checking or any(isinstance(of, IntegratedMaps) for of in given)
    ):
        rank_zero_info(
            "What is scored are maps of cells, which add up to nothing for this classifier: "
            "explanations show complete maps, which --model.explainers+=IntegratedMaps scores "
            "beside them, at some 20 times a forward pass."
        )
    explainers: list[Explainer] = [PrototypeExplainer(h, additive) for h in network.each_head()]
    explainers += given
    levels: list[Explainer] = [*default_controls(), *default_floors()]
    if isinstance(data, FineGrainedDataModule) and not trainer.sanity_checking:
        ceiling = ceiling_of(data.train_source, network.k, data.masks) if parts else None
        levels[:0] = [] if ceiling is None else [ceiling]
    names = {explainer.name for explainer in explainers}
    explainers += [level for level in levels if level.name not in names]
    for explainer in explainers:
        explainer.prepare(network)
    learning = [explainer for explainer in explainers if explainer.needs_training_images]
    if learning:
        _fit(learning, network, data, trainer)
    return explainers


def _fit(
    learning: list[Explainer],
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    trainer: Trainer,
) -> None:
    """Let explainers see the training images, once for each checkpoint."""
    view, place = data.view("train"), Path(str(trainer.ckpt_path or ""))
    names = [view.source.name(int(index)) for index in view.indices]

    def kept(explainer: Explainer) -> Path | None:
        if not place.is_file():
            return None
        path = state_file(place.parent / LEARNED, network, explainer, [names, data.crop])
        if path.is_file() or os.access(place.parent, os.W_OK):
            return path
        return None

    told = ", ".join(explainer.title or explainer.name for explainer in learning)
    rank_zero_info(f"Learned from training images: {told}.")
    images = TrainingImages(network, data.class_loader())
    fit_explainers(learning, images, trainer.is_global_zero, trainer.strategy.broadcast, kept)
