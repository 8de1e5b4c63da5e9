"""One architecture, examined: what `ppn check` finds out and says about it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from ppn.classifier import Classifier
from ppn.classifier.architecture import make_model
from ppn.classifier.blocks import default_span
from ppn.classifier.complete import MOST_NODES, TOLERANCE, complete_maps
from ppn.classifier.cut_point import noise_like
from ppn.classifier.span import vector
from ppn.classifier.weights import count_classes, load_weights
from ppn.errors import HeadError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Examination:
    """What was found out about one architecture; the columns of the support table.

    Attributes:
        model: Name of the architecture.
        family: The source file it comes from, in timm's case.
        status: "supported"; "refused" by the method; "failed", "time" or "memory" where it could
            not be examined.
        case: Head case of the method; see `HeadInspection`.
        level: What is exact, in words.
        maps: What a map is, and is not.
        layout: Layout of the last features.
        features: Module that gives them; empty for timm's `forward_features`.
        grid: Rows x columns of patches.
        places: Share of patches whose own token moves most when their region changes.
        width: Length of the vector on which the effective head acts.
        image_size: Height x width of the input in pixels.
        logit_error: Max |logit - black box's logit| over the standard deviation of the latter.
        completeness_error: Of the maps, over the contributions' standard deviation; None where
            maps are only indicative.
        support: What holds of maps: "exact", "complete" where they are made to add up, or
            "indicative".
        complete_error: Completeness error of maps that are made to add up; None where that is not
            needed, or cannot be.
        complete_nodes: Points on the path that it took.
        complete_cut: Where the classifier is cut for that; empty for its last features.
        elsewhere: Share of what an image changes that comes through tokens without a place.
        parameters: Number of the model's parameters, in millions.
        seconds: Of one forward pass of one image.
        memory: Peak of the process until after that, in MiB.
        reason: Why it is not supported, or its maps are indicative.
    """

    model: str
    family: str = ""
    status: str = "supported"
    case: str = ""
    level: str = ""
    maps: str = ""
    layout: str = ""
    features: str = ""
    grid: str = ""
    places: float | None = None
    width: int | None = None
    image_size: str = ""
    logit_error: float | None = None
    completeness_error: float | None = None
    support: str = ""
    complete_error: float | None = None
    complete_nodes: int | None = None
    complete_cut: str = ""
    elsewhere: float | None = None
    parameters: float | None = None
    seconds: float | None = None
    memory: int | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


COLUMNS = [field.name for field in fields(Examination)]


@torch.no_grad()
def examine(
    architecture: str,
    checkpoint: str | Path | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
    model_options: dict[str, Any] | None = None,
) -> Examination:
    """Find out what is exact about explanations of an architecture.

    Args:
        architecture: See `ppn.classifier.architecture.make_model`.
        checkpoint: Weights; see `ppn.weights.load_weights`. None keeps random ones.
        image_size: Side of the square input in pixels; None takes the model's own.
        num_classes: Number of classes; None takes the checkpoint's, or 10.
        model_options: Further arguments of the model.

    Raises:
        CheckpointError: If there is no such model or the checkpoint does not fit.
        HeadError: If the head cannot be decomposed.
    """
    weights = None if checkpoint is None else str(checkpoint)
    torch.manual_seed(0)
    made = make_model(architecture, num_classes or 10, False, image_size, model_options)
    if weights is not None:
        if num_classes is None:
            count = count_classes(made.model, weights, architecture)
            made = make_model(architecture, count, False, image_size, model_options)
        load_weights(made.model, weights, architecture, whole=True)
    classifier = Classifier(made.model, made.config, made.features).eval()
    reference = next(classifier.parameters())
    image = torch.randn(1, made.config.channels, *made.config.size, dtype=reference.dtype)
    began = time.perf_counter()
    classifier.classify(image)
    seconds = time.perf_counter() - began
    report = classifier.inspection
    return Examination(
        architecture,
        family=type(made.model).__module__.rsplit(".", 1)[-1],
        case=report.case,
        level=report.level,
        maps=report.words.maps,
        layout=report.layout,
        features=report.features or "",
        grid=f"{report.grid[0]} x {report.grid[1]}",
        places=report.places,
        width=report.width,
        image_size=f"{made.config.size[0]} x {made.config.size[1]}",
        logit_error=report.error,
        completeness_error=report.completeness_error,
        parameters=round(sum(p.numel() for p in classifier.parameters()) / 1e6, 3),
        seconds=round(seconds, 4),
        memory=peak_memory(),
        **_support(classifier),
    )


def _support(classifier: Classifier) -> dict[str, Any]:
    """Make maps add up where they do not, for two pictures of noise, and say how far that went."""
    report = classifier.inspection
    if report.averages:
        if report.located:
            return {"support": "exact"}
        return {"support": "indicative", "reason": "its patches were not found in their places"}
    size = classifier.config.size
    reference = next(classifier.model.parameters())
    coarse = noise_like(reference, (2, classifier.config.channels, 8, 8), 5)
    images = interpolate(coarse, size, mode="bicubic", align_corners=False)
    rows = classifier.effective_head()[0].float()
    rows = rows if bool(rows.any()) else noise_like(rows, tuple(rows.shape), 0)
    try:
        span = default_span(classifier, images)
    except HeadError as error:
        return {"support": "indicative", "reason": str(error)}
    _, y = vector(classifier, images)
    everyones = y.float() @ rows.T
    directions = rows[:3].expand(2, -1, -1)
    found = complete_maps(classifier, span, images, directions, everyones.flatten(1).std(1))
    moved = (everyones[:, :3] - found.baseline).abs().sum()
    missed = float(found.error.max())
    reached = missed <= TOLERANCE
    return {
        "support": "complete" if reached else "indicative",
        "complete_error": missed,
        "complete_nodes": int(found.nodes.max()),
        "complete_cut": span.name,
        "elsewhere": float(found.elsewhere.abs().sum() / moved.clamp(min=1e-12)),
        "reason": ""
        if reached
        else f"maps miss contributions by {missed:.1%}, with {MOST_NODES} nodes",
    }


def peak_memory() -> int | None:
    """Most memory this process has held, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
