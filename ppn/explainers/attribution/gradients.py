"""Gradients with respect to pixels, by captum."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier.running import guarded
from ppn.errors import optional
from ppn.explainers.attribution.layer import recording
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


class PixelGradients(Explainer):
    """One map of pixels for each class, the sum over colour channels with its sign."""

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the classifier.

        Raises:
            MissingPackageError: Without captum.
        """
        self._captum = optional("captum.attr", "compare")
        self._classifier = network.classifier

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return one map (B, 1, H, W) of the image's size, without contributions."""
        classifier = self._classifier
        with guarded(classifier.model), recording():
            images = classifier.accept(inputs.images).detach().clone().requires_grad_()
            # captum asks for each image's gradient of its target's logit.
            found = self._pixels(images, target.clone())
        return Attribution(found.detach().float().sum(1, keepdim=True))

    @abstractmethod
    def _pixels(self, images: Tensor, target: Tensor) -> Tensor:
        """Return the attribution (B, channels, H, W) of every value of the images."""


class InputXGradient(PixelGradients):
    """Pixel times gradient of the logit (Shrikumar et al., 2016), as captum computes it."""

    key = "input_x_gradient"
    title = "input x gradient"

    def _pixels(self, images: Tensor, target: Tensor) -> Tensor:
        method: Any = self._captum.InputXGradient(self._classifier.classify)
        found: Tensor = method.attribute(images, target=target)
        return found


class IntegratedGradients(PixelGradients):
    """Integrated gradients (Sundararajan et al., ICML 2017), as captum computes them.

    The path starts from zeros, which is the mean colour. The map's sum is the logit's difference to
    it, up to the steps' error.

    Args:
        steps: Nodes of the Gauss-Legendre quadrature; each is a run and a backward pass.

    Raises:
        PPNError: If steps is not positive.
    """

    title = "integrated gradients"

    def __init__(self, steps: int = 32) -> None:
        self.steps = steps
        self._expect_least(1, "steps")

    def _pixels(self, images: Tensor, target: Tensor) -> Tensor:
        method: Any = self._captum.IntegratedGradients(self._classifier.classify)
        found: Tensor = method.attribute(
            images,
            baselines=torch.zeros_like(images),
            target=target,
            n_steps=self.steps,
            internal_batch_size=max(len(images), 32),
        )
        return found
