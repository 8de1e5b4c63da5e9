"""Discovery, inference and metrics against the forward passes that they cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from experiments.benchmarks.measure import Row, side_by_side
from ppn.explainers.base import Inputs
from ppn.explainers.prototypes import PrototypeExplainer
from ppn.metrics.base import EvaluationShape, Observation
from ppn.metrics.consistency import Consistency
from ppn.metrics.distinct_peaks import DistinctPeaks
from ppn.metrics.distinctiveness import Distinctiveness
from ppn.metrics.evaluation import MetricSet
from ppn.metrics.maps import peak
from ppn.metrics.noise import stability_noise
from ppn.metrics.pixels import PixelDeletion, PixelInsertion
from ppn.metrics.probe import Model, Probe
from ppn.metrics.stability import Stability
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement import CompactSplit
from tests.metrics import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ppn.classifier import Classifier
    from ppn.prototypes.head import PrototypeHead
    from ppn.prototypes.stream import TokenBatch
    from ppn.types import Batch

K = 3


def discover(classifier: Classifier, batches: list[Batch], classes: int) -> PrototypeNetwork:
    """Find and refine the prototypes of the classes in some batches, as `ppn fit` does."""
    network = PrototypeNetwork(classifier, K, {"compact_split": True})

    def tokens() -> Iterator[TokenBatch]:
        for batch in batches:
            yield classifier(batch["image"]), batch["label"].tolist(), batch["index"]

    names = [str(label) for label in range(len(network.class_names))]
    fit = Fit(network, [CompactSplit()])
    fit.run(tokens(), names)
    fit.finish(names, str)
    return network


@torch.no_grad()
def pass_rows(classifier: Classifier, batches: list[Batch], classes: int) -> Iterator[Row]:
    """Compare with bare forward passes over images that are in memory.

    Args:
        classifier: The classifier.
        batches: Training images, class by class, with keypoints.
        classes: Number of classes in them.
    """

    def forward(times: int = 1) -> None:
        for _ in range(times):
            for batch in batches:
                classifier.classify(batch["image"])

    images = sum(len(batch["label"]) for batch in batches)
    quick, slow = side_by_side(lambda: discover(classifier, batches, classes), forward, 3)
    yield Row(
        f"discovery, refinement and nearest patches ({images} images)",
        "the bare forward pass",
        quick,
        slow,
        quick / slow,
        "<= 1.1",
        "the forward pass itself",
    )
    head = discover(classifier, batches, classes).head

    def explain() -> None:
        for batch in batches:
            tokens = classifier(batch["image"], patches=False)
            output = head(tokens)
            head.maps(tokens, output.logits.argmax(1))

    quick, slow = side_by_side(explain, forward, 5)
    yield Row(
        "logits, contributions and maps of the predicted class",
        "the bare classifier",
        quick,
        slow,
        quick / slow,
        "<= 1.03",
        "the forward pass itself",
    )
    yield from _metric_rows(classifier, batches, head, lambda: forward(2))
    yield _pixel_row(classifier, batches[0], head)


def _pixel_row(classifier: Classifier, batch: Batch, head: PrototypeHead) -> Row:
    """Deletion and insertion in steps of a seventh of the image: 16 evaluations of each image."""
    shape = EvaluationShape(len(head.bias), K, (), classifier.config.size[0])
    tokens = classifier(batch["image"], patches=False)
    inputs = Inputs(batch["image"], tokens, batch["index"])
    step = 4 * 1792

    def pixels() -> None:
        probe = Probe(Model(classifier), PrototypeExplainer(head), inputs)
        for metric in (PixelDeletion(step), PixelInsertion(step)):
            metric.setup(shape).to(head.bias.device)
            metric.update(probe, batch["label"])
            metric.compute()

    def bare() -> None:
        for _ in range(16):
            classifier.classify(batch["image"])

    quick, slow = side_by_side(pixels, bare, 3)
    return Row(
        "pixel deletion and insertion (16 evaluations of each image)",
        "as many bare forward passes",
        quick,
        slow,
        quick / slow,
        "<= 1.11",
        "the forward passes themselves",
    )


def _metric_rows(
    classifier: Classifier, batches: list[Batch], head: PrototypeHead, forward: Callable[[], None]
) -> Iterator[Row]:
    parts = [str(part) for part in range(batches[0]["keypoints"].shape[1])]
    size = classifier.config.size[0]
    shape = EvaluationShape(len(head.bias), K, parts, size)

    def maps(batch: Batch, noisy: bool) -> torch.Tensor:
        image = batch["image"]
        if noisy:
            image = image + stability_noise(image, batch["index"], 0)
        return head.maps(classifier(image, patches=False), batch["label"])

    def score(known: Iterable[tuple[torch.Tensor, torch.Tensor, Batch]]) -> None:
        consistency, stability = (
            metric.setup(shape).to(head.bias.device) for metric in (Consistency(), Stability())
        )
        for clean, noisy, batch in known:
            peaks, seen = peak(clean, (size, size)), peak(noisy, (size, size))
            consistency.update(peaks, batch["keypoints"], batch["label"])
            stability.update(peaks, seen, batch["keypoints"], batch["label"])
        consistency.compute()
        stability.compute()

    def passes() -> Iterator[tuple[torch.Tensor, torch.Tensor, Batch]]:
        for batch in batches:
            yield maps(batch, False), maps(batch, True), batch

    def everything() -> None:
        scores = MetricSet([Consistency(), Stability(), Distinctiveness(), DistinctPeaks()], shape)
        scores = scores.to(head.bias.device)
        for clean, noisy, batch in passes():
            no_logits = clean.new_zeros(len(clean), 0)
            scores.update(Observation(batch, no_logits, no_logits, clean, noisy))
        scores.compute()

    for name, work in (
        ("consistency and stability, with their forward passes", lambda: score(passes())),
        ("the same with distinctiveness and distinct_peaks", everything),
    ):
        quick, slow = side_by_side(work, forward, 5)
        yield Row(
            name,
            "two forward passes",
            quick,
            slow,
            quick / slow,
            "<= 1.1",
            "the two forward passes, and drawing the noise",
        )
    few = batches[:2]
    known = [(maps(batch, False), maps(batch, True), batch) for batch in few]

    def loops() -> None:
        keypoints = torch.cat([batch["keypoints"] for batch in few]).cpu()
        labels = torch.cat([batch["label"] for batch in few]).cpu()
        peaks = []
        for which in (0, 1):
            grids = torch.cat([entry[which] for entry in known]).cpu()
            peaks.append(
                torch.tensor([[literal.peak(g, (size, size)) for g in image] for image in grids])
            )
        literal.consistency(peaks[0], keypoints, labels, size=size)
        literal.stability(*peaks, keypoints, labels, size=size)

    quick, slow = side_by_side(lambda: score(known), loops, 3)
    yield Row(
        "consistency and stability of given maps",
        "the literal loops",
        quick,
        slow,
        slow / quick,
        ">= 50",
        "bounds on every map; one upsampling where rounding decides",
    )
