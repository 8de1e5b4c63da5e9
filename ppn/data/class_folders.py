"""The user's folders: which of them are splits, which are classes, and which images they hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppn.data.class_names import in_order
from ppn.data.images import image_suffixes
from ppn.data.split import split_named
from ppn.data.user_images import Found, UserImages
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LITTER = (
    "__MACOSX",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "#snapshot",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "__pycache__",
)
"""Folders that systems leave behind."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not meant for people, such as `.ipynb_checkpoints`."""
    return name.startswith(".") or name in _LITTER


def read_folders(root: Path) -> Found:
    """List the images of a user: a folder per class, or splits with a folder per class each.

    A folder is a split by its name (`split_named`) where it holds class folders, and a class where
    it holds images.

    Args:
        root: Folder of the class folders or of the splits.

    Raises:
        DataError: If what is a class and what is a split is not clear, a class folder has no image,
            or a folder cannot be read; says how to name the folders.
    """
    scan = _Scan()
    try:
        if not scan.folders(root):
            raise DataError(
                f"{root} holds no class folders: put the images of each class into a folder of its "
                "own, or list the images in a CSV file (csv)."
            )
        splits = _splits(scan, root)
        found: dict[str, dict[str, list[str]]] = {}
        for split, folder in (splits or {"train": root}).items():
            found[split] = _classes(scan, folder, whole=split == "train")
        for folder in (root, *splits.values()):
            scan.leave_files(folder)
        for folder in scan.folders(root) if splits else ():
            if folder not in splits.values():
                _expect_none(scan, folder, found["train"])
                scan.leave(folder)
    except OSError as error:
        place = error.filename or root
        raise DataError(
            f"{place} cannot be read ({error.strerror}): check its permissions."
        ) from None
    names = in_order(found["train"])
    label_of = {name: label for label, name in enumerate(names)}
    rows: list[tuple[str, int, str]] = []
    for split, classes in found.items():
        for name, paths in classes.items():
            if name not in label_of:
                raise DataError(
                    f"{splits[split] / name} is a class that {splits['train']} lacks: add images "
                    "of it for training, or remove the folder."
                )
            rows += [(os.path.relpath(path, root), label_of[name], split) for path in paths]
    rows.sort(key=lambda row: row[1])  # stable: within a class, splits and paths keep their order
    images = UserImages(
        root,
        [row[0].replace(os.sep, "/") for row in rows],
        np.array([row[1] for row in rows], dtype=np.int64),
        names,
    )
    origin = {split: f"{folder.name}/" for split, folder in splits.items()}
    return Found(images, np.array([row[2] for row in rows]), origin, scan.remarks(root))


def _splits(scan: _Scan, root: Path) -> dict[str, Path]:
    """Return the folder of each split, training first; empty where `root` holds class folders."""
    named: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    others = []
    for folder in scan.folders(root):
        split, bare = split_named(folder.name)
        if split is not None and (bare or not scan.holds_images(folder)):
            named[split].append(folder)
        else:
            others.append(folder)
    splits = {split: folders[0] for split, folders in named.items() if folders}
    if not splits:
        return {}
    several = next((folders for folders in named.values() if len(folders) > 1), None)
    if several is not None:
        raise DataError(
            f"{several[0]} and {several[1]} are both named like one split: name the splits train/, "
            "val/ and test/, and move the other folders elsewhere."
        )
    classes = next((folder for folder in others if scan.holds_images(folder)), None)
    first = next(iter(splits.values()))
    if classes is not None:
        raise DataError(
            f"{first} is named like a split, but stands beside the class folder {classes.name}/: "
            "name the splits train/ and test/ with a folder per class in each, or rename "
            f"{first.name}/ if it is a class."
        )
    if "train" not in splits:
        raise DataError(
            f"{root} holds {first.name}/ but no training images: name the folder of the training "
            "images train/."
        )
    return splits


