"""What a finished stage of a run has to show, gathered once for all loggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.images import read_image
from ppn.errors import DataError
from ppn.explanation.record import part_title
from ppn.prototypes.files import DESCRIPTION, TENSORS
from ppn.prototypes.patches import FOLDER, Gallery
from ppn.report.class_lines import CLASSES as CLASS_PAGES
from ppn.tasks.prototypes import PrototypeTask

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from PIL.Image import Image

    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork

CLASSES = 100
"""Most classes whose prototypes are shown: W&B keeps 108 pictures of a step."""


@dataclass(frozen=True)
class PrototypeRow:
    """What is known of one prototype.

    Attributes:
        label: Its class, and `name` the name of that.
        index: Which of the class's k prototypes.
        title: What it is called: its name, or its number.
        share: Mean share of the class's logit; None before evaluation.
        cosine: Cosine of the prototype and the part that was discovered.
        part: Annotated part that it covers most often; None where not measured, or where it does
            so too seldom to be called consistent.
        part_rate: How often it covers the best one, in [0, 1].
        image: Nearest training image; empty where there is none.
        similarity: Of that image's nearest patch; None where there is none.
        thumbnail: That patch; None where there is no gallery.
    """

    label: int
    name: str
    index: int
    title: str
    share: float | None
    cosine: float
    part: str | None
    part_rate: float | None
    image: str
    similarity: float | None
    thumbnail: Image | None


@dataclass(frozen=True)
class Outcome:
    """What one stage of a run has made or measured.

    Attributes:
        stage: "fit", "validate" or "test".
        step: The trainer's step.
        rows: The prototypes of the first `CLASSES` classes; none for a black box.
        gallery: Class names, and their nearest training patches.
        certificate: Exactness, as measured at the end of discovery.
        files: Files and folders this stage wrote, by kind: "model", "prototypes", "tensors",
            "gallery", "report", "pages" (of classes, where there are many), "metrics".
        inputs: Checkpoints this stage used, by role: "backbone", "checkpoint".
    """

    stage: str
    step: int
    rows: list[PrototypeRow] = field(default_factory=list)
    gallery: list[tuple[str, Image]] = field(default_factory=list)
    certificate: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    inputs: dict[str, Path] = field(default_factory=dict)


def gather(trainer: Trainer, module: LightningModule, stage: str) -> Outcome:
    """Gather what a stage has to show, from the module and the run's directory.

    Args:
        trainer: The run's trainer, at the end of the stage.
        module: The trained or evaluated module.
        stage: "fit", "validate" or "test".
    """
    run_dir = Path(trainer.default_root_dir)
    files, inputs = _files(trainer, run_dir, stage), _inputs(trainer, module, stage)
    outcome = Outcome(stage, trainer.global_step, files=files, inputs=inputs)
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(module, PrototypeTask) or not isinstance(data, FineGrainedDataModule):
        return outcome
    outcome.certificate.update(module.network.certificate)
    folder = run_dir / FOLDER
    if not folder.is_dir() and "checkpoint" in inputs:  # the fit's, beside its checkpoints
        folder = inputs["checkpoint"].resolve().parent.parent / FOLDER
    results = None if stage == "fit" else module.per_class
    outcome.rows.extend(_rows(module.network, data, results, folder))
    for label in data.labels[:CLASSES]:
        name = data.class_names[label]
        try:
            outcome.gallery.append((name, read_image(folder / f"{label:05d}.jpg")))
        except DataError:  # of a moved checkpoint, or one made before there were galleries
            continue
    if len(data.labels) > CLASSES:
        rank_zero_info(
            f"Loggers get the prototypes of {CLASSES} of {len(data.labels)} classes; "
            "prototypes.json has all."
        )
    return outcome


def _files(trainer: Trainer, run_dir: Path, stage: str) -> dict[str, Path]:
    found = {
        "report": run_dir / "report/index.html",
        "pages": run_dir / "report" / CLASS_PAGES,
        "metrics": run_dir / "metrics.json",
    }
    if stage == "fit":
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        found = {
            "model": Path(best) if best else run_dir / "checkpoints/prototypes.ckpt",
            "prototypes": run_dir / DESCRIPTION,
            "tensors": run_dir / TENSORS,
            "gallery": run_dir / FOLDER,
        }
    return {kind: path for kind, path in found.items() if path.exists()}


def _inputs(trainer: Trainer, module: LightningModule, stage: str) -> dict[str, Path]:
    given = {"checkpoint": trainer.ckpt_path}
    if stage == "fit":
        given["backbone"] = module.hparams.get("classifier_ckpt")
    paths = {role: Path(str(path)) for role, path in given.items() if path}
    return {role: path for role, path in paths.items() if path.is_file()}


def _rows(
    network: PrototypeNetwork, data: FineGrainedDataModule, results: Results | None, folder: Path
) -> list[PrototypeRow]:
    found = network.dictionary
    scores = found.patch_score[:, :, 0]
    gallery = Gallery(folder, [], found)
    covered = None if results is None else results.having("covered", "images")
    shares = None if results is None else results.having("share", "accuracy")
    rows = []
    for label in data.labels[:CLASSES]:
        for index in range(network.k):
            key = (label, index)
            known = float(scores[key]) > -float("inf")
            patch = gallery.patch(label, index)
            part = rate = None
            best = None if covered is None else covered.covered(label, index)
            if best is not None:
                rate = best[1]
                part = data.part_names[best[0]] if best[2] else None
            names = network.image_names[label][index]
            rows.append(
                PrototypeRow(
                    label=label,
                    name=data.class_names[label],
                    index=index,
                    title=part_title(index, network.part_names),
                    share=None if shares is None else float(shares.share[key]),
                    cosine=float(found.cosine[key]),
                    part=part,
                    part_rate=rate,
                    image=names[0] if names else "",
                    similarity=float(scores[key]) if known else None,
                    thumbnail=None if patch is None else patch.image,
                )
            )
    return rows
