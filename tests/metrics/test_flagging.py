"""What flags come from, against loops over images."""

import pytest
import torch

from ppn.metrics import EvaluationShape, Flagging
from ppn.prototypes.foreign import TOP

C, K, GRID, SIZE = 3, 2, (3, 4), 48


def sample(images=30):
    maps = torch.rand(images, K, *GRID).mul(3).round()  # ties
    every = torch.rand(images, C, K).mul(20).round()
    labels = torch.arange(images) % 2  # class 2 has no image
    inside = torch.rand(images, SIZE, 64) > 0.4
    known = torch.rand(images, SIZE, 64) > 0.2
    return maps, every, labels, torch.randperm(images), inside, known


def literal(maps, every, labels, indices, inside, known):
    height, width = inside.shape[1:]
    outside, together, foreign = {}, {}, {}
    for c in range(C):
        own = [i for i in range(len(maps)) if labels[i] == c]
        cells = [[int(maps[i, j].flatten().argmax()) for j in range(K)] for i in own]
        for j in range(K):
            places = []
            for row, i in enumerate(own):
                y, x = divmod(cells[row][j], GRID[1])
                centre = int((y + 0.5) * height / GRID[0]), int((x + 0.5) * width / GRID[1])
                if known[i][centre]:
                    places.append(not inside[i][centre])
            outside[c, j] = sum(places) / len(places) if places else float("nan")
            together[c, j] = sum(row[0] == row[j] for row in cells)
            order = sorted(
                range(len(maps)), key=lambda i: (-every[i, c, j].item(), indices[i].item())
            )[: min(TOP, len(own))]
            others = [int(labels[i]) != c for i in order]
            foreign[c, j] = sum(others) / len(others) if others else float("nan")
    return outside, together, foreign


@pytest.mark.parametrize("size", [1, 7, 30])
def test_flagging_is_a_loop_over_images(size):
    data = sample()
    metric = Flagging().setup(EvaluationShape(C, K))
    for batch in zip(*(one.split(size) for one in data), strict=True):
        metric.update(*batch)
    result = metric.compute()
    outside, together, foreign = literal(*data)
    for (c, j), value in outside.items():
        assert float(result.outside[c, j]) == pytest.approx(value, nan_ok=True)
        assert int(result.together[c, 0, j]) == together[c, j]
        assert float(result.foreign[c, j]) == pytest.approx(foreign[c, j], nan_ok=True)
    assert result.images.tolist() == [15, 15, 0]
    assert metric.figures(result) == {}
