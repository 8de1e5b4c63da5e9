"""Features of a layer before the last ones, on the grid of the patch tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils._pytree import tree_leaves

from ppn.classifier.candidates import grid_modules
from ppn.classifier.cut_point import noise_like
from ppn.classifier.layout import Location, locations
from ppn.classifier.running import guarded, hooked

if TYPE_CHECKING:
    from ppn.classifier.running import Hook

DEPTHS = (0.7, 0.94)
"""Share of the layers up to the last features that a module may end after; the outermost such
module is taken, a stage rather than one of its blocks, and of these the last."""


class EarlierLayer(NamedTuple):
    """`name` of a module, which of the tensors that it gives holds patches, and where in it."""

    name: str
    leaf: int
    location: Location

    def read(self, output: object) -> Tensor:
        """Return a copy of the tensor, which later modules may change."""
        tensor: Tensor = tree_leaves(output)[self.leaf]
        return tensor.clone()

    def on_grid(self, features: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Return features (B, H * W, C): the means over the cells of a grid.

        Args:
            features: What `read` gives.
            grid: Rows H and columns W.
            size: Height and width of the images in pixels.
        """
        patches = self.location.read(features).mT
        rows, columns = self.location.grid(features, size)
        wide = patches.reshape(*patches.shape[:2], rows, columns)
        return adaptive_avg_pool2d(wide, grid).flatten(2).mT


@torch.no_grad()
def earlier_layer(
    model: nn.Module, channels: int, size: tuple[int, int], grid: tuple[int, int]
) -> EarlierLayer | None:
    """Find the layer after which most, and not all, of a classifier has been run.

    It depends on the classifier's structure alone, so that all processes find the same.

    Args:
        model: The classifier.
        channels: Of its input.
        size: Height and width of its input in pixels.
        grid: Rows and columns of its last features; there are at least as many here.

    Returns:
        The layer; None where no such module gives a grid.
    """
    images = noise_like(next(model.parameters()), (1, channels, *size), 7)
    found: dict[str, tuple[int, EarlierLayer]] = {}
    run = 0

    def note(name: str, module: nn.Module) -> Hook:
        single = next(module.children(), None) is None

        def hook(_: nn.Module, __: Any, output: Any) -> None:  # noqa: ANN401 - a hook's arguments
            nonlocal run
            run += single
            for leaf, tensor in enumerate(tree_leaves(output) if name in names else ()):
                one = isinstance(tensor, Tensor) and tensor.dim() and len(tensor) == 1
                places = locations(tensor, size) if one else []
                if places and all(a >= b for a, b in zip(places[0].grid(tensor, size), grid)):  # noqa: B905
                    found[name] = (run, EarlierLayer(name, leaf, places[0]))
                    return

        return hook

    names = grid_modules(model, images)
    with guarded(model), hooked([(m, note(n, m)) for n, m in model.named_modules() if n]):
        model(images)
    last = max((count for count, _ in found.values()), default=0)
    low, high = (share * last for share in DEPTHS)
    fitting = [name for name, (count, _) in found.items() if low <= count <= high]
    best = max(fitting, key=lambda name: (-name.count("."), found[name][0]), default=None)
    return None if best is None else found[best][1]
