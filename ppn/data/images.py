"""Reads image files of every kind as RGB."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# What data sets come in. Pillow knows more formats, for some of which it runs other programs.
_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]
if find_spec("PIL.AvifImagePlugin"):  # since 11.3
    _FORMATS.append("AVIF")


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case and with their dot, of the image files that are read."""
    known = Image.registered_extensions()
    return frozenset(
        suffix for suffix, kind in known.items() if kind in _FORMATS and kind in Image.OPEN
    )


def read_image(path: Path, upright: bool = False) -> Image.Image:
    """Open an image file as 8-bit RGB: grey, palette, CMYK and 16-bit files too.

    Args:
        path: The file.
        upright: Whether to show the image as a person sees it: by the camera's orientation tag
            (EXIF), and on white where it is transparent. Published data sets are annotated in
            pixels as stored, and the literature ignores both.

    Raises:
        DataError: If the file is missing or is not a whole image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.mode == "RGB" and not upright:  # nearly every file, and the fastest way
                image.load()
                whole: Image.Image = image
                return whole
            return as_rgb(image) if upright else _rgb(image)
    except FileNotFoundError:
        raise DataError(
            f"Image {path} is missing: correct its name, or the data set that lists it."
        ) from None
    except Exception as error:  # decoders raise whatever they stumble over
        raise DataError(
            f"Image {path} cannot be read ({_reason(error)}): replace the file or take it off the "
            "list of images."
        ) from None


def decode_image(content: bytes, most_pixels: int) -> Image.Image:
    """Decode an image file that a stranger has sent, as `read_image` does it upright.

    Args:
        content: The file.
        most_pixels: More are refused before they are decoded.

    Raises:
        DataError: If it is not a whole image, or has more pixels.
    """
    try:
        with warnings.catch_warnings(), Image.open(BytesIO(content), formats=_FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height <= most_pixels:
                return as_rgb(image)
            size = f"{image.width} x {image.height}"
    except Exception as error:  # decoders raise whatever they stumble over
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is of no known kind" if unknown else _reason(error)
        raise DataError(
            f"The image cannot be read ({reason}): give a whole JPEG, PNG or WebP file."
        ) from None
    raise DataError(
        f"The image has {size} pixels, more than {most_pixels / 1e6:.0f} million: give a smaller "
        "copy of it."
    )


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB, upright, and on white where it is transparent.

    Raises:
        ValueError: If its samples have no range that is known.
    """
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        image = Image.alpha_composite(white, over)
    return _rgb(image)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read an image whose values are labels or colours, as (H, W) or (H, W, 3) uint8.

    A palette image gives its indices.

    Raises:
        DataError: If the file is missing or is not a whole image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.mode in ("L", "P", "RGB"):
                return np.array(image)
            return np.array(image.convert("RGB" if len(image.getbands()) > 2 else "L"))
    except FileNotFoundError:
        raise DataError(f"Annotation {path} is missing: complete the data set.") from None
    except Exception as error:
        raise DataError(
            f"Annotation {path} cannot be read ({_reason(error)}): replace the file."
        ) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB without transparency.

    16-bit samples keep their eight upper bits, where Pillow would clip them to white.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        samples = np.asarray(image).astype(np.int64)
        if samples.min(initial=0) < 0 or samples.max(initial=0) > 65535:
            raise ValueError("its samples have more than 16 bits and an unknown range")
        # Mode "I" is how older Pillow versions open 16-bit PNG; it may hold 8-bit values too.
        shift = 8 if image.mode != "I" or samples.max(initial=0) > 255 else 0
        image = Image.fromarray((samples >> shift).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its samples are floating-point numbers of unknown range")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        converted: Image.Image = image.convert("RGB")
        return converted
