"""Boxes in the XML files of the Pascal VOC layout."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_xml_box(path: Path) -> NDArray[np.float64]:
    """Read the box around all objects of a Pascal VOC annotation.

    Corners are pixels counted from 1, both included; they become positions from 0.

    Args:
        path: The file, with or without the suffix `.xml`.

    Returns:
        (4,) x0, y0, x1, y1.

    Raises:
        DataError: If the file is missing, is not XML, or has no box.
    """
    try:
        boxes = [
            [float(box.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in ElementTree.parse(path).iter("bndbox")
        ]
    except FileNotFoundError:
        raise DataError(f"Annotation {path} is missing: complete the data set.") from None
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"Annotation {path} cannot be read ({error}): replace the file.") from None
    if not boxes:
        raise DataError(f"Annotation {path} has no box: replace the file.")
    corners = np.array(boxes)
    # In pixels counted from 1, a box of one pixel has twice the same corner.
    if not np.isfinite(corners).all() or (corners[:, 2:] < corners[:, :2]).any():
        raise DataError(f"Annotation {path} has an empty box: replace the file.")
    return np.concatenate([corners[:, :2].min(0) - 1, corners[:, 2:].max(0)])
