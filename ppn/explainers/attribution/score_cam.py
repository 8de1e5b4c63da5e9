"""Score-CAM: channels weighted by what the classifier says of the image behind each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

from ppn.classifier.cut import run
from ppn.classifier.effective import live_cut
from ppn.classifier.running import guarded
from ppn.errors import HeadError
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


class ScoreCAM(Explainer):
    """Score-CAM (Wang et al., CVPR workshops 2020), on the features at the cut.

    Each channel, upsampled and scaled to [0, 1], masks the image; the channels' weights are the
    softmax of the target's logits for the masked images (as in the package `grad-cam`).

    Args:
        channels: How many channels of each image to try, those of the largest variance over its
            tokens first (Li et al., Faster Score-CAM); None: all, one run of the classifier each.
        batch_size: Masked images that run at once.

    Raises:
        PPNError: If a number is not positive.
    """

    key = "score_cam"
    title = "Score-CAM"

    def __init__(self, channels: int | None = None, batch_size: int = 32) -> None:
        self.channels = channels
        self.batch_size = batch_size
        self._expect_least(1, "channels", "batch_size")

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the classifier.

        Raises:
            HeadError: If its features are not what its head reads.
        """
        if network.classifier.inspection.case == "class_token":
            raise HeadError(
                "score_cam weighs the channels of the last features, of which this classifier "
                "reads the class token alone: leave it out."
            )
        self._classifier = network.classifier

    @torch.no_grad()
    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return one map (B, 1, H, W) >= 0 on the grid of the tokens, without contributions."""
        classifier = self._classifier
        cut = live_cut(classifier.model, classifier.inspection)
        images = classifier.accept(inputs.images)
        with guarded(classifier.model):
            features, _, _ = run(cut, images)
            tokens = cut.patches(features).mT.float()
            found = tokens.reshape(*tokens.shape[:2], *cut.grid(features))
            pairs = zip(images, found, target.tolist(), strict=True)
            maps = [self._map(classifier, *pair) for pair in pairs]
        return Attribution(torch.stack(maps)[:, None])

    def _map(self, classifier: Classifier, image: Tensor, channels: Tensor, label: int) -> Tensor:
        """(C, H, W) image and (D, h, w) channels -> (h, w)."""
        if self.channels is not None and self.channels < len(channels):
            spread = channels.flatten(1).var(1)
            channels = channels[spread.topk(self.channels).indices]
        scores = [
            classifier.classify(image * _masks(chunk, image))[:, label]
            for chunk in torch.split(channels, self.batch_size)
        ]
        weights = torch.cat(scores).float().softmax(0)
        return (weights[:, None, None] * channels).sum(0).clamp(min=0)


def _masks(channels: Tensor, image: Tensor) -> Tensor:
    """(n, h, w) -> (n, 1, H, W) in [0, 1]."""
    size = (image.shape[-2], image.shape[-1])
    up = interpolate(channels[:, None], size, mode="bilinear", align_corners=True)
    low, high = up.amin((2, 3), keepdim=True), up.amax((2, 3), keepdim=True)
    return ((up - low) / (high - low + 1e-8)).to(image)
