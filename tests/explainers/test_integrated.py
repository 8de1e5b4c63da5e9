"""Path-integrated maps as an explainer: what evaluation sees of them adds up."""

from unittest import mock

import pytest
import timm
import torch

import ppn
from ppn.explainers import Inputs, IntegratedMaps, integrated
from ppn.metrics.base import EvaluationShape
from ppn.metrics.completeness import Completeness


@pytest.mark.parametrize("maps", ["complete", "pixels"])
@pytest.mark.parametrize(("name", "options"), [("test_vit", {"img_size": 64}), ("test_resnet", {})])
def test_maps_and_terms_are_complete_on_batches(name, options, maps):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **options).eval()
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    images = torch.nn.functional.interpolate(torch.randn(6, 3, 8, 8), (64, 64), mode="bicubic")
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    network = ppn.from_classifier(model, [(images, labels)], k=2)
    explainer = IntegratedMaps(maps)
    explainer.prepare(network)
    assert explainer.exact
    assert explainer.maps_per_class == 2
    with torch.inference_mode():
        inputs = Inputs(images, network.tokens(images), torch.arange(6))
        found = explainer.attribute(inputs, labels)
    assert torch.allclose(explainer.surrogate(inputs), inputs.tokens.logits, atol=1e-4)
    metric = Completeness().setup(EvaluationShape(3, 2))
    metric.update(found.maps, found.contributions, found.elsewhere)
    assert metric.compute().score < 0.02
    wanted = network.head(inputs.tokens).contributions[torch.arange(6), labels]
    assert torch.equal(found.contributions, wanted)
    with mock.patch.object(integrated, "attributed", side_effect=AssertionError("maps")):
        assert torch.equal(explainer.contributions(inputs, labels), wanted)
    assert (found.elsewhere is None) == (name == "test_resnet" and maps == "complete")


def test_few_nodes_are_cheap_and_miss_more():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    images, labels = torch.randn(3, 3, 64, 64), torch.tensor([0, 1, 2])
    network = ppn.from_classifier(model, [(images, labels)], k=2)
    inputs = Inputs(images, network.tokens(images), torch.arange(3))
    missed = []
    for most in (4, 32):
        explainer = IntegratedMaps("pixels", tolerance=1e-6, most_nodes=most)
        explainer.prepare(network)
        found = explainer.attribute(inputs, labels)
        told = found.maps.mean((2, 3)) + found.elsewhere
        missed.append(float((told - found.contributions).abs().amax()))
    assert missed[1] < missed[0]


def test_two_kinds_have_two_names():
    assert IntegratedMaps().name == "integrated_maps"
    assert IntegratedMaps("pixels").name == "integrated_maps(maps=pixels)"
