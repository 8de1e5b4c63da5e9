from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from ppn.metrics.noise import stability_noise

INDICES = torch.tensor([7, 3, 90, 4])


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
