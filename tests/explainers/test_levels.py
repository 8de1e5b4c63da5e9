from math import nan
from types import SimpleNamespace

import pytest
import torch

from ppn.data.cub import CUB
from ppn.data.funnybirds import FunnyBirds
from ppn.data.lists import BIRD_GROUPS
from ppn.data.nabirds import NABirds
from ppn.data.synthetic import SyntheticBirds
from ppn.discovery.points import point_evidence
from ppn.errors import DataError, PPNError
from ppn.explainers.base import Inputs
from ppn.explainers.ceiling import Ceiling, annotated_split, ceiling_of, mask_evidence
from ppn.explainers.control import (
    OtherClassExact,
    RandomExact,
    other_class_exact,
    random_exact,
)
from ppn.explainers.training import TrainingBatch
from ppn.types import InputConfig, Tokens

GRID, SIZE, WIDTH = (3, 4), (30, 40), 16


def network(classes=5, k=3):
    weight = torch.randn(classes, WIDTH, dtype=torch.float64)
    return SimpleNamespace(
        classifier=SimpleNamespace(
            effective_head=lambda: (weight, torch.zeros(classes)),
            inspection=SimpleNamespace(indicative=False),
        ),
        k=k,
        head=SimpleNamespace(prototypes=torch.randn(classes, k, WIDTH), bias=torch.rand(classes)),
        input_config=InputConfig(size=SIZE),
        dictionary=SimpleNamespace(found=torch.ones(classes, dtype=torch.long)),
    ), weight


def learned(ceiling, made, tokens, label=0, **annotations):
    """The ceiling after images of one class, whose annotations are given."""
    seen = Tokens(tokens, GRID, tokens.mean(1), torch.ones(len(tokens)), torch.zeros(0))
    batch = {"label": torch.full((len(tokens),), label), **annotations}
    images = SimpleNamespace(network=made, classes=lambda: [TrainingBatch(batch, seen)])
    ceiling.prepare(made)
    ceiling.fit(images)
    return ceiling


def inputs(images=4):
    tokens = torch.randn(images, 12, WIDTH)
    scale = torch.rand(images) + 0.5
    seen = Tokens(tokens, GRID, tokens.mean(1), scale, torch.zeros(images, 5))
    return Inputs(torch.zeros(images, 3, *SIZE), seen, torch.arange(images))


@pytest.mark.parametrize("explainer", [RandomExact(), OtherClassExact()])
def test_controls_are_exact_and_their_maps_add_up(explainer):
    made, weight = network()
    explainer.prepare(made)
    seen, target = inputs(), torch.tensor([0, 1, 4, 4])
    found = explainer.attribute(seen, target)
    assert explainer.kind == "control"
    assert explainer.maps_per_class == 3
    assert found.maps.shape == (4, 3, *GRID)
    assert torch.allclose(found.maps.mean((2, 3)), found.contributions, atol=1e-5)
    pooled = seen.tokens.pooled.double() * seen.tokens.scale.double()[:, None]
    logit = (pooled * weight[target]).sum(1)
    assert torch.allclose(found.contributions.double().sum(1), logit, atol=1e-5)


def test_random_directions_follow_from_seed_and_class_alone():
    weight = torch.randn(5, WIDTH, dtype=torch.float64)
    assert torch.equal(random_exact(weight, 3)[:2], random_exact(weight[:2], 3))
    assert not torch.allclose(random_exact(weight, 3), random_exact(weight, 3, seed=1))


def test_random_directions_are_as_large_as_the_row():
    weight = torch.randn(2, 4000, dtype=torch.float64) * torch.tensor([[1.0], [100.0]])
    drawn = random_exact(weight, 50)
    ratio = drawn.double().norm(dim=2) / weight.norm(dim=1, keepdim=True)
    assert ((ratio - 1).abs() <= 0.1).all()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_each_class_gets_the_prototypes_of_one_other(classes):
    weight = torch.randn(classes, WIDTH, dtype=torch.float64)
    prototypes = torch.randn(classes, 3, WIDTH)
    made = other_class_exact(prototypes, weight)
    assert torch.allclose(made.double().sum(1), weight, atol=1e-6)
    apart = made[:, 0] - made[:, 1]  # what is added to make them exact is the same for all
    theirs = prototypes[:, 0] - prototypes[:, 1]
    taken = (apart[:, None] - theirs).norm(dim=2).argmin(1).tolist()
    assert sorted(taken) == list(range(classes))
    assert all(other != label for label, other in enumerate(taken))


@pytest.mark.parametrize("explainer", [RandomExact(), OtherClassExact()])
def test_the_surrogate_of_what_is_exact_are_the_logits(explainer):
    made, weight = network()
    explainer.prepare(made)
    seen = inputs()
    pooled = seen.tokens.pooled.double() * seen.tokens.scale.double()[:, None]
    logits = pooled @ weight.T + made.head.bias
    assert torch.allclose(explainer.surrogate(seen).double(), logits, atol=1e-5)


