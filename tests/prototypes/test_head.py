import torch

from ppn.prototypes.head import PrototypeHead
from ppn.types import Tokens


def tokens(batch=5, grid=(3, 4), width=16, classes=6):
    features = torch.randn(batch, grid[0] * grid[1], width)
    return Tokens(
        features, grid, features.mean(1), torch.rand(batch) + 0.5, torch.randn(batch, classes)
    )


def head(classes=6, k=3, width=16):
    made = PrototypeHead(classes, k, width)
    made.prototypes.copy_(torch.randn(classes, k, width))
    made.bias.copy_(torch.randn(classes))
    return made


def test_logits_are_contributions_plus_bias_and_those_of_the_summed_head():
    given, made = tokens(), head()
    logits, contributions = made(given)
    assert torch.allclose(contributions.sum(-1) + made.bias, logits, atol=1e-5)
    weight = made.prototypes.sum(1)
    expected = given.scale[:, None] * (given.pooled @ weight.T) + made.bias
    assert torch.allclose(logits, expected, atol=1e-4)


def test_maps_average_to_contributions_and_sum_to_the_class_activation_map():
    given, made = tokens(), head()
    classes = torch.tensor([0, 5, 2, 2, 1])
    maps = made.maps(given, classes)
    assert maps.shape == (5, 3, 3, 4)
    contributions = made(given).contributions[torch.arange(5), classes]
    assert torch.allclose(maps.mean((2, 3)), contributions, atol=1e-4)
    activation = (given.tokens * made.prototypes.sum(1)[classes][:, None]).sum(-1)
    activation = (activation * given.scale[:, None]).reshape(5, 3, 4)
    assert torch.allclose(maps.sum(1), activation, atol=1e-4)


def test_half_precision_around_the_head_does_not_reach_it():
    given, made = tokens(), head()
    with torch.autocast("cpu", torch.bfloat16):
        inside = made(given).logits
    assert inside.dtype == torch.float32
    assert torch.equal(inside, made(given).logits)
