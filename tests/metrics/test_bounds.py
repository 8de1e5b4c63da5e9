from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ppn.metrics.bounds import axis, candidates
from ppn.metrics.maps import peak
from tests.metrics import literal

CASES = [((7, 7), (224, 224)), ((5, 9), (100, 231)), ((14, 3), (96, 40)), ((9, 9), (7, 300))]


def draw(grid, count=6, smooth=False):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(count, *grid, generator=generator)
    return avg_pool2d(maps, 3, 1, 1) if smooth else maps


def axes(grid, size, mode):
    return [axis(*pair, mode, torch.float32) for pair in zip(grid, size, strict=True)]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("grid", "size"), CASES)
def test_no_pixel_exceeds_the_bound_of_its_block(grid, size, mode):
    maps = draw(grid).double()
    rows, columns = axes(grid, size, mode)
    control = rows.control @ maps @ columns.control.T
    down, across = len(rows.pixels), len(columns.pixels)
    bound = control.view(len(maps), 4, down, 4, across).amax((1, 3))
    pixels = interpolate(maps[None], size, mode=mode, align_corners=False)[0]
    blocks = pixels[:, rows.pixels][..., columns.pixels].amax((2, 4))
    assert (blocks <= bound + 1e-6).all()
    assert (bound - blocks).mean() < 0.1 * pixels.std()  # and bounds are worth having
    assert sorted(set(rows.pixels.flatten().tolist())) == list(range(size[0]))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("grid", "size"), CASES)
def test_the_maximum_is_among_the_few_candidates(grid, size, mode):
    maps = draw(grid, smooth=True).double()
    found = candidates(maps, *axes(grid, size, mode), most=1.0)
    pixels = interpolate(maps[None], size, mode=mode, align_corners=False)[0]
    best = torch.full((len(maps),), -torch.inf, dtype=torch.float64)
    best.scatter_reduce_(0, found.of, found.values.amax((1, 2)), "amax")
    torch.testing.assert_close(best, pixels.amax((1, 2)), rtol=0, atol=1e-6)
    if size == (224, 224):
        assert torch.isfinite(found.values).sum() < 0.1 * pixels.numel()


def test_flat_maps_have_no_candidates():
    maps = torch.zeros(3, 7, 7, dtype=torch.float64)
    maps[1, 2, 2] = 1.0
    maps[2, 0, 0] = float("nan")
    assert set(candidates(maps, *axes((7, 7), (224, 224), "bicubic")).of.tolist()) == {1}


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("grid", "size"), CASES)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_peak_at_full_size_is_the_literal_first_maximum(grid, size, mode, offset):
    maps = torch.cat([draw(grid), draw(grid, smooth=True), draw(grid).round()]) + offset
    expected = torch.tensor([literal.peak(one, size, mode) for one in maps])
    assert torch.equal(peak(maps[None], size, mode)[0], expected)
