"""A CSV file that lists a user's images with labels, boxes and keypoints."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ppn.data.class_names import in_order
from ppn.data.inside import is_inside
from ppn.data.lists import read_text
from ppn.data.split import split_named
from ppn.data.user_images import Found, UserImages
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "filepaths",
        "filenames",
        "image",
        "image_path",
        "image_name",
        "img",
        "img_path",
    ),
    "label": (
        "label",
        "labels",
        "class",
        "class_name",
        "classname",
        "category",
        "target",
        "class_id",
        "classid",
        "category_id",
    ),
    "split": ("split", "set", "subset"),
}
"""Usual names of each column, ours first; letters may be capitals."""

_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
    ("min_x", "min_y", "max_x", "max_y"),
    ("top_left_x", "top_left_y", "bottom_right_x", "bottom_right_y"),
    ("roi.x1", "roi.y1", "roi.x2", "roi.y2"),
)
_SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
)
_CENTRES = (
    ("cx", "cy", "w", "h"),
    ("x_center", "y_center", "width", "height"),
    ("center_x", "center_y", "width", "height"),
)
_BEFORE = ("", "bbox_", "box_", "bb_")
"""What the names of a box's columns may begin with."""


Sized = Literal["", "corner", "centre"]
"""What width and height come with, if there are any."""


class _Columns(NamedTuple):
    """Which columns of a file are used.

    `known` maps path, label and split to their columns; `box` are four columns or none: two
    corners, or a "corner" or the "centre" with width and height, if `sized`; `parts` are the names
    of keypoints.
    """

    known: dict[str, str]
    box: tuple[str, ...]
    sized: Sized
    parts: list[str]
    unused: list[str]


class _Row(NamedTuple):
    path: str
    label: str
    split: str
    box: list[float]
    keypoints: list[list[float]]


def read_table(root: Path, path: Path) -> Found:
    """Read a CSV file of images; see `ImageFolderDataModule`.

    Args:
        root: Folder that its paths start from.
        path: The CSV file, with commas, semicolons, tabs or bars between its columns.

    Returns:
        Its images; classes are the labels in sorted order.

    Raises:
        DataError: If a column is missing or a line is wrong; names file and line.
    """
    lines = read_text(path, "correct csv, the path of the list of images").splitlines()
    header = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter=max(",;\t|", key=header.count))
    try:
        columns = _columns(path, [name.strip() for name in reader.fieldnames or []])
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        rows = _rows(root, path, reader, columns)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct the line.") from None
    _expect_pixels(path, rows)
    names = in_order(row.label for row in rows)
    label_of = {name: label for label, name in enumerate(names)}
    images = UserImages(
        root,
        [row.path for row in rows],
        np.array([label_of[row.label] for row in rows], dtype=np.int64),
        names,
        columns.parts,
        np.array([row.box for row in rows], dtype=np.float64),
        np.array([row.keypoints for row in rows]).reshape(len(rows), len(columns.parts), 3),
    )
    remarks = []
    if columns.unused:
        listed = ", ".join(map(repr, columns.unused[:10])) + ", ..." * (len(columns.unused) > 10)
        remarks = [f"Columns of {path} that are not used: {listed}."]
    splits = np.array([row.split for row in rows])
    if "train" not in splits:
        raise DataError(f"{path} puts no image into the split train: correct the column of splits.")
    return Found(images, splits, {split: f"split '{split}'" for split in set(splits)}, remarks)


def _columns(path: Path, names: list[str]) -> _Columns:
    """Tell which column is what, by the names in the first line."""
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns '{twice}': give each column a name of its own.")
    column_of = {name.lower(): name for name in names}
    known = {}
    for what, usual in _NAMES.items():
        found = next((column_of[name] for name in usual if name in column_of), None)
        if found is not None:
            known[what] = found
        elif what != "split":
            raise DataError(
                f"{path} has no column '{what}': its first line must name the columns, of which "
                f"path and label are needed, and names {', '.join(map(repr, names[:6])) or 'none'}."
            )
    box, sized = _box_columns(path, column_of)
    free = [name for name in names if name and name not in (*known.values(), *box)]
    parts = [name[:-2] for name in free if name.endswith("_x") and name[:-2] + "_y" in free]
    used = {part + axis for part in parts for axis in ("_x", "_y")}
    return _Columns(known, box, sized, parts, [name for name in free if name not in used])


