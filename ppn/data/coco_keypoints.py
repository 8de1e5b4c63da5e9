"""Keypoints in COCO's JSON format, as annotation tools export them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ppn.data.clicks import Click, Clicks, collected
from ppn.data.lists import read_json
from ppn.errors import DataError
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = {
    "images": [{"id": int, "file_name": str, "width": Maybe(float), "height": Maybe(float)}],
    "annotations": [{"image_id": int, "category_id": int, "keypoints": Maybe([float])}],
    "categories": [{"id": int, "name": str, "keypoints": Maybe([str])}],
}
_VISIBLE = 2
"""COCO's v; 1 is covered by something, 0 is not labelled."""


def read_coco_keypoints(path: Path) -> Clicks:
    """Read a JSON file of COCO keypoints, one annotated object an image.

    A point is a part's where its visibility is 2. It is not visible where that is 1, covered, and
    has no answer where that is 0, not labelled.

    Args:
        path: The file.

    Raises:
        DataError: If the file is missing or does not hold COCO keypoints, an image has two objects
            with keypoints, or a point lies outside of its image.
    """
    content = read_json(path)
    fault = mismatch(content, _SCHEMA)
    if fault is not None:
        raise DataError(f"{path} does not hold COCO keypoints ({fault}): export it again.")
    images = _by_id(path, content["images"])
    categories = _by_id(path, content["categories"])
    answers: list[Click] = []
    seen: set[str] = set()
    for annotation in content["annotations"]:
        if not annotation.get("keypoints"):
            continue
        for key, table in (("image_id", images), ("category_id", categories)):
            if annotation[key] not in table:
                raise DataError(
                    f"{path} has an annotation with {key} {annotation[key]}, which the file does "
                    "not list: export it again."
                )
        image = images[annotation["image_id"]]
        name = image["file_name"].replace("\\", "/")
        if name in seen:
            raise DataError(
                f"{path} has keypoints of two objects in image {name}: keep those of one."
            )
        seen.add(name)
        parts = categories[annotation["category_id"]].get("keypoints") or []
        answers += _clicks(f"{path}, image {name}", image, name, parts, annotation["keypoints"])
    if not answers:
        raise DataError(f"{path} has no labelled keypoint: export it with keypoints.")
    return collected(path, answers)


def _clicks(
    where: str, image: dict[str, Any], name: str, parts: list[str], values: list[float]
) -> list[Click]:
    """The answers of one annotation: three values, x, y and visibility, for each part."""
    if len(values) != 3 * len(parts) or len(set(parts)) < len(parts):
        raise DataError(
            f"{where}: it has {len(values)} values for {len(set(parts))} keypoints of its category,"
            " but must have three for each: export it again."
        )
    width, height = (image.get(side) or math.inf for side in ("width", "height"))
    found = []
    for part, x, y, visibility in zip(parts, *(values[i::3] for i in range(3)), strict=True):
        if visibility not in (0, 1, _VISIBLE):
            raise DataError(f"{where}: the visibility of '{part}' is {visibility:g}, not 0 to 2.")
        if visibility == _VISIBLE and not (
            0 <= x <= width and 0 <= y <= height and math.isfinite(x + y)
        ):
            raise DataError(
                f"{where}: '{part}' is at {x:g}, {y:g}, outside of the image: correct the point."
            )
        if visibility:
            found.append(Click(name, part, (x, y) if visibility == _VISIBLE else None))
    return found


def _by_id(path: Path, items: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    table = {item["id"]: item for item in items}
    if len(table) < len(items):
        raise DataError(f"{path} gives one id to two images or categories: export it again.")
    return table
