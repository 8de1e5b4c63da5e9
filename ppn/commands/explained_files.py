"""Which images `ppn explain` is given, and under which names their results are kept."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import PPNError
from ppn.io.files import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS = ("png", "pdf", "svg")
"""Of pictures."""


def find_images(names: Sequence[str]) -> list[Path]:
    """Return every image once; pictures that explain other images are left out of folders.

    Args:
        names: Files, folders, or patterns with `*`, `?`, `[...]`, and `**` for any folders.

    Raises:
        PPNError: If one of these has none, so that a mistyped pattern is not passed over.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files: dict[str, Path] = {}
    for name in names:
        path = Path(name)
        found = [path]
        if glob.has_magic(name) and not path.exists():
            matches = sorted(glob.glob(os.path.expanduser(name), recursive=True))
            found = [Path(f) for f in matches if Path(f).suffix.lower() in IMG_EXTENSIONS]
        elif path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS)
            found = [f for f in found if not (f.suffix == ".png" and _explained(f))]
        if not found:
            raise PPNError(f"There is no image in {name}.")
        for file in found:
            files.setdefault(place_of(file), file)
    return list(files.values())


def names_in(folder: Path) -> dict[str, str]:
    """The names of pictures and JSON files in a folder, by the same in small letters.

    Some file systems do not tell capitals from small letters.
    """
    if not folder.is_dir():
        return {}
    return {f.stem.lower(): f.stem for f in folder.iterdir() if f.suffix[1:] in (*FORMATS, "json")}


def own_name(file: Path, folder: Path, names: dict[str, str], given: set[str], top: int = 1) -> str:
    """A name for an image's results, under which there is nothing of another image.

    Args:
        file: The image.
        folder: Where the results go.
        names: What was there before this call; see `names_in`.
        given: Names that this call has given, in small letters; gets the new ones.
        top: How many results the image has; those after the first end in `.top2` and so on.
    """
    number, name = 1, file.stem
    while True:
        key = name.lower()
        keys = [key, *(f"{key}.top{rank}" for rank in range(2, top + 1))]
        theirs = (names[one] for one in keys if one in names)
        free = all(_explained(folder / f"{one}.png") == place_of(file) for one in theirs)
        if free and given.isdisjoint(keys):
            given.update(keys)
            return names.get(key, name)
        number += 1
        name = f"{file.stem}-{number}"


def _explained(picture: Path) -> str | None:
    """The image that a picture explains, by the JSON file beside it; None if it explains none."""
    try:
        content: Any = parse_json(picture.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    said = content.get("file") if isinstance(content, dict) else None
    return said if isinstance(said, str) else None


def place_of(file: Path) -> str:
    """Return the absolute path by which an image is known."""
    return os.path.abspath(file)  # a link is an image of its own
