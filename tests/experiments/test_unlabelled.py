"""Ways to find parts without labels give parts of a class; balanced ones are balanced."""

import pytest
import torch

from experiments.entries import shared_residual, v_measure
from experiments.shares.tokens import Extracted, Images
from experiments.unlabelled import WAYS, balanced, foreground, with_norm
from ppn.discovery import ClassTokens


def item():
    tokens = 0.1 * torch.rand(6, 16, 12)
    tokens[:, :4, :4] += 2
    tokens[:, 4:8, 4:8] += 2
    return ClassTokens(0, "", tokens, torch.arange(6), None, (4, 4))


@pytest.mark.parametrize("name", WAYS)
def test_every_way_finds_parts(name):
    way, weight = WAYS[name](), torch.ones(1, 12, dtype=torch.float64)
    (found,) = way.discover([item()], weight, 2)
    assert found.coefficients.shape == (96, 2)
    assert bool((found.coefficients >= 0).all())
    assert torch.allclose(found.parts.norm(dim=1), torch.ones(2), atol=1e-4)


def test_the_foreground_goes_along_with_the_activation():
    tokens = item().tokens.flatten(0, 1)
    front = foreground(tokens, tokens[:, :4].sum(1)).view(6, 16)
    assert float(front[:, :4].mean()) > float(front[:, 4:8].mean())


def test_a_head_after_a_norm_is_split_without_what_the_norm_takes_away():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    tokens = torch.rand(40, 9, 12, generator=generator)
    tokens[torch.arange(40), :, labels] += 1
    tokens *= 1 + 4 * torch.rand(40, 1, 1, generator=generator)  # which the norm divides out
    images = Images({"clean": tokens}, labels, torch.zeros(40, 0, 3), torch.arange(40))
    own = torch.zeros(4, 12).double()
    given = Extracted(images, images, own, torch.zeros(4).double(), (3, 3), 96, [])
    found = with_norm(given).weight
    assert float(found.mean(1).abs().max()) < 1e-12
    pooled = tokens.mean(1).double()
    std = pooled.std(1, correction=0, keepdim=True)
    assert bool(((pooled @ found.T / std).argmax(1) == labels).all())


def test_balanced_parts_are_equally_full():
    weight = torch.rand(50)
    plan = balanced(torch.rand(50, 3), weight)
    assert torch.allclose(plan.sum(1), weight, atol=1e-4)
    assert torch.allclose(plan.sum(0), (weight.sum() / 3).expand(3), rtol=0.02)


def test_measures_of_entries():
    assert v_measure("aabb", "xxyy") == pytest.approx((1, 1, 1))
    purity, completeness, _ = v_measure("abcd", "xxyy")
    assert (purity, completeness) == pytest.approx((1, 0.5))
    assert v_measure("aaaa", "xxyy")[0] == 0.5
    one = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]])
    assert shared_residual(one, [[0], [0]]) == pytest.approx(0)
    assert shared_residual(torch.eye(2)[:, None], [[0], [0]]) == pytest.approx(0.5)
