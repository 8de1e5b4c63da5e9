"""Models of others that give maps of their own: ante-hoc prototypes and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppn.classifier.running import guarded
from ppn.errors import PPNError
from ppn.explainers.base import Attribution, Explainer
from ppn.io.files import user_path

if TYPE_CHECKING:
    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


class TrainedMaps(Explainer):
    """Any trained module that gives maps of the prototypes of a class.

    The module takes images (B, channels, H, W), preprocessed as the classifier's, and target (B,),
    and returns maps (B, k, h, w) of any resolution. It may have a method `contributions(images,
    target)` (B, k), what each map adds to the target's logit in the module's own classifier, and
    `logits(images)` (B, C), what that says. Its predictions are its own, not those of the
    classifier: such a method is ante-hoc.

    Args:
        module: The module; in YAML its `class_path` and `init_args`.
        weights: Its state dict, a `.pth` or `.safetensors` file; None: it has loaded its own.
        label: Name in tables; None: the name of the module's class.

    Raises:
        PPNError: If the weights cannot be read or do not fit.
    """

    key = "trained"

    def __init__(
        self, module: nn.Module, weights: str | None = None, label: str | None = None
    ) -> None:
        self.module = module
        self.weights = weights
        self.label = label
        if weights is not None:
            _load(module, weights)
        module.requires_grad_(False)

    @property
    def name(self) -> str:
        """The label, or the class of the module."""
        return self.label or type(self.module).__name__

    @property
    def maps_per_class(self) -> int:
        """As many as it gave for an image of noise."""
        return self._count

    def prepare(self, network: PrototypeNetwork) -> None:
        """Move it to the network's device, and see what it gives.

        Raises:
            PPNError: If it does not give maps.
        """
        self.module.to(network.device)
        config = network.input_config
        images = torch.zeros(2, config.channels, *config.size, device=network.device)
        maps = self._run(self.module, images, torch.zeros(2, dtype=torch.long).to(images.device))
        if not isinstance(maps, Tensor) or maps.dim() != 4 or len(maps) != 2:
            found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise PPNError(
                f"{type(self.module).__name__} gives {found} for two images and their classes, but "
                "must give maps (2, k, h, w)."
            )
        self._count = maps.shape[1]

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the module's maps, and its contributions where it has them."""
        maps = self._run(self.module, inputs.images, target)
        given = getattr(self.module, "contributions", None)
        contributions = None if given is None else self._run(given, inputs.images, target)
        return Attribution(maps.float(), contributions)

    def surrogate(self, inputs: Inputs) -> Tensor | None:
        """Return the logits of the module's own classifier, where it has one."""
        given = getattr(self.module, "logits", None)
        return None if given is None else self._run(given, inputs.images)

    @torch.no_grad()
    def _run(self, call: nn.Module, *given: Tensor) -> Tensor:
        with guarded(self.module):
            found: Tensor = call(*given)
            return found


def _load(module: nn.Module, path: str) -> None:
    file = user_path(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as error:  # whatever a damaged file makes torch stumble over
        reason = " ".join(str(error).split())[:200]
        raise PPNError(
            f"The weights {path} cannot be loaded into {type(module).__name__} ({reason}): give "
            "the state dict of such a module."
        ) from None
