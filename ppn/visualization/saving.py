"""Pictures and figures as files; the suffix says which kind."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from PIL import Image

from ppn.errors import DataError
from ppn.io.files import user_path, write_bytes

if TYPE_CHECKING:
    import os
    from pathlib import Path

_FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".pdf": "pdf",
    ".svg": "svg",
}
# Else the same picture gives another file every second.
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_QUALITY: dict[str, dict[str, Any]] = {"jpeg": {"quality": 92}, "webp": {"quality": 92}}


def picture_format(path: str | os.PathLike[str]) -> str:
    """Return the format that a path's suffix names, to be asked before anything is drawn.

    Raises:
        DataError: If it names none that can be written.
    """
    target = user_path(path)
    found = _FORMATS.get(target.suffix.lower())
    if found is None:
        suffix = f"ends in {target.suffix}" if target.suffix else "has no suffix"
        raise DataError(f"{path} {suffix}: a picture can be {', '.join(_FORMATS)}.")
    return found


def save_figure(drawn: Figure | Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a figure or picture: PNG, JPEG or WebP; a figure as PDF or SVG stays vectors.

    Args:
        drawn: matplotlib's figure, or a picture, which PDF and SVG hold as it is.
        path: Where to; see `replacing`.

    Returns:
        The path, with `~` as the home folder.

    Raises:
        DataError: If the suffix names another format, or the file cannot be written.
    """
    target, kind = user_path(path), picture_format(path)
    buffer = io.BytesIO()
    if isinstance(drawn, Image.Image) and kind not in _UNDATED:
        drawn.convert("RGB").save(buffer, kind.upper(), **_QUALITY.get(kind, {}))
    else:
        figure = _framed(drawn) if isinstance(drawn, Image.Image) else drawn
        options: dict[str, Any] = {"metadata": _UNDATED.get(kind)}
        if kind in _QUALITY:
            options = {"pil_kwargs": _QUALITY[kind]}
        figure.savefig(buffer, format=kind, facecolor=figure.get_facecolor(), **options)
    write_bytes(target, buffer.getvalue())
    return target


def _framed(picture: Image.Image) -> Figure:
    """A figure that is this picture and nothing else."""
    dpi = 200
    figure = Figure(figsize=(picture.width / dpi, picture.height / dpi), dpi=dpi)
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    page.imshow(picture.convert("RGB"), aspect="auto")
    return figure
