"""Pictures as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from ppn.visualization.heatmap import crop_patch, overlay

if TYPE_CHECKING:
    from ppn.explanation.record import Patch

QUALITY = 80
_COMPACT = 68
WHOLE = 176  # longer side, in pixels, of a gallery's training image
CROP = 112  # longer side of a gallery's patch; a smaller patch is not enlarged, the browser does it
CONTEXT = 0.6  # margin around a patch: one cell of the grid is too small to recognise


def fit(image: Image.Image, side: int) -> tuple[int, int]:
    """Width and height of `image` scaled so that its longer side is `side` pixels."""
    factor = side / max(image.size)
    return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def data_uri(image: Image.Image, side: int | None = None, compact: bool = False) -> str:
    """Encode an image as a data URI, shrunk to `side` pixels where it is larger.

    It is a JPEG file; a smaller WebP file if it is to be `compact`.
    """
    picture = image.convert("RGB")
    if side is not None and max(picture.size) > side:
        picture = picture.resize(fit(picture, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if compact:
        picture.save(buffer, "WEBP", quality=_COMPACT)
    else:
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    kind = "webp" if compact else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def patch_crop(patch: Patch, side: int = CROP, compact: bool = False) -> str:
    """Data URI of the patch alone."""
    return data_uri(crop_patch(patch.image, patch.box, CONTEXT), side, compact)


def patch_in_image(patch: Patch, colour: str, side: int = WHOLE, compact: bool = False) -> str:
    """Data URI of the whole training image with the patch's box and, where known, its heatmap.

    Pillow draws the box: torchvision's `draw_bounding_boxes` has one width for all lines, so that a
    coloured line on a white one takes two calls, works on tensors, and lets a box at the image's
    edge run out of it.
    """
    size = fit(patch.image, side)
    if patch.heatmap is None:
        picture = patch.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    else:
        picture = overlay(patch.image, patch.heatmap, size, hue=colour, outline=False)
    factor = size[0] / patch.image.width, size[1] / patch.image.height
    corners = [patch.box[i] * factor[i % 2] for i in range(4)]
    x0, x1 = (min(max(value, 1), size[0] - 2) for value in (corners[0], corners[2]))
    y0, y1 = (min(max(value, 1), size[1] - 2) for value in (corners[1], corners[3]))
    if x1 > x0 and y1 > y0:
        draw = ImageDraw.Draw(picture)
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="#ffffff", width=4)
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=2)
    return data_uri(picture, compact=compact)
