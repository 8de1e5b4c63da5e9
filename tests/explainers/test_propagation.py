"""Attention rollout and LRP: by hand, what they conserve, and what they refuse."""

import pytest
import timm
import torch
from torch import nn

from ppn.errors import HeadError
from ppn.explainers import LRP, AttentionRollout
from ppn.explainers.attribution.rollout import rollout
from tests.explainers.tiny import convolutions, inputs_of, network_of, transformer

TARGET = torch.tensor([0, 2])


def maps_of(explainer, network, size):
    explainer.prepare(network)
    return explainer.attribute(inputs_of(network, torch.randn(2, 3, size, size)), TARGET).maps


def test_rollout_is_the_literal_product():
    attentions = [torch.rand(2, 3, 4, 4).softmax(-1) for _ in range(3)]
    expected = torch.eye(4).expand(2, 4, 4)
    for attention in attentions:
        expected = (0.5 * attention.mean(1) + 0.5 * torch.eye(4)) @ expected
    assert torch.allclose(rollout(attentions), expected, atol=1e-6)
    assert torch.allclose(rollout(attentions).sum(2), torch.ones(2, 4), atol=1e-5)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_rollout_sees_the_same_attention_fused_or_not(pool):
    torch.manual_seed(0)
    network = network_of(transformer(pool), 160)
    blocks = network.classifier.model.blocks
    torch.manual_seed(1)
    fused = maps_of(AttentionRollout(), network, 160)
    assert blocks[0].attn.fused_attn
    for block in blocks:
        block.attn.fused_attn = False
    torch.manual_seed(1)
    plain = maps_of(AttentionRollout(), network, 160)
    assert fused.shape == (2, 1, *network.classifier.inspection.grid)
    assert torch.allclose(fused, plain, atol=1e-6)
    assert (fused > 0).all()
    assert fused.sum((2, 3)).max() < 1 + 1e-5


def test_rollout_refuses_what_has_no_attention():
    with pytest.raises(HeadError, match="0 such of 0"):
        maps_of(AttentionRollout(), network_of(convolutions()), 16)


class Residual(nn.Module):
    """A branch beside a batch norm's output, added in place or not."""

    def __init__(self, inplace=False, gate=False):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.inplace, self.gate = inplace, gate

    def forward(self, x):
        y = self.norm(self.conv(x)).relu()
        if self.gate:
            return x * y
        if self.inplace:
            y += x
            return y
        return x + y


def residual(**options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1, bias=False),
        nn.ReLU(inplace=True),
        Residual(**options),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3, bias=False),
    )


@pytest.mark.parametrize("inplace", [False, True])
def test_relevance_sums_to_the_logit_where_nothing_has_a_bias(inplace):
    pytest.importorskip("zennit")
    network = network_of(residual(inplace=inplace))
    before = {name: value.clone() for name, value in network.classifier.model.state_dict().items()}
    explainer = LRP()
    explainer.prepare(network)
    inputs = inputs_of(network, torch.randn(2, 3, 16, 16))
    found = explainer.attribute(inputs, TARGET)
    assert found.maps.shape == (2, 1, 16, 16)
    logits = inputs.tokens.logits[[0, 1], TARGET]
    assert torch.allclose(found.maps.sum((1, 2, 3)), logits, rtol=1e-3, atol=1e-4)
    after = network.classifier.model
    assert all(torch.equal(after.state_dict()[name], value) for name, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in after.modules())


def test_relevance_is_the_packages_where_nothing_is_added():
    attribution = pytest.importorskip("zennit.attribution")
    composites = pytest.importorskip("zennit.composites")
    model = convolutions()
    network = network_of(model)
    images = torch.randn(2, 3, 16, 16)
    explainer = LRP()
    explainer.prepare(network)
    ours = explainer.attribute(inputs_of(network, images), TARGET).maps
    with attribution.Gradient(model, composites.EpsilonPlusFlat()) as theirs:
        _, relevance = theirs(images, lambda out: nn.functional.one_hot(TARGET, 3) * out.detach())
    assert torch.allclose(ours, relevance.sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "size", "what"),
    [
        (lambda: residual(gate=True), 16, "the gates of Sequential"),
        (lambda: timm.create_model("test_vit", num_classes=3), 160, "the layer norms of"),
    ],
)
def test_relevance_refuses_what_it_has_no_rule_for(model, size, what):
    pytest.importorskip("zennit")
    with pytest.raises(HeadError, match=what):
        maps_of(LRP(), network_of(model(), size), size)
