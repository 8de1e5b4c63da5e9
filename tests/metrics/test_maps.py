from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ppn.metrics.maps import cell_peak, peak
from tests.metrics import literal

SIZE = (40, 56)


def draw(kind, grid, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(4, 3, *grid, generator=generator)
    if kind == "smooth":
        return avg_pool2d(maps, 3, 1, 1)
    if kind == "ties":
        return maps.round()
    if kind == "nearly":  # differences at the level of float32 rounding
        return maps.round() + 1e-7 * torch.randn(maps.shape, generator=generator)
    if kind == "symmetric":  # pairs of pixels that are equal but for rounding
        return (maps + maps.flip(-1)) * 1e3
    return maps


def reference(maps, size, mode):
    return torch.tensor([[literal.peak(m, size, mode) for m in image] for image in maps])


def test_the_upsampling_is_cv2s_definition_of_bicubic():
    grid = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = interpolate(grid[None, None], (14, 9), mode="bicubic", align_corners=False)[0, 0]
    expected = literal.bicubic(grid.numpy(), (14, 9))
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    found = peak(grid[None, None], (14, 9))[0, 0]
    assert tuple(found.tolist()) == literal.first_maximum(expected)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["random", "smooth", "ties", "nearly", "symmetric"])
@pytest.mark.parametrize("grid", [(7, 7), (8, 5), (1, 6), (1, 1)])
def test_peak_is_the_literal_first_maximum(grid, kind, mode):
    maps = draw(kind, grid)
    assert torch.equal(peak(maps, SIZE, mode), reference(maps, SIZE, mode))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_peak_of_other_precisions(dtype):
    maps = draw("random", (7, 7)).to(dtype)
    wide = maps if dtype == torch.float64 else maps.float()
    assert torch.equal(peak(maps, SIZE), reference(wide, SIZE, "bicubic"))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_peak_does_not_depend_on_batch_or_memory_layout(mode):
    maps = torch.cat([draw(kind, (8, 8)) for kind in ("random", "ties", "nearly", "symmetric")])
    maps = maps.repeat(4, 1, 1, 1)  # more than one chunk at this size
    whole = peak(maps, (224, 224), mode)
    alone = torch.cat([peak(image[None], (224, 224), mode) for image in maps])
    tokens_first = maps.contiguous(memory_format=torch.channels_last)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, peak(tokens_first, (224, 224), mode))


def test_first_of_equal_maxima_in_row_major_order():
    maps = torch.zeros(1, 3, 6, 6)
    maps[0, 1, 1, 4] = maps[0, 1, 4, 1] = 1.0  # the upper one first
    maps[0, 2, 3, 1] = maps[0, 2, 3, 4] = 1.0  # the left one first
    found = peak(maps, (36, 36))[0].tolist()
    assert found[0] == [0, 0]
    assert found[1] in [[y, x] for y in (8, 9) for x in (26, 27)]
    assert found[2] in [[y, x] for y in (20, 21) for x in (8, 9)]
    assert cell_peak(maps).tolist() == [[0, 1 * 6 + 4, 3 * 6 + 1]]


def test_copies_and_maps_that_are_not_numbers():
    maps = draw("symmetric", (7, 7))[[0, 1, 0, 2, 1]]
    maps[3, 1, 2, 2] = float("nan")
    found = peak(maps, SIZE)
    kept = [0, 1, 2, 4]
    assert torch.equal(found[kept], reference(maps[kept], SIZE, "bicubic"))
    assert torch.equal(found[3, [0, 2]], reference(maps[3:4, [0, 2]], SIZE, "bicubic")[0])


def test_no_images():
    assert peak(torch.zeros(0, 3, 7, 7), SIZE).shape == (0, 3, 2)
    assert peak(torch.zeros(0, 3, 7, 7), SIZE).dtype == torch.long


def test_results_carry_no_gradient():
    maps = draw("random", (7, 7)).requires_grad_()
    assert not peak(maps, SIZE).requires_grad
