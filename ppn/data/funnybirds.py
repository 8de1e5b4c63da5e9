"""FunnyBirds (Hesse et al., ICCV 2023): rendered birds with part maps and part removals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from ppn.data.dataset import Annotated
from ppn.data.download import Archive
from ppn.data.images import read_image, read_labels
from ppn.data.interventions import Intervened
from ppn.data.lists import read_json
from ppn.data.published import Card, PublishedDataModule
from ppn.errors import DataError
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

# Colours of the part maps, as in the authors' reader; the last one is the rest of the bird.
COLOURS = {
    "beak": (255, 255, 0),
    "eye01": (255, 255, 253),
    "eye02": (255, 255, 254),
    "foot01": (255, 0, 1),
    "foot02": (255, 0, 2),
    "tail": (0, 0, 255),
    "wing01": (0, 255, 1),
    "wing02": (0, 255, 2),
    "body": (170, 170, 170),
}
CARD = Card(
    name="funnybirds",
    title="FunnyBirds",
    folder="FunnyBirds",
    layout=(
        "dataset_train.json",
        "dataset_test.json",
        "classes.json",
        "parts.json",
        "train",
        "test",
        "train_part_map",
        "test_part_map",
    ),
    classes=50,
    train=50000,
    test=500,
    annotations="part maps (8 parts and the body), keypoints and boxes from them, part removals",
    licence="Apache-2.0 (code and meshes)",
    page="https://github.com/visinf/funnybirds-framework",
    citation="Hesse et al., FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of "
    "Explainable AI Methods, ICCV 2023",
    archives=(
        Archive("https://download.visinf.tu-darmstadt.de/data/funnybirds/FunnyBirds.zip", None),
    ),
)


class FunnyBirds(Intervened):
    """One official split of FunnyBirds.

    In half of the training images parts are missing, as the authors made them. Keypoints are the
    pixels of each part closest to its centre of mass, boxes the extent of the whole bird, both
    from the part maps.

    Args:
        root: The folder `FunnyBirds`.
        split: Official split.
        background: 0 leaves images as they are; other numbers put each bird before the background
            of another image of the split. Objects that hide some of the bird go with its own.

    Attributes:
        removed: Parts that each image lacks, of "beak", "eye", "foot", "tail" and "wing".

    Raises:
        DataError: If a list is missing or does not fit the others.
    """

    part_names = list(COLOURS)[:-1]
    mask_names = tuple(COLOURS)
    part_groups = (
        {
            "head": ["beak", "eye01", "eye02"],
            "tail and feet": ["tail", "foot01", "foot02"],
            "wings": ["wing01", "wing02"],
        },
        {
            "beak": ["beak"],
            "eyes": ["eye01", "eye02"],
            "feet": ["foot01", "foot02"],
            "tail": ["tail"],
            "wings": ["wing01", "wing02"],
        },
    )

    def __init__(self, root: Path, split: Literal["train", "test"], background: int = 0) -> None:
        if background < 0:
            raise DataError(f"background is {background}, but must be at least 0.")
        self.root = root
        self.split = split
        self.background = background
        classes = _read_list(root / "classes.json", "class_idx")
        self.kinds = {
            kind: [name for name in COLOURS if name.rstrip("012") == kind]
            for kind in sorted(str(kind) for kind in (classes[0].get("parts") or {}))
        }
        forms = [entry.get("parts") or {} for entry in classes]
        self.traits = {
            label: tuple(own.get(kind) for kind in self.kinds) for label, own in enumerate(forms)
        }
        label_of = {entry["class_idx"]: label for label, entry in enumerate(classes)}
        self.class_names = [f"FunnyBird {identifier}" for identifier in label_of]
        scenes = _read_list(root / f"dataset_{split}.json", "class_idx")
        self._class_ids = [scene["class_idx"] for scene in scenes]
        for number, identifier in enumerate(self._class_ids):
            if identifier not in label_of:
                raise DataError(
                    f"{root / f'dataset_{split}.json'}, entry {number}: class {identifier} is not "
                    "listed in classes.json."
                )
        self.labels = np.array([label_of[c] for c in self._class_ids], dtype=np.int64)
        self._known = _shared(len(scenes), dtype=torch.bool)
        self._boxes = _shared(len(scenes), 4)
        self._keypoints = _shared(len(scenes), len(self.part_names), 3)
        self.removed = [
            [kind for kind in self.kinds if scene.get(f"{kind}_model") == "placeholder"]
            for scene in scenes
        ]
        self._objects = [str(scene.get("bg_objects", "")).strip(",") for scene in scenes]

    @property
    def interventions_exist(self) -> bool:
        """Whether the complete data set is there; its birds are before their own backgrounds."""
        return not self.background and self._folder.is_dir()

    def read(self, index: int) -> Annotated:
        """Return image `index` with box and keypoints.

        They are found in the part map once; all workers of a loader share what was found.
        """
        image = read_image(self.root / self.name(index))
        if self.background:
            image = self._moved(index, image)
        if not self._known[index]:
            self._boxes[index], self._keypoints[index] = self._locate(self.mask(index))
            self._known[index] = True  # last, so that nobody reads half of it
        box = self._boxes[index].numpy().copy()
        keypoints = self._keypoints[index].numpy().copy()
        return Annotated(image, None if np.isnan(box).any() else box, keypoints)

    def _moved(self, index: int, image: Image.Image) -> Image.Image:
        """Put a bird before another image's background, from which that bird is taken.

        The backdrop is one colour, so that nothing is invented where the other bird was.
        """
        rng = np.random.default_rng([self.background, index])
        other = (index + 1 + int(rng.integers(max(1, len(self) - 1)))) % len(self)
        there = read_image(self.root / self.name(other))
        if there.size != image.size:
            raise DataError(
                f"{self.name(index)} and {self.name(other)} differ in size, so that birds cannot "
                "change places: leave background out."
            )
        pixels, covered = np.array(there), _bird(self.mask(other))
        # One pixel more: outlines are drawn around the bird, too.
        for axis in (0, 1):
            covered |= np.roll(covered, 1, axis) | np.roll(covered, -1, axis)
        colours, counts = np.unique(pixels[~covered], axis=0, return_counts=True)
        pixels[covered] = colours[counts.argmax()]
        bird = _bird(self.mask(index))
        pixels[bird] = np.asarray(image)[bird]
        return Image.fromarray(pixels)

    def _locate(self, mask: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Return box (4,), NaN without a bird, and keypoints (P, 3) of a part map."""
        bird = np.flatnonzero(_bird(mask))
        rows, columns = np.divmod(bird, mask.shape[1])
        box = np.full(4, np.nan)
        if len(bird):
            box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        values = mask.ravel()[bird]
        keypoints = np.zeros((len(self.part_names), 3))
        for part in range(len(keypoints)):
            of_part = values == part + 1
            if of_part.any():
                keypoints[part] = _centre(columns[of_part], rows[of_part])
        return torch.from_numpy(box), torch.from_numpy(keypoints)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the part map of image `index`; 255 where colours of two parts are mixed."""
        code = self._part_map(index)
        mask = np.where((code == 0) | (code >> 8 == 0xCCCC), 0, 255).astype(np.uint8)
        for value, (r, g, b) in enumerate(COLOURS.values(), start=1):
            mask[code == (r << 16 | g << 8 | b)] = value
        return mask

    def background_objects(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        """Return how many objects there are, and where (H, W) each shows: its number + 1, or 0."""
        objects = self._objects[index]
        code = self._part_map(index)
        shown = np.where(code >> 8 == 0xCCCC, np.maximum(0, (code & 0xFF) - 0xCC + 1), 0)
        return len(objects.split(",")) if objects else 0, shown.astype(np.uint8)

    def _part_map(self, index: int) -> NDArray[np.int32]:
        """(H, W): the colours of a part map, each as one number."""
        folder, place = self.name(index).split("/", 1)
        path = self.root / f"{folder}_part_map" / place
        colours = read_labels(path)
        if colours.ndim != 3:
            raise DataError(f"Part map {path} is not a colour image: replace the file.")
        red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
        return red << 16 | green << 8 | blue

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        return f"{self.split}/{self._class_ids[index]}/{index:06d}.png"

    def without_parts(self, index: int, parts: Sequence[str]) -> Image.Image:
        """Return image `index` rendered again without some kinds of parts.

        Args:
            index: Image of the test split.
            parts: What is removed, of "beak", "eye", "foot", "tail" and "wing".

        Raises:
            DataError: If a part has another name, or the interventions are not there.
        """
        unknown = sorted(set(parts) - set(self.kinds))
        if unknown:
            raise DataError(f"There is no part '{unknown[0]}': parts are {', '.join(self.kinds)}.")
        kept = "_".join(kind for kind in self.kinds if kind not in parts)
        return read_image(self._interventions(index) / f"body_{kept}.png")

    def without_background_object(self, index: int, number: int) -> Image.Image:
        """Return image `index` rendered again without one object of its background."""
        return read_image(self._interventions(index) / f"background_interventions/{number}.png")

    @property
    def _folder(self) -> Path:
        return self.root / f"{self.split}_interventions"

    def _interventions(self, index: int) -> Path:
        folder = self._folder
        if not folder.is_dir():
            raise DataError(f"{folder} is missing: get the complete data set from {CARD.page}.")
        return folder / str(self._class_ids[index]) / f"{index:06d}"


class FunnyBirdsDataModule(PublishedDataModule):
    """FunnyBirds with its official split; validation images are carved from training.

    Args:
        root: The folder `FunnyBirds`, or the folder that holds it.
        download: Get it from its official source first if it is not there. The source publishes no
            checksum; the archive's own are verified.
        background: Puts each bird before another image's background; see `FunnyBirds`.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = FunnyBirds

    def __init__(
        self, root: str, download: bool = False, background: int = 0, **options: Any
    ) -> None:
        super().__init__(root, download, **options)
        self.background = background

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> FunnyBirds:
        """Return an official split."""
        return FunnyBirds(folder, split, self.background)


def _shared(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Zeros in memory that the workers of a loader write to and read from together."""
    zeros = torch.zeros(*shape, dtype=dtype)
    zeros.share_memory_()  # type: ignore[no-untyped-call]
    return zeros


def _bird(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a part map shows the bird; mixed colours may be edges of other things."""
    return (mask > 0) & (mask < 255)


def _centre(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[float]:
    """The pixel closest to the centre of mass of some: x and y of its middle, visible."""
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return [columns[nearest] + 0.5, rows[nearest] + 0.5, 1.0]


def _read_list(path: Path, key: str) -> list[dict[str, Any]]:
    entries = read_json(path)
    wrong = mismatch(entries, [{key: int, "parts": Maybe(dict)}])
    if wrong is not None or not entries:
        raise DataError(f"{path}, {wrong or 'it lists nothing'}: get the complete data set.")
    found: list[dict[str, Any]] = entries
    return found
