"""`ppn explain IMAGE...`: a picture and a JSON file for each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.commands.arguments import Parser
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> Parser:
    """Return the parser of `ppn explain`."""
    found = Parser(
        prog="ppn explain",
        description="Explain images: the predicted class's logit as a sum of parts.",
    )
    found.add_argument("images", nargs="+", help="image files, or folders of them")
    found.add_argument("--ckpt", required=True, help="checkpoint of a prototype network")
    found.add_argument("--out", default="explanations", help="folder for PNG and JSON files")
    found.add_argument(
        "--class", dest="target", help="class to explain instead of the predicted one"
    )
    found.add_argument("--gallery", help="folder of nearest training patches, if moved")
    found.add_argument("--architecture", help="module:factory, if the model is your own code")
    return found


def main(arguments: Sequence[str]) -> int:
    """Explain images with a fitted network.

    Args:
        arguments: The command line after `ppn explain`.

    Returns:
        Exit code: 0, or 2 if an image could not be explained; the others are written all the same.
    """
    given = parser().parse_args(arguments)

    import torch

    from ppn.io.files import write_json
    from ppn.prototypes.load import load

    network = load(given.ckpt, given.gallery, given.architecture)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    target = given.target
    if target is not None and target.isdigit():
        target = int(target)
    files = _files(given.images)
    failures = []
    for file, stem in zip(files, _stems(files), strict=True):
        try:
            explanation = network.explain(file, target)
        except PPNError as error:
            failures.append(str(error))
            continue
        picture = explanation.save(Path(given.out) / f"{stem}.png")
        write_json(Path(given.out) / f"{stem}.json", explanation.to_dict())
        terms = [f"{value:+.3f}" for value in explanation.contributions]
        print(
            f"{file}: {explanation.class_name}, logit {explanation.logit:.3f} = "
            f"{' '.join(terms)} {explanation.bias:+.3f} (bias) -> {picture}"
        )
    if len(failures) == 1:
        raise PPNError(failures[0])
    if failures:
        raise PPNError(f"{len(failures)} images were left out, the first being: {failures[0]}")
    return 0


def _files(names: Sequence[str]) -> list[Path]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files += sorted(f for f in path.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS)
        else:
            files.append(path)
    if not files:
        raise PPNError(f"There is no image in {', '.join(names)}.")
    return files


def _stems(files: Sequence[Path]) -> list[str]:
    """A name for the results of each file; files of one name in several folders keep apart."""
    counts: dict[str, int] = {}
    stems = []
    for file in files:
        count = counts.get(file.stem, 0)
        counts[file.stem] = count + 1
        stems.append(f"{file.stem}-{count + 1}" if count else file.stem)
    return stems
