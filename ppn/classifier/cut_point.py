"""A classifier cut in two: what computes its last features, and the head that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ppn.classifier.running import copied, guarded, hooked, out_of_memory
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.utils._pytree import TreeSpec

Linear = nn.Linear | nn.Conv2d
"""A last layer: a linear one, or a 1 x 1 convolution."""
Read = Literal["all", "first", "mean"]
"""What of a layer's output goes on where it acts on a sequence: one vector, the first, the mean."""


class Features(NamedTuple):
    """The last features of a batch: their tensors, and how a network nests them.

    `leaves`: the tensors, in order, other values among them; `spec` nests them again; `size` and
    `channels`: height, width in pixels, and channels of the images they were computed from.
    """

    leaves: list[Any]
    spec: TreeSpec
    size: tuple[int, int]
    channels: int

    def with_leaf(self, index: int, leaf: Tensor) -> Features:
        """Return the features with another tensor in one place."""
        leaves = [leaf if i == index else old for i, old in enumerate(self.leaves)]
        return self._replace(leaves=leaves)

    def nested(self) -> Any:  # noqa: ANN401 - whatever the network made
        """Return copies as the network nests them: what reads them may work in place."""
        return copied(tree_unflatten(self.leaves, self.spec))


class CutPoint(Protocol):
    """A classifier that can be run as a whole, or from its features on."""

    model: nn.Module

    def run(self, images: Tensor) -> tuple[Features, Tensor]:
        """Return features and logits (B, C) of images (B, 3, H, W)."""

    def head(self, features: Features) -> Tensor:
        """Return the logits (B, C) that the head gives for features, of any batch size."""

    def of(self, model: nn.Module) -> CutPoint:
        """Return the same cut of a copy of the classifier."""


class MethodCutPoint:
    """A model with timm's `forward_features` and `forward_head`."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def run(self, images: Tensor) -> tuple[Features, Tensor]:
        """Return features and logits (B, C) of images (B, 3, H, W)."""
        with guarded(self.model):
            nested = self.model.forward_features(images.clone())  # type: ignore[operator]
            features = flattened(nested, images)
            return features, logits_of(self.model.forward_head(nested))  # type: ignore[operator]

    def head(self, features: Features) -> Tensor:
        """Return the logits (B, C) that the head gives for features, of any batch size."""
        with guarded(self.model):
            return logits_of(self.model.forward_head(features.nested()))  # type: ignore[operator]

    def of(self, model: nn.Module) -> MethodCutPoint:
        """Return the same cut of a copy of the classifier."""
        return MethodCutPoint(model)


class ModuleCutPoint:
    """A model whose features are the output of one of its modules.

    The head is run by replacing that output in a run of the whole model on one image of noise.

    Args:
        model: Any classifier.
        name: The module's name in it.
        in_place: Whether to take its output as it is when the model has finished: after functions
            that changed it in place, as a ReLU may.
    """

    def __init__(self, model: nn.Module, name: str, in_place: bool = False) -> None:
        self.model = model
        self.name = name
        self.in_place = in_place

    def run(self, images: Tensor) -> tuple[Features, Tensor]:
        """Return features and logits (B, C) of images (B, 3, H, W)."""
        kept: list[Any] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:  # noqa: ANN401 - a hook's arguments
            kept.append(output if self.in_place else copied(output))

        with guarded(self.model), hooked([(self.model.get_submodule(self.name), keep)]):
            logits = logits_of(self.model(images.clone()))
        if len(kept) != 1:
            raise HeadError(
                f"{type(self.model).__name__} runs its module '{self.name}' {len(kept)} times per "
                "image: name one as features that runs once."
            )
        return flattened(kept[0], images), logits

    def head(self, features: Features) -> Tensor:
        """Return the logits (B, C) that the head gives for features, of any batch size."""
        replaced = (self.model.get_submodule(self.name), lambda *_: features.nested())
        with guarded(self.model), hooked([replaced]):
            return on_noise(self.model, features, lambda noise: logits_of(self.model(noise)))

    def of(self, model: nn.Module) -> ModuleCutPoint:
        """Return the same cut of a copy of the classifier."""
        return ModuleCutPoint(model, self.name, self.in_place)


def noise_like(reference: Tensor, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return standard normal noise, of the same values for every device and default type."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    return noise.to(reference.device, reference.dtype)


def on_noise(model: nn.Module, features: Features, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run a model in which features are put in place of what it makes of an image of noise.

    Noise, so that whatever goes past them to the logits shows when this is checked. One image is
    enough, unless the model makes something for each image that it is given, such as a query: then
    there are as many as rows of features.

    Args:
        model: The classifier.
        features: What is put in place.
        run: The run, of images (B, C, H, W).
    """
    noise = noise_like(next(model.parameters()), (1, features.channels, *features.size), 7)
    try:
        return run(noise)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        rows = max(len(v) for v in features.leaves if isinstance(v, Tensor) and v.dim() > 0)
        if rows == 1 or out_of_memory(error):
            raise
    return run(noise.repeat(rows, 1, 1, 1))


def flattened(nested: Any, images: Tensor) -> Features:  # noqa: ANN401 - whatever the network made
    """Take a network's features of a batch of images apart, as copies."""
    leaves, spec = tree_flatten(copied(nested))
    return Features(leaves, spec, (images.shape[-2], images.shape[-1]), images.shape[1])


def logits_of(output: Any) -> Tensor:  # noqa: ANN401 - whatever a classifier gives
    """Return the logits in what a classifier gives.

    They are its output, the output's `logits` (an attribute, as in Hugging Face's models, or a
    key), the only matrix (B, C) under other keys, or the first of several outputs; one number per
    image is (B, 1).

    Raises:
        HeadError: If there is none of these.
    """
    found = output
    if isinstance(output, Mapping):
        matrices = [v for v in output.values() if isinstance(v, Tensor) and v.dim() == 2]
        found = output.get("logits", matrices[0] if len(matrices) == 1 else None)
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        raise HeadError(
            f"The classifier gives a {type(output).__name__} without logits: it must give a "
            "tensor, something with `logits`, or logits first."
        )
    if not found.is_floating_point():
        kind = str(found.dtype).removeprefix("torch.")
        raise HeadError(f"The classifier gives {kind}, not logits: give it without its last step.")
    # One logit may come without an axis of classes.
    return found.reshape(-1, 1) if found.dim() < 2 else found


def read_of(values: Tensor, read: Read, channels_first: bool) -> Tensor:
    """Return one vector per image of what a layer is given or gives.

    Reading commutes with a linear layer, so its input can be read in place of its output.

    Args:
        values: (B, D), (B, D, 1, 1), or a sequence (B, T, D) or map of such.
        read: What to take of a sequence.
        channels_first: Whether D is the second axis, as for a convolution.
    """
    if read == "all":
        return values.flatten(1)
    sequence = values.flatten(2).mT if channels_first else values.flatten(1, -2)
    return sequence[:, 0] if read == "first" else sequence.mean(dim=1)
