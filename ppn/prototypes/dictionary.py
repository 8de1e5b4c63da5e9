"""What discovery has found: parts, their nearest training patches, and how they were refined."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class PartDictionary(nn.Module):
    """Fixed-shape buffers that one class after the other fills.

    Every buffer is zero for classes not yet found, so ranks that own different classes are merged
    by a sum.

    Args:
        num_classes: C.
        k: k.
        width: D.
        num_patches: m, nearest training patches kept for each prototype.

    Attributes:
        found: (C,) 1 where the class has been decomposed.
        parts: (C, k, D) discovered directions p_i, of unit L2 norm.
        weight: (C, D) rows v_c of the effective head.
        patch_index: (C, k, m) int64, the training image each patch comes from.
        patch_box: (C, k, m, 4) x0, y0, x1, y1 in pixels of the network's input.
        patch_score: (C, k, m) inner product of patch and refined prototype, descending; -inf
            where the class has fewer than m images.
        images: (C,) int64, training images the class was discovered on.
        least_likeness: (C,) `likeness` of the training image of the class that is least like the
            others, see `leave_one_out`; 0 where the class has but one.
        residual_share: (C,) ||r|| / ||v||.
        exactness: (C,) max |sum_i p~_i - v| / max |v|.
        cosine: (C, k) cos(p~_i, p_i).
        peak_shift: (C, k) share of the class's images on which the maps x p_i and x p~_i have
            their maximum in different cells.
        negative_share: (C,) share of negative contributions to the class's logit on its images.
        fell_back: (C,) 1 where the refinement strategy had to fall back to `equal`.
    """

    found: Tensor
    parts: Tensor
    weight: Tensor
    patch_index: Tensor
    patch_box: Tensor
    patch_score: Tensor
    images: Tensor
    least_likeness: Tensor
    residual_share: Tensor
    exactness: Tensor
    cosine: Tensor
    peak_shift: Tensor
    negative_share: Tensor
    fell_back: Tensor

    def __init__(self, num_classes: int, k: int, width: int, num_patches: int) -> None:
        super().__init__()
        c, k, m = num_classes, k, num_patches
        whole, real = torch.int64, torch.float32
        for name, shape, dtype in (
            ("found", (c,), whole),
            ("parts", (c, k, width), real),
            ("weight", (c, width), real),
            ("patch_index", (c, k, m), whole),
            ("patch_box", (c, k, m, 4), real),
            ("patch_score", (c, k, m), real),
            ("images", (c,), whole),
            ("least_likeness", (c,), real),
            ("residual_share", (c,), real),
            ("exactness", (c,), real),
            ("cosine", (c, k), real),
            ("peak_shift", (c, k), real),
            ("negative_share", (c,), real),
            ("fell_back", (c,), whole),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    @property
    def filled(self) -> bool:
        """Whether there are prototypes; a class without images has none of its own."""
        return bool((self.found == 1).any())


@torch.no_grad()
def merge_ranks(*modules: nn.Module) -> None:
    """Sum the buffers of the modules over all processes: each class was filled by one of them."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    for module in modules:
        for buffer in module.buffers():
            if buffer.numel():
                distributed.all_reduce(buffer)
