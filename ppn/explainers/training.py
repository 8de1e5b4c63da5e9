"""Training images for explainers that must see some, and what of them they keep."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from safetensors.torch import save

from ppn.errors import CheckpointError
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
