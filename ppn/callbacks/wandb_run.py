"""A W&B run's tables, pictures, artifacts and summary."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.callbacks.outcome import Outcome

COLUMNS = (
    "class",
    "prototype",
    "name",
    "share",
    "cosine",
    "part",
    "part rate",
    "nearest image",
    "similarity",
    "thumbnail",
)
"""Columns of the table of prototypes."""


def send(run: Any, outcome: Outcome) -> None:  # noqa: ANN401 - wandb is optional
    """Send what a stage has to show to a W&B run.

    A checkpoint's artifact is named after its content, so that a run that uses it finds the version
    of the run that made it. Without a server nothing can be used: then, as always, the checkpoints'
    SHA-256 in the summaries (`input/checkpoint/sha256` here, `output/model/sha256` there) tell
    which run used whose.

    Args:
        run: `wandb.Run`, online or offline.
        outcome: What there is.
    """
    import wandb

    if outcome.rows:
        media: dict[str, Any] = {
            "prototypes": _table(outcome),
            "trainer/global_step": outcome.step,
        }
        if outcome.gallery:
            pictures = [wandb.Image(image, caption=name) for name, image in outcome.gallery]
            media["gallery"] = pictures
        run.log(media)
    summary = {f"certificate/{key}": value for key, value in outcome.certificate.items()}
    for role, path in outcome.inputs.items():
        digest = sha256(path)
        summary[f"input/{role}/sha256"] = digest
        if not (run.offline or run.disabled):
            run.use_artifact(_model(path, digest))
    if "model" in outcome.files:
        digest = sha256(outcome.files["model"])
        summary["output/model/sha256"] = digest
        run.log_artifact(_model(outcome.files["model"], digest))
    for kind, others in (("prototypes", ("tensors", "gallery")), ("report", ("pages", "metrics"))):
        if kind not in outcome.files:
            continue
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        artifact.add_file(str(outcome.files[kind]), policy="immutable")
        for other in (outcome.files[name] for name in others if name in outcome.files):
            if other.is_dir():
                artifact.add_dir(str(other), name=other.name, policy="immutable")
            else:
                artifact.add_file(str(other), policy="immutable")
        run.log_artifact(artifact)
    run.summary.update(summary)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _model(path: Path, digest: str) -> Any:  # noqa: ANN401 - wandb is optional
    import wandb

    artifact = wandb.Artifact(f"model-{digest[:12]}", type="model", metadata={"sha256": digest})
    artifact.add_file(str(path), name="model.ckpt", policy="immutable")  # no copy
    return artifact


def _table(outcome: Outcome) -> Any:  # noqa: ANN401 - wandb is optional
    import wandb

    table = wandb.Table(columns=list(COLUMNS))
    for row in outcome.rows:
        table.add_data(
            row.name,
            row.index + 1,
            row.title,
            row.share,
            row.cosine,
            row.part,
            row.part_rate,
            row.image,
            row.similarity,
            None if row.thumbnail is None else wandb.Image(row.thumbnail),
        )
    return table
