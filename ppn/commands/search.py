"""`ppn search --image crop.png`: parts and training images that look like a crop."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature
from rich.table import Table

from ppn.errors import PPNError
from ppn.io.files import write_bytes
from ppn.io.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.crops import AlikePart, Box
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.prototypes.patch_index import Nearest, PatchIndex

_LISTED = 12


def search(
    *,
    image: str,
    ckpt: str,
    box: str | None = None,
    index: str | None = None,
    data: str | None = None,
    root: str | None = None,
    set: list[str] = [],  # noqa: B006 - the parser copies it
    count: PositiveInt = 24,
    out: str = "search",
    architecture: str | None = None,
) -> int:
    """Find the parts and the training images that look like a crop.

    Args:
        image: A crop, or a whole image together with --box. A small crop is seen at its own size.
        ckpt: Checkpoint of a prototype network.
        box: X0,Y0,X1,Y1 of the crop in pixels of the image.
        index: Folder of the index; `index` in the run's directory unless given.
        data: Its data, for the pictures: a file of configs/data, or a short name; None: the
            config.yaml of its run.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        count: Training images that are shown.
        out: Folder for images.csv, parts.csv and images.png.
        architecture: module:factory, if the model is your own code.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If there is no index, or the image or box is wrong.
    """
    import torch

    from ppn.commands.index import training_data
    from ppn.data.images import read_image
    from ppn.prototypes.crops import alike_parts, crop_direction
    from ppn.prototypes.load import load
    from ppn.prototypes.patch_index import FOLDER, PatchIndex
    from ppn.prototypes.patch_shards import about_patches

    network = load(ckpt, architecture=architecture)
    folder = Path(index).expanduser() if index else Path(ckpt).resolve().parent.parent / FOLDER
    found = PatchIndex(folder)
    module = training_data(network, ckpt, data, root, set)
    if found.about.key != about_patches(network, module).key:
        raise PPNError(
            f"{folder} is of another classifier, or of other images than {ckpt} and the data: make "
            "it again with `ppn index`."
        )
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    picture = read_image(Path(image).expanduser(), upright=True)
    direction = crop_direction(network, picture, _box(box))
    nearest = found.nearest(direction[None], min(count, found.images), cosine=True)
    parts = alike_parts(network, direction, count)
    target = Path(out).expanduser()
    _write(target / "images.csv", _IMAGES, _image_rows(network, found, nearest))
    _write(target / "parts.csv", _PARTS, _part_rows(network, parts))
    _draw(target / "images.png", Path(image).name, module, found, nearest)
    _tell(network, found, nearest, parts, target)
    return 0


_IMAGES = ["image", "class", "cosine", "x0", "y0", "x1", "y1"]
_PARTS = ["class", "part", "cosine", "nearest image"]


def _box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(value) for value in text.split(","))
    except ValueError:
        raise PPNError(f"--box {text} is not of the form X0,Y0,X1,Y1.") from None
    return x0, y0, x1, y1


def _image_rows(
    network: PrototypeNetwork, found: PatchIndex, nearest: Nearest
) -> list[list[str | float]]:
    return [
        [
            found.name(int(image)),
            network.class_names[int(label)],
            round(float(score), 4),
            *(round(value, 1) for value in box.tolist()),
        ]
        for image, label, score, box in zip(
            nearest.image[0], nearest.label[0], nearest.score[0], nearest.box[0], strict=True
        )
        if float(score) > -np.inf
    ]


def _part_rows(network: PrototypeNetwork, parts: Sequence[AlikePart]) -> list[list[str | float]]:
    from ppn.explanation.record import part_title

    return [
        [
            network.class_names[one.label],
            part_title(one.part, network.part_names),
            round(one.cosine, 4),
            one.patch.name if one.patch else "",
        ]
        for one in parts
    ]


def _write(path: Path, header: list[str], rows: Sequence[Sequence[str | float]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_bytes(path, text.getvalue().encode())


def _draw(
    path: Path, title: str, module: FineGrainedDataModule, found: PatchIndex, nearest: Nearest
) -> None:
    """Draw the images as the network sees them, with the patch in each."""
    from ppn.data.contact_sheet import Picture, Sheet, draw_sheet
    from ppn.data.dataset import Annotated
    from ppn.data.preview import write_png
    from ppn.data.transforms import to_picture

    known = nearest.score[0] > -np.inf
    images = nearest.image[0][known].tolist()
    view = module.view("train").at(images)
    pictures = []
    for place, image in enumerate(images):
        shown = to_picture(view[place]["image"], module.input_config)
        sample = Annotated(shown, nearest.box[0, place].double().numpy())
        detail = f"{float(nearest.score[0, place]):.2f} · {found.name(image)}"
        pictures.append(Picture(sample, module.class_names[int(nearest.label[0, place])], detail))
    subtitle = f"the {len(images)} nearest of {found.images:,} training images, by cosine"
    sheet = Sheet(f"Like {title}", subtitle, pictures, box="the patch that is alike")
    write_png(draw_sheet(sheet), path)


def _tell(
    network: PrototypeNetwork,
    found: PatchIndex,
    nearest: Nearest,
    parts: Sequence[AlikePart],
    target: Path,
) -> None:
    terminal = console()
    table = Table("part", "of", "cosine", title="Parts alike")
    for name, title, cosine, _ in _part_rows(network, parts)[:_LISTED]:
        table.add_row(str(title), str(name), f"{cosine:.2f}")
    terminal.print(table)
    table = Table("image", "class", "cosine", title="Images alike")
    for name, label, cosine, *_ in _image_rows(network, found, nearest)[:_LISTED]:
        table.add_row(str(name), str(label), f"{cosine:.2f}")
    terminal.print(table)
    terminal.print(f"All of them: {target}/images.csv, parts.csv, images.png")
