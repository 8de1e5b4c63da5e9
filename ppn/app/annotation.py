"""Annotating parts of images: what is asked, what was answered, and which image comes next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.app.click_pictures import ClickPictures
from ppn.data.click_file import ClickFile
from ppn.data.clicks import Click, click_indices, collected, image_name
from ppn.data.preview import choose
from ppn.discovery.choosing import choose_images
from ppn.errors import DataError
from ppn.visualization.images import data_uri
from ppn.visualization.palette import identity_colour, part_colours

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.app.learner import Learner
    from ppn.data.datamodule import FineGrainedDataModule

GOAL = 30
"""Images that named parts need, and a person does in five minutes."""
SHOWN = 10
"""Images after which a person sees what the parts look like."""
_TORN = "The file's last line was cut off and is dropped: its question comes again."
_POOL = 400
"""Images among which the next one is chosen; a classifier has to see all of them."""
_SIDE = 1200
_PATCHES = 8


class Annotation:
    """The work of one person on one file of clicks; safe to use from several threads.

    Images have positions in the order in which they come: first those of the file, then whatever
    is proposed. An image once proposed keeps its position.

    Args:
        data: The images: those that prototypes will be found on, cropped as its `crop` says.
        parts: Name of each part that is asked for.
        path: The file of clicks.
        pool: Indices of the images among which the next one is chosen; None: of `draw_pool`.
        learner: Learns the parts from the answers; None: images are proposed by their class.

    Attributes:
        parts: Name of each part.
        torn: Whether the file's last line was cut off, and dropped.

    Raises:
        DataError: If the file is wrong or names an image that is not in the data, or there is no
            image.
    """

    def __init__(
        self,
        data: FineGrainedDataModule,
        parts: Sequence[str],
        path: Path,
        pool: NDArray[np.int64] | None = None,
        learner: Learner | None = None,
    ) -> None:
        self._learner = learner
        self.parts = list(parts)
        self._view = data.view("train")
        self._source = self._view.source
        if not len(self._view):
            raise DataError("There is no training image to annotate: check the data.")
        self._file = ClickFile(path)
        self.torn = self._file.torn
        self._lock = threading.RLock()
        try:
            answers = self._file.answers
            clicks = collected(self._file.path, answers)
            self._sequence: list[int] = click_indices(clicks, self._source).tolist()
        except BaseException:
            self.close()
            raise
        self._given: list[tuple[Click, Click | None]] = [
            (click, None) for click in answers if click.part in self.parts
        ]
        self._pool = draw_pool(data) if pool is None else pool
        self._pictures = ClickPictures(self._source, data.crop)
        self._teach()

    def start(self) -> dict[str, Any]:
        """Return what a page needs at first; `position` is where to go on."""
        with self._lock:
            unfinished = (p for p, i in enumerate(self._sequence) if not self._is_done(i))
            return {
                "parts": [
                    {"name": part, **part_colours(number)} for number, part in enumerate(self.parts)
                ],
                "position": next(unfinished, len(self._sequence)),
                "file": self._file.path.name,
                "goal": GOAL,
                "shown": SHOWN,
                "remark": _TORN if self.torn else "",
                **self._progress(),
            }

    def image(self, position: int) -> dict[str, Any]:
        """Return the image at a position, with its answers; nothing but `end` after the last one.

        Raises:
            DataError: If the position is none, or the image cannot be read.
        """
        with self._lock:
            if not 0 <= position <= len(self._sequence):
                raise DataError(f"There is no image {position}: reload the page.")
            if position == len(self._sequence):
                proposed = self._propose()
                if proposed is None:
                    return {"end": True}
                self._sequence.append(proposed)
            index = self._sequence[position]
        shown = self._pictures.of(index)
        return {
            "end": False,
            "name": image_name(self._source, index),
            "class": self._source.class_names[int(self._source.labels[index])],
            "picture": data_uri(shown.image, _SIDE),
            "aspect": shown.image.width / shown.image.height,
            "answers": self._answers(index),
        }

    def answer(self, position: int, part: str, point: tuple[float, float] | None) -> dict[str, Any]:
        """Write an answer to the file.

        Args:
            position: Of the image.
            part: Name of the part.
            point: x and y in [0, 1] from the upper left to the lower right corner of the picture
                that `image` gives; None where the part is not visible.

        Raises:
            DataError: If there is no such image, part or point, or the file cannot be written.
        """
        with self._lock:
            if not 0 <= position < len(self._sequence) or part not in self.parts:
                raise DataError("The answer is to another question: reload the page.")
            if point is not None and not all(0 <= value <= 1 for value in point):
                raise DataError("The point is outside of the image: click on the image.")
            index = self._sequence[position]
            if point is not None:
                x0, y0, x1, y1 = self._pictures.area(index)
                point = x0 + point[0] * (x1 - x0), y0 + point[1] * (y1 - y0)
                point = round(point[0], 1), round(point[1], 1)
            click = Click(image_name(self._source, index), part, point)
            self._given.append((click, self._file.put(click)))
            if self._is_done(index):
                self._teach()
            return {"answers": self._answers(index), **self._progress()}

    def undo(self) -> dict[str, Any]:
        """Take the last answer back; the one that it replaced, if any, is valid again.

        Returns:
            `position` and `part` of what is asked again; `position` is None where there is nothing
            to take back.

        Raises:
            DataError: If the file cannot be written.
        """
        with self._lock:
            if not self._given:
                return {"position": None, **self._progress()}
            click, earlier = self._given[-1]
            if earlier is None:
                self._file.remove(click.image, click.part)
            else:
                self._file.put(earlier)
            self._given.pop()
            names = [image_name(self._source, index) for index in self._sequence]
            position = names.index(click.image)
            index = self._sequence[position]
            return {
                "position": position,
                "part": click.part,
                "answers": self._answers(index),
                **self._progress(),
            }

    def parts_so_far(self) -> dict[str, Any]:
        """Return what the parts look like, once enough images are done.

        Returns:
            `ready` whether there is something to show, `current` whether that has learned from all
            images, `note` a sentence, `rows` pictures of each part.
        """
        with self._lock:
            done = self._done()
            if len(done) < SHOWN:
                return {"ready": False, "current": True, "note": "", "rows": []}
            if self._learner is None:
                note = "Cut out where you clicked. Give a classifier with --ckpt to see the parts "
                note += "found on images that you have not clicked."
                return {"ready": True, "current": True, "note": note, "rows": self._clicked()}
            return self._learner.shown(len(done))

    def close(self) -> None:
        """End the work; other processes may open the file."""
        self._file.close()
        if self._learner is not None:
            self._learner.close()

    def _propose(self) -> int | None:
        """The image to annotate next; None when all have had their turn."""
        had = set(self._sequence)
        # In the pool's own, drawn order, which decides where all are equally unsure.
        images = [index for index in self._pool.tolist() if index not in had]
        if not images:
            return next((i for i in self._view.indices.tolist() if i not in had), None)
        every = np.array([*images, *self._sequence], dtype=np.int64)
        unsure = torch.zeros(len(every))
        if self._learner is not None:
            unsure[: len(images)] = self._learner.uncertainty(images)
        labels = torch.from_numpy(self._source.labels[every])
        clicked = range(len(images), len(every))
        return int(every[int(choose_images(labels, unsure, clicked, 1))])

    def _answers(self, index: int) -> dict[str, list[float] | None]:
        """Answers for an image, as the page knows them; see `answer`."""
        x0, y0, x1, y1 = self._pictures.area(index)
        return {
            part: None
            if click.point is None
            else [(click.point[0] - x0) / (x1 - x0), (click.point[1] - y0) / (y1 - y0)]
            for part, click in self._file.of(image_name(self._source, index)).items()
            if part in self.parts
        }

    def _is_done(self, index: int) -> bool:
        return self._file.of(image_name(self._source, index)).keys() >= set(self.parts)

    def _done(self) -> list[int]:
        return [index for index in self._sequence if self._is_done(index)]

    def _progress(self) -> dict[str, int]:
        return {"done": len(self._done())}

    def _teach(self) -> None:
        """Give the learner all images that are done."""
        if self._learner is not None:
            self._learner.learn(
                {
                    index: [self._file.of(image_name(self._source, index))[p] for p in self.parts]
                    for index in self._done()
                }
            )

    def _clicked(self) -> list[dict[str, Any]]:
        """Patches round the last points of each part."""
        index_of = {image_name(self._source, index): index for index in self._sequence}
        rows = []
        for number, part in enumerate(self.parts):
            seen = [c for c in self._file.answers if c.part == part and c.point is not None]
            pictures = [
                self._pictures.patch(index_of[click.image], click) for click in seen[-_PATCHES:]
            ]
            rows.append({"part": part, "colour": identity_colour(number), "pictures": pictures})
        return rows


def draw_pool(data: FineGrainedDataModule, seed: int = 0) -> NDArray[np.int64]:
    """Draw the training images among which the next one is chosen, spread over the classes."""
    view = data.view("train")
    drawn = view.indices[choose(view.labels, _POOL, seed)]
    shuffled: NDArray[np.int64] = np.random.default_rng(seed).permutation(drawn)
    return shuffled