def _box_columns(path: Path, column_of: dict[str, str]) -> tuple[tuple[str, ...], Sized]:
    """Return the four columns of the box, or none, and what its width and height come with."""
    kinds: tuple[tuple[tuple[tuple[str, ...], ...], Sized], ...] = (
        (_CORNERS, ""),
        (_SIZES, "corner"),
        (_CENTRES, "centre"),
    )
    for forms, sized in kinds:
        for before in _BEFORE:
            for form in forms:
                names = [before + name for name in form]
                if all(name in column_of for name in names):
                    return tuple(column_of[name] for name in names), sized
    for before in _BEFORE:
        for form in (*_CORNERS[:1], *_CORNERS[2:4]):  # names that mean nothing else
            absent = [before + name for name in form if before + name not in column_of]
            if len(absent) < len(form):
                listed = ", ".join(before + name for name in form)
                raise DataError(f"{path} has no column '{absent[0]}': a box needs {listed}.")
    return (), ""


def _expect_pixels(path: Path, rows: list[_Row]) -> None:
    """Refuse boxes and keypoints in shares of the image's size, which would be one pixel large."""
    points = [point[:2] for row in rows for point in row.keypoints if point[2]]
    for what, found in (("boxes", [row.box for row in rows]), ("keypoints", points)):
        numbers = np.array(found, dtype=np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if numbers.size and numbers.max() <= 1 and (numbers != numbers.round()).any():
            raise DataError(
                f"{path} has {what} that are shares of the image's size (at most "
                f"{numbers.max():g}): multiply them by its width and height in pixels."
            )


def _rows(root: Path, path: Path, reader: csv.DictReader[str], columns: _Columns) -> list[_Row]:
    place = Path(os.path.abspath(root))
    rows = []
    listed: set[str] = set()
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{where}: it does not have as many columns as the first line.")
        stripped = {k: v.strip() for k, v in row.items()}
        given = Path(stripped[columns.known["path"]])
        if given.is_absolute() and given.is_relative_to(place):
            stripped[columns.known["path"]] = given.relative_to(place).as_posix()
        rows.append(_read_row(where, stripped, columns))
        if rows[-1].path in listed:
            raise DataError(f"{where}: image {rows[-1].path} is listed twice.")
        listed.add(rows[-1].path)
    if not rows:
        raise DataError(f"{path} lists no images: add a line for each image.")
    return rows


def _read_row(where: str, row: dict[str, str], columns: _Columns) -> _Row:
    name = row[columns.known["path"]].replace("\\", "/")
    if not is_inside(name):
        raise DataError(f"{where}: path '{name}' must lie below the folder of images.")
    label = row[columns.known["label"]]
    if not label:
        raise DataError(f"{where}: it has no label.")
    given = row[columns.known["split"]] if "split" in columns.known else "train"
    split, _ = split_named(given)
    if split is None:
        raise DataError(f"{where}: split is '{given}', but must be train, val or test.")
    box = _numbers(where, row, columns.box) or [math.nan] * 4
    if columns.sized:
        if columns.sized == "centre":
            box = [box[0] - box[2] / 2, box[1] - box[3] / 2, *box[2:]]
        box = [*box[:2], box[0] + box[2], box[1] + box[3]]
    if box[2] <= box[0] or box[3] <= box[1]:
        fault = "box has no width or no height"
        if not columns.sized:
            fault = "box's second corner is not right of and below the first"
        raise DataError(f"{where}: the {fault}.")
    keypoints = []
    for part in columns.parts:
        x, y = _numbers(where, row, (f"{part}_x", f"{part}_y"))
        seen = not (math.isnan(x) or math.isnan(y))
        keypoints.append([x, y, 1.0] if seen else [0.0, 0.0, 0.0])
    return _Row(name, label, split, box, keypoints)


def _numbers(where: str, row: dict[str, str], columns: Sequence[str]) -> list[float]:
    """The numbers in some columns; NaN where one is empty."""
    values = []
    for column in columns:
        try:
            values.append(float(row[column] or "nan"))
        except ValueError:
            values.append(math.inf)
        if math.isinf(values[-1]):
            raise DataError(f"{where}: {column} is '{row[column]}', which is not a number.")
    return values
