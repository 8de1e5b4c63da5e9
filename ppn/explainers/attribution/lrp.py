"""Layer-wise relevance propagation, by zennit."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ppn.classifier.cut_point import logits_of
from ppn.classifier.running import guarded
from ppn.errors import HeadError, optional
from ppn.explainers.attribution.layer import recording
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork

_SUMS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)
_PRODUCTS = {
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__), "gates"),
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm), "attention"),
    functional.scaled_dot_product_attention: "attention",
}
_NORMS = {
    functional.layer_norm: "layer norms",
    functional.group_norm: "group norms",
    functional.rms_norm: "RMS norms",
    functional.instance_norm: "instance norms",
}
_LEAST = 1e-6


class LRP(Explainer):
    """Layer-wise relevance propagation (Bach et al., PLoS ONE 2015), with zennit's rules.

    Its composite EpsilonPlusFlat: the z+ rule in convolutions, epsilon in linear layers, flat in
    the first one; batch norms are merged into the layer before them, or pass relevance on as it is
    where zennit does not find that. Where branches are added, each
    gets relevance by its share of the sum. There are no rules for products of two things that
    depend on the image, attention and gates, nor for norms over an image's own values.
    """

    key = "lrp"
    title = "LRP"

    @property
    def maps_per_class(self) -> int:
        """One."""
        return 1

    def prepare(self, network: PrototypeNetwork) -> None:
        """Copy the classifier: rules are hooks, and merged norms other weights.

        Raises:
            MissingPackageError: Without zennit.
        """
        composites = optional("zennit.composites", "compare")
        canonizers = optional("zennit.canonizers", "compare")
        self._composite = composites.EpsilonPlusFlat(
            canonizers=[canonizers.SequentialMergeBatchNorm()]
        )
        self._classifier = network.classifier
        with guarded(network.classifier.model):
            self._model = deepcopy(network.classifier.model)
        for module in self._model.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is None:
                assert module.running_mean is not None
                module.weight = nn.Parameter(torch.ones_like(module.running_mean))
                module.bias = nn.Parameter(torch.zeros_like(module.running_mean))

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return one map (B, 1, H, W) of the image's size, without contributions.

        Raises:
            HeadError: If the classifier computes something that there is no rule for.
        """
        with guarded(self._model), recording(), self._composite.context(self._model) as model:
            images = self._classifier.accept(inputs.images).detach().clone().requires_grad_()
            with _Rules(type(model).__name__):
                logits = logits_of(model(images))
            wanted = torch.zeros_like(logits).scatter(1, target[:, None], 1.0) * logits.detach()
            (relevance,) = torch.autograd.grad(logits, images, wanted)
        return Attribution(relevance.float().sum(1, keepdim=True))


class _Rules(TorchFunctionMode):
    """The rule for sums, and a sentence where there is none."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        moving = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        if func in _NORMS or (func in _PRODUCTS and len(moving) > 1):
            what = _NORMS.get(func) or _PRODUCTS[func]
            raise HeadError(
                f"lrp has no rule for the {what} of {self.model}: leave it out for this classifier."
            )
        if func in _SUMS and len(moving) == 2:
            return _Sum.apply(*moving)
        return func(*args, **(kwargs or {}))


class _Sum(torch.autograd.Function):
    """A sum whose relevance goes to both terms by their shares."""

    @staticmethod
    def forward(context: Any, first: Tensor, second: Tensor) -> Tensor:  # noqa: ANN401
        context.save_for_backward(first, second)
        return first + second

    @staticmethod
    def backward(context: Any, *relevance: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        first, second = context.saved_tensors
        total = first + second
        share = relevance[0] / (total + torch.where(total >= 0, _LEAST, -_LEAST))
        return (
            (first * share).sum_to_size(first.shape),
            (second * share).sum_to_size(second.shape),
        )
