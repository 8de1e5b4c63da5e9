"""What `explain` returns: a logit as a sum of parts, to look at or to compute with."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppn.version import __version__
from ppn.visualization.figure import draw, figure_of
from ppn.visualization.numbers import percent
from ppn.visualization.saving import picture_format, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from ppn.report.content import Patch, Sample


@dataclass(frozen=True)
class Ranked:
    """One of the most likely classes.

    Attributes:
        label: Index of the class.
        name: Name of the class.
        logit: The black box's logit.
        probability: Softmax of it over all classes, in [0, 1].
    """

    label: int
    name: str
    logit: float
    probability: float


@dataclass(frozen=True)
class Explanation:
    """The logit of one class on one image as a sum of contributions, each with its map.

    In a notebook the last line `explanation` shows the picture.

    Attributes:
        sample: Image, contributions, maps and nearest training patches.
        ranking: The most likely classes, the most likely first.
        exactness: One sentence on what is exact about this classifier's explanations.
    """

    sample: Sample
    ranking: tuple[Ranked, ...]
    exactness: str

    @property
    def predicted(self) -> Ranked:
        """The most likely class."""
        return self.ranking[0]

    @property
    def verdict(self) -> str:
        """How likely the explained class is, and which is predicted if that is another one."""
        likely = percent(self.sample.probability, 1)
        if self.predicted.label == self.sample.predicted_label:
            return f"predicted with {likely}"
        return f"{likely}; predicted: {self.predicted.name}"

    def picture(self) -> Image.Image:
        """Draw image, maps, contributions and nearest patches as one picture."""
        return draw(self.sample, self.verdict, self.exactness)

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix says how: PNG, JPEG, WebP, PDF or SVG.

        Returns:
            The path.

        Raises:
            DataError: If the suffix is another one, or the file cannot be written.
        """
        picture_format(path)  # before anything is drawn
        return save_figure(figure_of(self.sample, self.verdict, self.exactness), path)

    def show(self) -> None:
        """Open the picture in the system's viewer; in a notebook, end the cell with the object."""
        self.picture().show()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON.

        The sum of all `contribution` and `bias` is `logit` but for `difference`. Positions and
        boxes are pixels of the network's input, maps are row by row.
        """
        sample = self.sample
        patches: list[Patch | None] = [*sample.looks_like] or [None] * len(sample.contributions)
        return {
            "image": sample.name,
            "explained_class": {"label": sample.predicted_label, "name": sample.predicted_class},
            "logit": sample.logit,
            "bias": sample.bias,
            "difference": sample.residual,
            "exactness": self.exactness,
            "scale_note": sample.scale_note,
            "prototypes": [
                {
                    "prototype": index + 1,
                    "contribution": contribution,
                    "peak": _peak(sample.maps[index], sample.image.size),
                    "map": np.asarray(sample.maps[index], dtype=float).round(6).tolist(),
                    "nearest_patch": patch
                    and {"image": patch.name, "box": list(patch.box), "score": patch.score},
                }
                for index, (contribution, patch) in enumerate(
                    zip(sample.contributions, patches, strict=True)
                )
            ],
            "ranking": [
                {"label": r.label, "name": r.name, "logit": r.logit, "probability": r.probability}
                for r in self.ranking
            ],
            "version": __version__,
        }

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.picture().save(buffer, "PNG")
        text = base64.b64encode(buffer.getvalue()).decode("ascii")
        return f'<img style="max-width:100%" alt="Explanation" src="data:image/png;base64,{text}">'


def _peak(grid: np.ndarray, size: tuple[int, int]) -> list[float]:
    """Middle of the cell in which a map is largest: x, y in pixels."""
    row, column = np.unravel_index(int(np.argmax(grid)), grid.shape)
    width, height = size
    return [
        (float(column) + 0.5) * width / grid.shape[1],
        (float(row) + 0.5) * height / grid.shape[0],
    ]
