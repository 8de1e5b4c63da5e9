"""Training images for explainers that must see some, and what of them they keep."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from safetensors.torch import save

from ppn.configured import seeded
from ppn.errors import CheckpointError, DataError, PPNError
from ppn.io.files import write_bytes
from ppn.io.tensors import parse_tensors
from ppn.prototypes.journal import fingerprint
from ppn.types import Batch, Tokens
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.explainers.base import Explainer
    from ppn.prototypes.network import PrototypeNetwork

    State = dict[str, Tensor]


class TrainingBatch(NamedTuple):
    """Training images of one class.

    `batch`: images, labels and annotations, where the network is; `tokens` of the images, patches
    included.
    """

    batch: Batch
    tokens: Tokens

    @property
    def label(self) -> int:
        """The class."""
        return int(self.batch["label"][0])


class TrainingImages:
    """The un-augmented training images, class after class; each iteration reads them again.

    Args:
        network: Gives their tokens.
        loader: Their batches, each of images of one class, all of a class in a row;
            `FineGrainedDataModule.class_loader`.
    """

    def __init__(self, network: PrototypeNetwork, loader: Iterable[Batch]) -> None:
        self.network = network
        self.loader = loader

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Yield one batch after the other; nothing of them is kept."""
        for loaded in self.loader:
            moved = {name: value.to(self.network.device) for name, value in loaded.items()}  # type: ignore[attr-defined]
            batch = cast("Batch", moved)
            yield TrainingBatch(batch, self.network.tokens(batch["image"], patches=True))

    def classes(self) -> Iterator[TrainingBatch]:
        """Yield one class after the other, without pixels: `image` is empty.

        One class's tokens are in memory at a time.
        """
        without = (
            TrainingBatch({**batch, "image": batch["image"][:0]}, tokens) for batch, tokens in self
        )
        for _, batches in groupby(without, key=lambda one: one.label):
            yield _joined(list(batches))


class SomeOfTraining(TrainingImages):
    """Some images of each class.

    Args:
        whole: All of them.
        keeps: Whether an image is kept, by its place among those of its class.
    """

    def __init__(self, whole: TrainingImages, keeps: Callable[[int], bool]) -> None:
        super().__init__(whole.network, whole.loader)
        self._whole = whole
        self._keeps = keeps

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Yield what `whole` yields, some of it."""
        return self._kept(self._whole)

    def classes(self) -> Iterator[TrainingBatch]:
        """Yield one class after the other.

        Raises:
            DataError: If nothing of a class is kept.
        """
        for found in self._whole.classes():
            kept = list(self._kept([found]))
            if not kept:
                name, count = self.network.class_names[found.label], len(found.batch["label"])
                raise DataError(f"Class '{name}' has too few training images to divide: {count}.")
            yield from kept

    def _kept(self, batches: Iterable[TrainingBatch]) -> Iterator[TrainingBatch]:
        label, seen = -1, 0
        for found in batches:
            label, seen = found.label, seen if found.label == label else 0
            count = len(found.batch["label"])
            rows = [row for row in range(count) if self._keeps(seen + row)]
            seen += count
            if rows:
                kept = {
                    name: value[rows] if len(value) else value  # type: ignore[arg-type,index]
                    for name, value in found.batch.items()
                }
                yield TrainingBatch(cast("Batch", kept), found.tokens.rows(rows))


def _joined(batches: Sequence[TrainingBatch]) -> TrainingBatch:
    names = batches[0].batch.keys()
    batch = {name: torch.cat([one.batch[name] for one in batches]) for name in names}  # type: ignore[literal-required]
    return TrainingBatch(cast("Batch", batch), Tokens.joined([one.tokens for one in batches]))


def fit_explainers(
    explainers: Iterable[Explainer],
    images: TrainingImages,
    first: bool = True,
    broadcast: Callable[[State], State] = lambda state: state,
    kept: Callable[[Explainer], Path | None] = lambda _: None,
) -> None:
    """Let the explainers that need training images see them; a collective call.

    The first process fits and the others take over its state, so that all explain alike.

    Args:
        explainers: Prepared explainers; those that need no training images are left alone.
        images: The training images; other processes than the first read none.
        first: Whether this is the first process.
        broadcast: Gives all processes what the first one gives it.
        kept: Tells the file from which an explainer's state is taken if it is there, and which is
            written if not; None where nothing is to be kept.
    """
    for explainer in explainers:
        if not explainer.needs_training_images:
            continue
        # A Trainer evaluates in inference mode, whose tensors no gradient may pass.
        with torch.inference_mode(False), torch.no_grad():
            if first:
                _learn(explainer, images, kept(explainer))
            state = {name: tensor.cpu() for name, tensor in explainer.state().items()}
            shared = broadcast(state if first else {})
            if not first:
                explainer.load_state(shared)


def _learn(explainer: Explainer, images: TrainingImages, path: Path | None) -> None:
    if path is not None and path.is_file():
        load_state(explainer, path)
        return
    explainer.fit(images)
    if path is not None:
        save_state(explainer, path)


def learn_again(
    template: Explainer,
    images: TrainingImages,
    halves: bool,
    left_out: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Let an explainer learn twice, with seeds that differ by one.

    Args:
        template: The explainer, neither prepared nor fitted; it stays as it is.
        images: The training images.
        halves: Whether each time from another half of them.
        left_out: Which group of images it does not see, of how many, each time; None: of none.

    Returns:
        The directions (C, k, D) of its parts both times; None where they have none, or cannot be
        found in so few images.
    """

    def keeps(second: bool, place: int) -> bool:
        if halves and place % 2 != second:
            return False
        return left_out is None or (place // 2 if halves else place) % left_out[1] != left_out[0]

    found = []
    for second in (False, True):
        made = seeded(template, int(second))
        some = halves or left_out is not None
        try:
            made.prepare(images.network)
            if made.needs_training_images:
                made.fit(SomeOfTraining(images, partial(keeps, second)) if some else images)
        except PPNError:
            return None
        directions = made.class_directions()
        if directions is None:
            return None
        found.append(directions)
    return found[0], found[1]


def state_file(
    folder: Path, network: PrototypeNetwork, explainer: Explainer, setting: Sequence[object]
) -> Path:
    """Return where an explainer's state is kept: named by everything that it depends on.

    Args:
        folder: Where such files are.
        network: The network, whose classifier and prototypes an explainer may look at.
        explainer: The explainer.
        setting: What else the state depends on, such as the names of the training images.
    """
    tensors = [*network.classifier.state_dict().values(), network.head.prototypes]
    told = (__version__, explainer.key, explainer.options, network.input_config, *setting)
    return folder / f"{explainer.key}-{fingerprint([repr(told), *tensors])[:16]}.safetensors"


def save_state(explainer: Explainer, path: Path) -> None:
    """Write what an explainer has learned as safetensors, for `load_state`.

    Raises:
        DataError: If the file cannot be written.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in explainer.state().items()}
    write_bytes(path, save(state))


def load_state(explainer: Explainer, path: Path) -> None:
    """Take over what `save_state` wrote; the explainer is prepared for the same network.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds something else.
    """
    try:
        state = parse_tensors(path.read_bytes())
        if set(state) != set(explainer.fitted):
            raise ValueError(f"it holds {', '.join(sorted(state))[:80] or 'nothing'}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"{path} is not what {explainer.name} has learned ({reason}): delete it, and let the "
            "explainer learn again."
        ) from None
    explainer.load_state(state)
