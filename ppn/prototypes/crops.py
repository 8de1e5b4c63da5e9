"""What a crop looks like: its direction among patch tokens, and the parts nearest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image

from ppn.classifier.running import without_autocast
from ppn.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explanation.record import Patch
    from ppn.prototypes.network import PrototypeNetwork

Box = tuple[float, float, float, float]


class AlikePart(NamedTuple):
    """A part that looks like a crop: its class, position from 0, cosine, and nearest patch."""

    label: int
    part: int
    cosine: float
    patch: Patch | None


@torch.no_grad()
@without_autocast()
def crop_direction(
    network: PrototypeNetwork, picture: Image.Image, box: Box | None = None
) -> Tensor:
    """Return the mean direction (D,) of the patch tokens of a crop, of unit length.

    Args:
        network: What sees it.
        picture: An image, or a crop of one. A crop that is smaller than the classifier's input is
            laid in the middle of a grey one at its own size, for it would be seen as something else
            if it were enlarged.
        box: x0, y0, x1, y1 of the crop in pixels of the image; None: all of it.

    Raises:
        DataError: If the box is not in the image.
    """
    height, width = network.input_config.size
    if box is None and picture.width < width and picture.height < height:
        grey = tuple(round(255 * mean) for mean in network.input_config.mean)
        shown = Image.new("RGB", (width, height), (grey * 3)[:3])
        left, top = (width - picture.width) // 2, (height - picture.height) // 2
        shown.paste(picture.convert("RGB"), (left, top))
        box = (left, top, left + picture.width, top + picture.height)
        picture = shown
    x0, y0, x1, y1 = box or (0, 0, *picture.size)
    if not (0 <= x0 < x1 <= picture.width and 0 <= y0 < y1 <= picture.height):
        raise DataError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} is not in the image of {picture.width} x "
            f"{picture.height} pixels: give x0,y0,x1,y1."
        )
    mask = Image.new("L", picture.size)
    mask.paste(
        255, (round(x0), round(y0), max(round(x0) + 1, round(x1)), max(round(y0) + 1, round(y1)))
    )
    config, prepare = network.input_config, network.preprocessing
    assert prepare is not None
    tokens = network.tokens(prepare.convert(picture)[None], patches=True)
    channels = Image.merge("RGB", (mask, mask, mask))
    seen = prepare.convert(channels).to(network.device)[:1]
    # The mask has gone the way of the picture; undo the normalisation.
    covered = (seen * config.std[0] + config.mean[0]).clamp(0, 1)
    share = torch.nn.functional.adaptive_avg_pool2d(covered[None], tokens.grid).flatten()
    weight = share * (share >= share.max() / 2)
    direction = weight @ tokens.tokens[0].float()
    if not bool(direction.any()):
        raise DataError("The classifier sees nothing in this crop: give a larger one.")
    return torch.nn.functional.normalize(direction, dim=0)


def alike_parts(network: PrototypeNetwork, direction: Tensor, count: int) -> list[AlikePart]:
    """Return the discovered parts that a direction (D,) of tokens is nearest to, nearest first."""
    found = network.dictionary.found == 1
    parts = torch.nn.functional.normalize(network.dictionary.parts, dim=2)
    cosine = torch.where(found[:, None], parts @ direction.to(parts), -torch.inf)
    order = cosine.flatten().sort(descending=True, stable=True)
    most = min(count, int(found.sum()) * network.k)
    return [
        AlikePart(
            place // network.k,
            place % network.k,
            float(value),
            network.patch(place // network.k, place % network.k),
        )
        for value, place in zip(order.values[:most], order.indices[:most].tolist(), strict=True)
    ]
