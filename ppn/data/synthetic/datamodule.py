"""The built-in data set: invented birds that share a body plan and differ in a few parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppn.configured import expect_least
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.dataset import Annotated
from ppn.data.interventions import Intervened
from ppn.data.lists import BIRD_GROUPS
from ppn.data.synthetic.anatomy import PART_NAMES, Anatomy, anatomies, class_names
from ppn.data.synthetic.bird import draw_bird
from ppn.data.synthetic.drawing import Canvas
from ppn.data.synthetic.lighting import Light
from ppn.data.synthetic.plumage import Plumage
from ppn.data.synthetic.pose import Pose
from ppn.data.synthetic.scene import Scene
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray
    from PIL import Image

_STREAMS = {"train": 0, "test": 1}


class SyntheticBirds(Intervened):
    """Birds drawn on demand, with exact part masks and keypoints.

    Every image follows from (seed, split, index) alone, so that order of access, processes and
    workers do not matter. Each class combines one value of seven attributes, each of which shows
    on one part (`anatomies`); colour of the body, pose, light and surroundings are chance.

    Args:
        num_classes: Number of classes, 2 to 200; a larger set only adds classes.
        images_per_class: Number of images of each class.
        split: "train" or "test"; no drawing is in both.
        seed: Seed of all drawings, at least 0.
        size: Height and width of the images in pixels, at least 64.
        background: 0 draws each bird where it is; other numbers draw the same birds, each with
            another background that does not depend on its own.

    Attributes:
        anatomies: What makes each class; the position is the label.

    Raises:
        DataError: If an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int = 24,
        images_per_class: int = 50,
        split: Literal["train", "test"] = "train",
        seed: int = 0,
        size: int = 224,
        background: int = 0,
    ) -> None:
        if split not in _STREAMS:
            raise DataError(f"split is {split!r}, but must be 'train' or 'test'.")
        expect_least(1, DataError, images_per_class=images_per_class)
        expect_least(0, DataError, seed=seed)
        expect_least(64, DataError, size=size)
        expect_least(0, DataError, background=background)
        self.anatomies = anatomies(num_classes)
        self.class_names = class_names(self.anatomies)
        self.part_names = list(PART_NAMES)
        self.mask_names = PART_NAMES
        self.part_groups = BIRD_GROUPS
        self.kinds = {kind: [kind] for kind in Anatomy._fields}
        self.kinds["legs"] = ["left leg", "right leg"]
        self.traits = dict(enumerate(self.anatomies))
        self.labels = np.repeat(np.arange(num_classes), images_per_class)
        self.split = split
        self.seed = seed
        self.size = size
        self.background = background

    def read(self, index: int) -> Annotated:
        """Draw image `index`; the box is that of the visible bird."""
        drawn, _ = self._drawn(index)
        return drawn

    def without_parts(self, index: int, parts: Sequence[str]) -> Image.Image:
        """Draw image `index` again without some parts, of those that mark classes.

        A bird without its crown or breast has the colour of its body there.
        """
        unknown = sorted(set(parts) - set(self.kinds))
        if unknown:
            raise DataError(f"There is no part '{unknown[0]}': parts are {', '.join(self.kinds)}.")
        return self._drawn(index, parts)[0].image

    def without_background_object(self, index: int, number: int) -> Image.Image:
        """Draw image `index` again without its perch, or something around the bird."""
        drawn, count = self._drawn(index, [number])
        if not 0 <= number < count:
            raise DataError(f"{self.name(index)} has {count} objects, so there is no {number}.")
        return drawn.image

    def background_objects(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        """Return how many objects there are, and where (H, W) each shows: its number + 1, or 0.

        Where one shows is where the picture without it is another; the bird is apart.
        """
        whole, count = self._drawn(index)
        shown = np.zeros((self.size, self.size), np.uint8)
        around = whole.mask == 0
        for number in range(count):
            other = np.asarray(self.without_background_object(index, number))
            shown[around & (other != np.asarray(whole.image)).any(2)] = number + 1
        return count, shown

    def _drawn(self, index: int, without: Collection[str | int] = ()) -> tuple[Annotated, int]:
        """Draw image `index` without some parts and objects; return how many objects there are."""
        rng = np.random.default_rng([self.seed, _STREAMS[self.split], index])
        anatomy = self.anatomies[self.labels[index]]
        pose = Pose.sample(self.size, rng)
        plumage = Plumage.sample(anatomy, rng)
        light = Light.sample(rng)
        scene, canvas = self._surroundings(pose, rng, without)
        if self.background:  # drawn after its own, so that the bird has the same chance as before
            own = [self.seed, _STREAMS[self.split], index, self.background]
            scene, canvas = self._surroundings(pose, np.random.default_rng(own), without)
        points = draw_bird(canvas, anatomy, plumage, pose, rng)
        scene.front(canvas, pose)
        image = light.apply(canvas, canvas.coverage(), canvas.coverage("wing"))
        mask = canvas.parts()
        drawn = Annotated(image, _box(mask), _with_visibility(points, mask), mask)
        return drawn, scene.objects

    def _surroundings(
        self, pose: Pose, rng: np.random.Generator, without: Collection[str | int]
    ) -> tuple[Scene, Canvas]:
        """Draw what is behind a bird."""
        scene = Scene(self.size, rng)
        canvas = Canvas(scene.backdrop(), self.size, without)
        scene.behind(canvas, pose)
        return scene, canvas

    def name(self, index: int) -> str:
        """Return class and number of image `index`."""
        label = int(self.labels[index])
        number = index - int(np.searchsorted(self.labels, label))
        return f"{self.split}/{self.class_names[label]}/{number:03d}"


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def _with_visibility(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mark the keypoints (P, 2) whose pixel shows their own part."""
    columns, rows = np.floor(points).astype(int).T
    inside = (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
    at = mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]
    visible = inside & (at == np.arange(1, len(points) + 1))
    return np.concatenate([points, visible[:, None]], axis=1)


class SyntheticBirdsDataModule(FineGrainedDataModule):
    """The built-in data set `SyntheticBirds`; nothing is read from or written to disk.

    Args:
        num_classes: Number of classes, 2 to 200.
        train_per_class: Training images of each class, those for validation included.
        test_per_class: Test images of each class.
        seed: Seed of all drawings, at least 0.
        draw_size: Height and width of the drawings in pixels, before any transform.
        background: 0 draws each bird where it is; other numbers draw the same birds, each with
            another background that does not depend on its own.
        options: See `FineGrainedDataModule`.
    """

    def __init__(
        self,
        num_classes: int = 24,
        train_per_class: int = 50,
        test_per_class: int = 20,
        seed: int = 0,
        draw_size: int = 224,
        background: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_bird_classes = num_classes
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.seed = seed
        self.draw_size = draw_size
        self.background = background

    def read_split(self, split: Literal["train", "test"]) -> SyntheticBirds:
        """Return the drawings of a split."""
        count = self.train_per_class if split == "train" else self.test_per_class
        return SyntheticBirds(
            self.num_bird_classes, count, split, self.seed, self.draw_size, self.background
        )
