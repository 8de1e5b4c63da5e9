"""`ppn explain IMAGE...`: a picture and a JSON file for each image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import PositiveFloat  # noqa: TC002 - the parser reads the signature

from ppn.commands.parsing import run
from ppn.errors import PPNError, nearest
from ppn.io.files import parse_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence


def explain(
    images: list[str],
    *,
    ckpt: str,
    out: str = "explanations",
    target: str | None = None,
    gallery: str | None = None,
    architecture: str | None = None,
    maps: Literal["cells", "complete", "pixels"] | None = None,
    tolerance: PositiveFloat = 0.01,
    baseline: Literal["blurred", "grey", "colour"] = "blurred",
    cut: str | None = None,
) -> int:
    """Explain images: the logit of a class as a sum of parts.

    Args:
        images: Image files, or folders of them.
        ckpt: Checkpoint of a prototype network.
        out: Folder for PNG and JSON files.
        target: Class to explain instead of the predicted one: its name, or its index where no
            class has that name.
        gallery: Folder of the nearest training patches, if it was moved.
        architecture: module:factory, if the model is your own code.
        maps: cells of the last features; complete: add up behind every head; pixels: add up to the
            picture itself. Cells where they are exact, else complete, unless given.
        tolerance: Completeness error allowed for complete and pixels.
        baseline: What an image is compared with for these.
        cut: Name of the module whose output complete maps are of.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If an image could not be explained; the others are written all the same.
    """
    import torch

    from ppn.prototypes.load import load

    network = load(ckpt, gallery, architecture)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    chosen = None if target is None else _class(target, network.class_names)
    folder = Path(out)
    failures = []
    names, given = _names(folder), set[str]()
    for file in _files(images):
        try:
            explanation = network.explain(file, chosen, maps, tolerance, baseline, cut)
        except PPNError as error:
            failures.append(str(error))
            continue
        name = _own_name(file, folder, names, given)
        picture = explanation.save(folder / f"{name}.png")
        write_json(folder / f"{name}.json", {**explanation.to_dict(), "file": _place(file)})
        terms = [f"{value:+.3f}" for value in explanation.contributions]
        if explanation.part_names:
            terms = [f"{n} {t}" for n, t in zip(explanation.part_names, terms, strict=True)]
        print(
            f"{file}: {explanation.class_name}, logit {explanation.logit:.3f} = "
            f"{' '.join(terms)} {explanation.bias:+.3f} (bias) -> {picture}"
        )
    if len(failures) == 1:
        raise PPNError(failures[0])
    if failures:
        raise PPNError(f"{len(failures)} images were left out; the first: {failures[0]}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run `ppn explain`; see `explain`.

    Args:
        arguments: The command line after `ppn explain`.
    """
    return run("ppn explain", explain, arguments)


def _class(target: str, names: Sequence[str]) -> str | int:
    """The name of a class, or else an index."""
    if target in names:
        return target
    if target.isascii() and target.isdigit() and int(target) < len(names):
        return int(target)
    known = f"the first ones are {', '.join(names[:3])}."
    raise PPNError(f"There is no class '{target}': {nearest(target, names) or known}")


def _files(names: Sequence[str]) -> list[Path]:
    """Every image once; pictures that explain other images are left out of folders."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files: dict[str, Path] = {}
    for name in names:
        path = Path(name)
        found = [path]
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS)
            found = [f for f in found if not (f.suffix == ".png" and _explained(f))]
        for file in found:
            files.setdefault(_place(file), file)
    if not files:
        raise PPNError(f"There is no image in {', '.join(names)}.")
    return list(files.values())


def _names(folder: Path) -> dict[str, str]:
    """The names of pictures and JSON files in a folder, by the same in small letters.

    Some file systems do not tell capitals from small letters.
    """
    if not folder.is_dir():
        return {}
    return {f.stem.lower(): f.stem for f in folder.iterdir() if f.suffix in (".png", ".json")}


def _own_name(file: Path, folder: Path, names: dict[str, str], given: set[str]) -> str:
    """A name for an image's results, under which there is nothing of another image.

    Args:
        file: The image.
        folder: Where the results go.
        names: What was there before this call; see `_names`.
        given: Names that this call has given, in small letters; gets the new one.
    """
    number, name = 1, file.stem
    while True:
        key = name.lower()
        free = key not in names or _explained(folder / f"{names[key]}.png") == _place(file)
        if free and key not in given:
            given.add(key)
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


def _place(file: Path) -> str:
    return os.path.abspath(file)  # a link is an image of its own
