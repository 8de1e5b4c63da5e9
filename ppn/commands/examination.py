"""One architecture, examined: what `ppn check` finds out and says about it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier import Classifier
from ppn.classifier.architecture import make_model
from ppn.classifier.weights import count_classes, load_weights

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
        parameters: Number of the model's parameters, in millions.
        seconds: Of one forward pass of one image.
        memory: Peak of the process until after that, in MiB.
        reason: Why it is not supported.
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
    )


def peak_memory() -> int | None:
    """Most memory this process has held, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
