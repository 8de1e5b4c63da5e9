"""Attribution maps: by hand, against the packages, and what they leave behind."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from ppn import errors
from ppn.errors import HeadError, MissingPackageError, PPNError
from ppn.explainers import (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    ScoreCAM,
)
from ppn.explainers.attribution import grad_cam as formulas
from tests.explainers.tiny import convolutions, inputs_of, network_of, transformer

TARGET = torch.tensor([0, 1, 2, 2])
OF_PIXELS = [InputXGradient(), IntegratedGradients(4)]
OF_CELLS = [CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(), ScoreCAM(batch_size=3)]


@pytest.fixture
def network():
    return network_of(convolutions())


def images(size=16, count=4):
    return torch.randn(count, 3, size, size)


def maps_of(explainer, network, pictures, target=TARGET):
    explainer.prepare(network)
    return explainer.attribute(inputs_of(network, pictures), target)


def test_cam_is_token_times_row_and_its_mean_the_logit(network):
    pictures = images()
    inputs = inputs_of(network, pictures)
    found = maps_of(CAM(), network, pictures)
    weight, bias = network.classifier.effective_head()
    for row, label in enumerate(TARGET.tolist()):
        expected = inputs.tokens.tokens[row].double() @ weight[label]
        assert torch.allclose(found.maps[row, 0].flatten().double(), expected, atol=1e-5)
        logit = inputs.tokens.logits[row, label] - bias[label]
        assert float(found.contributions[row, 0]) == pytest.approx(float(logit), abs=1e-5)
    surrogate = CAM()
    surrogate.prepare(network)
    assert torch.allclose(surrogate.surrogate(inputs), inputs.tokens.logits, atol=1e-5)


def test_grad_cam_is_the_positive_part_of_cam_behind_a_mean_and_a_linear_layer(network):
    pictures = images()
    cam = maps_of(CAM(), network, pictures).maps.flatten(1)
    gradient = maps_of(GradCAM(), network, pictures).maps.flatten(1)
    assert torch.allclose(normalize(gradient), normalize(cam.clamp(min=0)), atol=1e-5)


def test_formulas_on_one_token_and_channel():
    activations, gradients = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [-2.0]]])
    # Mean gradient -1/2: nothing is positive.
    assert formulas.grad_cam(activations, gradients).tolist() == [[0.0, 0.0]]
    # alpha = g^2 / (2 g^2 + 5 g^3), weight = 1 / 7 from the first token alone.
    expected = torch.tensor([[2 / 7, 3 / 7]])
    assert torch.allclose(formulas.grad_cam_plus_plus(activations, gradients), expected)
    assert formulas.layer_cam(activations, gradients).tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize("layer", [None, "1"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(GradCAM, "GradCAM"), (GradCAMPlusPlus, "GradCAMPlusPlus"), (LayerCAM, "LayerCAM")],
)
def test_maps_agree_with_the_package(ours, theirs, layer):
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model = convolutions(stride=1)  # maps as large as images: nothing is upsampled
    pictures = images(8)
    found = maps_of(ours(layer), network_of(model, 8), pictures).maps[:, 0]
    method = getattr(package, theirs)(model, [model[int(layer or 3)]])
    chosen = [targets.ClassifierOutputTarget(label) for label in TARGET.tolist()]
    expected = torch.from_numpy(method(pictures, chosen))
    assert found.amax((1, 2)).min() > 0
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    assert torch.allclose((found - low) / (high - low), expected, atol=1e-4)


def test_grad_cam_is_the_one_of_captum():
    captum = pytest.importorskip("captum.attr")
    model = convolutions(stride=1)
    pictures = images(8)
    found = maps_of(GradCAM(), network_of(model, 8), pictures).maps
    theirs = captum.LayerGradCam(model, model[3])
    expected = theirs.attribute(pictures, target=TARGET, relu_attributions=True)
    assert found.max() > 0
    # The gradient of the mean of N cells: ours are the gradients of the sum.
    assert torch.allclose(found / found.amax(), expected / expected.amax(), atol=1e-5)


def test_score_cam_agrees_with_the_package():
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model = convolutions(stride=1)
    pictures = images(8)
    found = maps_of(ScoreCAM(batch_size=3), network_of(model, 8), pictures).maps[:, 0]
    chosen = [targets.ClassifierOutputTarget(label) for label in TARGET.tolist()]
    expected = torch.from_numpy(package.ScoreCAM(model, [model[3]])(pictures, chosen))
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    assert torch.allclose((found - low) / (high - low), expected, atol=1e-4)


def test_score_cam_of_some_channels_takes_those_of_the_largest_variance(network):
    pictures = images()
    every = maps_of(ScoreCAM(channels=8), network, pictures).maps
    assert torch.allclose(every, maps_of(ScoreCAM(), network, pictures).maps, atol=1e-5)
    one = maps_of(ScoreCAM(channels=1), network, pictures).maps.flatten(1)
    tokens = inputs_of(network, pictures).tokens.tokens
    largest = tokens.var(1).argmax(1)
    expected = tokens[torch.arange(4), :, largest].clamp(min=0)
    assert torch.allclose(one, expected, atol=1e-5)


def test_integrated_gradients_are_complete_and_input_x_gradient_is_by_hand(network):
    pytest.importorskip("captum")
    pictures = images()
    model = network.classifier.model
    found = maps_of(IntegratedGradients(64), network, pictures).maps
    with torch.no_grad():
        change = model(pictures) - model(torch.zeros_like(pictures))
    total = found.sum((1, 2, 3))
    assert torch.allclose(total, change[torch.arange(4), TARGET], atol=2e-2)
    leaf = pictures.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[torch.arange(4), TARGET].sum(), leaf)
    expected = (gradient * pictures).sum(1, keepdim=True)
    assert torch.allclose(maps_of(InputXGradient(), network, pictures).maps, expected, atol=1e-6)


@pytest.mark.parametrize("explainer", [*OF_CELLS, *OF_PIXELS], ids=lambda e: e.key)
def test_maps_are_the_same_for_every_batch_size_and_in_inference_mode(explainer, network):
    if explainer in OF_PIXELS:
        pytest.importorskip("captum")
    model, pictures = network.classifier.model, images()
    model.train()
    explainer.prepare(network)
    with torch.inference_mode():
        together = explainer.attribute(inputs_of(network, pictures), TARGET).maps
    alone = [
        explainer.attribute(inputs_of(network, one[None]), label[None]).maps
        for one, label in zip(pictures, TARGET, strict=True)
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert together.shape == (4, 1, 16, 16) if explainer in OF_PIXELS else (4, 1, 4, 4)
    assert explainer.maps_per_class == 1
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert not together.requires_grad


@pytest.mark.parametrize("explainer", [GradCAM(), GradCAMPlusPlus(), LayerCAM(), ScoreCAM()])
def test_a_class_token_needs_another_layer(explainer):
    with pytest.raises(
        HeadError, match=r"class token alone: (name an earlier module|leave it out)"
    ):
        explainer.prepare(network_of(transformer("token"), 160))


@pytest.mark.parametrize(("pool", "layer"), [("token", "blocks.1.norm1"), ("avg", None)])
def test_layers_of_transformers(pool, layer):
    network = network_of(transformer(pool), 160)
    with torch.no_grad():
        for parameter in network.classifier.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    found = maps_of(LayerCAM(layer), network, images(160, 2), torch.tensor([0, 2])).maps
    assert found.shape == (2, 1, *network.classifier.inspection.grid)
    assert found.flatten(1).max(1).values.min() > 0


def test_a_layer_that_is_not_there_or_gives_no_patches(network):
    with pytest.raises(HeadError, match="has no module 'layer9' to look at"):
        maps_of(GradCAM("layer9"), network, images())
    with pytest.raises(HeadError, match="Module '6' gives no map of patches"):
        maps_of(GradCAM("6"), network, images())
    with pytest.raises(PPNError, match="channels of score_cam is 0"):
        ScoreCAM(channels=0)


def test_a_missing_package_is_named_with_the_command(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingPackageError, match=r"captum .*: run pip install 'ppn\[compare\]'"):
        IntegratedGradients().prepare(network)
    with pytest.raises(MissingPackageError, match="nowhere_to_be_found is not installed"):
        errors.optional("nowhere_to_be_found.at", "compare")


def test_frozen_weights_give_gradients_all_the_same():
    model = convolutions()
    nn.Module.requires_grad_(model, False)
    assert maps_of(GradCAM(), network_of(model), images()).maps.max() > 0
