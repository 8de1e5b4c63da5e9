"""The head of a cut classifier as a function: of features, of single patches, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ppn.classifier.cut_point import Features, read_of
from ppn.classifier.norms import fixed_scales
from ppn.classifier.running import guarded, noting
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.classifier.cut_point import CutPoint, Read
    from ppn.classifier.layout import Location

_CHUNK = 2**24
"""Most numbers in the features on which the head runs at once, in `lift`."""


class Cut(NamedTuple):
    """Where a classifier is cut, where its patches are, and what comes last.

    `split`; `linears` the last linear layers; `reads` what of each goes on; `leaf` the tensor of
    the features that holds the patches; `location` of the patches in it; `outputs` whether z is
    what the modules in `linears` give, not what they are given.
    """

    split: CutPoint
    linears: list[nn.Module]
    reads: Sequence[Read]
    leaf: int
    location: Location
    outputs: bool = False

    def patches(self, features: Features) -> Tensor:
        """Return the raw patch tokens (B, N, D')."""
        return self.location.read(features.leaves[self.leaf])

    def grid(self, features: Features) -> tuple[int, int]:
        """Return rows and columns of the patches."""
        return self.location.grid(features.leaves[self.leaf], features.size)


def run(cut: Cut, images: Tensor) -> tuple[Features, Tensor, Tensor]:
    """Return features, z (B, D) and logits (B, C) of images (B, 3, H, W)."""
    with guarded(cut.split.model), noting(cut.linears, cut.outputs) as noted:
        features, logits = cut.split.run(images)
    return features, _joined(cut, noted, features), logits


def head_input(cut: Cut, features: Features) -> Tensor:
    """Return z (B, D), what the last linear layers are given for features, one after the other."""
    with guarded(cut.split.model), noting(cut.linears, cut.outputs) as noted:
        cut.split.head(features)
    return _joined(cut, noted, features)


def _joined(cut: Cut, noted: list[list[Tensor]], features: Features) -> Tensor:
    """What the last linear layers were given, as one vector per image (B, D)."""
    if not cut.linears:  # parameters that act on the mean patch
        return cut.patches(features).mean(dim=1)
    vectors = [
        read_of(calls[-1], read, isinstance(linear, nn.Conv2d))
        for linear, read, calls in zip(cut.linears, cut.reads, noted, strict=True)
    ]
    return torch.cat(vectors, dim=1)


def lift(cut: Cut, features: Features, single: bool = False, most: int | None = None) -> Tensor:
    """Bring patch tokens into the space of z: what the head makes of each of them everywhere.

    Token n becomes g(features that hold f_n at every position), what the head would see if the
    whole image looked like that patch: f_n itself behind a mean, its activation where an
    activation follows, and so on.

    Args:
        cut: The cut classifier.
        features: Features of B images.
        single: Let a map of one cell stand for the full one: cheaper, where it is the same.
        most: Number of patches of each image to lift; None for all.

    Returns:
        (B, N, D).
    """
    cells = cut.patches(features).shape[1]
    tokens = cut.patches(features)[:, :most]
    images, count, width = tokens.shape
    flat = tokens.reshape(images * count, width)
    shape = (1, 1) if single else cut.grid(features)
    step = max(1, _CHUNK // (width * (1 if single else cells)))
    order = torch.arange(flat.shape[0], device=flat.device)
    # A graph has no loop whose length depends on the batch.
    pieces = [order] if torch.compiler.is_exporting() else torch.split(order, step)
    lifted = [
        head_input(cut, _filled(cut, features, flat[rows], rows // count, shape)) for rows in pieces
    ]
    return torch.cat(lifted).reshape(images, count, -1)


def _filled(
    cut: Cut, features: Features, vectors: Tensor, rows: Tensor, shape: tuple[int, int]
) -> Features:
    """Features that hold vectors (M, D) everywhere; M rows say whose image the rest is from."""
    leaves = []
    for index, leaf in enumerate(features.leaves):
        if index == cut.leaf:
            leaf = cut.location.filled(vectors, shape)
        elif isinstance(leaf, Tensor) and leaf.dim() > 1:
            leaf = _spread(vectors, leaf[rows])
        leaves.append(leaf)
    return features._replace(leaves=leaves)


def _spread(vectors: Tensor, leaf: Tensor) -> Tensor:
    """Fill a further tensor of features too, if its tokens have the same width (class tokens)."""
    width = vectors.shape[1]
    if leaf.dim() == 3 and leaf.shape[2] == width:
        return vectors[:, None].expand_as(leaf)
    if leaf.dim() == 4 and leaf.shape[1] == width:
        return vectors[:, :, None, None].expand_as(leaf)
    if leaf.dim() == 4 and leaf.shape[3] == width:
        return vectors[:, None, None].expand_as(leaf)
    return leaf


def gradient_maps(cut: Cut, features: Features, directions: Tensor) -> Tensor:
    """Return N * <f_n, d<z, p_i> / df_n>: gradient times token of what each direction receives.

    Their mean over n is the contribution <z, p_i> where the head is linear in the patches; how far
    it is elsewhere is the completeness error. Layer norms on the way count as linear: see
    `fixed_scales`. Costs one run of the head and one backward pass
    through it for each direction; nothing of the classifier.

    Args:
        cut: The cut classifier.
        features: Features of B images.
        directions: (B, k, D); if they want a gradient, the maps have one.

    Returns:
        (B, k, N) float32 or wider.
    """
    learned = directions.requires_grad and torch.is_grad_enabled()
    # A Trainer evaluates in inference mode, whose tensors autograd does not accept: copies do.
    # Fused attention has no second derivative, which learning the split needs.
    with (
        guarded(cut.split.model),
        torch.inference_mode(False),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):
        weight = next(cut.split.model.parameters())
        leaves = [
            leaf.detach().clone().to(weight.dtype)
            if isinstance(leaf, Tensor) and leaf.is_floating_point()
            else leaf
            for leaf in features.leaves
        ]
        source = leaves[cut.leaf].requires_grad_()
        with fixed_scales(cut.split.model):
            z = head_input(cut, features._replace(leaves=leaves))
        if not z.requires_grad:
            raise HeadError(
                f"{type(cut.split.model).__name__} computes its logits without gradients, which "
                "maps need: take torch.no_grad and detach out of its forward."
            )
        wanted = directions.to(z.dtype) if learned else directions.detach().clone().to(z.dtype)
        tokens = cut.location.read(source.detach())
        maps = []
        for index in range(wanted.shape[1]):
            (gradient,) = torch.autograd.grad(
                z, source, wanted[:, index], retain_graph=True, create_graph=learned,
                materialize_grads=True,
            )  # fmt: skip
            maps.append((tokens * cut.location.read(gradient)).sum(-1))
        return torch.stack(maps, dim=1) * tokens.shape[1]
