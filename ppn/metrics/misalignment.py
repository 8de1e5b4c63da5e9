"""Does a part stay when only what lies outside of it changes (spatial misalignment)?

After Sacha et al., "Interpretability Benchmark for Evaluating Spatial Misalignment of Prototypical
Parts Explanations", AAAI 2024 (arXiv 2308.08162); constants are ours where the paper's could not
be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ppn.errors import PPNError
from ppn.metrics.means import MeanMetric
from ppn.metrics.regions import (
    BLUR_KERNEL,
    BLUR_SIGMA,
    blurred,
    bounding_boxes,
    inside_boxes,
    iou,
    largest,
    upsampled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppn.metrics.base import Ends, Observation
    from ppn.metrics.probe import Probe

Change = Literal["blur", "adversarial"]
_NOTHING = 1e-3
_STEPS = 10
_REACH = 2 / 255
"""Of an adversarial change: projected gradient steps, and most change of a pixel in [0, 1]."""


class SpatialMisalignment(MeanMetric):
    """1 - IoU of a part's box before and after a change outside of it.

    The box is the smallest one round the `share` of pixels in which the part's map of the predicted
    class, upsampled bicubically, is largest. Outside of it the image is blurred, or changed by
    projected gradient steps that lower the part's maximum. The latter needs maps that autograd
    can follow from the image; other explainers have no score.

    Beside the score: the relative change of the map's maximum, of maps whose maximum is more than a
    thousandth of the largest of the image's parts, before and after; by how many places the part's
    rank among the class's parts changes, by their maxima; what accuracy loses, in [-1, 1].

    Args:
        change: What happens outside of the box.
        share: Share of the pixels, in (0, 1).
    """

    title = "Spatial misalignment"
    bounds = (0.0, 1.0)
    higher_is_better = False
    protocol = "misalignment-2024"
    help = "How far a part's box moves, as 1 minus IoU, when only what lies outside of it changes."
    needs = frozenset({"model"})

    others: ClassVar[Mapping[str, Ends]] = {
        "activation": (0, None),
        "rank": (0, None),
        "accuracy": (-1, 1),
    }

    def __init__(self, change: Change = "blur", share: float = 0.1) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise PPNError(f"share of {self.key} is {share}, but must be between 0 and 1.")
        self.change = change
        self.share = share
        self._expect_word("change", Change)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        if self.change == "blur":
            return {**self.options, "kernel": BLUR_KERNEL, "sigma": BLUR_SIGMA}
        return {**self.options, "steps": _STEPS, "reach": "2/255"}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        assert seen.probe is not None
        self.update(seen.probe, seen.batch["label"], seen.counts)

    def update(self, probe: Probe, labels: Tensor, counts: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            probe: The batch.
            labels: (B,) ground-truth classes.
            counts: See `add`.
        """
        images, maps = probe.inputs.images, probe.attribution.maps.float()
        (count, k), size = maps.shape[:2], (images.shape[2], images.shape[3])
        boxes = bounding_boxes(largest(upsampled(maps, size), self.share))
        outside = ~inside_boxes(boxes, size).flatten(0, 1)[:, None]
        rows = torch.arange(count, device=images.device).repeat_interleave(k)
        target, parts = probe.predicted[rows], torch.arange(k, device=rows.device).repeat(count)
        if self.change == "blur":
            changed = torch.where(outside, blurred(images)[rows], images[rows])
        else:
            attacked = _attacked(probe, images[rows], outside, rows, target, parts)
            if attacked is None:
                return
            changed = attacked
        seen = probe.see(changed, rows, target)
        every = torch.arange(len(rows), device=rows.device)
        after = seen.attribution.maps.float()
        moved = bounding_boxes(largest(upsampled(after[every, parts][:, None], size), self.share))
        values = 1 - iou(boxes.flatten(0, 1), moved[:, 0])
        peaks, peaks_after = (m.flatten(2).amax(2).double() for m in (maps[rows], after))
        own, own_after = peaks[every, parts], peaks_after[every, parts]
        # What was next to nothing beside the image's parts has no relative change.
        active = own.abs() > _NOTHING * torch.cat([peaks, peaks_after], 1).abs().amax(1)
        relative = torch.where(active, (own_after - own).abs() / own.abs(), 0.0)
        rank = ((peaks > own[:, None]).sum(1) - (peaks_after > own_after[:, None]).sum(1)).abs()
        right = (target == labels[rows]).double() - (seen.logits.argmax(1) == labels[rows]).double()
        for name, said in {"activation": relative, "rank": rank, "accuracy": right}.items():
            known = active if name == "activation" else torch.ones_like(active)
            self.add_other(name, said.view(count, k), probe.predicted, counts, known.view(count, k))
        self.add(values.view(count, k), probe.predicted, counts)  # whose parts they are


def _attacked(
    probe: Probe, images: Tensor, outside: Tensor, rows: Tensor, target: Tensor, parts: Tensor
) -> Tensor | None:
    """Change images where allowed so that the maximum of one part's map falls; None if it cannot.

    Args:
        probe: The batch.
        images: (n, channels, H, W).
        outside: (n, 1, H, W) bool, where pixels may change.
        rows: (n,) which image of the batch each is.
        target: (n,) the class that is explained.
        parts: (n,) the part whose maximum is to fall.
    """
    # A pixel was divided by the channel's standard deviation.
    std = images.new_tensor(probe.model.std)[:, None, None]
    reach, pace = _REACH / std, 2.5 * _REACH / _STEPS / std
    found = []
    step = max(1, len(probe.inputs.images))
    for at in torch.split(torch.arange(len(images), device=images.device), step):
        # A Trainer evaluates in inference mode, whose tensors autograd does not accept: copies do.
        with torch.inference_mode(False), torch.enable_grad():
            clean, allowed = images[at].clone(), outside[at].clone()
            change = torch.zeros_like(clean)
            every = torch.arange(len(at), device=at.device)
            of, part = target[at].clone(), parts[at].clone()
            indices = probe.inputs.indices[rows[at]].clone()
            for _ in range(_STEPS):
                change.requires_grad_()
                inputs = probe.inputs._replace(
                    images=clean + change,
                    tokens=probe.model.tokens(clean + change),
                    indices=indices,
                )
                maps = probe.explainer.attribute(inputs, of).maps[every, part]
                if not maps.requires_grad:
                    return None
                (gradient,) = torch.autograd.grad(maps.flatten(1).amax(1).sum(), change)
                lower = change.detach() - pace * gradient.sign() * allowed
                change = torch.minimum(torch.maximum(lower, -reach), reach)
        found.append(clean + change)
    return torch.cat(found)
