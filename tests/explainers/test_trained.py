"""Any trained module that gives maps."""

import pytest
import torch
from torch import nn

from ppn.errors import PPNError
from ppn.explainers import TrainedMaps
from tests.explainers.tiny import convolutions, inputs_of, network_of


class Edges(nn.Module):
    """Three maps, times the class plus one; contributions are their means."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, 2)

    def forward(self, images, target):
        return self.convolution(images) * (target + 1)[:, None, None, None]

    def contributions(self, images, target):
        return self(images, target).mean((2, 3))


class Flat(nn.Linear):
    """No maps."""

    def forward(self, images, target):
        return super().forward(images.flatten(2))


def test_a_module_and_its_weights(tmp_path):
    trained = Edges()
    torch.save(trained.state_dict(), tmp_path / "edges.pth")
    explainer = TrainedMaps(Edges(), str(tmp_path / "edges.pth"))
    network = network_of(convolutions())
    explainer.prepare(network)
    assert (explainer.name, explainer.maps_per_class) == ("Edges", 3)
    images, target = torch.randn(2, 3, 16, 16), torch.tensor([2, 0])
    with torch.inference_mode():
        found = explainer.attribute(inputs_of(network, images), target)
    with torch.no_grad():
        assert torch.allclose(found.maps, trained(images, target))
    assert torch.allclose(found.contributions, found.maps.mean((2, 3)))
    assert explainer.surrogate(inputs_of(network, images)) is None
    assert TrainedMaps(Edges(), label="mine").name == "mine"


def test_what_does_not_fit_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(PPNError, match="cannot be loaded into Edges"):
        TrainedMaps(Edges(), str(tmp_path / "other.pth"))
    with pytest.raises(PPNError, match=r"Flat gives \(2, 3, 4\) for two images"):
        TrainedMaps(Flat(256, 4)).prepare(network_of(convolutions()))
