"""Pictures of annotated images: as a person sees them, and cut out where they were clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ppn.data.transforms import box_area
from ppn.visualization.heatmap import crop_patch
from ppn.visualization.images import data_uri

if TYPE_CHECKING:
    from PIL import Image

    from ppn.data.clicks import Click
    from ppn.data.dataset import AnnotatedDataset
    from ppn.data.transforms import Crop

_AROUND = 0.14
"""Half the side of a patch round a point, as a share of the picture's longer side."""


class Picture(NamedTuple):
    """What is shown of an image: the pixels x0, y0, x1, y1 of the file."""

    image: Image.Image
    area: tuple[int, int, int, int]


class ClickPictures:
    """Reads images, and remembers which part of them is shown.

    Args:
        source: The images.
        crop: "box" shows the object's box where there is one, "frame" the whole image.
    """

    def __init__(self, source: AnnotatedDataset, crop: Crop) -> None:
        self._source = source
        self._crop = crop
        self._areas: dict[int, tuple[int, int, int, int]] = {}
        self._patches: dict[Click, str] = {}

    def of(self, index: int) -> Picture:
        """Return an image as its crop shows it.

        Raises:
            DataError: If it cannot be read.
        """
        sample = self._source.read(index)
        area = (0, 0, *sample.image.size)
        if self._crop == "box" and sample.box is not None:
            area = box_area(sample.box, sample.image.size)
        self._areas[index] = area
        return Picture(sample.image.crop(area), area)

    def area(self, index: int) -> tuple[int, int, int, int]:
        """Return which pixels x0, y0, x1, y1 of an image's file are shown."""
        return self._areas[index] if index in self._areas else self.of(index).area

    def patch(self, index: int, click: Click) -> str:
        """Return a patch of an image round a click on it, as a data URI."""
        if click not in self._patches:
            assert click.point is not None
            shown = self.of(index)
            x, y = click.point[0] - shown.area[0], click.point[1] - shown.area[1]
            half = _AROUND * max(shown.image.size)
            cut = crop_patch(shown.image, (x - half, y - half, x + half, y + half))
            self._patches[click] = data_uri(cut, 160)
        return self._patches[click]
