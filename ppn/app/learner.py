"""Learns the parts while a person annotates: what is unsure, and what the parts look like."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from ppn.app.annotation import SHOWN
from ppn.data.dataset import Annotated
from ppn.data.transforms import to_picture
from ppn.discovery.choosing import image_uncertainty
from ppn.discovery.named_parts import NamedParts
from ppn.errors import PPNError
from ppn.visualization.heatmap import overlay
from ppn.visualization.images import data_uri
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.classifier.model import Classifier
    from ppn.data.clicks import Click
    from ppn.data.datamodule import FineGrainedDataModule

_FEWEST = 3
"""Images from which parts are learned."""
_STEP = 5
"""New images after which the pictures of the parts are drawn again."""
_BATCH = 8
_FIRST = 64
"""Images of the pool that must have been seen before the parts are shown on some of them."""
_PICTURES = 8
_SIDE = 144


class Learner:
    """Trains the classifier of tokens in a thread of its own, each time that an image is done.

    What goes wrong there is told in the note below the pictures; images are then proposed by their
    class alone.

    Args:
        data: The images; takes over the classifier's input config.
        classifier: Whose tokens are named.
        parts: Name of each part.
        pool: Indices of the images among which the next one is chosen.

    Raises:
        DiscoveryError: If the names cannot be those of parts.
    """

    def __init__(
        self,
        data: FineGrainedDataModule,
        classifier: Classifier,
        parts: Sequence[str],
        pool: NDArray[Any],
    ) -> None:
        self._named = NamedParts({part: [part] for part in parts})
        data.input_config = classifier.config
        self._view = data.view("train")
        self._classifier = classifier
        self._parts = list(parts)
        self._pool: list[int] = pool.tolist()
        self._tokens: dict[int, Tensor] = {}
        self._points: dict[int, tuple[list[Click], Tensor]] = {}
        self._grid = (0, 0)
        self._unsure: dict[int, float] = {}
        self._rows: list[dict[str, Any]] = []
        self._rows_of = 0
        self._note = ""
        self._answers: dict[int, list[Click]] = {}
        self._learned: dict[int, list[Click]] = {}
        self._stopped = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def learn(self, answers: Mapping[int, list[Click]]) -> None:
        """Take the answers for all images that are done, one a part, and learn from them soon."""
        with self._news:
            self._answers = dict(answers)
            self._news.notify()

    def uncertainty(self, images: Sequence[int]) -> Tensor:
        """Return how unsure the parts of images are; the mean of others where it is not known."""
        known = dict(self._unsure)
        mean = sum(known.values()) / max(1, len(known))
        return torch.tensor([known.get(index, mean) for index in images])

    def shown(self, done: int) -> dict[str, Any]:
        """Return what the parts look like; see `Annotation.parts_so_far`.

        Args:
            done: How many images are done.
        """
        with self._news:
            current = self._rows_of > done - _STEP or not self._thread.is_alive()
            ready = bool(self._rows or self._note)
            return {"ready": ready, "current": current, "note": self._note, "rows": self._rows}

    def close(self) -> None:
        """Stop learning, once the step at hand is done."""
        with self._news:
            self._stopped = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._stopped or self._next() is not None)
                    step, answers = self._next(), self._answers
                if self._stopped or step is None:
                    return
                with torch.no_grad():
                    step(answers)
        except PPNError as error:
            self._tell(f"The parts cannot be learned: {error}")
        except Exception as error:  # the page goes on without
            reason = " ".join(str(error).split())[:200]
            self._tell(f"The parts cannot be learned ({type(error).__name__}: {reason}).")

    def _next(self) -> Any:  # noqa: ANN401 - one of the three methods below, or None
        """What to do now, the most useful first."""
        if len(self._answers) >= _FEWEST and self._answers != self._learned:
            return self._learn
        seen = sum(index in self._tokens for index in self._pool)
        enough = seen >= min(_FIRST, len(self._pool)) and self._named.classifier is not None
        due = len(self._answers) >= (self._rows_of + _STEP if self._rows_of else SHOWN)
        if enough and due:
            return self._draw
        return self._look if seen < len(self._pool) else None

    def _learn(self, answers: dict[int, list[Click]]) -> None:
        self._see([index for index in answers if index not in self._tokens])
        self._named.learn(*self._clicked(answers))
        self._judge([index for index in self._pool if index in self._tokens])
        self._learned = answers

    def _look(self, answers: dict[int, list[Click]]) -> None:
        """See more images of the pool."""
        new = [index for index in self._pool if index not in self._tokens][:_BATCH]
        self._see(new)
        if self._learned:
            self._judge(new)

    def _draw(self, answers: dict[int, list[Click]]) -> None:
        """Draw the most probable place of each part on images that nobody has annotated."""
        seen = [i for i in self._pool if i in self._tokens and i not in answers]
        if not seen:
            self._rows_of = len(answers)
            return
        found = self._probabilities(seen)
        rows = []
        for number, part in enumerate(self._parts):
            colour = identity_colour(number)
            best = found[..., number].amax(1).topk(min(_PICTURES, len(seen))).indices.tolist()
            pictures = []
            for at in best:
                image = to_picture(self._image(seen[at]), self._classifier.config)
                grid = found[at, :, number].view(self._grid).numpy()
                height, width = (round(_SIDE * side / max(image.size)) for side in image.size[::-1])
                drawn = overlay(image, grid, (width, height), shared_max=1.0, hue=colour)
                pictures.append(data_uri(drawn))
            rows.append({"part": part, "colour": colour, "pictures": pictures})
        accuracy = self._named.held_out_accuracy(*self._clicked(answers)).accuracy
        with self._news:
            self._rows, self._rows_of = rows, len(answers)
            self._note = (
                f"Learned from {len(answers)} images, shown on others, where each part is most "
                f"probable. Of your own points, judged without their image, {accuracy:.0%} get the "
                "right name."
            )

    def _see(self, images: list[int]) -> None:
        """Keep the tokens of images, in half precision."""
        for start in range(0, len(images), _BATCH):
            some = images[start : start + _BATCH]
            pixels = torch.stack([self._image(index) for index in some])
            tokens = self._classifier(self._classifier.accept(pixels))
            self._grid = tokens.grid
            for index, row in zip(some, tokens.tokens.half().cpu(), strict=True):
                self._tokens[index] = row

    def _image(self, index: int) -> Tensor:
        pixels: Tensor = self._view.at([index])[0]["image"]
        return pixels

    def _clicked(
        self, answers: dict[int, list[Click]]
    ) -> tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]:
        """Tokens (m, N, D) and points (m, K, 1, 3) of images, and their sizes; see `NamedParts`."""
        for index, clicks in answers.items():
            if index not in self._points or self._points[index][0] != clicks:
                self._points[index] = clicks, self._moved(index, clicks)
        tokens = torch.stack([self._tokens[index] for index in answers]).float()
        points = torch.stack([self._points[index][1] for index in answers])
        return tokens, points[:, :, None], self._grid, self._classifier.config.size

    def _moved(self, index: int, clicks: list[Click]) -> Tensor:
        """Points (K, 3) of an image in pixels of the classifier's input."""
        sample = self._view.source.read(index)
        points = torch.tensor(
            [[0.0, 0.0, 0.0] if c.point is None else [*c.point, 1.0] for c in clicks],
            dtype=torch.float64,
        )
        sample = Annotated(sample.image, sample.box, points.numpy())
        return self._view.transform(sample).keypoints

    def _judge(self, images: list[int]) -> None:
        if images:
            unsure = image_uncertainty(self._probabilities(images)).tolist()
            self._unsure = {**self._unsure, **dict(zip(images, unsure, strict=True))}

    def _probabilities(self, images: list[int]) -> Tensor:
        """(n, N, K + 1) of each token of images."""
        classifier = self._named.classifier
        assert classifier is not None
        tokens = torch.stack([self._tokens[index] for index in images])
        probabilities: Tensor = classifier(tokens.float())
        return probabilities

    def _tell(self, note: str) -> None:
        with self._news:
            self._note, self._rows = note, []
