"""The C2-score, against all pairs of images."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ppn.errors import PPNError
from ppn.metrics import C2Score, EvaluationShape
from ppn.metrics.c2 import C2Result

C, K, S = 3, 2, 32


def pooled():
    """A dense model: mean colours of a 4 x 4 grid."""
    return lambda images: avg_pool2d(images, S // 4)


def score(maps, images, labels, size=100, k=K, indices=None):
    metric = C2Score(f"{__name__}:pooled").setup(EvaluationShape(C, k, (), S))
    for rows in torch.arange(len(maps)).split(size):
        places = None if indices is None else indices[rows]
        metric.update(maps[rows], pooled()(images[rows]), labels[rows], places)
    return metric, metric.compute().score


@pytest.mark.parametrize("size", [1, 4, 9])
def test_score_equals_all_pairs(size):
    maps, images, labels = torch.randn(9, K, 3, 3), torch.randn(9, 3, S, S), torch.arange(9) % 2
    maps[2, 1] = -1  # not active
    metric, found = score(maps, images, labels, size)
    for c in (0, 1):
        for j in range(K):
            seen = []
            for i in range(c, 9, 2):
                grid = interpolate(maps[i, j].clamp(min=0)[None, None], (4, 4), mode="bilinear")[0]
                vector = (grid * pooled()(images[i : i + 1])[0]).sum((1, 2))
                if vector.norm() > 0:
                    seen.append((vector / vector.norm(), maps[i, j].max().clamp(min=0)))
            pairs = [
                (float(a @ b), float(v * w))
                for m, (a, v) in enumerate(seen)
                for n, (b, w) in enumerate(seen)
                if m != n
            ]
            wanted = sum(s * w for s, w in pairs) / sum(w for _, w in pairs)
            assert found[c, j].item() == pytest.approx(wanted, abs=1e-5)
    assert found[2].isnan().all()
    assert metric.figures(metric.compute())["c2_score"] == pytest.approx(found[:2].mean().item())
    assert metric.constants["width"] == 3


def test_the_same_place_of_the_same_thing_scores_one():
    images = torch.zeros(4, 3, S, S)
    for image, at in zip(images, (0, 8, 16, 24), strict=True):
        image[:, at : at + 8, 8:16] = torch.tensor([0.2, -1.0, 0.5])[:, None, None]
        image += 0.01 * torch.randn(3, S, S)
    maps = torch.zeros(4, 1, 4, 4)
    maps[torch.arange(4), 0, torch.arange(4), 1] = 2.0
    _, found = score(maps, images, torch.zeros(4, dtype=torch.long), k=1)
    assert found[0, 0] > 0.99
    _, elsewhere = score(maps.flip(3), images, torch.zeros(4, dtype=torch.long), k=1)
    assert elsewhere[0, 0] < 0.9


@pytest.mark.parametrize("size", [3, 100])
def test_the_spread_of_draws_is_the_jackknifes_over_groups_of_images(size):
    maps, images, labels = torch.randn(50, K, 3, 3), torch.randn(50, 3, S, S), torch.arange(50) % 3
    indices = 2 * torch.arange(50)  # so that half of the groups are empty
    metric, whole = score(maps, images, labels, size, indices=indices)
    without = []
    for group in range(0, 20, 2):
        kept = indices % 20 != group
        without.append(score(maps[kept], images[kept], labels[kept])[1].mean())
    changes = torch.stack(without)
    error = ((len(changes) - 1) / len(changes) * (changes - changes.mean()).square().sum()).sqrt()
    draws = metric.values(metric.compute()).draws
    assert torch.allclose(draws.std(correction=0), error)
    assert torch.allclose(draws.mean(), whole.mean())
    assert score(maps, images, labels)[0].values(C2Result(whole, whole[:0, None])).draws is None


def test_the_jackknife_says_how_far_scores_of_other_images_are():
    generator = torch.Generator().manual_seed(0)
    found, errors = [], []
    for _ in range(40):
        images = torch.randn(60, 3, S, S, generator=generator) + 0.3
        maps = torch.randn(60, K, 4, 4, generator=generator)
        metric, whole = score(maps, images, torch.arange(60) % C, indices=torch.arange(60))
        found.append(whole.mean())
        errors.append(metric.values(metric.compute()).draws.std(correction=0))
    assert 0.7 < torch.stack(errors).mean() / torch.stack(found).std() < 1.4


def test_one_image_has_no_pair():
    _, found = score(torch.rand(1, K, 2, 2), torch.rand(1, 3, S, S), torch.zeros(1).long())
    assert found.isnan().all()


def test_a_factory_that_there_is_not_is_refused():
    with pytest.raises(PPNError, match="features of c2_score is 'tests:nothing', which cannot"):
        C2Score("tests:nothing")
