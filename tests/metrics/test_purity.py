"""Purity, against loops over prototypes, images and parts."""

from __future__ import annotations

import pytest
import torch

from ppn.errors import DataError
from ppn.metrics import EvaluationShape, Purity
from ppn.metrics.purity import merged_parts, patch_boxes
from ppn.metrics.resampling import image_counts

PARTS = ["beak", "left eye", "right eye", "tail", "left foot"]
C, K, S = 3, 2, 224


def sample(images=40, grid=(7, 5)):
    maps = torch.rand(images, K, *grid).mul(8).round() - 3  # ties
    labels = torch.arange(images) % 2  # class 2 has no image
    keypoints = torch.cat([S * torch.rand(images, 5, 2), torch.rand(images, 5, 1).gt(0.3)], 2)
    for i in range(0, images, 2):  # near a maximum
        cell = int(maps[i, 0].flatten().argmax())
        keypoints[i, 1, :2] = torch.tensor([cell % grid[1] * 48.0, cell // grid[1] * 32.0]) + 5
    keypoints[..., :2][keypoints[..., 2] == 0] = float("nan")
    return maps, keypoints, labels, torch.randperm(images)


def literal(maps, keypoints, labels, indices, top, above):
    """Purity over the top images, and over all above the threshold, as lists over prototypes."""
    height, width = maps.shape[2:]
    skip_y, skip_x = round((224 - 32) / (height - 1)), round((224 - 32) / (width - 1))
    found = []
    for c in (0, 1):
        for j in range(maps.shape[1]):
            members = [i for i in range(len(maps)) if labels[i] == c]
            members.sort(key=lambda i: (-maps[i, j].max().item(), indices[i].item()))
            both = []
            for chosen in (members[:top], [i for i in members if maps[i, j].max() > above]):
                shares = []
                for group in ([0], [1, 2], [3], [4]):
                    present, visible = 0, 0
                    for i in chosen:
                        cell = maps[i, j].flatten().argmax().item()
                        y, x = cell // width, cell % width
                        y0 = 224 - 32 if y == height - 1 else y * skip_y
                        x0 = 224 - 32 if x == width - 1 else x * skip_x
                        hits = []
                        for part in group:
                            px, py, seen = keypoints[i, part].tolist()
                            if seen:
                                hits.append(x0 <= px <= x0 + 32 and y0 <= py <= y0 + 32)
                        visible += bool(hits)
                        present += any(hits)
                    shares.append(present / visible if visible else 0.0)
                both.append(max(shares))
            found.append(both)
    return found


@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize(("top", "above"), [(10, 0.0), (3, 4.5), (100, -5.0)])
def test_purity_equals_the_literal_loops(size, top, above):
    maps, keypoints, labels, indices = sample()
    metric = Purity(top, above=above).setup(EvaluationShape(C, K, PARTS, S))
    for rows in torch.arange(len(maps)).split(size):
        metric.update(maps[rows], keypoints[rows], labels[rows], indices[rows])
    result = metric.compute()
    expected = torch.tensor(literal(maps, keypoints, labels, indices, top, above))
    assert expected[:, 0].std() > 0
    assert torch.allclose(result.purity[:2].flatten().float(), expected[:, 0])
    assert torch.allclose(result.purity_all[:2].flatten().float(), expected[:, 1])
    assert result.purity[2].isnan().all()
    figures = metric.figures(result)
    assert figures["purity"] == pytest.approx(expected[:, 0].mean().item())
    assert figures["purity_std"] == pytest.approx(expected[:, 0].std(correction=0).item())
    assert metric.values(result).classes.isnan().tolist() == [False, False, True]


def test_left_and_right_are_one_part_where_there_are_both():
    names, groups = merged_parts(PARTS)
    assert names == ["beak", "eye", "tail", "left foot"]
    assert groups == [[0], [1, 2], [3], [4]]


def test_patches_reach_from_border_to_border():
    boxes = patch_boxes(torch.tensor([0, 8, 48]), (7, 7), 224, 32)
    assert boxes.tolist() == [[0, 0, 32, 32], [32, 32, 64, 64], [192, 192, 224, 224]]
    assert patch_boxes(torch.tensor([0]), (1, 1), 224, 32).tolist() == [[192, 192, 224, 224]]


def test_a_part_at_every_maximum_is_pure():
    maps, keypoints, labels, indices = sample()
    cells = maps.flatten(2).argmax(2)[:, 0]
    keypoints[:, 3] = torch.stack([cells % 5 * 48.0 + 1, cells // 5 * 32.0 + 1, cells * 0 + 1.0], 1)
    metric = Purity().setup(EvaluationShape(C, K, PARTS, S))
    metric.update(maps, keypoints, labels, indices)
    result = metric.compute()
    assert (result.purity[:2, 0] == 1).all()
    assert (result.purity[:2, 1] < 1).all()


def test_copies_and_order_of_prototypes_do_not_matter():
    maps, keypoints, labels, indices = sample()
    purities = []
    for chosen in ([0, 1], [1, 0], [0, 1, 0, 1]):
        metric = Purity().setup(EvaluationShape(C, len(chosen), PARTS, S))
        metric.update(maps[:, chosen], keypoints, labels, indices)
        purities.append(metric.figures(metric.compute())["purity"])
    assert purities == pytest.approx([purities[0]] * 3)


def test_a_draw_counts_each_image_as_often_as_it_was_drawn():
    maps, keypoints, labels, indices = sample()
    counts = image_counts(indices)
    metric = Purity().setup(EvaluationShape(C, K, PARTS, S))
    for rows in torch.arange(len(maps)).split(7):
        metric.update(maps[rows], keypoints[rows], labels[rows], indices[rows], counts[rows])
    draws = metric.values(metric.compute()).draws
    assert draws.std() > 0
    for draw in range(5):
        rows = torch.arange(len(maps)).repeat_interleave(counts[:, draw].long())
        again = Purity().setup(EvaluationShape(C, K, PARTS, S))
        again.update(maps[rows], keypoints[rows], labels[rows], indices[rows])
        assert again.figures(again.compute())["purity"] == pytest.approx(float(draws[draw]))


def test_without_annotations_says_what_to_do():
    with pytest.raises(DataError, match="Purity needs part annotations"):
        Purity().setup(EvaluationShape(C, K, (), S))
