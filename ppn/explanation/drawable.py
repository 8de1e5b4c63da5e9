"""What can be drawn: as a picture, a file, and at the end of a notebook's cell."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from PIL import Image

from ppn.errors import DataError
from ppn.io.files import user_path, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

_FORMATS = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "pdf", "svg")


class Drawable(ABC):
    """Whatever draws itself in one of several formats."""

    @abstractmethod
    def drawn_as(self, kind: str) -> bytes:
        """Return the content of a file of this format, such as "png"."""

    def picture(self) -> Image.Image:
        """Draw everything as one picture."""
        return Image.open(io.BytesIO(self.drawn_as("png"))).convert("RGB")

    def save(self, path: str | Path) -> Path:
        """Write the picture; an earlier file is replaced whole.

        Args:
            path: Its suffix chooses the format: PNG, JPEG, WebP, TIFF, or PDF or SVG, whose text
                and lines are vectors. A `~` at its beginning is the home folder.

        Returns:
            The path.

        Raises:
            DataError: If there is no such format, or the file cannot be written.
        """
        target = user_path(path)
        write_bytes(target, self.drawn_as(picture_kind(target)))
        return target

    def show(self) -> None:
        """Open the picture in the system's viewer; in a notebook, end the cell with the object."""
        self.picture().show()

    def _repr_html_(self) -> str:
        text = base64.b64encode(self.drawn_as("png")).decode("ascii")
        return f'<img style="max-width:100%" alt="Explanation" src="data:image/png;base64,{text}">'


def picture_kind(path: Path) -> str:
    """Return the format of a picture's path.

    Raises:
        DataError: If there is no such format.
    """
    kind = path.suffix[1:].lower()
    if kind not in _FORMATS:
        known = ", ".join(f".{known}" for known in _FORMATS)
        raise DataError(f"{path} is not the path of a picture: let it end in one of {known}.")
    return kind
