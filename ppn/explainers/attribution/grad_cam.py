"""Grad-CAM and its relatives: a layer's activations, weighted by gradients.

They are a few lines each on the cut that all explainers share, and agree with the package
`grad-cam` (tests); that package goes through numpy image by image and rescales each map to [0, 1],
which ours do not.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from ppn.errors import HeadError
from ppn.explainers.attribution.layer import last_layer, named_layer
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """ReLU of the channels' sum, each times the mean of its gradient (Selvaraju et al., eq. 1-2).

    Args:
        activations: (B, N, D).
        gradients: (B, N, D) of the logit.

    Returns:
        (B, N) >= 0.
    """
    weights = gradients.mean(1, keepdim=True)
    return (weights * activations).sum(2).clamp(min=0)


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM whose channel weights are sums of weighted positive gradients.

    Chattopadhay et al., WACV 2018, eq. 19, whose higher derivatives are powers of the gradient.
    See `grad_cam` for arguments and result.
    """
    square = gradients.square()
    below = 2 * square + activations.sum(1, keepdim=True) * square * gradients
    alpha = torch.where(gradients != 0, square / (below + 1e-6), 0.0)
    weights = (gradients.clamp(min=0) * alpha).sum(1, keepdim=True)
    return (weights * activations).sum(2).clamp(min=0)


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Positive gradient times activation, place by place (Jiang et al., TIP 2021, eq. 4-7).

    See `grad_cam` for arguments and result.
    """
    return (gradients.clamp(min=0) * activations).sum(2).clamp(min=0)


class LayerMaps(Explainer):
    """One map for each class, from the activations and gradients of a layer.

    Args:
        layer: Name of the module whose output is looked at; None: the features at which the
            classifier is cut. A head that reads the class token alone has no gradient there: name
            an earlier module, such as `blocks.11.norm1`.
    """

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer
        if layer is not None:
            self.title = f"{self.title}, {layer}"

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the classifier.

        Raises:
            HeadError: If it needs a layer to be named.
        """
        if self.layer is None and network.classifier.inspection.case == "class_token":
            raise HeadError(
                f"{self.key} has no gradient at the last features of a classifier that reads its "
                "class token alone: name an earlier module with layer, such as blocks.11.norm1."
            )
        self._classifier = network.classifier

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return one map (B, 1, H, W) >= 0 on the layer's grid, without contributions."""
        if self.layer is None:
            seen = last_layer(self._classifier, inputs.images, target)
        else:
            seen = named_layer(self._classifier, self.layer, inputs.images, target)
        return Attribution(seen.on_grid(self.weigh(seen.tokens, seen.gradients)))

    @staticmethod
    @abstractmethod
    def weigh(activations: Tensor, gradients: Tensor) -> Tensor:
        """Return the value (B, N) of each of a layer's tokens, from both (B, N, D)."""


class GradCAM(LayerMaps):
    """Grad-CAM (Selvaraju et al., ICCV 2017): CAM's positive part behind a mean and a linear layer.

    Args:
        layer: See `LayerMaps`.
    """

    title = "Grad-CAM"
    weigh = staticmethod(grad_cam)


class GradCAMPlusPlus(LayerMaps):
    """Grad-CAM++ (Chattopadhay et al., WACV 2018).

    Args:
        layer: See `LayerMaps`.
    """

    title = "Grad-CAM++"
    weigh = staticmethod(grad_cam_plus_plus)


class LayerCAM(LayerMaps):
    """LayerCAM (Jiang et al., TIP 2021).

    Args:
        layer: See `LayerMaps`.
    """

    title = "LayerCAM"
    weigh = staticmethod(layer_cam)
