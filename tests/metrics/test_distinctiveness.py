from __future__ import annotations

import pytest
import torch

from ppn.metrics import Distinctiveness, DistinctPeaks, EvaluationShape
from tests.metrics import literal

SHAPE = EvaluationShape(num_classes=3, k=2)


def draw(k, grid, images=6):
    generator = torch.Generator().manual_seed(k + 10 * grid[0])
    return (6 * torch.randn(images, k, *grid, generator=generator)).round()  # ties


@pytest.mark.parametrize(
    ("k", "grid"), [(2, (7, 7)), (3, (8, 5)), (5, (14, 14)), (8, (7, 7)), (4, (1, 6)), (6, (2, 2))]
)
def test_distinctiveness_equals_the_literal_loops(k, grid):
    maps = draw(k, grid)
    metric = Distinctiveness().setup(SHAPE)
    metric.update(maps)
    result = metric.compute()
    expected = literal.distinctiveness(maps)
    assert 0 < expected < 1
    assert result.score.item() == pytest.approx(expected, abs=1e-12)
    assert result.images == len(maps)


def test_only_the_strongest_prototypes_count():
    maps = draw(9, (8, 8))
    metric = Distinctiveness(top=2).setup(SHAPE)
    metric.update(maps)
    assert metric.compute().score.item() == pytest.approx(literal.distinctiveness(maps, 2))


def spots(*cells, grid=8):
    maps = torch.zeros(1, len(cells), grid, grid)
    for j, (y, x) in enumerate(cells):
        maps[0, j, y : y + 2, x : x + 2] = 1
    return maps


def test_same_place_is_0_and_far_apart_is_1():
    metric = Distinctiveness().setup(SHAPE)
    metric.update(spots((0, 0), (0, 0), (0, 0)))
    assert metric.compute().score == 0
    metric.reset()
    metric.update(spots((0, 0), (0, 6), (6, 0)))
    assert metric.compute().score == 1


def test_boxes_are_not_clipped_at_the_image():
    # Maxima at x = 0 (the border is replicated) and x = 83 of 224: boxes of 100 px overlap by 17.
    metric = Distinctiveness(box=100).setup(SHAPE)
    metric.update(spots((0, 0), (0, 2)))
    overlap = 100 * (100 - 83)
    assert metric.compute().score.item() == pytest.approx(1 - overlap / (20000 - overlap))


def test_distinctness_equals_the_literal_loops():
    maps = draw(4, (2, 3), images=9)
    coincide = pairs = 0
    for image in maps:
        cells = [literal.first_maximum(m) for m in image]
        for a in range(4):
            for b in range(a + 1, 4):
                coincide += cells[a] == cells[b]
                pairs += 1
    assert 0 < coincide < pairs
    metric = DistinctPeaks().setup(SHAPE)
    metric.update(maps)
    result = metric.compute()
    assert result.score.item() == pytest.approx(1 - coincide / pairs, abs=1e-12)
    assert result.images == 9


@pytest.mark.parametrize("kind", [Distinctiveness, DistinctPeaks])
def test_one_prototype_has_no_pair(kind):
    metric = kind().setup(SHAPE)
    metric.update(torch.rand(4, 1, 7, 7))
    result = metric.compute()
    assert result.images == 0
    assert result.score == 0


def test_constants():
    assert Distinctiveness().setup(SHAPE._replace(size=448)).constants == {
        "top": 5,
        "box": 144,
        "size": 448,
        "pooling": 2,
        "upsampling": "bilinear",
    }
    assert Distinctiveness.protocol == "nonparam-2025"
    assert Distinctiveness().setup(SHAPE).constants["box"] == 72
    assert DistinctPeaks().constants == {}
