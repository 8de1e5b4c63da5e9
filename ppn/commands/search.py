"""`ppn search`: what looks like a crop, or what a part fires on, among all training images."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature
from rich.table import Table

from ppn.commands.parsing import parts_of_class
from ppn.errors import PPNError
from ppn.io.files import write_bytes
from ppn.io.terminal import console
from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.crops import AlikePart, Box
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.prototypes.patch_index import Nearest, PatchIndex

_LISTED = 12


def search(
    *,
    ckpt: str,
    image: str | None = None,
    part: str | None = None,
    box: str | None = None,
    index: str | None = None,
    data: str | None = None,
    root: str | None = None,
    set: list[str] = [],  # noqa: B006 - the parser copies it
    count: PositiveInt = 24,
    out: str = "search",
    architecture: str | None = None,
) -> int:
    """Find the parts and training images that look like a crop, or the images a part fires on.

    Args:
        ckpt: Checkpoint of a prototype network.
        image: A crop, or a whole image together with --box. A small crop is seen at its own size.
        part: Instead of an image CLASS:PART, numbered from 1 as in pictures, or the name of an
            entry that classes share: the training images of all classes that it fires on most.
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
        PPNError: If there is no index, or what is looked for is wrong.
    """
    import torch

    from ppn.commands.index import training_data
    from ppn.data.images import read_image
    from ppn.prototypes.crops import alike_parts, crop_direction
    from ppn.prototypes.load import load
    from ppn.prototypes.patch_index import FOLDER, PatchIndex
    from ppn.prototypes.patch_shards import about_patches

    if (image is None) == (part is None) or (image is None and box is not None):
        raise PPNError("Say what to look for: --image, with or without --box, or --part.")
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
    parts = None
    if image is None:
        direction, title = _fires(network, str(part)), f"What {part} fires on"
    else:
        picture = read_image(Path(image).expanduser(), upright=True)
        direction, title = crop_direction(network, picture, _box(box)), f"Like {Path(image).name}"
        parts = alike_parts(network, direction, count)
    nearest = found.nearest(direction[None], min(count, found.images), cosine=parts is not None)
    measure = "score" if parts is None else "cosine"
    target = Path(out).expanduser()
    columns = ["image", "class", measure, "x0", "y0", "x1", "y1"]
    _write(target / "images.csv", columns, _image_rows(network, found, nearest))
    if parts is not None:
        _write(target / "parts.csv", _PARTS, _part_rows(network, parts))
    _draw(target / "images.png", title, measure, module, found, nearest)
    _tell(network, found, nearest, measure, parts, target)
    return 0


_PARTS = ["class", "part", "cosine", "nearest image"]


def _box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(value) for value in text.split(","))
    except ValueError:
        raise PPNError(f"--box {text} is not of the form X0,Y0,X1,Y1.") from None
    return x0, y0, x1, y1


def _fires(network: PrototypeNetwork, text: str) -> Tensor:
    """Return the prototype (D,) of a part, or the mean one of the classes that use an entry."""
    import torch

    from ppn.prototypes.arguments import class_index
    from ppn.report.named import entry_title

    prototypes = network.head.prototypes
    places = [
        (label, index)
        for label in range(len(prototypes))
        for index in range(prototypes.shape[1])
        if (entry_title(network, label, index) or "").casefold() == text.casefold()
    ]
    if not places:
        name, parts = parts_of_class(text, network.class_names, "part")
        label = class_index(name, network.class_names)
        places = [(label, network.part_index(part)) for part in parts]
    direction = torch.stack([prototypes[place] for place in places]).mean(0)
    if not bool(direction.any()):
        raise PPNError(f"Part {text} carries nothing: choose another one.")
    return direction


def _image_rows(
    network: PrototypeNetwork, found: PatchIndex, nearest: Nearest
) -> list[list[str | float]]:
    return [
        [
            found.name(int(image)),
            network.class_names[int(label)],
            float(f"{float(score):.5g}"),
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
    path: Path,
    title: str,
    measure: str,
    module: FineGrainedDataModule,
    found: PatchIndex,
    nearest: Nearest,
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
        detail = f"{number(float(nearest.score[0, place]))} · {found.name(image)}"
        pictures.append(Picture(sample, module.class_names[int(nearest.label[0, place])], detail))
    subtitle = f"the {len(images)} nearest of {found.images:,} training images, by {measure}"
    sheet = Sheet(title, subtitle, pictures, box="the nearest patch")
    write_png(draw_sheet(sheet), path)


def _tell(
    network: PrototypeNetwork,
    found: PatchIndex,
    nearest: Nearest,
    measure: str,
    parts: Sequence[AlikePart] | None,
    target: Path,
) -> None:
    terminal = console()
    if parts is not None:
        table = Table("part", "of", "cosine", title="Parts alike")
        for name, title, cosine, _ in _part_rows(network, parts)[:_LISTED]:
            table.add_row(str(title), str(name), f"{cosine:.2f}")
        terminal.print(table)
    title = "Images it fires on" if parts is None else "Images alike"
    table = Table("image", "class", measure, title=title)
    for name, label, value, *_ in _image_rows(network, found, nearest)[:_LISTED]:
        table.add_row(str(name), str(label), number(float(value)))
    terminal.print(table)
    files = "images.csv, images.png" if parts is None else "images.csv, parts.csv, images.png"
    terminal.print(f"All of them: {target}/{files}")
