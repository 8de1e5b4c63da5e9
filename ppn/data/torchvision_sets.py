"""What torchvision reads, as lists of paths and labels; its errors become one sentence."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from torchvision.datasets import ImageFolder

from ppn.data.class_folders import is_hidden
from ppn.data.inside import expect_inside
from ppn.data.lists import read_rows, read_text
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def read_with_torchvision(make: Callable[..., Any], folder: Path, name: str, **options: Any) -> Any:  # noqa: ANN401 - whichever class `make` is
    """Make a data set of torchvision from a folder that it insists on naming itself.

    Args:
        make: Class in `torchvision.datasets`.
        folder: Where the files are.
        name: The folder name that the class appends to its root.
        options: Further arguments of the class.

    Raises:
        DataError: If the folder has another name, or the class cannot read it.
    """
    folder = folder.resolve()
    if folder.name != name:
        raise DataError(
            f"{folder} must be named {name} to be read: rename it, or link to it by that name."
        )
    return _read(make, folder, root=folder.parent, **options)


def check_list(path: Path, columns: int, numbers: int = 0) -> list[tuple[int, list[str]]]:
    """Read a list that torchvision is about to read, to name the line that it would stumble over.

    Args:
        path: The list.
        columns: Number of columns.
        numbers: How many of the last columns must be numbers.

    Raises:
        DataError: If a line does not fit, or torchvision would misread the file's first line.
    """
    rows = read_rows(path, columns, numbers)
    if not rows:
        raise DataError(f"{path} lists no images: get the complete data set.")
    expect_inside((row[0] for _, row in rows), path)
    with path.open("rb") as content:
        if content.read(3) == codecs.BOM_UTF8:
            raise DataError(f"{path} begins with a byte order mark: save it as UTF-8 without one.")
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            raise DataError(f"{path}, line {number}: the line is empty, remove it.")
    listed: set[str] = set()
    for number, row in rows:
        if row[0] in listed:
            raise DataError(f"{path}, line {number}: image {row[0]} is listed twice.")
        listed.add(row[0])
    return rows


def read_class_folders(
    folder: Path, classes_of: Path | None = None, keep: Callable[[str], bool] | None = None
) -> ImageFolder:
    """List the images in the sub-folders of a folder, one per class, in sorted order.

    Args:
        folder: Holds a folder per class.
        classes_of: The folder whose sub-folders are the classes, where it is another one: test
            images may lack a class, and their labels must not shift.
        keep: Which class folders count; None for all.

    Returns:
        torchvision's `ImageFolder`, with `classes`, `samples` and `targets`.

    Raises:
        DataError: If there is no class, a class folder has no image, or `folder` has a class that
            `classes_of` has not.
    """

    class Chosen(ImageFolder):  # type: ignore[misc] # torchvision has no types
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            def chosen(place: str | Path) -> list[str]:
                names, _ = ImageFolder.find_classes(self, place)
                return [n for n in names if not is_hidden(n) and (keep is None or keep(n))]

            here = chosen(directory)
            names = here if classes_of is None else chosen(classes_of)
            if not names:
                raise FileNotFoundError("none of its class folders is wanted")
            strange = sorted(set(here) - set(names))
            if strange:
                raise ValueError(f"{classes_of} has no class '{strange[0]}'")
            label_of = {name: label for label, name in enumerate(names)}
            return names, {name: label_of[name] for name in here}

    source: ImageFolder = _read(Chosen, folder, root=folder.resolve())
    return source


def relative(files: Iterable[str | Path], folder: Path) -> list[str]:
    """Return the paths of files below a folder that they are in."""
    prefix = len(str(folder.resolve())) + 1
    return [str(file)[prefix:] for file in files]


def _read(make: Callable[..., Any], folder: Path, **options: Any) -> Any:  # noqa: ANN401
    try:
        return make(**options)
    except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        first = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{folder} cannot be read ({type(error).__name__}: {first}): its "
            "lists contradict each other, get the complete data set."
        ) from None
