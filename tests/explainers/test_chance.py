from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppn.explainers import CentreMaps, Inputs, RandomMaps, UniformMaps
from ppn.metrics import (
    Consistency,
    Distinctiveness,
    EvaluationShape,
    Stability,
    default_floors,
)
from ppn.metrics.maps import peak

INDICES = torch.tensor([7, 3, 90, 4])
LABELS = torch.tensor([0, 1, 1, 0])


def test_random_maps_depend_on_seed_draw_class_image_and_prototype():
    draw = RandomMaps().maps
    maps = draw(INDICES, LABELS, (3, 7, 5), 1, 0)
    assert maps.shape == (4, 3, 7, 5)
    assert maps.min() >= 0
    assert maps.max() < 1
    for i in range(4):
        alone = draw(INDICES[i : i + 1], LABELS[i : i + 1], (3, 7, 5), 1, 0)
        assert torch.equal(alone[0], maps[i])
    assert len({tuple(m.flatten().tolist()) for m in maps.flatten(0, 1)}) == 12
    assert not torch.equal(draw(INDICES, LABELS, (3, 7, 5), 2, 0), maps)
    assert not torch.equal(draw(INDICES, LABELS, (3, 7, 5), 1, 1), maps)
    assert not torch.equal(draw(INDICES, 1 - LABELS, (3, 7, 5), 1, 0), maps)


def test_random_maps_are_drawn_from_seed_draw_class_and_image():
    drawn = RandomMaps().maps(INDICES, LABELS, (2, 3, 3), 5, 1)
    expected = np.random.default_rng([5, 1, 1, 90]).random((2, 3, 3), np.float32)
    assert np.array_equal(drawn[2].numpy(), expected)


def test_floors_have_as_many_maps_as_the_network_on_the_grid_of_its_tokens():
    network = SimpleNamespace(k=3)
    tokens = SimpleNamespace(grid=(7, 5))
    for explainer in default_floors():
        explainer.prepare(network)
        clean, noisy = (
            explainer.attribute(Inputs(torch.zeros(4), tokens, INDICES, draw, 1), LABELS)
            for draw in (0, 1)
        )
        assert clean.contributions is None
        assert clean.maps.shape == (4, explainer.maps_per_class, 7, 5) == (4, 3, 7, 5)
        assert torch.equal(clean.maps, noisy.maps) == (explainer.name != "random")
        assert explainer.kind == "floor"
        assert explainer.title == f"chance: {explainer.name}"


@pytest.mark.parametrize("grid", [(7, 7), (16, 16), (14, 14), (3, 4), (28, 5)])
@pytest.mark.parametrize("size", [224, 225])
def test_the_centre_is_the_centre(grid, size):
    maps = CentreMaps().maps(INDICES, LABELS, (3, *grid), 0, 0)
    found = peak(maps, (size, size))
    assert ((found == size // 2) | (found == (size - 1) // 2)).all()


def test_uniform_maps_have_their_first_maximum_in_the_corner():
    maps = UniformMaps().maps(INDICES, LABELS, (3, 7, 7), 0, 0)
    assert not peak(maps, (224, 224)).any()


def test_chance_levels_of_the_protocols():
    """Parts anywhere: the centre covers a part by luck, random maps less; fixed maps are stable."""
    images, k = 120, 3
    generator = torch.Generator().manual_seed(0)
    points = 224 * torch.rand(images, 2, 2, generator=generator)
    keypoints = torch.cat([points, torch.ones(images, 2, 1)], -1)
    indices, labels = torch.arange(images), torch.zeros(images).long()
    shares, stable, distinct = {}, {}, {}
    shape = EvaluationShape(1, k, ["beak", "tail"])
    for explainer in (RandomMaps(), CentreMaps(), UniformMaps()):
        kind = explainer.name
        maps, again = (explainer.maps(indices, labels, (k, 7, 7), 3, draw) for draw in (0, 1))
        consistency, stability = Consistency().setup(shape), Stability().setup(shape)
        consistency.update(maps, keypoints, labels)
        stability.update(maps, again, keypoints, labels)
        distinctiveness = Distinctiveness().setup(shape)
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