def _classes(scan: _Scan, folder: Path, whole: bool) -> dict[str, list[str]]:
    """Return the images of each class folder; where `whole`, each must have one."""
    classes = scan.folders(folder)
    if not classes:
        elsewhere = "" if whole else ", or move it elsewhere if their classes are not known"
        raise DataError(
            f"{folder} holds no class folders: put the images of each class into a folder of its "
            f"own inside of it, or list the images in a CSV file (csv){elsewhere}."
        )
    nested = [path for path in classes if scan.folders(path) and not scan.holds_images(path)]
    if nested and len(classes) == 1:
        raise DataError(
            f"{folder} holds only {nested[0].name}/, which holds only folders: give {nested[0]} as "
            "root, or name the splits train/ and test/ with a folder per class in each."
        )
    if nested:
        raise DataError(
            f"Class folder {nested[0]} holds only folders: name the splits train/ and test/ with a "
            "folder per class in each, or put the images of a class directly into its folder."
        )
    found = {path.name: scan.images(path) for path in classes}
    empty = next((name for name, paths in found.items() if not paths), None)
    if empty is not None and whole:
        kinds = Counter(_kind(name) for name in os.listdir(folder / empty) if not is_hidden(name))
        raise DataError(
            f"Class folder {folder / empty} holds no image that is read"
            f"{', only ' + _listed(kinds) if kinds else ''}: remove the folder, or add images of "
            "its class."
        )
    return found


def _expect_none(scan: _Scan, folder: Path, classes: Collection[str]) -> None:
    """Refuse a folder beside the splits that holds the classes too: it may be one of them."""
    inner = [path for path in scan.folders(folder) if path.name in classes]
    if any(scan.holds_images(path) for path in inner):
        raise DataError(
            f"{folder} holds images of {inner[0].name} but is not named like a split: name it "
            "val/ or test/, or move it elsewhere."
        )


class _Scan:
    """Looks into folders, and counts what is left out."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()
        self._hidden: dict[Path, None] = {}
        self._files: Counter[str] = Counter()

    def folders(self, folder: Path) -> list[Path]:
        """Return the visible folders directly in a folder, sorted."""
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        self._hidden.update((path, None) for path in inner if is_hidden(path.name))
        return [path for path in inner if not is_hidden(path.name)]

    def holds_images(self, folder: Path) -> bool:
        """Whether images are directly in a folder."""
        return any(_is_image(name) for name in os.listdir(folder))

    def images(self, folder: Path) -> list[str]:
        """Return the images below a folder, in the order of torchvision's `ImageFolder`."""
        found = []
        for place, names in sorted(self._walk(folder)):
            for name in sorted(names):
                if _is_image(name):
                    found.append(os.path.join(place, name))
                else:
                    self._files[_kind(name)] += 1
        return found

    def leave_files(self, folder: Path) -> None:
        """Count the files directly in a folder of class folders or splits."""
        for path in folder.iterdir():
            if path.is_file():
                image = _is_image(path.name)
                self._files["images outside of class folders" if image else _kind(path.name)] += 1

    def leave(self, folder: Path) -> None:
        """Count the files below a folder that is neither a split nor a class."""
        self._left[folder.name] = sum(len(names) for _, names in self._walk(folder))

    def remarks(self, root: Path) -> list[str]:
        """Say in one sentence, if anything, what was left out below a folder."""
        parts = [_listed(self._files)] if self._files else []
        if self._hidden:
            names = sorted({path.name for path in self._hidden})
            parts.append(f"hidden folders ({', '.join(names[:3])}{', ...' if names[3:] else ''})")
        parts += [f"{name}/ ({count} files)" for name, count in self._left.items()]
        return [f"Left out in {root}: {', '.join(parts)}."] if parts else []

    def _walk(self, folder: Path) -> Iterator[tuple[str, list[str]]]:
        """Yield each visible folder below and including a folder, with the names of its files."""
        for place, inner, names in os.walk(folder, onerror=_raise, followlinks=True):
            self._hidden.update((Path(place, name), None) for name in inner if is_hidden(name))
            back = [name for name in inner if _leads_back(place, name)]
            if back:
                self._files["links to a folder around them"] += len(back)
            inner[:] = [name for name in inner if not is_hidden(name) and name not in back]
            yield place, names


def _leads_back(place: str, name: str) -> bool:
    """Whether a link leads to a folder that it is in, so that following it would not end."""
    path = os.path.join(place, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return os.path.commonpath([target, os.path.realpath(place)]) == target


def _is_image(name: str) -> bool:
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in image_suffixes()


def _kind(name: str) -> str:
    """Say what kind of file is left out, for counting."""
    if is_hidden(name):
        return "hidden files"
    suffix = os.path.splitext(name)[1].lower()
    if not suffix:
        return "files without a suffix"
    return suffix if re.fullmatch(r"\.\w{1,12}", suffix) else "files of another kind"


def _listed(kinds: Counter[str]) -> str:
    """Name kinds of files with their counts, the most frequent first."""
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())


def _raise(error: OSError) -> None:
    raise error
