"""The data set beside the workbench: how accuracy moves, and images to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.data.transforms import to_picture
from ppn.errors import DataError
from ppn.visualization.images import data_uri
from ppn.visualization.numbers import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.data.dataset import ImageView
    from ppn.prototypes.editing import Edit
    from ppn.prototypes.effects import CachedImages
    from ppn.prototypes.network import PrototypeNetwork

_WRONG = 6
_RIGHT = 6
_THUMBNAIL = 112
_CONFUSIONS = 5


class BenchSet:
    """Labelled images, of which the classifier has said everything that edits need.

    Args:
        view: The images.
        cached: What the head was given of each, in any order.
        title: What the set is called.
    """

    def __init__(self, view: ImageView, cached: CachedImages, title: str) -> None:
        self._view = view
        self._cached = cached
        self.title = f"{title}, {len(view)} images"
        self._shown = _chosen(cached)
        self._listed: list[dict[str, Any]] = []

    def examples(self, network: PrototypeNetwork) -> list[dict[str, Any]]:
        """Return a few images to begin with: mistakes, the surest first, and right ones."""
        if not self._listed:
            guesses = self._cached.logits.argmax(1)
            for position in self._shown:
                true, guess = int(self._cached.labels[position]), int(guesses[position])
                pixels, name, _ = self.at(position)
                picture = to_picture(pixels, network.input_config)
                self._listed.append(
                    {
                        "position": position,
                        "name": name,
                        "picture": data_uri(picture, _THUMBNAIL),
                        "true": network.class_names[true],
                        "wrong": "" if guess == true else network.class_names[guess],
                    }
                )
        return self._listed

    def at(self, position: int) -> tuple[Tensor, str, int]:
        """Return an image (C, H, W), its name and its class.

        Raises:
            DataError: If there is none at that position.
        """
        if not 0 <= position < len(self._cached.labels):
            raise DataError("There is no such image: reload the page.")
        item = self._view.at([int(self._cached.images[position])])[0]
        return item["image"], self._view.source.name(int(item["index"])), int(item["label"])

    def rival(self, position: int) -> int | None:
        """Return the class that a mistake should be held against: the true one."""
        true = int(self._cached.labels[position])
        return None if int(self._cached.logits[position].argmax()) == true else true

    def effect(self, network: PrototypeNetwork, edits: Sequence[Edit]) -> dict[str, Any]:
        """Return what edits do to the set, in words and numbers."""
        effect = self._cached.effect(network, edits)
        before, after = effect.accuracy
        right = round((after - before) * effect.images)
        return {
            "before": percent(before, 1),
            "after": percent(after, 1),
            "gain": (right > 0) - (right < 0),
            "right": f"{right:+d}".replace("-", "\N{MINUS SIGN}") if right else "",
            "changed": effect.changed,
            "classes": [
                {
                    "label": one.label,
                    "recall": None if one.recall is None else [percent(r) for r in one.recall],
                    "predicted": list(one.predicted),
                }
                for one in effect.classes
            ],
            "confusions": [
                {"true": c.true, "predicted": c.predicted, "before": c.before, "after": c.after}
                for c in effect.confusions[:_CONFUSIONS]
            ],
        }


def _chosen(cached: CachedImages) -> list[int]:
    """The surest mistakes, and the surest right image of each of several classes."""
    sure, guess = cached.logits.softmax(1).max(1)
    order = sure.argsort(descending=True, stable=True)
    wrong = guess != cached.labels
    mistakes = order[wrong[order]][:_WRONG].tolist()
    right = order[~wrong[order]]
    first: NDArray[np.int64] = np.unique(cached.labels[right].numpy(), return_index=True)[1]
    return [*mistakes, *right[torch.from_numpy(np.sort(first)[:_RIGHT])].tolist()]
