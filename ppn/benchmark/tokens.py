"""Patch tokens on disk: the classifier sees each image once, however many explainers ask.

So it is with images without parts, which are drawn and classified once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save

from ppn.data.interventions import Interventions
from ppn.explainers.training import TrainingBatch, TrainingImages
from ppn.io.files import write_bytes
from ppn.prototypes.journal import fingerprint
from ppn.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.data.interventions import Intervened
    from ppn.data.transforms import Transform
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch

_FIELDS = ("tokens", "pooled", "scale", "logits")
_PREFIX = "batch."


class TokenStore:
    """The tokens of scored images, one file for each batch.

    Where maps need a run of the layers behind the tokens (`Tokens.attribute`), nothing is kept, and
    the classifier is asked every time.

    Args:
        network: Gives tokens that are not there yet.
        folder: Where files go; it belongs to one classifier, one data set and one seed.
    """

    def __init__(self, network: PrototypeNetwork, folder: Path) -> None:
        self.network = network
        self.folder = folder

    def __call__(self, images: Tensor, indices: Tensor, draw: int) -> Tokens:
        """Return the tokens of images (B, C, H, W), on the network's device."""
        path = self.folder / f"{draw}-{fingerprint([indices])}.safetensors"
        if path.is_file():
            return _tokens(load_file(path, device=str(self.network.device)))
        tokens = self.network.tokens(images)
        if tokens.attribute is None:
            write_bytes(path, save(_tensors(tokens)))
        return tokens


class StoredTraining(TrainingImages):
    """Training images whose classes are kept without pixels, one file for each class.

    Args:
        network: Gives tokens that are not there yet.
        loader: As for `TrainingImages`.
        labels: The classes that it gives.
        folder: Where files go; see `TokenStore`.
    """

    def __init__(
        self,
        network: PrototypeNetwork,
        loader: Iterable[Batch],
        labels: Sequence[int],
        folder: Path,
    ) -> None:
        super().__init__(network, loader)
        self.labels = sorted(labels)
        self.folder = folder

    def classes(self) -> Iterator[TrainingBatch]:
        """Yield one class after the other, without pixels; see `TrainingImages.classes`."""
        if all(self._file(label).is_file() for label in self.labels):
            for label in self.labels:
                yield self._read(label)
            return
        with self.network.classifier.looking_earlier():
            yield from self._compute()

    def _compute(self) -> Iterator[TrainingBatch]:
        for found in super().classes():
            batch = {f"{_PREFIX}{name}": value for name, value in found.batch.items()}
            content: dict[str, Tensor] = {**_tensors(found.tokens), **batch}  # type: ignore[dict-item]
            write_bytes(self._file(found.label), save(_apart(content)))
            yield found

    def _file(self, label: int) -> Path:
        return self.folder / f"class-{label:06d}.safetensors"

    def _read(self, label: int) -> TrainingBatch:
        content = load_file(self._file(label), device=str(self.network.device))
        batch = {
            name.removeprefix(_PREFIX): value
            for name, value in content.items()
            if name.startswith(_PREFIX)
        }
        return TrainingBatch(batch, _tokens(content))  # type: ignore[arg-type]


class StoredInterventions(Interventions):
    """Images without parts or objects: each is drawn and classified once for all explainers.

    Args:
        source: As for `Interventions`.
        transform: As for `Interventions`.
        folder: Where files go, one for each image; see `TokenStore`.
    """

    def __init__(self, source: Intervened, transform: Transform, folder: Path) -> None:
        super().__init__(source, transform)
        self.folder = folder

    def regions(self, index: int) -> Tensor:
        """Return where parts and objects show; see `Interventions.regions`."""
        path = self.folder / f"{index}-regions.safetensors"
        if path.is_file():
            return load_file(path)["regions"]
        regions = super().regions(index)
        write_bytes(path, save(_apart({"regions": regions})))
        return regions

    def answers(self, index: int) -> dict[int, Tensor]:
        """Return what is known of image `index`; see `Interventions.answers`."""
        path = self.folder / f"{index}.safetensors"
        if not path.is_file():
            return {}
        content = load_file(path)
        return dict(zip(content["gone"].tolist(), content["logits"], strict=True))

    def learn(self, index: int, said: dict[int, Tensor]) -> None:
        """Keep what the classifier says of image `index`."""
        content = {"gone": torch.tensor(list(said)), "logits": torch.stack(list(said.values()))}
        write_bytes(self.folder / f"{index}.safetensors", save(_apart(content)))


def _tensors(tokens: Tokens) -> dict[str, Tensor]:
    named = {name: getattr(tokens, name) for name in _FIELDS}
    if tokens.earlier is not None:
        named["earlier"] = tokens.earlier
    return _apart({**named, "grid": torch.tensor(tokens.grid)})


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with memory of their own, which is what safetensors takes."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _tokens(content: dict[str, Tensor]) -> Tokens:
    height, width = content["grid"].tolist()
    tokens, pooled, scale, logits = (content[name] for name in _FIELDS)
    earlier = content.get("earlier")
    return Tokens(tokens, (height, width), pooled, scale, logits, earlier=earlier)