def test_ceiling_puts_parts_where_the_points_are_and_is_exact():
    # Token n has channel n, so that any map can be told.
    tokens = torch.eye(12, WIDTH).expand(6, -1, -1) + 0.01 * torch.randn(6, 12, WIDTH)
    points = torch.tensor([[35.0, 25.0, 1.0], [nan, nan, 0.0], [5.0, 5.0, 1.0]])
    made, weight = network()
    weight[:] = weight.abs() + 0.5
    ceiling = Ceiling([[1, 2], [0]])
    learned(ceiling, made, tokens, 3, keypoints=points.expand(6, -1, -1))
    directions = ceiling.directions[3]
    assert (directions.double().sum(0) - weight[3]).abs().max() <= 1e-6 * weight.max()
    assert torch.allclose(ceiling.directions[2].double(), (weight[2] / 2).expand(2, -1))
    assert (ceiling.kind, ceiling.name, ceiling.maps_per_class) == ("ceiling", "ceiling", 2)
    seen = Tokens(tokens, GRID, tokens.mean(1), torch.ones(6), torch.zeros(6, 5))
    found = ceiling.attribute(
        Inputs(torch.zeros(6, 3, *SIZE), seen, torch.arange(6)), torch.full((6,), 3)
    )
    first, second = (found.maps[:, 0] - found.maps[:, 1]).flatten(1).mean(0)[[0, 11]]
    assert first > 0.1
    assert second < -0.1


def test_masks_and_points_of_the_same_place_agree():
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    masks[:, :10, :10] = 1
    masks[:, 20:, 30:] = 2
    masks[:, 10:20, 10:15] = 3
    masks[:, 0, 39] = 255
    evidence = mask_evidence(masks, [[1], [2, 3]], GRID)
    expected = torch.zeros(2, 12, 2)
    expected[:, 0, 0] = expected[:, 11, 1] = 1
    expected[:, 5, 1] = 0.5
    assert torch.allclose(evidence, expected)
    (made, weight), tokens = network(), torch.randn(2, 12, WIDTH)
    ceiling = learned(Ceiling([[1], [2, 3]], "mask"), made, tokens, mask=masks)
    assert torch.equal(ceiling.directions[0], annotated_split(tokens, evidence, weight[0]))


def test_a_ceiling_of_what_is_not_annotated_is_refused():
    (made, _), tokens = network(), torch.randn(2, 12, WIDTH)
    with pytest.raises(PPNError, match="no part, or one of nothing"):
        Ceiling([[0], []])
    with pytest.raises(DataError, match="needs masks: set masks: true"):
        learned(Ceiling([[1]], "mask"), made, tokens)
    with pytest.raises(DataError, match="part of keypoint 4, but the data has 3"):
        learned(Ceiling([[0], [4]]), made, tokens, keypoints=torch.zeros(2, 3, 3))


def source(part_names=(), mask_names=(), part_groups=()):
    return SimpleNamespace(part_names=part_names, mask_names=mask_names, part_groups=part_groups)


def test_the_ceilings_parts_are_the_data_sets_groups_of_the_closest_number():
    names = ["beak", "crown", "belly", "back", "nape", "left wing", "tail"]
    birds = source(names, part_groups=BIRD_GROUPS)
    assert ceiling_of(birds, 2).parts == [[0, 1], [2], [3, 5]]
    assert ceiling_of(birds, 9).parts == [[0, 1], [2], [3, 5], [4]]  # there is no breast
    assert ceiling_of(source(["a", "b"], ["x", "y"]), 5).parts == [[0], [1]]
    assert ceiling_of(source((), ["x", "y"]), 5) is None
    of_masks = ceiling_of(source((), ["x", "y"]), 5, masks=True)
    assert (of_masks.parts, of_masks.of) == ([[1], [2]], "mask")
    assert ceiling_of(source((), ["bird"]), 5, masks=True) is None


@pytest.mark.parametrize("kind", [CUB, NABirds, FunnyBirds, SyntheticBirds])
def test_the_groups_of_data_sets_name_keypoints_once(kind):
    for groups in getattr(kind, "part_groups", ()) or BIRD_GROUPS:
        named = [name for names in groups.values() for name in names]
        assert len(named) == len(set(named))
        assert all(groups.values())


@pytest.mark.parametrize("images", [1, 4])
def test_a_class_whose_parts_are_never_visible_is_split_evenly(images):
    tokens, weight = torch.randn(images, 12, WIDTH), torch.randn(WIDTH, dtype=torch.float64)
    evidence = point_evidence(torch.zeros(images, 3, 1, 3), GRID, SIZE)
    prototypes = annotated_split(tokens, evidence, weight)
    assert torch.allclose(prototypes.double(), weight / 3, atol=1e-5)


def test_classes_without_prototypes_lend_none():
    weight = torch.randn(6, WIDTH, dtype=torch.float64)
    prototypes = torch.randn(6, 3, WIDTH)
    found = torch.tensor([0, 1, 0, 1, 1, 0])
    made = other_class_exact(prototypes, weight, found=found)
    apart, theirs = (both[:, 0] - both[:, 1] for both in (made, prototypes))
    taken = (apart[:, None] - theirs).norm(dim=2).argmin(1).tolist()
    assert sorted(taken[label] for label in (1, 3, 4)) == [1, 3, 4]
    assert all(taken[label] != label for label in (1, 3, 4))
