"""Features of an earlier layer, on the grid of the patch tokens."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

import ppn
from ppn.classifier import Classifier
from ppn.discovery import NMF, ClassTokens
from ppn.errors import DiscoveryError
from ppn.types import InputConfig

LAYERS = {
    "test_resnet": "layer3",
    "test_convnext": "stages.2",
    "test_vit": "blocks.4",
    "test_mambaout": "stages.2",
}


def classifier(name="test_resnet", size=160):
    torch.manual_seed(0)
    return Classifier(timm.create_model(name, num_classes=3).eval(), InputConfig((size, size)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_stage_or_block_before_the_last_one_is_read(name):
    found = classifier(name)
    images = torch.randn(2, 3, 160, 160)
    plain = found(images)
    with found.looking_earlier():
        assert found.earlier.name == LAYERS[name]
        tokens = found(images)
        assert found(images, patches=False).earlier is None
    assert found.earlier is None
    assert plain.earlier is None
    assert torch.equal(plain.tokens, tokens.tokens)
    assert torch.equal(plain.logits, tokens.logits)
    assert tokens.earlier.shape[:2] == (2, tokens.grid[0] * tokens.grid[1])


def test_the_means_of_its_cells_are_given_before_anything_changes_them():
    kept = []
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(5, 6, 3, 2, 1),
        nn.Flatten(2),
        nn.Unflatten(2, (4, 4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()
    found = Classifier(model, InputConfig((32, 32)))
    images = torch.randn(2, 3, 32, 32)
    with found.looking_earlier():
        name = found.earlier.name
        model.get_submodule(name).register_forward_hook(lambda *call: kept.append(call[-1].clone()))
        tokens = found(images)
    expected = adaptive_avg_pool2d(kept[0], tokens.grid).flatten(2).mT
    torch.testing.assert_close(tokens.earlier, expected)


def test_parts_that_only_the_earlier_layer_tells_apart_are_found():
    rows = torch.arange(40) % 4
    last = torch.rand(1, 40, 3) * 0.05 + 1
    earlier = nn.functional.one_hot(rows, 4).float()[None]
    item = ClassTokens(0, "a", last, torch.arange(1), None, (5, 8), earlier)
    weight = torch.ones(1, 3).double()
    for more in (earlier, -earlier):
        (found,) = NMF(earlier=1.0).discover([item._replace(earlier=more)], weight, 4)
        assert found.parts.shape == (4, 3)
        torch.testing.assert_close(found.parts.norm(dim=1), torch.ones(4))
        parts = found.coefficients.argmax(1)
        assert len({tuple(parts[rows == row].tolist()) for row in range(4)}) == 4
        assert all(len(set(parts[rows == row].tolist())) == 1 for row in range(4))


def test_it_is_looked_at_where_it_has_a_weight():
    assert not NMF().looks_earlier()
    assert NMF(earlier=0.5).looks_earlier()
    with pytest.raises(DiscoveryError, match="earlier of nmf is -1"):
        NMF(earlier=-1)


@pytest.mark.parametrize("earlier", [0.0, 1.0])
def test_rows_stay_exact_sums(earlier):
    model = timm.create_model("test_resnet", num_classes=3).eval()
    nn.init.normal_(model.get_classifier().weight, std=0.3)
    batches = [(torch.randn(6, 3, 160, 160), torch.arange(6) % 3)]
    network = ppn.from_classifier(model, batches, k=4, discoverer=NMF(earlier=earlier))
    assert network.classifier.earlier is None
    weight, _ = network.classifier.effective_head()
    total = network.head.prototypes.double().sum(1)
    torch.testing.assert_close(total, weight, atol=1e-6, rtol=0)
    assert network.explain(batches[0][0][0]).adds_up
