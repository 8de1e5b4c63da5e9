"""What the classifier says as pixels leave an image or come into it, by a map's order (RISE).

Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ppn.metrics.curves import CurveMetric
from ppn.metrics.protocol import PUBLISHED_SIZE
from ppn.metrics.regions import BLUR_KERNEL, BLUR_SIGMA, blurred, upsampled

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.probe import Probe

Baseline = Literal["zero", "blur"]


def pixel_ranks(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Place of each pixel in a map's descending order, 0 for the largest value.

    Args:
        maps: (B, H, W); upsampled bicubically. Of equal values the first pixels come first.
        size: Height and width of the images.

    Returns:
        (B, *size) int64.
    """
    values = upsampled(maps[:, None], size)[:, 0].flatten(1)
    order = values.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(-1, *size)


class _PixelMetric(CurveMetric):
    """What deletion and insertion share.

    The map is the sum of the explainer's maps of the predicted class: of any exact split that is
    the class activation map, so that exact splits do not differ here.

    Args:
        step: Pixels that change at a time, of a 224 x 224 image; it is scaled with the area.
        baseline: What deleted pixels become: 0 in normalised space, or a Gaussian blur.
    """

    bounds = (0.0, 1.0)
    protocol = "rise-2018"
    needs = frozenset({"model"})
    inserts = False

    def __init__(self, step: int, baseline: Baseline) -> None:
        super().__init__()
        self.step = step
        self.baseline = baseline
        self._expect_least(1, "step")
        self._expect_word("baseline", Baseline)

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        pixels = shape.size**2
        self.pixels = -(-self.step * pixels // PUBLISHED_SIZE**2)  # rounded up: as many steps
        self.steps = -(-pixels // self.pixels)
        self.add_curve_state(shape.num_classes, self.steps)
        return super().setup(shape)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        blur = {"kernel": BLUR_KERNEL, "sigma": BLUR_SIGMA} if self.baseline == "blur" else {}
        return {
            "step": self.pixels,
            "evaluations": self.steps + 1,
            "baseline": self.baseline,
            **blur,
            "of": "softmax probability of the predicted class",
            "map": "sum over prototypes, bicubic",
        }

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        assert seen.probe is not None
        self.update(seen.probe, seen.batch["label"], seen.counts)

    def update(
        self, probe: Probe, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch; for `labels` and `counts` see `add`."""
        images = probe.inputs.images
        size = (images.shape[2], images.shape[3])
        ranks = pixel_ranks(probe.attribution.maps.float().sum(1), size)
        other = blurred(images) if self.baseline == "blur" else torch.zeros_like(images)
        before, after = (other, images) if self.inserts else (images, other)
        points = []
        for number in range(self.steps + 1):
            changed = (ranks < number * self.pixels)[:, None]
            logits = probe.classify(torch.where(changed, after, before))
            points.append(logits.softmax(1).gather(1, probe.predicted[:, None])[:, 0].double())
        self.add_curves(torch.stack(points, dim=1), labels, counts)


class PixelDeletion(_PixelMetric):
    """Area under the probability's curve as pixels are deleted, the map's largest ones first.

    Args:
        step: Pixels that change at a time, of a 224 x 224 image; it is scaled with the area.
        baseline: What deleted pixels become: 0 in normalised space, or a Gaussian blur.
    """

    title = "Pixel deletion"
    higher_is_better = False
    help = "Mean probability of the predicted class while pixels are deleted by the map's order."

    def __init__(self, step: int = 1792, baseline: Baseline = "zero") -> None:
        super().__init__(step, baseline)


class PixelInsertion(_PixelMetric):
    """Area under the probability's curve as pixels come into a blurred image.

    Args:
        step: Pixels that change at a time, of a 224 x 224 image; it is scaled with the area.
        baseline: What the image starts from: 0 in normalised space, or a Gaussian blur.
    """

    title = "Pixel insertion"
    help = "Mean probability of the predicted class while pixels are inserted by the map's order."
    inserts = True

    def __init__(self, step: int = 1792, baseline: Baseline = "blur") -> None:
        super().__init__(step, baseline)
