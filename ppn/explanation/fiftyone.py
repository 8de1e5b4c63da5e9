"""Explanations as a dataset of FiftyOne: heatmaps, boxes and contributions of each image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppn.errors import DataError, optional
from ppn.io.files import user_path, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.explanation.record import Explanation


class FiftyOneSamples:
    """Collects explanations, and makes a dataset of them.

    Each sample shows the image as the network saw it, with `predicted` and `explained` classes,
    `parts` (a box around the cell where each part's map is largest, with its `contribution`), and
    a heatmap `part_1`, `part_2`, ... of each part's positive evidence, on one scale for all parts
    of the image. `logit`, `bias`, `contributions`, `caution` and `source`, the image's file, are
    fields to filter by.

    Args:
        name: Of the dataset, which must not be there yet.
        folder: Where pictures and heatmaps are kept; the dataset refers to them.

    Raises:
        MissingPackageError: If fiftyone is not installed.
        DataError: If there is such a dataset.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        self._library: Any = optional("fiftyone", "fiftyone")
        if self._library.dataset_exists(name):
            raise DataError(
                f"There is a FiftyOne dataset '{name}' already: choose another name, or delete it "
                f"with fiftyone.delete_dataset('{name}')."
            )
        self.name = name
        self.folder = user_path(folder).absolute()
        self._samples: list[Any] = []

    def add(self, explanation: Explanation) -> None:
        """Write an explanation's pictures, and keep a sample of it.

        Raises:
            DataError: If a picture cannot be written.
        """
        library, place = self._library, f"{len(self._samples):06d}"
        sample = library.Sample(filepath=self._picture(explanation.image, f"{place}.png"))
        first = explanation.predicted
        sample["predicted"] = library.Classification(label=first.name, confidence=first.probability)
        sample["explained"] = library.Classification(
            label=explanation.class_name, confidence=explanation.probability
        )
        if explanation.true_class:
            sample["true"] = library.Classification(label=explanation.true_class)
        boxes = []
        top = max((float(np.max(grid)) for grid in explanation.maps), default=0.0)
        for index, title in enumerate(explanation.titles):
            grid, value = np.asarray(explanation.maps[index]), explanation.contributions[index]
            box = _cell(grid)
            boxes.append(library.Detection(label=title, bounding_box=box, contribution=value))
            heat = np.clip(grid / max(top, 1e-12), 0, 1) * 255
            shown = Image.fromarray(heat.round().astype(np.uint8)).resize(explanation.image.size)
            path = self._picture(shown, f"{place}-part-{index + 1}.png")
            sample[f"part_{index + 1}"] = library.Heatmap(map_path=path)
        sample["parts"] = library.Detections(detections=boxes)
        sample["logit"] = explanation.logit
        sample["bias"] = explanation.bias
        sample["contributions"] = list(explanation.contributions)
        sample["caution"] = explanation.caution
        sample["source"] = explanation.name
        self._samples.append(sample)

    def finish(self) -> Any:  # noqa: ANN401 - a dataset of FiftyOne
        """Make the dataset, which stays when the process ends, and return it."""
        dataset = self._library.Dataset(self.name, persistent=True)
        dataset.add_samples(self._samples)
        return dataset

    def _picture(self, image: Image.Image, name: str) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        write_bytes(self.folder / name, buffer.getvalue())
        return str(self.folder / name)


def _cell(grid: np.ndarray[Any, Any]) -> list[float]:
    """The cell where a map is largest: x, y, width and height as shares of the image."""
    rows, columns = grid.shape
    row, column = np.unravel_index(int(np.argmax(grid)), grid.shape)
    return [float(column) / columns, float(row) / rows, 1 / columns, 1 / rows]
