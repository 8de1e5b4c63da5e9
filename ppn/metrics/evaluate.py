"""`ppn.evaluate`: an explainer on whatever gives images and labels, without a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from ppn.data.batches import label_mode, members, unpack
from ppn.data.chosen import expect_loader
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.interventions import Interventions
from ppn.data.source import Source
from ppn.errors import DataError, PPNError
from ppn.explainers.base import Explainer
from ppn.explainers.prototypes import PrototypeExplainer
from ppn.explainers.training import TrainingImages, fit_explainers, learn_again
from ppn.metrics.defaults import default_floors, default_metrics
from ppn.metrics.score import Images, score
from ppn.prototypes.network import PrototypeNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from ppn.metrics.base import Metric, Need
    from ppn.metrics.score import Evaluated
    from ppn.types import Batch

ANNOTATIONS = ("keypoints", "box", "mask")


def evaluate(
    explainer: Explainer | PrototypeNetwork,
    loader: Iterable[Any] | FineGrainedDataModule,
    metrics: Sequence[Metric] | None = None,
    network: PrototypeNetwork | None = None,
    training: Iterable[Any] | FineGrainedDataModule | None = None,
    part_names: Sequence[str] | None = None,
    seed: int = 0,
    floors: bool = True,
) -> Evaluated:
    """Score one explainer on images, beside what knows nothing of them.

    Args:
        explainer: A fitted network, or any `Explainer`.
        loader: The images, preprocessed as for the classifier: batches of (images, labels), or
            dicts with "image" and "label" and what else there is: "index", "keypoints" (B, P, 3),
            "box" (B, 4), "mask" (B, H, W), all as in `ppn.types.Batch`. Or one of ppn's
            DataModules, whose test images are taken.
        metrics: What to measure; None takes what `ppn test` does. What needs annotations that are
            not there is left out.
        network: A fitted network of the classifier, if `explainer` is none.
        training: Training images, for an explainer that learns from them; as `loader`.
        part_names: Name of each keypoint; None takes the DataModule's, or numbers.
        seed: Seed of noise and chance maps, at least 0.
        floors: Whether random, central and uniform maps are scored as well.

    Raises:
        PPNError: If there is no network or no training images where they are needed, or the
            explainer cannot explain this classifier.
        DataError: If batches are not what is said above.
    """
    if isinstance(explainer, PrototypeNetwork):
        network = explainer if network is None else network
        indicative = network.classifier.inspection.indicative
        explainer = PrototypeExplainer(explainer.head, not indicative)
    elif not isinstance(explainer, Explainer):
        raise PPNError(
            f"explainer is a {type(explainer).__name__}: give an Explainer, or a fitted network."
        )
    if network is None:
        raise PPNError(
            f"'{explainer.name}' must know the classifier that it explains: give "
            "network=ppn.from_classifier(model, loader)."
        )
    again = None
    if training is not None:
        images = TrainingImages(network, class_batches(training, network))
        again = partial(learn_again, deepcopy(explainer), images)
    explainer.prepare(network)
    if explainer.needs_training_images:
        if training is None:
            raise PPNError(
                f"'{explainer.name}' learns from training images: give them with training=."
            )
        fit_explainers([explainer], images)
    chosen = default_metrics() if metrics is None else list(metrics)
    found = read(loader, network, part_names)
    levels = default_floors() if floors and explainer.kind != "floor" else []
    beside = [floor for floor in levels if floor.name != explainer.name]
    for floor in beside:
        floor.prepare(network)
    return score(explainer, network, found, chosen, seed, again=again, floors=beside)


def read(
    loader: Iterable[Any] | FineGrainedDataModule,
    network: PrototypeNetwork,
    part_names: Sequence[str] | None = None,
) -> Images:
    """Return what a loader holds; see `evaluate`."""
    if isinstance(loader, FineGrainedDataModule):
        loader.input_config = network.input_config
        names = loader.part_names if part_names is None else part_names
        batches = moved(loader.test_dataloader(), network)
        changes = Interventions.of(loader.view("test"))
        return Images(batches, names, annotations_of(loader), changes)
    expect_loader(loader)
    batches = iter(loader)
    first = next(batches, None)
    if first is None:
        raise DataError("The loader gives no image.")
    held = set(first) if isinstance(first, Mapping) else set()
    count = first["keypoints"].shape[1] if "keypoints" in held else 0
    names = [str(part) for part in range(count)] if part_names is None else part_names
    if len(names) != count:
        raise DataError(f"part_names has {len(names)} names, but batches hold {count} keypoints.")
    given: list[Need] = [kind for kind in ("box", "mask") if kind in held]
    return Images(moved(_batches(first, batches, network), network), names, given)


def class_batches(
    loader: Iterable[Any] | FineGrainedDataModule, network: PrototypeNetwork
) -> Iterable[Batch]:
    """Return training images class after class; each pass over the result reads them again.

    Raises:
        DataError: If the loader's images cannot be read class by class.
    """
    if isinstance(loader, FineGrainedDataModule):
        loader.input_config = network.input_config
        return loader.class_loader()
    source = Source(loader, network.input_config)
    if source.mode(len(network.class_names)) != "single" or not source.by_class:
        raise DataError(
            "The training images cannot be read class by class: give a DataLoader whose data set "
            "lists one label per image as `targets`."
        )
    return _ClassBatches(source, len(network.class_names))


class _ClassBatches:
    """Batches of one class each, from whatever `Source` reads."""

    def __init__(self, source: Source, count: int) -> None:
        self.source = source
        self.count = count

    def __iter__(self) -> Iterator[Batch]:
        for images, rows, labels, indices in self.source.batches(self.count):
            for label in dict.fromkeys(labels):
                own = [place for place, other in enumerate(labels) if other == label]
                chosen = images[[rows[place] for place in own]]
                yield _batch(chosen, torch.full((len(own),), label), indices[own], {})


def _batches(first: Any, others: Iterable[Any], network: PrototypeNetwork) -> Iterator[Batch]:  # noqa: ANN401 - a user's
    count, seen = len(network.class_names), 0
    for loaded in (first, *others):
        images, labels, indices = unpack(loaded)
        mode = label_mode(labels, count)
        if mode != "single":
            raise DataError(
                "The loader's labels say of each class whether it is there: maps are scored for "
                "one class per image, so give its number."
            )
        _, classes = members(labels, count, mode, 1)
        if indices is None:
            indices = torch.arange(seen, seen + len(images))
        seen += len(images)
        held = loaded if isinstance(loaded, Mapping) else {}
        yield _batch(images, torch.tensor(classes), indices, held)


def _batch(images: Tensor, labels: Tensor, indices: Tensor, held: Mapping[str, Any]) -> Batch:
    """A `Batch`, with whole frames for boxes and no keypoints where none are given."""
    height, width = images.shape[2:]
    frame = torch.tensor([0.0, 0.0, width, height]).expand(len(images), 4)
    batch = {"image": images, "label": labels, "index": indices}
    batch |= {"keypoints": torch.zeros(len(images), 0, 3), "box": frame}
    return cast("Batch", batch | {name: held[name] for name in ANNOTATIONS if name in held})


def annotations_of(data: FineGrainedDataModule) -> list[Need]:
    """Return what batches of a DataModule hold beside keypoints."""
    return ["box", "mask"] if data.masks and data.train_source.mask_names else ["box"]


def moved(batches: Iterable[Batch], network: PrototypeNetwork) -> Iterator[Batch]:
    """Yield batches on the network's device."""
    for batch in batches:
        moved = {name: value.to(network.device) for name, value in batch.items()}  # type: ignore[attr-defined]
        yield cast("Batch", moved)
