"""The patch tokens of training images on disk, one shard for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ppn.errors import DataError
from ppn.io.files import parse_json, replacing, write_json
from ppn.io.schema import mismatch
from ppn.prototypes.journal import fingerprint
from ppn.prototypes.stored import weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.discovery.base import ClassTokens
    from ppn.prototypes.network import PrototypeNetwork

ABOUT = "about.json"
FORMAT = "ppn patches"
VERSION = 1
_ABOUT = {
    "format": str,
    "format_version": int,
    "key": str,
    "grid": [int],
    "size": [int],
    "width": int,
    "class_names": [str],
}
_SHARD = {"images": [int], "names": [str]}
_ROWS = 16384
"""Tokens that are in memory in float32 at a time."""


class About(NamedTuple):
    """What all shards share.

    `key` fingerprint of classifier and data; `grid` (H, W) of the tokens; `size` height and width
    of the input in pixels; `width` D; `class_names` of all classes.
    """

    key: str
    grid: tuple[int, int]
    size: tuple[int, int]
    width: int
    class_names: list[str]


class Shard(NamedTuple):
    """The patches of one class.

    `tokens` (n, N, D) float16, memory-mapped; `images` n indices and `names` of training images.
    """

    label: int
    tokens: NDArray[np.float16]
    images: list[int]
    names: list[str]


class PatchShards:
    """A folder of shards. Several processes may fill one, each with classes of its own.

    Args:
        folder: Where it is, or is made.
        about: What shards are to share; None reads it.

    Raises:
        DataError: If the folder holds something else, or shards of another classifier or data.
    """

    def __init__(self, folder: Path, about: About | None = None) -> None:
        self.folder = folder
        path = folder / ABOUT
        if about is not None and not path.exists():
            content = {"format": FORMAT, "format_version": VERSION, **about._asdict()}
            write_json(path, content)
        self.about = _read_about(path)
        if about is not None and about.key != self.about.key:
            raise DataError(
                f"{folder} holds patches of another classifier or of other images: choose another "
                "folder, or delete this one."
            )

    @property
    def labels(self) -> list[int]:
        """The classes that are there, in order."""
        found = self.folder.glob("[0-9]*.npy")
        return sorted(int(path.stem) for path in found if path.stem.isdecimal())

    def write(self, item: ClassTokens, name: Callable[[int], str]) -> None:
        """Keep the tokens of a class, in half precision.

        Args:
            item: The class.
            name: Gives the name of a training image by its index.

        Raises:
            DataError: If tokens are too large for half precision, or the disk is full.
        """
        tokens = item.tokens.half().cpu()
        if not bool(torch.isfinite(tokens).all()):
            raise DataError(
                f"Features of class {item.name} are not finite, or too large for an index of 16 "
                "bits: check the classifier's weights."
            )
        images = [int(index) for index in item.indices]
        described = {"images": images, "names": [name(index) for index in images]}
        write_json(self._path(item.label, "json"), described)
        # Last: its presence says that the class is whole.
        with replacing(self._path(item.label, "npy")) as temporary, temporary.open("wb") as file:
            np.save(file, tokens.numpy())

    def read(self, label: int) -> Shard:
        """Return the patches of a class, without reading them yet.

        Raises:
            DataError: If the files are damaged.
        """
        path = self._path(label, "npy")
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
            content: Any = parse_json(self._path(label, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, str(error)) from None
        wrong = mismatch(content, _SHARD)
        height, width = self.about.grid
        if wrong is None and (
            tokens.dtype != np.float16
            or tokens.shape != (len(content["images"]), height * width, self.about.width)
            or len(content["names"]) != len(content["images"])
        ):
            wrong = "tokens and images do not fit"
        if wrong is not None:
            raise _damaged(path, wrong)
        return Shard(label, tokens, content["images"], content["names"])

    def expect(self, labels: Sequence[int]) -> None:
        """Refuse shards of which some are missing.

        Raises:
            DataError: If a class is.
        """
        missing = sorted(set(labels) - set(self.labels))
        if missing:
            raise DataError(
                f"{self.folder} lacks {len(missing)} of {len(labels)} classes, the first is "
                f"'{self.about.class_names[missing[0]]}': run `ppn index` again to go on."
            )

    def _path(self, label: int, kind: str) -> Path:
        return self.folder / f"{label:06d}.{kind}"


def about_patches(network: PrototypeNetwork, data: FineGrainedDataModule) -> About:
    """Return what tells the patches of this classifier and these training images from others."""
    view = data.view("train")
    names = "\n".join(view.source.name(int(number)) for number in view.indices)
    config = network.input_config
    key = fingerprint([weights_hash(network.classifier.model), names, repr((config, data.crop))])
    inspection = network.classifier.inspection
    return About(key, inspection.grid, config.size, inspection.width, data.class_names)


def blocks(tokens: NDArray[np.float16]) -> Iterator[NDArray[np.float32]]:
    """Yield tokens (n, N, D) in blocks of whole images, (m, N, D) float32."""
    step = max(1, _ROWS // max(1, tokens.shape[1]))
    for first in range(0, len(tokens), step):
        yield tokens[first : first + step].astype(np.float32)


def _read_about(path: Path) -> About:
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path} cannot be read ({reason}): make an index with `ppn index`, or with "
            "`index: true` of PrototypeDiscovery while fitting."
        ) from None
    wrong = mismatch(content, _ABOUT)
    if wrong is None and (content["format"], content["format_version"]) != (FORMAT, VERSION):
        wrong = f"its format is {content['format'][:40]!r} {content['format_version']}"
    sides = [] if wrong is not None else [*content["grid"], *content["size"], content["width"]]
    if wrong is None and (len(sides) != 5 or not all(0 < side <= 1 << 16 for side in sides)):
        wrong = "grid, size or width are not those of patches"
    if wrong is not None:
        raise _damaged(path, wrong)
    (rows, columns), (height, width) = content["grid"], content["size"]
    return About(
        content["key"], (rows, columns), (height, width), content["width"], content["class_names"]
    )


def _damaged(path: Path, reason: str) -> DataError:
    told = " ".join(reason.split())[:200]
    return DataError(f"{path} cannot be used ({told}): delete it and run `ppn index` again.")
