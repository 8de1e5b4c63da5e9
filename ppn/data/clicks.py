"""Points that a person has clicked on images: a CSV file with a line for each answer."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppn.data.lists import read_text
from ppn.errors import DataError, nearest, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.data.dataset import AnnotatedDataset

HEADER = ("image", "part", "x", "y")
_MANY = 20_000
"""Names among which a similar one is looked for; more take too long."""


class Click(NamedTuple):
    """One answer: where a part of an image is, or that it is not visible.

    `image` and `part` are names; `point` is x and y in pixels of the image file, None where the
    part is not visible.
    """

    image: str
    part: str
    point: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Clicks:
    """Points on some images.

    Attributes:
        path: The file they are from.
        names: Name of each of m images, as `AnnotatedDataset.name` gives it.
        part_names: Name of each of P parts, in the order in which they first appear.
        points: (m, P, 3) x and y in pixels of the image file, from its top left corner, and
            visibility 1 or 0; zeros where a part is not visible, or nobody has said where it is.
        answered: (m, P) whether somebody has said where the part is, or that it is not visible.
    """

    path: Path
    names: list[str]
    part_names: list[str]
    points: NDArray[np.float64]
    answered: NDArray[np.bool_]


def read_clicks(path: Path, parts: Collection[str] | None = None) -> Clicks:
    """Read a CSV file of clicks, as `ppn annotate` writes it.

    Its first line is `image,part,x,y`; x and y are empty where a part is not visible. A last line
    that was cut off is left out with a warning.

    Args:
        path: The file, with commas, semicolons or tabs between its columns.
        parts: The parts that there are; None takes all that the file names.

    Raises:
        DataError: If the file is missing, or a line is wrong or contradicts another one; names file
            and line.
    """
    answers, torn = parse_clicks(path)
    if torn:
        warn(f"The last line of {path} is cut off and left out: complete or delete it.")
    for line, click in answers.items():
        if parts is not None and click.part not in parts:
            known = nearest(click.part, parts) or f"the parts are {', '.join(parts)}."
            raise DataError(f"{path}, line {line}: there is no part '{click.part}': {known}")
    if not answers:
        raise DataError(f"{path} has no clicks: add a line for each part of an image.")
    return collected(path, list(answers.values()))


def collected(path: Path, answers: Sequence[Click]) -> Clicks:
    """Return answers, each for another part or image, as arrays."""
    names = list(dict.fromkeys(click.image for click in answers))
    part_names = list(dict.fromkeys(click.part for click in answers))
    row = {name: i for i, name in enumerate(names)}
    column = {part: i for i, part in enumerate(part_names)}
    points = np.zeros((len(names), len(part_names), 3))
    answered = np.zeros(points.shape[:2], dtype=np.bool_)
    for click in answers:
        place = row[click.image], column[click.part]
        answered[place] = True
        if click.point is not None:
            points[place] = [*click.point, 1.0]
    return Clicks(path, names, part_names, points, answered)


def parse_clicks(path: Path) -> tuple[dict[int, Click], bool]:
    """Read the answers in a file of clicks.

    Returns:
        Number of its line -> answer, in the file's order, and whether a last line was left out
        because it is cut off.

    Raises:
        DataError: See `read_clicks`.
    """
    text = read_text(path, "give the path of a CSV file with the columns image, part, x and y")
    header = text.split("\n", 1)[0].rstrip("\r")
    delimiter = max(",;\t", key=header.count)
    _expect_header(path, [name.strip().lower() for name in header.split(delimiter)])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: dict[int, list[str]] = {}
    line, torn = 0, False
    try:
        for row in reader:
            line = reader.line_num
            rows[line] = [field.strip() for field in row]
    except csv.Error as error:
        torn = "unexpected end" in str(error) and reader.line_num == line + 1
        if not torn:
            raise DataError(f"{path}, line {line + 1}: {error}; correct the line.") from None
    del rows[1]
    if rows and not torn and not text.endswith(("\n", "\r")):
        torn = _is_torn(list(rows.values()))
        rows = dict(list(rows.items())[:-1]) if torn else rows
    answers: dict[int, Click] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, row in rows.items():
        if not any(row):
            continue
        click = _click(f"{path}, line {line}", row)
        earlier = lines.setdefault((click.image, click.part), line)
        if earlier != line:
            raise DataError(
                f"{path}, line {line}: part '{click.part}' of image {click.image} is already on "
                f"line {earlier}: delete one of the two lines."
            )
        answers[line] = click
    return answers, torn


def image_name(source: AnnotatedDataset, index: int) -> str:
    """Return what image `index` is called in files of clicks: its name with `/` between folders."""
    return source.name(index).replace("\\", "/").strip()


def click_indices(clicks: Clicks, source: AnnotatedDataset) -> NDArray[np.int64]:
    """Return which images of a data set were clicked.

    Args:
        clicks: Clicks on images of the data set; each clicked image is read, for its size.
        source: The data set.

    Returns:
        (m,) the index of each image.

    Raises:
        DataError: If an image is not in the data set, or a point lies outside of its image.
    """
    index_of = {image_name(source, i): i for i in range(len(source))}
    for name in clicks.names:
        if name not in index_of:
            raise DataError(
                f"{clicks.path}: image {name} is none of the training images: "
                f"{_similar(name, index_of)}"
            )
    indices = np.array([index_of[name] for name in clicks.names], dtype=np.int64)
    for name, index, points in zip(clicks.names, indices, clicks.points, strict=True):
        width, height = source.read(int(index)).image.size
        outside = (points[:, :2] < 0) | (points[:, :2] > [width, height])
        for part in np.flatnonzero(outside.any(1)):
            x, y, _ = points[part]
            raise DataError(
                f"{clicks.path}: part '{clicks.part_names[part]}' of image {name} is at {x:g}, "
                f"{y:g}, outside of its {width} x {height} pixels: correct the point."
            )
    return indices


def _expect_header(path: Path, names: list[str]) -> None:
    for name in HEADER:
        if name not in names:
            raise DataError(
                f"{path} has no column '{name}': its first line must be {','.join(HEADER)}."
            )
    if tuple(names) != HEADER:
        strange = next((name for name in names if name not in HEADER), None)
        what = f"has the unknown column '{strange}'" if strange else "has its columns in disorder"
        raise DataError(f"{path} {what}: its first line must be {','.join(HEADER)}.")


def _is_torn(rows: list[list[str]]) -> bool:
    """Whether the last line, which has no line break, may be the beginning of another one.

    Programs write all numbers with the same digits; a person may leave out the last line break.
    """
    *others, last = rows
    if len(last) != len(HEADER) or (last[2] == "") != (last[3] == ""):
        return True
    digits = {len(row[-1].partition(".")[2]) for row in others if row[-1]}
    return bool(last[3]) and bool(digits) and len(last[3].partition(".")[2]) < min(digits)


def _click(where: str, row: list[str]) -> Click:
    if len(row) != len(HEADER):
        raise DataError(
            f"{where}: it has {len(row)} columns instead of {len(HEADER)}, {','.join(HEADER)}."
        )
    image, part = row[0].replace("\\", "/"), row[1]
    for name, text in (("image", image), ("part", part)):
        if not text or text.splitlines() != [text] or "\0" in text:
            raise DataError(f"{where}: {name} is {text!r}, which is not a name.")
    if row[2] == row[3] == "":
        return Click(image, part, None)
    x, y = (_number(where, name, text) for name, text in zip(HEADER[2:], row[2:], strict=True))
    return Click(image, part, (x, y))


def _number(where: str, name: str, text: str) -> float:
    if not text:
        raise DataError(
            f"{where}: {name} is empty, but the other coordinate is not: give both, or leave both "
            "empty where the part is not visible."
        )
    plain = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text.lower(), re.ASCII)
    value = float(text) if plain else math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is '{text}', which is not a number.")
    if value < 0:
        raise DataError(f"{where}: {name} is {text}, outside of the image: it must be at least 0.")
    return value


def _similar(name: str, known: Collection[str]) -> str:
    """Say which image may be meant: one with the same file name, or with a similar path."""
    base = name.rsplit("/", 1)[-1]
    same = [other for other in known if other.rsplit("/", 1)[-1] == base]
    if len(same) == 1:
        return f"did you mean '{same[0]}'?"
    first = next(iter(known), "none")
    hint = nearest(name, known) if len(known) <= _MANY else ""
    return hint or f"images are named like '{first}'."
