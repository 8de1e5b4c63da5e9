"""A classifier that also gives its patch tokens and effective linear head."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppn.classifier.candidates import last_modules
from ppn.classifier.cut import gradient_maps, lift, run
from ppn.classifier.cut_point import logits_of
from ppn.classifier.earlier import earlier_layer
from ppn.classifier.effective import effective_head, head_vector, live_cut
from ppn.classifier.inspection import inspect_head
from ppn.classifier.running import guarded, hooked
from ppn.errors import HeadError
from ppn.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.classifier.earlier import EarlierLayer
    from ppn.classifier.head_case import HeadInspection
    from ppn.classifier.placement import Placed
    from ppn.types import InputConfig


class Classifier(nn.Module):
    """A classifier that also gives its patch tokens and effective linear head.

    The classifier's logits are `scale * (weight @ z) + bias`, where z is the mean patch token or
    whatever else the last linear layer acts on, and `scale` one positive number per image (method:
    "Heads"). Which head case holds is found by running the model on random input, never by its
    name.

    Args:
        model: A classifier; of a wrapped one what is inside is taken, see `observable`.
        config: Input size and normalisation it expects.
        features: Name of the module whose output are the last features; None finds out.
        placed: Where the patches of this very model were measured to be; None measures it.

    Raises:
        HeadError: If this is not an nn.Module, or the classifier has no last linear layer, or no
            features on a grid; the message says why.
    """

    def __init__(
        self,
        model: nn.Module,
        config: InputConfig,
        features: str | None = None,
        placed: Placed | None = None,
    ) -> None:
        super().__init__()
        self.model = observable(model)
        self.config = config
        self.features = features
        self.earlier: EarlierLayer | None = None
        self.inspect(placed)
        # What was found about other weights may not hold for these (shares of averaged heads).
        self.register_load_state_dict_post_hook(_inspect_again)  # type: ignore[no-untyped-call]

    def inspect(self, placed: Placed | None = None) -> None:
        """Find out what holds for the model's weights as they are now."""
        config = self.config
        self.inspection: HeadInspection = inspect_head(
            self.model, config.size, self.features, config.channels, placed
        )

    @property
    def width(self) -> int:
        """D, the length of the vector on which the effective head acts."""
        return self.inspection.width

    @property
    def linears(self) -> list[nn.Module]:
        """The last linear layers; more than one where heads are averaged.

        Where a head has none, the module whose output its parameters act on.
        """
        return last_modules(self.model, self.inspection.linears)

    def classify(self, images: Tensor) -> Tensor:
        """Return the black box's logits (B, C) for images (B, 3, H, W)."""
        return logits_of(self.model(images))

    def accept(self, images: Tensor) -> Tensor:
        """Return images on the device and in the type of the classifier's weights."""
        return images.to(next(self.model.parameters()))

    def forward(self, images: Tensor, patches: bool = True) -> Tokens:
        """Return the patch tokens of images with the black box's own logits, in evaluation.

        Args:
            images: (B, 3, H, W).
            patches: Whether patch tokens are wanted. Where the head has to be run on each of them
                they cost most of the time, and maps do not need them: False leaves them empty.
        """
        if self.earlier is None or not patches:
            with guarded(self.model):
                return self._tokens(images, patches)
        layer, kept = self.earlier, list[Tensor]()
        watched = self.model.get_submodule(layer.name)
        with (
            guarded(self.model),
            hooked([(watched, lambda *call: kept.append(layer.read(call[-1])))]),
        ):
            tokens = self._tokens(images, patches)
        size = (images.shape[-2], images.shape[-1])
        return tokens._replace(earlier=layer.on_grid(kept[0], tokens.grid, size))

    @contextmanager
    def looking_earlier(self) -> Iterator[None]:
        """Give, with patch tokens, features of an earlier layer where there is one."""
        before = self.earlier
        if before is None:
            config, grid = self.config, self.inspection.grid
            self.earlier = earlier_layer(self.model, config.channels, config.size, grid)
        try:
            yield
        finally:
            self.earlier = before

    def _tokens(self, images: Tensor, patches: bool) -> Tokens:
        report = self.inspection
        cut = live_cut(self.model, report)
        if report.averages:
            features, logits = cut.split.run(images)
            tokens = cut.patches(features)
            pooled, scale = head_vector(self.model, report, tokens, tokens[:, 0])
            return Tokens(tokens, cut.grid(features), pooled, scale, logits)
        features, inputs, logits = run(cut, images)
        raw = cut.patches(features)
        pooled, scale = head_vector(self.model, report, raw, inputs)
        indicative = report.case == "class_token"
        if patches or indicative:
            tokens = lift(cut, features, report.single)
        else:
            tokens = pooled[:, :0, None].expand(-1, -1, pooled.shape[1])
        maps = None if indicative else partial(gradient_maps, cut, features)
        return Tokens(tokens, cut.grid(features), pooled, scale, logits, maps)

    def effective_head(self) -> tuple[Tensor, Tensor]:
        """Return weight (C, D) and bias (C,), in float64, of the head that acts on z."""
        return effective_head(self.model, self.inspection)


def observable(model: object) -> nn.Module:
    """Return a classifier as a module whose inside can be watched while it runs.

    Args:
        model: The classifier, or what `torch.compile`, DataParallel or DDP made of it.

    Raises:
        HeadError: If it is not an nn.Module, or one of TorchScript, or has no weights.
    """
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while hasattr(model, "_orig_mod") or isinstance(model, wrappers):
        model = model.module if isinstance(model, wrappers) else model._orig_mod
    if not isinstance(model, nn.Module):
        raise HeadError(f"The classifier is a {type(model).__name__}: give a torch.nn.Module.")
    if isinstance(model, torch.jit.ScriptModule):
        raise HeadError(
            "The classifier is a TorchScript module, whose inside cannot be watched: give the "
            "nn.Module that it was made from, with its weights."
        )
    if next(model.parameters(), None) is None:
        raise HeadError(f"{type(model).__name__} has no weights, so it cannot be a classifier.")
    return model


def _inspect_again(classifier: nn.Module, _: object) -> None:
    assert isinstance(classifier, Classifier)
    classifier.inspect()
