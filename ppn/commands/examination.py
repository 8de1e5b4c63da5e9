"""One architecture, examined: what `ppn check` finds out and says about it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from ppn.classifier import Classifier
from ppn.classifier.architecture import make_model
from ppn.classifier.blocks import default_span
from ppn.classifier.complete import MOST_NODES, TOLERANCE, complete_maps
from ppn.classifier.cut_point import noise_like
from ppn.classifier.hugging_face import HUGGING_FACE
from ppn.classifier.running import out_of_memory
from ppn.classifier.span import vector
from ppn.classifier.weights import count_classes, load_weights
from ppn.errors import CheckpointError, HeadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ppn.classifier.architecture import Made


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
        support: What holds of maps: "exact", "complete" where they are made to add up,
            "indicative", or "unknown" where finding out took too much.
        complete_error: Completeness error of maps that are made to add up; None where that is not
            needed, or cannot be.
        complete_nodes: Points on the path that it took.
        complete_cut: Where the classifier is cut for that; empty for its last features.
        elsewhere: Share of what an image changes that comes through tokens without a place.
        parameters: Number of the model's parameters, in millions.
        device: Where it was examined, in torch's words.
        seconds: Of one forward pass of one image.
        memory: Peak of the process until after that, in MiB; of what it held on an accelerator.
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
    device: str = "cpu"
    seconds: float | None = None
    memory: int | None = None
    reason: str = ""

    @property
    def unsettled(self) -> bool:
        """Whether more time or memory might find out more."""
        if self.status == "supported":
            return self.support in ("", "unknown")
        return self.status != "refused"

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
    device: str = "cpu",
    nodes: int = MOST_NODES,
    so_far: Callable[[Examination], None] | None = None,
) -> Examination:
    """Find out what is exact about explanations of an architecture.

    Args:
        architecture: See `ppn.classifier.architecture.make_model`.
        checkpoint: Weights; see `ppn.weights.load_weights`. None keeps random ones.
        image_size: Side of the square input in pixels; None takes the model's own.
        num_classes: Number of classes; None takes the checkpoint's, or 10.
        model_options: Further arguments of the model.
        device: Where it runs.
        nodes: Most points on a path that maps are integrated over.
        so_far: Is given what is known before maps are made to add up, which may take long.

    Raises:
        CheckpointError: If there is no such model or the checkpoint does not fit.
        HeadError: If the head cannot be decomposed.
    """
    weights = None if checkpoint is None else str(checkpoint)
    torch.manual_seed(0)
    made = _made(architecture, num_classes or 10, image_size, model_options, device)
    if weights is not None:
        if num_classes is None:
            count = count_classes(made.model, weights, architecture)
            made = _made(architecture, count, image_size, model_options, device)
        load_weights(made.model, weights, architecture, whole=True)
    classifier = Classifier(made.model, made.config, made.features).eval()
    reference = next(classifier.parameters())
    image = torch.randn(1, made.config.channels, *made.config.size).to(reference)
    began = time.perf_counter()
    float(classifier.classify(image).sum())  # what an accelerator has promised, it gives now
    seconds = time.perf_counter() - began
    report = classifier.inspection
    found = Examination(
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
        device=device,
        seconds=round(seconds, 4),
        memory=peak_memory(reference.device),
    )
    if so_far is not None:
        so_far(found)
    return replace(found, **_support(classifier, nodes))


def _made(
    architecture: str,
    num_classes: int,
    image_size: int | None,
    options: dict[str, Any] | None,
    device: str,
) -> Made:
    """Make a model where it is to run: an accelerator draws a billion weights in no time."""
    theirs = architecture.startswith(HUGGING_FACE)  # their weights are where their config is
    on = nullcontext() if device == "cpu" else torch.device(device)
    try:
        with on:
            made = make_model(architecture, num_classes, theirs, image_size, options)
    except (CheckpointError, RuntimeError, TypeError, ValueError) as error:
        if device == "cpu" or out_of_memory(error) or "allocate" in str(error):
            raise  # otherwise something in it may want to be made on the CPU
        made = make_model(architecture, num_classes, theirs, image_size, options)
    return made._replace(model=made.model.to(device))


def _support(classifier: Classifier, most: int) -> dict[str, Any]:
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
    found = complete_maps(
        classifier, span, images, directions, everyones.flatten(1).std(1), most=most
    )
    moved = (everyones[:, :3] - found.baseline).abs().sum()
    missed = float(found.error.max())
    reached = missed <= TOLERANCE
    return {
        "support": "complete" if reached else "indicative",
        "complete_error": missed,
        "complete_nodes": int(found.nodes.max()),
        "complete_cut": span.name,
        "elsewhere": float(found.elsewhere.abs().sum() / moved.clamp(min=1e-12)),
        "reason": "" if reached else f"maps miss contributions by {missed:.1%}, with {most} nodes",
    }


def peak_memory(device: torch.device | None = None) -> int | None:
    """Most memory this process has held, in MiB; None where the system does not say.

    Args:
        device: Of which memory; None for the system's.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    try:
        import resource
    except ImportError:  # not a Unix system
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
