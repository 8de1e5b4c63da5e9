from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from ppn.metrics import (
    Consistency,
    Distinctiveness,
    Stability,
    chance_maps,
    peak,
    stability_noise,
)

INDICES = torch.tensor([7, 3, 90, 4])
LABELS = torch.tensor([0, 1, 1, 0])


def test_noise_is_clipped_normal_noise():
    images = torch.zeros(4, 3, 64, 64)
    noise = stability_noise(images, INDICES, seed=1)
    assert noise.abs().max() == 0.25
    inside = noise[noise.abs() < 0.25]
    normal = NormalDist()
    share = 2 * normal.cdf(1.25) - 1
    std = 0.2 * (1 - 2 * 1.25 * normal.pdf(1.25) / share) ** 0.5  # of the truncated normal
    assert len(inside) / noise.numel() == pytest.approx(share, abs=0.01)
    assert inside.std().item() == pytest.approx(std, abs=0.002)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)


def test_noise_depends_on_seed_and_image_alone():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.float64)
    noise = stability_noise(images, INDICES, seed=1)
    assert noise.dtype == torch.float64
    for i in range(4):
        assert torch.equal(stability_noise(images[i : i + 1], INDICES[i : i + 1], 1)[0], noise[i])
        assert not torch.equal(noise[i], noise[i - 1])
    assert not torch.equal(stability_noise(images, INDICES, seed=2), noise)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    stability_noise(images, INDICES, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_maps_depend_on_seed_draw_class_image_and_prototype():
    maps = chance_maps("random", INDICES, LABELS, (3, 7, 5), seed=1)
    assert maps.shape == (4, 3, 7, 5)
    assert maps.min() >= 0
    assert maps.max() < 1
    for i in range(4):
        alone = chance_maps("random", INDICES[i : i + 1], LABELS[i : i + 1], (3, 7, 5), 1)
        assert torch.equal(alone[0], maps[i])
    assert len({tuple(m.flatten().tolist()) for m in maps.flatten(0, 1)}) == 12
    assert not torch.equal(chance_maps("random", INDICES, LABELS, (3, 7, 5), 2), maps)
    assert not torch.equal(chance_maps("random", INDICES, LABELS, (3, 7, 5), 1, draw=1), maps)
    assert not torch.equal(chance_maps("random", INDICES, 1 - LABELS, (3, 7, 5), 1), maps)


@pytest.mark.parametrize("grid", [(7, 7), (16, 16), (14, 14), (3, 4), (28, 5)])
@pytest.mark.parametrize("size", [224, 225])
def test_the_centre_is_the_centre(grid, size):
    maps = chance_maps("centre", INDICES, LABELS, (3, *grid), seed=0)
    found = peak(maps, (size, size))
    assert ((found == size // 2) | (found == (size - 1) // 2)).all()


def test_uniform_maps_have_their_first_maximum_in_the_corner():
    maps = chance_maps("uniform", INDICES, LABELS, (3, 7, 7), seed=0)
    assert not peak(maps, (224, 224)).any()


def test_chance_levels_of_the_protocols():
    """Parts anywhere: the centre covers a part by luck, random maps less; fixed maps are stable."""
    images, k = 120, 3
    generator = torch.Generator().manual_seed(0)
    points = 224 * torch.rand(images, 2, 2, generator=generator)
    keypoints = torch.cat([points, torch.ones(images, 2, 1)], -1)
    indices, labels = torch.arange(images), torch.zeros(images).long()
    shares, stable, distinct = {}, {}, {}
    for kind in ("random", "centre", "uniform"):
        maps, again = (
            chance_maps(kind, indices, labels, (k, 7, 7), seed=3, draw=draw) for draw in (0, 1)
        )
        consistency, stability = Consistency(1, k, 2), Stability(1, k, 2)
        consistency.update(maps, keypoints, labels)
        stability.update(maps, again, keypoints, labels)
        distinctiveness = Distinctiveness()
        distinctiveness.update(maps)
        shares[kind] = consistency.compute().best_share.max().item()
        stable[kind] = stability.compute().score.item()
        distinct[kind] = distinctiveness.compute().score.item()
    assert shares["centre"] == pytest.approx((73 / 224) ** 2, abs=0.08)
    assert shares["uniform"] == pytest.approx((37 / 224) ** 2, abs=0.05)
    assert 0.02 < shares["random"] < shares["centre"] + 0.05
    assert stable["centre"] == stable["uniform"] == 100
    assert 50 < stable["random"] < 95
    assert distinct["centre"] == distinct["uniform"] == 0
    assert 0.7 < distinct["random"] < 1
