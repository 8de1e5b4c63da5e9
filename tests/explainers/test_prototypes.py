from __future__ import annotations

import torch

from ppn.explainers import Inputs, PrototypeExplainer
from ppn.prototypes.head import PrototypeHead
from ppn.types import Tokens


def test_maps_and_contributions_are_those_of_each_images_target():
    head = PrototypeHead(3, 2, 5, "cam_split", exact=False)
    generator = torch.Generator().manual_seed(0)
    head.prototypes.copy_(torch.randn(3, 2, 5, generator=generator))
    features = torch.randn(4, 6, 5, generator=generator)
    scale = torch.tensor([1.0, 2.0, 0.5, 1.0])
    tokens = Tokens(features, (2, 3), features.mean(1), scale, torch.zeros(4, 3))
    target = torch.tensor([2, 0, 1, 2])
    explainer = PrototypeExplainer(head)
    assert (explainer.name, explainer.maps_per_class) == ("cam_split", 2)
    assert not explainer.exact
    assert explainer.additive
    inputs = Inputs(torch.zeros(4, 3, 8, 8), tokens, torch.arange(4))
    maps, contributions, elsewhere = explainer.attribute(inputs, target)
    assert elsewhere is None
    assert maps.shape == (4, 2, 2, 3)
    for image, label in enumerate(target.tolist()):
        for part in range(2):
            direction = scale[image] * head.prototypes[label, part]
            expected = (features[image] @ direction).reshape(2, 3)
            torch.testing.assert_close(maps[image, part], expected)
            torch.testing.assert_close(contributions[image, part], expected.mean())
